-- What devices have sent, in the order of acceptance, so that what belongs together is written together: a repeated
-- id gets the first answer again.
CREATE TABLE answers (
    number    INTEGER PRIMARY KEY,
    device    INTEGER NOT NULL,
    id        BLOB    NOT NULL,
    time      INTEGER NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0  -- when, 0: not yet
) STRICT;
INSERT INTO answers SELECT number, device, id, time, delivered FROM sent ORDER BY number;
DROP TABLE sent;
ALTER TABLE answers RENAME TO sent;

-- The rows of `sent` up to the number `place.indexed`, by id. Ids are random: they come here many at a time, in this
-- table's order, since each by itself would cost a page. Those behind it the server keeps in memory.
CREATE TABLE sent_ids (
    device INTEGER NOT NULL,
    id     BLOB    NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (device, id)
) STRICT, WITHOUT ROWID;
INSERT INTO sent_ids SELECT device, id, number FROM sent;
ALTER TABLE place ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0;
UPDATE place SET indexed = (SELECT coalesce(max(number), 0) FROM sent);
