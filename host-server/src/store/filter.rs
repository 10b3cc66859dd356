//! A Bloom filter of the ids that were sent: it knows of nearly every fresh one that it is fresh, which would otherwise
//! take a look into the index, and so a page from the disk.

use fastbloom::BloomFilter;
use foldhash::fast::RandomState;
use rusqlite::{Connection, Result};

use super::{DeviceId, MessageId, writer::unsigned};

/// Of fresh ids, those that are looked for in vain, as long as there are no more than [`MOST`]: each takes some 20 µs.
const FALSE_POSITIVES: f64 = 0.001;
/// Room at first: 115 KiB.
pub(super) const LEAST: u64 = 1 << 16;
/// Room at most: 14.4 MiB. With twice as many ids, one in seventeen is looked for in vain.
const MOST: u64 = 1 << 23;
/// Ids that are read in one step when another filter is made, which takes messages no longer, some 2 ms.
const STEP: usize = 8192;

/// See the module.
#[derive(Debug)]
pub(super) struct Filter {
    bits: Bits,
    /// What comes after it, with more room; those that were forgotten are not in it.
    next: Option<Next>,
}

/// The hash has a random key: nobody can choose ids that it takes for others. If somebody could, each would cost a look
/// into the index.
#[derive(Debug)]
struct Bits {
    bloom: BloomFilter<RandomState>,
    ids: u64,
    room: u64,
}

/// A filter that is being made.
#[derive(Debug)]
struct Next {
    bits: Bits,
    /// Up to this number, ids were read.
    read: u64,
}

impl Filter {
    /// With all ids that the database has, and room for as many again.
    pub fn load(db: &Connection) -> Result<Self> {
        let mut next = Next::start(db)?;
        while next.step(db)? {}
        Ok(Self { bits: next.bits, next: None })
    }

    /// False: certainly not. True: nearly certainly.
    pub fn has(&self, device: DeviceId, id: &MessageId) -> bool {
        self.bits.bloom.contains(&(device, *id))
    }

    /// Takes an id in that the database has: the next filter reads it there.
    pub fn add(&mut self, device: DeviceId, id: &MessageId) {
        self.bits.add(device, id);
    }

    /// Whether [`grow`](Self::grow) has something to do.
    pub fn is_to_grow(&self) -> bool {
        self.next.is_some() || self.bits.ids > self.bits.room
    }

    /// Does a step of making the next filter, of what the database has.
    pub fn grow(&mut self, db: &Connection) -> Result<()> {
        if !self.is_to_grow() {
            return Ok(());
        }
        let next = match &mut self.next {
            Some(next) => next,
            none => none.insert(Next::start(db)?),
        };
        if !next.step(db)?
            && let Some(next) = self.next.take()
        {
            self.bits = next.bits;
        }
        Ok(())
    }
}

impl Bits {
    fn add(&mut self, device: DeviceId, id: &MessageId) {
        self.bloom.insert(&(device, *id));
        self.ids += 1;
    }
}

impl Next {
    fn start(db: &Connection) -> Result<Self> {
        let count = "SELECT coalesce((SELECT number FROM accepted ORDER BY number DESC LIMIT 1)
            - (SELECT number FROM accepted ORDER BY number LIMIT 1) + 1, 0)";
        let ids = db.query_row(count, (), |row| row.get::<_, i64>(0))?.cast_unsigned();
        let room = (2 * ids).max(LEAST);
        let items = usize::try_from(room.min(MOST)).unwrap_or(usize::MAX);
        let bloom = BloomFilter::with_false_pos(FALSE_POSITIVES).hasher(RandomState::default());
        Ok(Self { bits: Bits { bloom: bloom.expected_items(items), ids: 0, room }, read: 0 })
    }

    /// Reads on. False: everything is read.
    fn step(&mut self, db: &Connection) -> Result<bool> {
        let query = "SELECT device, id, number FROM accepted WHERE number > ? ORDER BY number LIMIT ?";
        let mut statement = db.prepare_cached(query)?;
        let mut rows = statement.query([self.read.cast_signed(), STEP as i64])?;
        for _ in 0..STEP {
            let Some(row) = rows.next()? else { return Ok(false) };
            self.bits.add(DeviceId(row.get(0)?), &row.get(1)?);
            self.read = unsigned(row, 2)?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::runs::tests::database;

    const DEVICE: DeviceId = DeviceId(1);

    fn id(number: u64) -> MessageId {
        u128::from(number).to_be_bytes()
    }

    /// Ids of these numbers are sent.
    fn send(db: &Connection, filter: &mut Filter, numbers: impl Iterator<Item = u64>) {
        let mut statement = db.prepare_cached("INSERT INTO sent VALUES (?, ?, ?, 0, 0)").unwrap();
        for number in numbers {
            statement.execute((number.cast_signed(), DEVICE.0, id(number))).unwrap();
            filter.add(DEVICE, &id(number));
        }
    }

    #[test]
    fn it_grows_in_steps_and_loses_nothing_meanwhile() {
        let db = database();
        db.execute_batch("BEGIN").unwrap();
        let mut filter = Filter::load(&db).unwrap();
        send(&db, &mut filter, 1..=LEAST);
        assert!(!filter.is_to_grow());
        let mut last = LEAST + 1;
        send(&db, &mut filter, last..=last);
        let mut steps = 0;
        while filter.is_to_grow() {
            filter.grow(&db).unwrap();
            steps += 1;
            let read = filter.next.as_ref().map_or(u64::MAX, |next| next.read);
            assert!(read == u64::MAX || read == steps * STEP as u64);
            send(&db, &mut filter, last + 1..=last + 100);
            last += 100;
        }
        assert_eq!(steps, LEAST / STEP as u64 + 1);
        assert!((1..=last).all(|number| filter.has(DEVICE, &id(number))));
        assert!(filter.bits.room >= 2 * LEAST);
        let in_vain = (last + 1..=last + 10_000).filter(|number| filter.has(DEVICE, &id(*number))).count();
        assert!(in_vain < 50, "{in_vain} of 10,000");
    }

    #[test]
    fn there_is_room_for_what_waits_too() {
        let db = database();
        let messages = "WITH RECURSIVE n AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM n WHERE n < 50000)
            INSERT INTO messages SELECT n, CAST(printf('%016d', n) AS BLOB), 0, 1, 1, 2, NULL, 0, x'41' FROM n";
        db.execute_batch(messages).unwrap();
        assert_eq!(Filter::load(&db).unwrap().bits.room, 100_000);
    }

    #[test]
    fn what_was_forgotten_is_not_in_the_next_one() {
        let db = database();
        db.execute_batch("BEGIN").unwrap();
        let mut filter = Filter::load(&db).unwrap();
        send(&db, &mut filter, 1..=LEAST + 1);
        db.execute("DELETE FROM sent WHERE number <= 60000", ()).unwrap();
        while filter.is_to_grow() {
            filter.grow(&db).unwrap();
        }
        assert!(!(1..=60_000).all(|number| filter.has(DEVICE, &id(number))));
        assert!((60_001..=LEAST + 1).all(|number| filter.has(DEVICE, &id(number))));
    }
}
