//! A Bloom filter of the ids that were sent: it knows of nearly every fresh one that it is fresh, which would otherwise
//! take a look into the index, and so a page from the disk.
//!
//! It grows by layers, as scalable Bloom filters do (Almeida, Baquero, Preguiça, Hutchison, 2007): a full one stays as it
//! is, and a larger one comes behind it. A layer whose ids are all forgotten goes.

use std::hash::BuildHasher as _;

use fastbloom::BloomFilter;
use foldhash::fast::RandomState;
use rusqlite::{Connection, Result};

use super::{DeviceId, MessageId, runs};

/// Of fresh ids, those that a full layer takes for known: each is looked for in vain, which takes some 20 µs.
const FALSE_POSITIVES: f64 = 0.0005;
/// Ids for which a layer has room at least: 127 KiB.
const LEAST: usize = 1 << 16;
/// Ids for which a layer has bits at most, 16 MiB: with twice as many in it, one fresh one in twenty is looked for in vain.
const MOST: usize = 1 << 23;

/// See the module.
#[derive(Debug)]
pub(super) struct Filter {
    /// With a random key: nobody can choose ids that it takes for others. If somebody could, each would cost a look into
    /// the index.
    hasher: RandomState,
    /// The oldest first.
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    bits: BloomFilter<RandomState>,
    ids: usize,
    room: usize,
    /// The greatest number in it.
    last: u64,
}

impl Filter {
    /// With all ids that the index has.
    pub fn load(db: &Connection) -> Result<Self> {
        let mut filter = Self { hasher: RandomState::default(), layers: Vec::new() };
        filter.grow(runs::count(db)?);
        runs::for_each(db, |device, id, number| filter.add(device, id, number))?;
        Ok(filter)
    }

    /// False: certainly not. True: nearly certainly.
    pub fn has(&self, device: DeviceId, id: &MessageId) -> bool {
        let hash = self.hasher.hash_one((device, id));
        self.layers.iter().rev().any(|layer| layer.bits.contains_hash(hash))
    }

    /// Takes an id in.
    pub fn add(&mut self, device: DeviceId, id: &MessageId, number: u64) {
        let hash = self.hasher.hash_one((device, id));
        if self.layers.last().is_none_or(|layer| layer.ids == layer.room) {
            // There are few layers: each has room for as many as are in all before. One that has room for all that are
            // known is alone when it is full, so the next has no more.
            self.grow(self.layers.iter().map(|layer| layer.ids).sum());
        }
        if let Some(layer) = self.layers.last_mut() {
            layer.bits.insert_hash(hash);
            layer.ids += 1;
            layer.last = layer.last.max(number);
        }
    }

    /// Nobody asks for ids of messages before this number.
    pub fn forget_before(&mut self, number: u64) {
        self.layers.retain(|layer| layer.last >= number);
    }

    fn grow(&mut self, ids: usize) {
        let room = ids.max(LEAST);
        let bits = BloomFilter::with_false_pos(FALSE_POSITIVES).hasher(self.hasher.clone());
        self.layers.push(Layer { bits: bits.expected_items(room.min(MOST)), ids: 0, room, last: 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceId = DeviceId(1);

    fn id(number: u64) -> MessageId {
        u128::from(number).to_be_bytes()
    }

    fn filter(last: u64) -> Filter {
        let mut filter = Filter { hasher: RandomState::default(), layers: Vec::new() };
        (1..=last).for_each(|number| filter.add(DEVICE, &id(number), number));
        filter
    }

    #[test]
    fn it_grows_by_layers_and_loses_nothing() {
        let last = 9 * LEAST as u64 + 1;
        let filter = filter(last);
        let rooms: Vec<_> = filter.layers.iter().map(|layer| layer.room / LEAST).collect();
        assert_eq!(rooms, [1, 1, 2, 4, 8]);
        assert!((1..=last).all(|number| filter.has(DEVICE, &id(number))));
        let in_vain = (last + 1..=last + 100_000).filter(|number| filter.has(DEVICE, &id(*number))).count();
        assert!((20..400).contains(&in_vain), "{in_vain} of 100,000");
        assert!(!filter.has(DeviceId(2), &id(1)) || !filter.has(DeviceId(3), &id(1)), "of another device");
    }

    #[test]
    fn a_layer_goes_when_all_of_it_is_forgotten() {
        let first = LEAST as u64;
        let mut filter = filter(4 * first);
        filter.forget_before(first);
        assert!((1..=4 * first).all(|number| filter.has(DEVICE, &id(number))));
        filter.forget_before(first + 1);
        assert_eq!(filter.layers.len(), 2);
        assert!((first + 1..=4 * first).all(|number| filter.has(DEVICE, &id(number))));
        assert!((1..=first).filter(|number| filter.has(DEVICE, &id(*number))).count() < 200);
        filter.forget_before(u64::MAX);
        filter.add(DEVICE, &id(7), 7);
        assert!(filter.has(DEVICE, &id(7)));
        assert!(!filter.has(DEVICE, &id(8)));
    }

    /// However long the server runs.
    #[test]
    fn it_has_room_for_what_is_known_and_not_for_what_was() {
        const KNOWN: u64 = 4 * LEAST as u64;
        let mut filter = filter(0);
        for number in 1..=20 * KNOWN {
            filter.add(DEVICE, &id(number), number);
            if number % 5000 == 0 {
                filter.forget_before(number.saturating_sub(KNOWN));
            }
        }
        let room: usize = filter.layers.iter().map(|layer| layer.room).sum();
        assert!(room as u64 <= 3 * KNOWN, "{room}");
        assert!((20 * KNOWN - 1000..=20 * KNOWN).all(|number| filter.has(DEVICE, &id(number))));
    }

    #[test]
    fn a_layer_of_any_room_has_bounded_bits() {
        let mut filter = filter(0);
        [MOST, 16 * MOST].into_iter().for_each(|room| filter.grow(room));
        assert_eq!(filter.layers[0].bits.num_bits(), filter.layers[1].bits.num_bits());
        assert!(filter.layers[1].bits.num_bits() <= 8 * (16 << 20));
    }
}
