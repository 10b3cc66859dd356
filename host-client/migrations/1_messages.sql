-- One row a message, sent or received. A message's identity is its sender's name with its id, on every path that it
-- may come: the first delivery, a redelivery, or the copy of what this account sent from another device.
CREATE TABLE messages (
    sender       TEXT    NOT NULL,
    id           BLOB    NOT NULL CHECK (length(id) = 16),
    conversation TEXT    NOT NULL,            -- '@peer' or '#room', where people look for it
    target       TEXT    NOT NULL,            -- '@user' or '#room', as addressed
    place        INTEGER NOT NULL,            -- the server's number, or while there is none the highest place known
    numbered     INTEGER NOT NULL,            -- whether place is the server's number
    time         INTEGER NOT NULL,            -- Unix milliseconds
    format       INTEGER NOT NULL,
    body         BLOB    NOT NULL,
    state        TEXT    CHECK (state IN ('queued', 'accepted', 'delivered', 'failed')),  -- own messages only
    shown        INTEGER NOT NULL,            -- whether a delivery of it was shown
    PRIMARY KEY (sender, id)
);
CREATE INDEX messages_in_order ON messages (conversation, place, numbered DESC, time);
CREATE INDEX messages_by_place ON messages (place);
