//! Which ids devices have sent already.
//!
//! The last ones are kept in memory, and come into the index many at a time. At the start, those that the index doesn't
//! have are read from the rows of what was accepted.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Result, params};

use super::{DeviceId, MessageId, Sent, blocks, filter::Filter, runs::Runs, writer::unsigned};

/// Ids in memory before they come into the index.
const RECENT: usize = 13_824;
/// With a batch more they just fit into a table of 16,384 places, 0.5 MiB.
const ROOM: usize = RECENT + 512;

/// See the module.
#[derive(Debug)]
pub(super) struct Ids {
    recent: HashMap<(DeviceId, MessageId), u64>,
    runs: Runs,
    /// Of all, wherever they are.
    filter: Filter,
}

impl Ids {
    /// With none in memory yet.
    pub fn load(db: &Connection) -> Result<Self> {
        Ok(Self { recent: HashMap::new(), runs: Runs::load(db)?, filter: Filter::load(db)? })
    }

    /// The index has all ids up to this number.
    pub fn indexed(&self) -> u64 {
        self.runs.last()
    }

    /// Reads what the index doesn't have, as much as there may be in memory, and with it what is among `waiting`, the
    /// messages that somebody needs, in ascending order. True: there may be more.
    ///
    /// After a stop at any time, it is all of it, so that a disk that is full hinders no start.
    pub fn read(&mut self, db: &Connection, waiting: &[Sent]) -> Result<bool> {
        let query = "SELECT device, id, number FROM sent WHERE number > ? ORDER BY number LIMIT ?";
        let mut statement = db.prepare_cached(query)?;
        let (before, mut last, mut count) = (self.indexed(), 0, 0);
        let mut rows = statement.query(params![before.cast_signed(), ROOM as i64])?;
        while let Some(row) = rows.next()? {
            last = unsigned(row, 2)?;
            self.add_one(DeviceId(row.get(0)?), row.get(1)?, last);
            count += 1;
        }
        let more = count == ROOM;
        let behind = &waiting[waiting.partition_point(|sent| sent.number <= before)..];
        let here = behind.iter().take_while(|sent| sent.number < last || !more);
        here.for_each(|sent| self.add_one(sent.device, sent.id, sent.number));
        Ok(more)
    }

    /// What a device has sent under an id.
    pub fn sent(&self, db: &Connection, device: DeviceId, id: &MessageId) -> Result<Option<Sent>> {
        if !self.filter.has(device, id) {
            return Ok(None);
        }
        let number = match self.recent.get(&(device, *id)) {
            Some(number) => Some(*number),
            None => self.runs.number(db, device, id)?,
        };
        let Some(number) = number else { return Ok(None) };
        // If this one is forgotten, so is every earlier one of the same id.
        let mut statement = db.prepare_cached("SELECT time, delivered FROM sent WHERE number = ?")?;
        let sent = statement.query_row([number.cast_signed()], |row| {
            let (time, delivered) = (unsigned(row, 0)?, unsigned(row, 1)?);
            Ok(Sent { device, id: *id, number, time, delivered })
        });
        match sent.optional()? {
            None => Ok(blocks::place(db, number)?.map(|place| place.answer(0))),
            sent => Ok(sent),
        }
    }

    /// These are durable.
    pub fn add(&mut self, sent: impl Iterator<Item = Sent>) {
        sent.for_each(|sent| self.add_one(sent.device, sent.id, sent.number));
    }

    fn add_one(&mut self, device: DeviceId, id: MessageId, number: u64) {
        self.filter.add(device, &id, number);
        self.recent.insert((device, id), number);
    }

    /// Whether those in memory are enough to come into the index.
    fn is_full(&self) -> bool {
        self.recent.len() >= RECENT
    }

    /// Whether [`work`](Self::work) has something to do.
    pub fn have_work(&self) -> bool {
        self.is_full() || self.runs.have_work()
    }

    /// Brings those in memory into the index, or else does a step of what keeps the index small, within a transaction.
    /// When that is durable, [`worked`](Self::worked) is next.
    pub fn work(&self, db: &Connection) -> Result<Runs> {
        if self.is_full() {
            Runs::write(db, &self.recent)?;
        } else {
            self.runs.work(db)?;
        }
        Runs::load(db)
    }

    /// The index is this now.
    pub fn worked(&mut self, runs: Runs) {
        self.filter.forget_before(runs.oldest());
        self.runs = runs;
        if self.is_full() {
            self.recent.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{AccountId, Message, Place, Target, blocks::Blocks, runs::tests::database};

    /// Each tenth message waits.
    #[test]
    fn any_number_of_ids_is_read_in_bounded_rounds() {
        const LAST: u64 = 50_000;
        let db = database();
        db.execute_batch(
            "WITH RECURSIVE n AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM n WHERE n < 50000)
            INSERT INTO sent SELECT n, 1, CAST(printf('%016d', n) AS BLOB), 0, 0 FROM n WHERE n % 10 > 0",
        )
        .unwrap();
        let id = |number| -> MessageId { format!("{number:016}").into_bytes().try_into().unwrap() };
        let message = |number| {
            let (sender, target) = (AccountId(1), Target::User(AccountId(2)));
            let place = Place { number, id: id(number), time: 0, sender, device: DeviceId(1), target };
            Arc::new(Message::new(place, "alice", "bob", 0, b"A").unwrap())
        };
        let messages: Vec<_> = (10..=LAST).step_by(10).map(message).collect();
        Blocks::write(&db, &messages).unwrap();
        let waiting: Vec<_> = messages.iter().map(|message| message.place.answer(0)).collect();
        let mut ids = Ids::load(&db).unwrap();
        let mut rounds = 0;
        while ids.read(&db, &waiting).unwrap() {
            assert!((ROOM..=ROOM * 10 / 9 + 1).contains(&ids.recent.len()));
            ids.worked(ids.work(&db).unwrap());
            rounds += 1;
        }
        assert_eq!(rounds, 3);
        assert!(ids.indexed() < LAST && ids.recent.len() as u64 == LAST - ids.indexed());
        for number in 1..=LAST {
            let sent = ids.sent(&db, DeviceId(1), &id(number)).unwrap();
            assert_eq!(sent.map(|sent| sent.number), Some(number));
        }
    }

    #[test]
    fn the_filter_forgets_with_the_index() {
        const FORGOTTEN: u64 = 66_000;
        let db = database();
        db.execute_batch("BEGIN").unwrap();
        let mut ids = Ids::load(&db).unwrap();
        let mut insert = db.prepare("INSERT INTO sent VALUES (?, 1, ?, 0, 0)").unwrap();
        let id = |number: u64| u128::from(number).to_be_bytes();
        for number in 1..=6 * RECENT as u64 {
            insert.execute((number.cast_signed(), id(number))).unwrap();
            let sent = Sent { device: DeviceId(1), id: id(number), number, time: 0, delivered: 0 };
            ids.add([sent].into_iter());
            if number == FORGOTTEN {
                db.execute("DELETE FROM sent WHERE number < ?", [FORGOTTEN.cast_signed()]).unwrap();
            }
            if ids.is_full() {
                ids.worked(ids.work(&db).unwrap());
            }
        }
        let known = (1..FORGOTTEN).filter(|number| ids.filter.has(DeviceId(1), &id(*number))).count();
        assert!(known < 1000, "{known} are in the layer that stays, or taken for others");
        assert!(ids.sent(&db, DeviceId(1), &id(FORGOTTEN)).unwrap().is_some());
    }
}
