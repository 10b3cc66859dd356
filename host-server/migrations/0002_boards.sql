-- A board is an account with one device, owned by the member who enrolled it. The server holds a hash of the code's
-- lookup id, never the code's secret.
CREATE TABLE boards (
    account     INTEGER PRIMARY KEY REFERENCES accounts,
    owner       INTEGER NOT NULL REFERENCES accounts,
    lookup      BLOB    NOT NULL UNIQUE,
    owner_proof BLOB    NOT NULL,
    expires     INTEGER NOT NULL,
    device      BLOB,                    -- fingerprint of the key that claimed the code
    board_proof BLOB,
    claimed     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX boards_of_owner ON boards (owner);
