//! One transaction for each batch.
//!
//! By SQLite's own calls on the committer's thread, and not by sqlx: there, each statement is a trip to another thread
//! and back, and its values are copied twice, which together cost more than what SQLite does with them.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{
    Connection, OpenFlags, params,
    types::ValueRef::{Blob, Integer},
};

use super::{
    Board, Change, Claim, Credentials, Device, DeviceId, Member, Message, MessageId, Sent, blocks::Blocks,
    ids::Ids, rows::Rows,
};

/// Of this connection.
type Result<T, E = rusqlite::Error> = std::result::Result<T, E>;

/// Ids that are forgotten in one transaction.
const FORGET: usize = 1000;
/// Statements that stay prepared.
const STATEMENTS: usize = 64;

static ACCEPTED: Rows<5> = Rows::new("INSERT OR ROLLBACK INTO sent (number, device, id, time, delivered)");
// After a stop, what was forgotten may be so once more.
static ANSWERED: Rows<5> = Rows::new("INSERT OR IGNORE INTO sent (number, device, id, time, delivered)");

/// What is committed together.
#[derive(Debug, Default)]
pub struct Batch {
    /// Accounts, devices and rooms, in their order.
    pub changes: Vec<Change>,
    /// Accepted messages that somebody needs, in ascending order.
    pub messages: Vec<Arc<Message>>,
    /// Accepted messages that nobody needs.
    pub sent: Vec<Sent>,
    /// Devices and the numbers that they have acknowledged.
    pub cursors: Vec<(DeviceId, u64)>,
    /// Devices and when they logged in.
    pub seen: Vec<(DeviceId, u64)>,
    /// What was accepted before, and was delivered for the first time now, or never and nobody needs it any more. In
    /// ascending order, it is stored quicker.
    pub answers: Vec<Sent>,
    /// Numbers of messages of earlier batches that nobody needs any more.
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
            && self.answers.is_empty()
            && self.forget.is_empty()
    }

    /// Everything that was accepted.
    fn accepted(&self) -> impl Iterator<Item = Sent> {
        self.messages.iter().map(|message| message.place.answer(0)).chain(self.sent.iter().copied())
    }
}

/// Why nothing of a batch has happened.
#[derive(Debug)]
pub enum NotCommitted {
    /// One of the ids was sent before by the same device.
    Repeated,
    /// The database refused.
    Failed(rusqlite::Error),
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

impl From<rusqlite::Error> for NotCommitted {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

/// The only connection that writes. Its calls block until the disk has done its work.
#[derive(Debug)]
pub struct Writer {
    connection: Connection,
    ids: Ids,
    blocks: Blocks,
    commits: Arc<AtomicU64>,
}

impl Writer {
    /// Opens a database that has the present form.
    pub(super) fn open(path: &Path, patience: Duration) -> Result<Self, NotCommitted> {
        // One thread at a time uses it.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(patience)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")?;
        let ids = Ids::load(&connection)?;
        let mut waiting = Vec::new();
        let blocks = Blocks::load(&connection, |place| {
            if place.number > ids.indexed() {
                waiting.push(place.answer(0));
            }
        })?;
        let mut writer = Self { connection, ids, blocks, commits: Arc::default() };
        while writer.ids.read(&writer.connection, &waiting)? {
            while writer.ids.have_work() {
                writer.tidy_ids()?;
            }
        }
        Ok(writer)
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
    pub fn commit(&mut self, batch: &Batch) -> Result<(), NotCommitted> {
        let rests = self.blocks.without(&batch.forget);
        let written = self.transaction(|db| {
            for sent in batch.accepted() {
                if self.ids.sent(db, sent.device, &sent.id)?.is_some() {
                    return Err(NotCommitted::Repeated);
                }
            }
            write(db, batch)?;
            Blocks::delete(db, &rests)?;
            Ok(Blocks::write(db, &batch.messages)?)
        })?;
        self.blocks.leave(rests, Instant::now());
        self.blocks.add(written);
        self.ids.add(batch.accepted());
        Ok(())
    }

    /// The answers that these ids got before, in no order.
    ///
    /// # Errors
    /// The database's.
    pub fn sent(&self, keys: &[(DeviceId, MessageId)]) -> Result<Vec<Sent>> {
        let db = &self.connection;
        keys.iter().filter_map(|(device, id)| self.ids.sent(db, *device, id).transpose()).collect()
    }

    /// What can wait until everybody has an answer: brings ids into their index, once there are enough of them, keeps
    /// that small, and rids rows of messages that nobody needs any more, a step at a time. When there will be more to do
    /// of the last.
    ///
    /// # Errors
    /// The database's; it is tried again the next time.
    pub fn tidy(&mut self) -> Result<Option<Instant>, NotCommitted> {
        // One goes on when the other can't.
        let ids = self.tidy_ids();
        self.tidy_blocks(Instant::now())?;
        ids?;
        Ok(self.blocks.next_work())
    }

    fn tidy_ids(&mut self) -> Result<(), NotCommitted> {
        if self.ids.have_work() {
            let runs = self.transaction(|db| Ok(self.ids.work(db)?))?;
            self.ids.worked(runs);
        }
        Ok(())
    }

    fn tidy_blocks(&mut self, now: Instant) -> Result<(), NotCommitted> {
        if self.blocks.next_work().is_some_and(|time| time <= now) {
            let rows = self.transaction(|db| Ok(self.blocks.work(db, now)?))?;
            self.blocks.worked(rows);
        }
        Ok(())
    }

    /// Forgets some ids of messages that were accepted before `time` (Unix milliseconds), the oldest first.
    /// True if there may be more: in between, messages get their turn.
    ///
    /// # Errors
    /// The database's.
    pub fn forget_sent_before(&mut self, time: u64) -> Result<bool, NotCommitted> {
        // Runs learn of it when they change for the next time.
        let forgotten = self.transaction(|db| Ok(forget(db, time)?))?;
        Ok(forgotten == FORGET)
    }

    /// Deletes what nobody needs, writes the log back into the database and closes it.
    ///
    /// # Errors
    /// The database's.
    pub fn close(mut self) -> Result<()> {
        while let Some(time) = self.blocks.next_work() {
            // What stays is forgotten again after the next start.
            if self.tidy_blocks(time).is_err() {
                break;
            }
        }
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
        self.connection.close().map_err(|(_, error)| error)
    }

    /// Everything of `work` is durable, or nothing of it has happened.
    fn transaction<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, NotCommitted>,
    ) -> Result<T, NotCommitted> {
        let db = &self.connection;
        run(db, "BEGIN IMMEDIATE")?;
        let done = work(db).and_then(|value| {
            run(db, "COMMIT")?;
            Ok(value)
        });
        match done {
            Ok(_) => drop(self.commits.fetch_add(1, Ordering::Relaxed)),
            // SQLite has rolled back by itself at some errors, a full disk for instance.
            Err(_) if db.is_autocommit() => {}
            Err(_) => run(db, "ROLLBACK")?,
        }
        done
    }
}

/// A statement without values.
fn run(db: &Connection, statement: &str) -> Result<()> {
    db.prepare_cached(statement)?.execute(()).map(drop)
}

fn write(db: &Connection, batch: &Batch) -> Result<()> {
    for change in &batch.changes {
        write_change(db, change)?;
    }
    write_sent(db, &ACCEPTED, &batch.sent)?;
    write_sent(db, &ANSWERED, &batch.answers)?;
    let cursors = batch.cursors.iter().map(|(device, number)| (device.0, *number));
    update(db, "UPDATE devices SET cursor = ? WHERE id = ?", cursors)?;
    let seen = batch.seen.iter().map(|(device, time)| (device.0, *time));
    update(db, "UPDATE devices SET seen = ? WHERE id = ?", seen)
}

/// Sets what comes second in a pair in the row that comes first.
fn update(db: &Connection, statement: &str, mut rows: impl Iterator<Item = (i64, u64)>) -> Result<()> {
    let mut statement = db.prepare_cached(statement)?;
    rows.try_for_each(|(key, value)| statement.execute([value.cast_signed(), key]).map(drop))
}

fn write_sent(db: &Connection, rows: &Rows<5>, sent: &[Sent]) -> Result<()> {
    rows.insert(db, sent, |Sent { device, id, number, time, delivered }| {
        [
            Integer(number.cast_signed()),
            Integer(device.0),
            Blob(id),
            Integer(time.cast_signed()),
            Integer(delivered.cast_signed()),
        ]
    })
}

/// How many were forgotten. Times never decrease with numbers: only the first rows need a look.
fn forget(db: &Connection, before: u64) -> Result<usize> {
    // The last number given must outlive its row.
    run(db, "UPDATE place SET last_number = max(last_number, (SELECT coalesce(max(number), 0) FROM sent))")?;
    let mut statement = db.prepare_cached(
        "DELETE FROM sent WHERE number IN (SELECT number FROM sent ORDER BY number LIMIT ?) AND time < ?",
    )?;
    statement.execute(params![FORGET as i64, before.cast_signed()])
}

pub(super) fn unsigned(row: &rusqlite::Row<'_>, column: usize) -> Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

fn write_change(db: &Connection, change: &Change) -> Result<()> {
    match change {
        Change::Account(account, Credentials { email, password }, time) => db.execute(
            "INSERT INTO accounts (id, name, email, password, disabled, created) VALUES (?, ?, ?, ?, ?, ?)",
            params![account.id.0, account.name, email, password, account.disabled, time.cast_signed()],
        ),
        Change::Password(account, password) => {
            db.execute("UPDATE accounts SET password = ? WHERE id = ?", params![password, account.0])
        }
        Change::Device(Device { id, account, fingerprint, label, cursor }, time) => db.execute(
            "INSERT INTO devices (id, account, fingerprint, label, cursor, created, seen)
            VALUES (?, ?, ?, ?, ?, ?6, ?6)",
            params![id.0, account.0, fingerprint, label, cursor.cast_signed(), time.cast_signed()],
        ),
        Change::Label(device, label) => {
            db.execute("UPDATE devices SET label = ? WHERE id = ?", params![label, device.0])
        }
        Change::NoDevice(device) => db.execute("DELETE FROM devices WHERE id = ?", [device.0]),
        Change::Board(Board { account, owner, lookup, owner_proof, expires, claim: _ }) => db.execute(
            "INSERT OR REPLACE INTO boards (account, owner, lookup, owner_proof, expires)
            VALUES (?, ?, ?, ?, ?)",
            params![account.0, owner.0, lookup, owner_proof, expires.cast_signed()],
        ),
        Change::Claimed(account, Claim { device, proof, time }) => db.execute(
            "UPDATE boards SET device = ?, board_proof = ?, claimed = ? WHERE account = ?",
            params![device, proof, time.cast_signed(), account.0],
        ),
        Change::Disabled(account) => db.execute("UPDATE accounts SET disabled = 1 WHERE id = ?", [account.0]),
        Change::Enabled(account) => db.execute("UPDATE accounts SET disabled = 0 WHERE id = ?", [account.0]),
        Change::Room(room, time) => db.execute(
            "INSERT INTO rooms (id, name, created) VALUES (?, ?, ?)",
            params![room.id.0, room.name, time.cast_signed()],
        ),
        Change::NoRoom(room) => db.execute("DELETE FROM rooms WHERE id = ?", [room.0]),
        Change::Member(Member { room, account, joined_at }) => db.execute(
            "INSERT INTO members (room, account, joined_at) VALUES (?, ?, ?)",
            params![room.0, account.0, joined_at.cast_signed()],
        ),
        Change::NoMember(room, account) => {
            db.execute("DELETE FROM members WHERE room = ? AND account = ?", [room.0, account.0])
        }
    }
    .map(drop)
}
