//! One transaction for each batch.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use sqlx::{Connection as _, QueryBuilder, Row as _, Sqlite, SqliteConnection, sqlite::SqliteRow};

use super::{Change, DeviceId, Message, MessageId, Sent, Target};

/// SQLite takes 32,766 values in one statement, and a message has 9.
const ROWS: usize = 1000;

/// What is committed together.
#[derive(Debug, Default)]
pub struct Batch {
    /// Accounts, devices and rooms, in their order.
    pub changes: Vec<Change>,
    /// Accepted messages that somebody needs.
    pub messages: Vec<Arc<Message>>,
    /// Ids of all accepted messages.
    pub sent: Vec<Sent>,
    /// Devices and the numbers that they have acknowledged.
    pub cursors: Vec<(DeviceId, u64)>,
    /// Numbers of messages that were delivered for the first time, and when.
    pub delivered: Vec<(u64, u64)>,
    /// Numbers of messages that nobody needs any more.
    pub forget: Vec<u64>,
    /// The last number given, if this batch gives any.
    pub last_number: Option<u64>,
}

impl Batch {
    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.messages.is_empty()
            && self.sent.is_empty()
            && self.cursors.is_empty()
            && self.delivered.is_empty()
            && self.forget.is_empty()
            && self.last_number.is_none()
    }
}

/// The only connection that writes.
#[derive(Debug)]
pub struct Writer {
    connection: SqliteConnection,
    commits: Arc<AtomicU64>,
}

impl Writer {
    pub(super) fn new(connection: SqliteConnection) -> Self {
        Self { connection, commits: Arc::default() }
    }

    /// Counts the transactions committed: each is one sync of the log.
    #[must_use]
    pub fn commits(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.commits)
    }

    /// Makes a batch durable: it is on disk, synced, when this returns.
    ///
    /// # Errors
    /// The database's; nothing of the batch has happened then.
    pub async fn commit(&mut self, batch: &Batch) -> sqlx::Result<()> {
        let committed = transaction(&mut self.connection, batch).await;
        match committed {
            Ok(()) => drop(self.commits.fetch_add(1, Ordering::Relaxed)),
            // SQLite has rolled back by itself at some errors, a full disk for instance, and this is one more then.
            Err(_) => drop(execute(&mut self.connection, "ROLLBACK").await),
        }
        committed
    }

    /// The answers that these ids got before, in no order.
    ///
    /// # Errors
    /// The database's.
    pub async fn sent(&mut self, keys: &[(DeviceId, MessageId)]) -> sqlx::Result<Vec<Sent>> {
        let mut found = Vec::new();
        for keys in keys.chunks(ROWS) {
            // The order of this join is forced so that it is always one index lookup for each key.
            let mut query = QueryBuilder::<Sqlite>::new("WITH k(device, id) AS (");
            query.push_values(keys, |mut row, (device, id)| {
                row.push_bind(*device).push_bind(&id[..]);
            });
            query.push(") SELECT s.* FROM k CROSS JOIN sent s ON s.device = k.device AND s.id = k.id");
            found.extend(
                query
                    .build()
                    .persistent(false)
                    .fetch_all(&mut self.connection)
                    .await?
                    .iter()
                    .map(sent)
                    .collect::<sqlx::Result<Vec<_>>>()?,
            );
        }
        Ok(found)
    }

    /// Forgets some ids of messages that were accepted before `time` (Unix milliseconds), the oldest first.
    /// True if there may be more: in between, messages get their turn.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_sent_before(&mut self, time: u64) -> sqlx::Result<bool> {
        // Times never decrease with numbers: only the first rows need a look.
        let query = "DELETE FROM sent WHERE time < ? AND number IN (SELECT number FROM sent ORDER BY number LIMIT 1000)";
        let done = sqlx::query(query).bind(time.cast_signed()).execute(&mut self.connection).await?;
        Ok(done.rows_affected() >= 1000)
    }

    /// Writes the log back into the database and closes it.
    ///
    /// # Errors
    /// The database's.
    pub async fn close(mut self) -> sqlx::Result<()> {
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut self.connection).await?;
        self.connection.close().await
    }
}

/// Not with sqlx's own transactions: they count, and count wrong for ever once SQLite has rolled back by itself.
async fn transaction(db: &mut SqliteConnection, batch: &Batch) -> sqlx::Result<()> {
    execute(db, "BEGIN IMMEDIATE").await?;
    write(db, batch).await?;
    execute(db, "COMMIT").await
}

async fn execute(db: &mut SqliteConnection, statement: &'static str) -> sqlx::Result<()> {
    sqlx::query(statement).execute(db).await.map(drop)
}

async fn write(db: &mut SqliteConnection, batch: &Batch) -> sqlx::Result<()> {
    for change in &batch.changes {
        write_change(db, change).await?;
    }
    for messages in batch.messages.chunks(ROWS) {
        write_messages(db, messages).await?;
    }
    for sent in batch.sent.chunks(ROWS) {
        write_sent(db, sent).await?;
    }
    if !batch.cursors.is_empty() {
        let rows = json(batch.cursors.iter().map(|(device, number)| (device.0, number.cast_signed())));
        sqlx::query(
            "UPDATE devices SET cursor = v.value ->> 1 FROM json_each(?) v WHERE devices.id = v.value ->> 0",
        )
        .bind(rows)
        .execute(&mut *db)
        .await?;
    }
    if !batch.delivered.is_empty() {
        let rows =
            json(batch.delivered.iter().map(|(number, time)| (number.cast_signed(), time.cast_signed())));
        sqlx::query(
            "UPDATE sent SET delivered = v.value ->> 1 FROM json_each(?) v WHERE sent.number = v.value ->> 0",
        )
        .bind(rows)
        .execute(&mut *db)
        .await?;
    }
    if !batch.forget.is_empty() {
        let rows = serde_json::to_string(&batch.forget).expect("numbers are JSON");
        sqlx::query("DELETE FROM messages WHERE number IN (SELECT value FROM json_each(?))")
            .bind(rows)
            .execute(&mut *db)
            .await?;
    }
    if let Some(number) = batch.last_number {
        sqlx::query("UPDATE place SET last_number = ?").bind(number.cast_signed()).execute(&mut *db).await?;
    }
    Ok(())
}

fn json(rows: impl Iterator<Item = (i64, i64)>) -> String {
    serde_json::to_string(&rows.collect::<Vec<_>>()).expect("numbers are JSON")
}

async fn write_messages(db: &mut SqliteConnection, messages: &[Arc<Message>]) -> sqlx::Result<()> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO messages (number, id, time, sender, device, account, room, format, body) ",
    );
    query.push_values(messages, |mut row, message| {
        let place = &message.place;
        let (account, room) = match place.target {
            Target::User(account) => (Some(account), None),
            Target::Room(room) => (None, Some(room)),
        };
        row.push_bind(place.number.cast_signed())
            .push_bind(&place.id[..])
            .push_bind(place.time.cast_signed())
            .push_bind(place.sender)
            .push_bind(place.device)
            .push_bind(account)
            .push_bind(room)
            .push_bind(message.format)
            .push_bind(&message.body[..]);
    });
    query.build().persistent(false).execute(db).await?;
    Ok(())
}

async fn write_sent(db: &mut SqliteConnection, sent: &[Sent]) -> sqlx::Result<()> {
    let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO sent (device, id, number, time, delivered) ");
    query.push_values(sent, |mut row, sent| {
        row.push_bind(sent.device)
            .push_bind(&sent.id[..])
            .push_bind(sent.number.cast_signed())
            .push_bind(sent.time.cast_signed())
            .push_bind(sent.delivered.cast_signed());
    });
    query.build().persistent(false).execute(db).await?;
    Ok(())
}

fn sent(row: &SqliteRow) -> sqlx::Result<Sent> {
    Ok(Sent {
        device: row.try_get("device")?,
        id: super::reader::bytes(row, "id")?,
        number: super::reader::unsigned(row, "number")?,
        time: super::reader::unsigned(row, "time")?,
        delivered: super::reader::unsigned(row, "delivered")?,
    })
}

async fn write_change(db: &mut SqliteConnection, change: &Change) -> sqlx::Result<()> {
    let query = match change {
        Change::Account(account, credentials, time) => {
            sqlx::query("INSERT INTO accounts (id, name, email, password, disabled, created) VALUES (?, ?, ?, ?, ?, ?)")
                .bind(account.id)
                .bind(&*account.name)
                .bind(&credentials.email)
                .bind(&credentials.password)
                .bind(account.disabled)
                .bind(time.cast_signed())
        }
        Change::Password(account, password) => {
            sqlx::query("UPDATE accounts SET password = ? WHERE id = ?").bind(password).bind(account)
        }
        Change::Device(device, time) => {
            sqlx::query("INSERT INTO devices (id, account, fingerprint, label, cursor, created, seen) VALUES (?, ?, ?, ?, ?, ?6, ?6)")
                .bind(device.id)
                .bind(device.account)
                .bind(&device.fingerprint[..])
                .bind(&device.label)
                .bind(device.cursor.cast_signed())
                .bind(time.cast_signed())
        }
        Change::Label(device, label) => sqlx::query("UPDATE devices SET label = ? WHERE id = ?").bind(label).bind(device),
        Change::NoDevice(device) => sqlx::query("DELETE FROM devices WHERE id = ?").bind(device),
        Change::Board(board) => {
            sqlx::query("INSERT OR REPLACE INTO boards (account, owner, lookup, owner_proof, expires) VALUES (?, ?, ?, ?, ?)")
                .bind(board.account)
                .bind(board.owner)
                .bind(&board.lookup[..])
                .bind(&board.owner_proof[..])
                .bind(board.expires.cast_signed())
        }
        Change::Claimed(account, claim) => {
            sqlx::query("UPDATE boards SET device = ?, board_proof = ?, claimed = ? WHERE account = ?")
                .bind(&claim.device[..])
                .bind(&claim.proof[..])
                .bind(claim.time.cast_signed())
                .bind(account)
        }
        Change::Disabled(account) => sqlx::query("UPDATE accounts SET disabled = 1 WHERE id = ?").bind(account),
        Change::Seen(device, time) => {
            sqlx::query("UPDATE devices SET seen = ? WHERE id = ?").bind(time.cast_signed()).bind(device)
        }
        Change::Room(room, time) => {
            sqlx::query("INSERT INTO rooms (id, name, created) VALUES (?, ?, ?)").bind(room.id).bind(&*room.name).bind(time.cast_signed())
        }
        Change::NoRoom(room) => sqlx::query("DELETE FROM rooms WHERE id = ?").bind(room),
        Change::Member(member) => sqlx::query("INSERT INTO members (room, account, joined_at) VALUES (?, ?, ?)")
            .bind(member.room)
            .bind(member.account)
            .bind(member.joined_at.cast_signed()),
        Change::NoMember(room, account) => {
            sqlx::query("DELETE FROM members WHERE room = ? AND account = ?").bind(room).bind(account)
        }
    };
    query.execute(db).await?;
    Ok(())
}
