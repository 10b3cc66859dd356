//! A Bloom filter of the ids that were sent: it knows of nearly every fresh one that it is fresh, which would otherwise
//! take a look into the index, and so a page from the disk.

use fastbloom::BloomFilter;
use foldhash::fast::RandomState;
use rusqlite::{Connection, Result};

use super::{DeviceId, MessageId};

/// Of fresh ids, those that are looked for in vain, as long as there are no more than [`MOST`]: each takes some 20 µs.
const FALSE_POSITIVES: f64 = 0.001;
/// Room at first: 115 KiB.
const LEAST: u64 = 1 << 16;
/// Room at most: 14.4 MiB. With twice as many ids, one in seventeen is looked for in vain.
const MOST: u64 = 1 << 23;

/// See the module. Its hash has a random key: nobody can choose ids that it takes for others. If somebody could, each
/// would cost a look into the index.
#[derive(Debug)]
pub(super) struct Filter {
    bits: BloomFilter<RandomState>,
    ids: u64,
    room: u64,
}

impl Filter {
    /// With all ids that the database has, and room for as many again.
    pub fn load(db: &Connection) -> Result<Self> {
        let count = "SELECT coalesce((SELECT max(number) FROM sent) - (SELECT min(number) FROM sent) + 1, 0)";
        let ids = db.query_row(count, (), |row| row.get::<_, i64>(0))?.cast_unsigned();
        let room = (2 * ids).max(LEAST);
        let items = usize::try_from(room.min(MOST)).unwrap_or(usize::MAX);
        let bits = BloomFilter::with_false_pos(FALSE_POSITIVES).hasher(RandomState::default());
        let mut filter = Self { bits: bits.expected_items(items), ids, room };
        let mut statement = db.prepare("SELECT device, id FROM sent")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            filter.bits.insert(&(DeviceId(row.get(0)?), row.get::<_, MessageId>(1)?));
        }
        Ok(filter)
    }

    /// False: certainly not. True: nearly certainly.
    pub fn has(&self, device: DeviceId, id: &MessageId) -> bool {
        self.bits.contains(&(device, *id))
    }

    /// Takes an id in.
    pub fn add(&mut self, device: DeviceId, id: &MessageId) {
        self.bits.insert(&(device, *id));
        self.ids += 1;
    }

    /// Whether it is time for another one: those that were forgotten are still in this one.
    pub fn is_full(&self) -> bool {
        self.ids > self.room
    }
}
