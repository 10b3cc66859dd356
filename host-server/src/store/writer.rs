//! One transaction for each batch.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use sqlx::{Connection as _, QueryBuilder, Row as _, Sqlite, SqliteConnection, sqlite::SqliteRow};

use super::{Change, DeviceId, Message, MessageId, Sent, Target};

/// SQLite takes 32,766 values in one statement, and a message has 9.
const ROWS: usize = 1000;
/// Up to so many rows, a transaction's text comes often enough to be kept prepared.
const COMMON: usize = 8;

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
    /// Devices and when they logged in.
    pub seen: Vec<(DeviceId, u64)>,
    /// Numbers of messages that were delivered for the first time, and when.
    pub delivered: Vec<(u64, u64)>,
    /// Numbers of messages that nobody needs any more.
    pub forget: Vec<u64>,
}

impl Batch {
    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.messages.is_empty()
            && self.sent.is_empty()
            && self.cursors.is_empty()
            && self.seen.is_empty()
            && self.delivered.is_empty()
            && self.forget.is_empty()
    }
}

/// Why nothing of a batch has happened.
#[derive(Debug)]
pub enum NotCommitted {
    /// An id in `sent` was sent before by the same device.
    Repeated,
    /// The database refused.
    Failed(sqlx::Error),
}

impl fmt::Display for NotCommitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeated => f.write_str("an id was sent before"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NotCommitted {}

impl From<sqlx::Error> for NotCommitted {
    fn from(error: sqlx::Error) -> Self {
        let is_repeated = error.as_database_error().is_some_and(|e| e.is_unique_violation());
        if is_repeated { Self::Repeated } else { Self::Failed(error) }
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
    /// [`NotCommitted`]; nothing of the batch has happened then.
    pub async fn commit(&mut self, batch: &Batch) -> Result<(), NotCommitted> {
        let committed = transaction(&mut self.connection, batch).await;
        match committed {
            Ok(()) => drop(self.commits.fetch_add(1, Ordering::Relaxed)),
            // SQLite has rolled back by itself at some errors, a full disk for instance, and this is one more then.
            Err(_) => drop(execute(&mut self.connection, "ROLLBACK").await),
        }
        Ok(committed?)
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
        // The last number given must outlive its row. Times never decrease with numbers: only the first rows need
        // a look.
        let query = "UPDATE place SET last_number = max(last_number, (SELECT coalesce(max(number), 0) FROM sent));
            DELETE FROM sent WHERE time < ? AND number IN (SELECT number FROM sent ORDER BY number LIMIT 1000)";
        let before = sqlx::query(query).bind(time.cast_signed()).execute(&mut self.connection).await?;
        // One row is the place's.
        Ok(before.rows_affected() > 1000)
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
/// And as one text where that is possible: each statement of its own is a trip to SQLite's thread and back, which
/// costs more than what SQLite does.
async fn transaction(db: &mut SqliteConnection, batch: &Batch) -> sqlx::Result<()> {
    let mut text = QueryBuilder::<Sqlite>::new("");
    if batch.changes.is_empty() {
        text.push("BEGIN IMMEDIATE;");
    } else {
        execute(db, "BEGIN IMMEDIATE").await?;
        for change in &batch.changes {
            write_change(db, change).await?;
        }
    }
    write(&mut text, batch);
    text.push("COMMIT");
    let is_common = batch.messages.len().max(batch.sent.len()) <= COMMON;
    text.build().persistent(is_common).execute(db).await.map(drop)
}

async fn execute(db: &mut SqliteConnection, statement: &'static str) -> sqlx::Result<()> {
    sqlx::query(statement).execute(db).await.map(drop)
}

/// `OR ROLLBACK`, since a failure ends the transaction anyway: for the usual `OR ABORT`, which undoes one statement
/// alone, SQLite keeps a journal of every page that a statement of several rows touches.
fn write(text: &mut QueryBuilder<Sqlite>, batch: &Batch) {
    for messages in batch.messages.chunks(ROWS) {
        write_messages(text, messages);
    }
    for sent in batch.sent.chunks(ROWS) {
        write_sent(text, sent);
    }
    let cursors = batch.cursors.iter().map(|(device, number)| (device.0, *number));
    update(text, "devices SET cursor", "devices.id", cursors);
    let seen = batch.seen.iter().map(|(device, time)| (device.0, *time));
    update(text, "devices SET seen", "devices.id", seen);
    let delivered = batch.delivered.iter().map(|(number, time)| (number.cast_signed(), *time));
    update(text, "sent SET delivered", "sent.number", delivered);
    if !batch.forget.is_empty() {
        text.push("DELETE FROM messages WHERE number IN (SELECT value FROM json_each(");
        text.push_bind(serde_json::to_string(&batch.forget).expect("numbers are JSON"));
        text.push("));");
    }
}

/// Sets `column` in the rows whose `key` comes first in a pair to what comes second.
fn update(text: &mut QueryBuilder<Sqlite>, column: &str, key: &str, rows: impl Iterator<Item = (i64, u64)>) {
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        text.push("UPDATE OR ROLLBACK ").push(column).push(" = v.value ->> 1 FROM json_each(");
        text.push_bind(serde_json::to_string(&rows).expect("numbers are JSON"));
        text.push(") v WHERE ").push(key).push(" = v.value ->> 0;");
    }
}

fn write_messages(text: &mut QueryBuilder<Sqlite>, messages: &[Arc<Message>]) {
    text.push(
        "INSERT OR ROLLBACK INTO messages (number, id, time, sender, device, account, room, format, body) ",
    );
    text.push_values(messages, |mut row, message| {
        let place = &message.place;
        let (account, room) = match place.target {
            Target::User(account) => (Some(account), None),
            Target::Room(room) => (None, Some(room)),
        };
        row.push_bind(place.number.cast_signed())
            .push_bind(place.id.to_vec())
            .push_bind(place.time.cast_signed())
            .push_bind(place.sender)
            .push_bind(place.device)
            .push_bind(account)
            .push_bind(room)
            .push_bind(message.format)
            .push_bind(message.body.to_vec());
    });
    text.push(";");
}

fn write_sent(text: &mut QueryBuilder<Sqlite>, sent: &[Sent]) {
    text.push("INSERT OR ROLLBACK INTO sent (device, id, number, time, delivered) ");
    text.push_values(sent, |mut row, sent| {
        row.push_bind(sent.device)
            .push_bind(sent.id.to_vec())
            .push_bind(sent.number.cast_signed())
            .push_bind(sent.time.cast_signed())
            .push_bind(sent.delivered.cast_signed());
    });
    text.push(";");
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
        Change::Enabled(account) => sqlx::query("UPDATE accounts SET disabled = 0 WHERE id = ?").bind(account),
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
