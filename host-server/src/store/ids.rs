//! Which ids devices have sent already.
//!
//! The last ones are kept in memory, and come into the index many at a time. At the start, those that the index doesn't
//! have are read from the rows of what was accepted.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Result};

use super::{DeviceId, MessageId, Sent, filter::Filter, runs::Runs, writer::unsigned};

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

    /// Reads what the index doesn't have, as much as there may be in memory. True: there may be more.
    ///
    /// After a stop at any time, it is all of it, so that a disk that is full hinders no start.
    pub fn read(&mut self, db: &Connection) -> Result<bool> {
        let query = "SELECT device, id, number FROM accepted WHERE number > ? ORDER BY number";
        let mut statement = db.prepare(query)?;
        let mut rows = statement.query([self.runs.last().cast_signed()])?;
        while self.recent.len() < ROOM {
            let Some(row) = rows.next()? else { return Ok(false) };
            self.recent.insert((DeviceId(row.get(0)?), row.get(1)?), unsigned(row, 2)?);
        }
        Ok(true)
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
        let mut statement = db.prepare_cached("SELECT time, delivered FROM accepted WHERE number = ?")?;
        let sent = statement.query_row([number.cast_signed()], |row| {
            let (time, delivered) = (unsigned(row, 0)?, unsigned(row, 1)?);
            Ok(Sent { device, id: *id, number, time, delivered })
        });
        sent.optional()
    }

    /// These are durable.
    pub fn add(&mut self, sent: impl Iterator<Item = Sent>) {
        for Sent { device, id, number, .. } in sent {
            self.filter.add(device, &id);
            self.recent.insert((device, id), number);
        }
    }

    /// Whether those in memory are enough to come into the index.
    fn is_full(&self) -> bool {
        self.recent.len() >= RECENT
    }

    /// Whether there is something for [`work`](Self::work) or [`grow`](Self::grow).
    pub fn are_untidy(&self) -> bool {
        self.have_work() || self.filter.is_to_grow()
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
        self.runs = runs;
        if self.is_full() {
            self.recent.clear();
        }
    }

    /// Does a step of making the next filter.
    pub fn grow(&mut self, db: &Connection) -> Result<()> {
        self.filter.grow(db)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{filter::LEAST, runs::tests::database};

    #[test]
    fn any_number_of_ids_is_read_in_bounded_rounds() {
        let db = database();
        db.execute_batch(
            "WITH RECURSIVE n AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM n WHERE n < 50000)
            INSERT INTO sent SELECT n, 1, CAST(printf('%016d', n) AS BLOB), 0, 0 FROM n",
        )
        .unwrap();
        let mut ids = Ids::load(&db).unwrap();
        let mut rounds = 0;
        while ids.read(&db).unwrap() {
            assert_eq!(ids.recent.len(), ROOM);
            assert!(ids.recent.capacity() < 2 * ROOM);
            ids.worked(ids.work(&db).unwrap());
            rounds += 1;
        }
        assert_eq!((rounds, ids.recent.len()), (3, 50_000 % ROOM));
        for number in 1..=50_000 {
            let id = format!("{number:016}").into_bytes().try_into().unwrap();
            let sent = ids.sent(&db, DeviceId(1), &id).unwrap();
            assert_eq!(sent.map(|sent| sent.number), Some(number));
        }
    }

    /// Otherwise each step would read and sort all that there is.
    #[test]
    fn what_was_accepted_is_read_in_its_order() {
        let db = database();
        for query in ["WHERE number > 5 ORDER BY number", "ORDER BY number", "ORDER BY number DESC"] {
            let explain = format!("EXPLAIN QUERY PLAN SELECT number FROM accepted {query} LIMIT 1");
            let mut statement = db.prepare(&explain).unwrap();
            let plan = statement.query_map((), |row| row.get::<_, String>("detail")).unwrap();
            let plan = plan.collect::<Result<Vec<_>>>().unwrap().join("; ");
            assert!(plan.starts_with("MERGE"), "{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        }
    }

    #[test]
    fn tidying_goes_on_until_the_filter_has_grown() {
        let db = database();
        db.execute_batch("BEGIN").unwrap();
        let mut ids = Ids::load(&db).unwrap();
        let mut insert = db.prepare("INSERT INTO sent VALUES (?, 1, ?, 0, 0)").unwrap();
        for number in 1..=LEAST + 1 {
            let id = u128::from(number).to_be_bytes();
            insert.execute((number.cast_signed(), id)).unwrap();
            ids.add([Sent { device: DeviceId(1), id, number, time: 0, delivered: 0 }].into_iter());
            if ids.is_full() {
                ids.worked(ids.work(&db).unwrap());
            }
        }
        assert!(ids.filter.is_to_grow());
        while ids.are_untidy() {
            if ids.have_work() {
                ids.worked(ids.work(&db).unwrap());
            }
            ids.grow(&db).unwrap();
        }
        assert!(!ids.filter.is_to_grow());
    }
}
