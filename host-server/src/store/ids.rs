//! Which ids devices have sent already.
//!
//! Ids are random: in an index, each has its place on another page, which would be written for one message alone. So
//! the last ones are kept in memory, and come into the index many at a time, in its order. At the start, those that
//! the index doesn't have are read from the list of what was sent.

use std::collections::HashMap;

use rusqlite::{
    Connection, OptionalExtension as _, Result, params,
    types::ValueRef::{Blob, Integer},
};

use super::{DeviceId, MessageId, Sent, filter::Filter, rows::Rows, writer::run};

/// Ids in memory before they come into the index, some 20 ms of work. With a batch more they just fit into a table of
/// 16,384 places, 0.5 MiB.
const RECENT: usize = 13_824;

static INDEX: Rows<3> = Rows::new("sent_ids (device, id, number)");

/// See the module.
#[derive(Debug)]
pub(super) struct Ids {
    recent: HashMap<(DeviceId, MessageId), u64>,
    /// Of all, wherever they are.
    filter: Filter,
}

impl Ids {
    /// What the index in the database doesn't have.
    pub fn load(db: &Connection) -> Result<Self> {
        let query = "SELECT device, id, number FROM sent WHERE number > (SELECT indexed FROM place)";
        let mut statement = db.prepare(query)?;
        let rows = statement.query_map((), |row| {
            Ok(((DeviceId(row.get(0)?), row.get(1)?), row.get::<_, i64>(2)?.cast_unsigned()))
        })?;
        Ok(Self { recent: rows.collect::<Result<_>>()?, filter: Filter::load(db)? })
    }

    /// The number of the message that a device has sent under an id.
    pub fn number(&self, db: &Connection, device: DeviceId, id: &MessageId) -> Result<Option<u64>> {
        if !self.filter.has(device, id) {
            return Ok(None);
        }
        if let Some(number) = self.recent.get(&(device, *id)) {
            return Ok(Some(*number));
        }
        let mut statement = db.prepare_cached("SELECT number FROM sent_ids WHERE device = ? AND id = ?")?;
        let number = statement.query_row(params![device.0, id], |row| row.get::<_, i64>(0)).optional()?;
        Ok(number.map(i64::cast_unsigned))
    }

    /// These are durable.
    pub fn add(&mut self, sent: &[Sent]) {
        for Sent { device, id, number, .. } in sent {
            self.filter.add(*device, id);
            self.recent.insert((*device, *id), *number);
        }
    }

    /// Whether it is time for [`index`](Self::index).
    pub fn is_full(&self) -> bool {
        self.recent.len() >= RECENT
    }

    /// Brings what is in memory into the index, within a transaction. When that is durable, [`clear`](Self::clear)
    /// is next.
    pub fn index(&self, db: &Connection) -> Result<()> {
        let mut ids: Vec<_> = self.recent.iter().collect();
        ids.sort_unstable();
        INDEX.insert(db, &ids, |((device, id), number)| {
            [Integer(device.0), Blob(id), Integer(number.cast_signed())]
        })?;
        run(db, "UPDATE place SET indexed = (SELECT coalesce(max(number), indexed) FROM sent)")
    }

    /// The index has them all.
    pub fn clear(&mut self, db: &Connection) -> Result<()> {
        self.recent.clear();
        if self.filter.is_full() {
            self.filter = Filter::load(db)?;
        }
        Ok(())
    }
}
