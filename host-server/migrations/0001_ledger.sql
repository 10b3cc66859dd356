-- Every accepted message has one number in one strictly growing order; `place` holds the last one given.
CREATE TABLE place (
    last_number INTEGER NOT NULL
) STRICT;
INSERT INTO place VALUES (0);

CREATE TABLE accounts (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    name     TEXT    NOT NULL UNIQUE,
    email    TEXT    NOT NULL,
    password TEXT,                       -- Argon2id in PHC form; NULL: no login by password
    disabled INTEGER NOT NULL DEFAULT 0,
    created  INTEGER NOT NULL
) STRICT;

-- A device is a transport key that was bound to an account. Everything up to `cursor` is acknowledged;
-- at binding it starts at the last number given, so a device receives nothing older than itself.
CREATE TABLE devices (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    account     INTEGER NOT NULL REFERENCES accounts,
    fingerprint BLOB    NOT NULL UNIQUE,
    label       TEXT    NOT NULL,
    cursor      INTEGER NOT NULL,
    created     INTEGER NOT NULL,
    seen        INTEGER NOT NULL
) STRICT;
CREATE INDEX devices_of_account ON devices (account);

CREATE TABLE rooms (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    name    TEXT    NOT NULL UNIQUE,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE members (
    room      INTEGER NOT NULL REFERENCES rooms,
    account   INTEGER NOT NULL REFERENCES accounts,
    joined_at INTEGER NOT NULL,          -- the last number given at that time
    PRIMARY KEY (room, account)
) STRICT, WITHOUT ROWID;

-- A message is stored once, whatever the number of its readers, until no device needs it.
CREATE TABLE messages (
    number  INTEGER PRIMARY KEY,
    id      BLOB    NOT NULL,
    time    INTEGER NOT NULL,
    sender  INTEGER NOT NULL,
    device  INTEGER NOT NULL,
    account INTEGER,                     -- exactly one of the two targets
    room    INTEGER,
    format  INTEGER NOT NULL,
    body    BLOB    NOT NULL,
    CHECK ((account IS NULL) <> (room IS NULL))
) STRICT;

-- What a device has sent: a repeated id gets the first answer again.
CREATE TABLE sent (
    device    INTEGER NOT NULL,
    id        BLOB    NOT NULL,
    number    INTEGER NOT NULL,
    time      INTEGER NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0,  -- when, 0: not yet
    PRIMARY KEY (device, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sent_by_number ON sent (number);
