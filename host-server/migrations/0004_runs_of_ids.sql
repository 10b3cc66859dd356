-- The ids of the rows of `sent`, up to the greatest `last`, in sorted runs. A run's blocks don't change until they are
-- merged into another run's. Those behind the greatest `last` the server keeps in memory.
DROP TABLE sent_ids;
ALTER TABLE place DROP COLUMN indexed;
CREATE TABLE sent_runs (
    id     INTEGER PRIMARY KEY,
    last   INTEGER NOT NULL,             -- the greatest number in it
    level  INTEGER NOT NULL,             -- how often it was merged
    merges INTEGER                       -- the run that its blocks go to, if they do
) STRICT;

-- An entry is 32 bytes: device, id, number, the greatest byte first. `least` is the first entry of a block. The index
-- by itself is small; in a primary key, SQLite would read whole blocks to compare them.
CREATE TABLE sent_blocks (
    run     INTEGER NOT NULL,
    least   BLOB    NOT NULL,
    entries BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX sent_blocks_in_order ON sent_blocks (run, least);
