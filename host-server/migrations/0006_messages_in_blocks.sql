-- Accepted messages that somebody needs, many in one row, as they came together. `first` is above every number in the
-- rows before, and not above any in its own. An entry is: number (8 bytes), id (16), time, sender, device (8 each), 1 for a
-- room or 0 for an account (1), that (8), format (1), length of the body (2), body; integers begin with the greatest
-- byte.
CREATE TABLE blocks (
    first   INTEGER PRIMARY KEY,
    entries BLOB    NOT NULL
) STRICT;
INSERT INTO blocks SELECT number, unhex(
    printf('%016x', number) || hex(id) || printf('%016x%016x%016x', time, sender, device)
    || printf('%02x%016x', account IS NULL, coalesce(account, room)) || printf('%02x%04x', format, length(body))
    || hex(body)) FROM messages ORDER BY number;
DROP VIEW accepted;
DROP TABLE messages;
ALTER TABLE blocks RENAME TO messages;
