-- A message comes into `sent` when it is delivered for the first time, or when nobody needs it any more. Until then its
-- row in `messages` says what was sent.
DELETE FROM sent WHERE delivered = 0 AND number IN (SELECT number FROM messages);

-- All of both. SQLite takes such a view apart into its tables only if the columns have the same affinity.
CREATE VIEW accepted AS
    SELECT number, device, id, time, delivered FROM sent
    UNION ALL
    SELECT number, device, id, time, CAST(0 AS INTEGER) FROM messages
    WHERE NOT EXISTS (SELECT 1 FROM sent WHERE sent.number = messages.number);
