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
    time::Duration,
};

use rusqlite::{
    Connection, OpenFlags, params,
    types::ValueRef::{Blob, Integer, Null},
};

use super::{
    Board, Change, Claim, Credentials, Device, DeviceId, Forgotten, Member, Message, MessageId, Place, Sent,
    Target, ids::Ids, rows::Rows,
};

/// Of this connection.
type Result<T, E = rusqlite::Error> = std::result::Result<T, E>;

/// Ids that are forgotten in one transaction.
const FORGET: usize = 1000;
/// Statements that stay prepared.
const STATEMENTS: usize = 64;

static MESSAGES: Rows<9> =
    Rows::new("messages (number, id, time, sender, device, account, room, format, body)");
static SENT: Rows<5> = Rows::new("sent (number, device, id, time, delivered)");

/// What is committed together.
#[derive(Debug, Default)]
pub struct Batch {
    /// Accounts, devices and rooms, in their order.
    pub changes: Vec<Change>,
    /// Accepted messages that somebody needs.
    pub messages: Vec<Arc<Message>>,
    /// Accepted messages that nobody needs.
    pub sent: Vec<Sent>,
    /// Devices and the numbers that they have acknowledged.
    pub cursors: Vec<(DeviceId, u64)>,
    /// Devices and when they logged in.
    pub seen: Vec<(DeviceId, u64)>,
    /// Numbers of messages that were delivered for the first time, and when.
    pub delivered: Vec<(u64, u64)>,
    /// Messages that nobody needs any more.
    pub forget: Vec<Forgotten>,
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

    /// Everything that was accepted.
    fn accepted(&self) -> impl Iterator<Item = Sent> {
        let answer = |message: &Arc<Message>| {
            let Place { device, id, number, time, .. } = message.place;
            Sent { device, id, number, time, delivered: 0 }
        };
        self.messages.iter().map(answer).chain(self.sent.iter().copied())
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
        let mut writer = Self { connection, ids, commits: Arc::default() };
        while writer.ids.read(&writer.connection)? {
            while writer.ids.are_untidy() {
                writer.tidy()?;
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
        self.transaction(|db, ids| {
            for sent in batch.accepted() {
                if ids.sent(db, sent.device, &sent.id)?.is_some() {
                    return Err(NotCommitted::Repeated);
                }
            }
            Ok(write(db, batch)?)
        })?;
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

    /// What can wait until everybody has an answer: brings ids into their index, once there are enough of them, and
    /// keeps that small, a step at a time.
    ///
    /// # Errors
    /// The database's; it is tried again the next time.
    pub fn tidy(&mut self) -> Result<(), NotCommitted> {
        if self.ids.have_work() {
            let runs = self.transaction(|db, ids| Ok(ids.work(db)?))?;
            self.ids.worked(runs);
        }
        Ok(self.ids.grow(&self.connection)?)
    }

    /// Forgets some ids of messages that were accepted before `time` (Unix milliseconds), the oldest first.
    /// True if there may be more: in between, messages get their turn.
    ///
    /// # Errors
    /// The database's.
    pub fn forget_sent_before(&mut self, time: u64) -> Result<bool, NotCommitted> {
        // Runs learn of it when they change for the next time.
        let forgotten = self.transaction(|db, _| Ok(forget(db, time)?))?;
        Ok(forgotten == FORGET)
    }

    /// Writes the log back into the database and closes it.
    ///
    /// # Errors
    /// The database's.
    pub fn close(self) -> Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
        self.connection.close().map_err(|(_, error)| error)
    }

    /// Everything of `work` is durable, or nothing of it has happened.
    fn transaction<T>(
        &mut self,
        work: impl FnOnce(&Connection, &Ids) -> Result<T, NotCommitted>,
    ) -> Result<T, NotCommitted> {
        let db = &self.connection;
        run(db, "BEGIN IMMEDIATE")?;
        let done = work(db, &self.ids).and_then(|value| {
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
    write_messages(db, &batch.messages)?;
    write_sent(db, &batch.sent)?;
    let cursors = batch.cursors.iter().map(|(device, number)| (device.0, *number));
    update(db, "UPDATE devices SET cursor = ? WHERE id = ?", cursors)?;
    let seen = batch.seen.iter().map(|(device, time)| (device.0, *time));
    update(db, "UPDATE devices SET seen = ? WHERE id = ?", seen)?;
    for (first, last, time) in ranges(batch.delivered.iter().copied()) {
        write_answers(db, first, last, time)?;
    }
    let mut forget = db.prepare_cached("DELETE FROM messages WHERE number BETWEEN ? AND ?")?;
    for (first, last, delivered) in ranges(batch.forget.iter().copied()) {
        if !delivered {
            write_answers(db, first, last, 0)?;
        }
        forget.execute([first, last].map(u64::cast_signed))?;
    }
    Ok(())
}

/// From now on `sent` says what these messages got as an answer, and when they were delivered.
fn write_answers(db: &Connection, first: u64, last: u64, delivered: u64) -> Result<()> {
    let mut statement = db.prepare_cached(
        "INSERT OR IGNORE INTO sent (number, device, id, time, delivered)
        SELECT number, device, id, time, ? FROM messages WHERE number BETWEEN ? AND ?",
    )?;
    statement.execute([delivered, first, last].map(u64::cast_signed)).map(drop)
}

/// What is delivered or forgotten together mostly came together: first and last number, and what they share.
fn ranges<T: Copy + Ord>(numbers: impl Iterator<Item = (u64, T)>) -> Vec<(u64, u64, T)> {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_unstable();
    let mut ranges: Vec<(u64, u64, T)> = Vec::new();
    for (number, shared) in numbers {
        match ranges.last_mut() {
            Some((_, last, of)) if number <= *last + 1 && *of == shared => *last = number,
            _ => ranges.push((number, number, shared)),
        }
    }
    ranges
}

/// Sets what comes second in a pair in the row that comes first.
fn update(db: &Connection, statement: &str, mut rows: impl Iterator<Item = (i64, u64)>) -> Result<()> {
    let mut statement = db.prepare_cached(statement)?;
    rows.try_for_each(|(key, value)| statement.execute([value.cast_signed(), key]).map(drop))
}

fn write_messages(db: &Connection, messages: &[Arc<Message>]) -> Result<()> {
    MESSAGES.insert(db, messages, |message| {
        let place = &message.place;
        let (account, room) = match place.target {
            Target::User(account) => (Integer(account.0), Null),
            Target::Room(room) => (Null, Integer(room.0)),
        };
        [
            Integer(place.number.cast_signed()),
            Blob(&place.id),
            Integer(place.time.cast_signed()),
            Integer(place.sender.0),
            Integer(place.device.0),
            account,
            room,
            Integer(message.format.into()),
            Blob(message.body()),
        ]
    })
}

fn write_sent(db: &Connection, sent: &[Sent]) -> Result<()> {
    SENT.insert(db, sent, |Sent { device, id, number, time, delivered }| {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_no_number_more_and_none_less() {
        let of = |numbers: &[(u64, char)]| ranges(numbers.iter().copied());
        assert_eq!(of(&[]), []);
        let mixed = [7, 3, 5, 4, 9, 9, 10].map(|number| (number, 'a'));
        assert_eq!(of(&mixed), [(3, 5, 'a'), (7, 7, 'a'), (9, 10, 'a')]);
        assert_eq!(of(&[(3, 'a'), (1, 'b'), (2, 'a'), (4, 'b')]), [(1, 1, 'b'), (2, 3, 'a'), (4, 4, 'b')]);
    }
}
