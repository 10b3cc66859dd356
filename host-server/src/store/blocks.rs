//! The messages that somebody needs, many in one row, as they came together.
//!
//! Most are delivered and forgotten within a second, and mostly together: a row for each would cost each of them more
//! than this. What somebody needs of a row is known in memory; when that is nothing, the row goes. If some stay behind the
//! others, it is written again without those. After a stop, what nobody needs is forgotten once more.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension as _, Result, params, types::Type};
use sordino_core::wire::Malformed;

use super::{
    Message, Place,
    entry::{DAMAGED, Entry, entries},
    writer::unsigned,
};

/// Bytes of a row at most, more than the longest message: what is read when one of them is.
const ROW: usize = 32 << 10;
/// Those that come together are acknowledged within the time that acknowledgements may take; it isn't worth while to
/// write the rest of a row again before.
const PATIENCE: Duration = Duration::from_secs(1);
/// Rows written again in one step, which takes messages no longer, some 2 ms.
const STEP: usize = 32;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// By `first`.
    blocks: BTreeMap<u64, Block>,
    /// Those with something that nobody needs, and since when.
    ragged: VecDeque<(u64, Instant)>,
}

/// What is known of a row.
#[derive(Debug)]
pub(super) struct Block {
    /// The numbers that somebody needs, ascending.
    needed: Vec<u64>,
    /// The last number that it had.
    last: u64,
    is_ragged: bool,
}

/// A row's `first`, and the numbers in it that somebody needs yet.
pub(super) type Rest = (u64, Vec<u64>);

impl Block {
    fn new(needed: Vec<u64>) -> Option<Self> {
        needed.last().copied().map(|last| Self { needed, last, is_ragged: false })
    }
}

impl Blocks {
    /// What the database has; shows every message.
    pub fn load(db: &Connection, mut show: impl FnMut(Place)) -> Result<Self> {
        let mut statement = db.prepare("SELECT first, entries FROM messages ORDER BY first")?;
        let mut rows = statement.query(())?;
        let mut blocks = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let mut needed = Vec::new();
            for entry in entries(row.get_ref(1)?.as_blob()?) {
                let place = entry.map_err(malformed)?.place;
                needed.push(place.number);
                show(place);
            }
            if let Some(block) = Block::new(needed) {
                blocks.insert(unsigned(row, 0)?, block);
            }
        }
        Ok(Self { blocks, ragged: VecDeque::new() })
    }

    /// Writes messages in ascending order, within a transaction. When that is durable, [`add`](Self::add) is next.
    pub fn write(db: &Connection, messages: &[Arc<Message>]) -> Result<Vec<Block>> {
        let mut insert = db.prepare_cached("INSERT INTO messages (first, entries) VALUES (?, ?)")?;
        let mut written = Vec::new();
        let mut rest = messages;
        while let Some(first) = rest.first() {
            let (row, count) = row(rest);
            insert.execute(params![first.place.number.cast_signed(), row])?;
            let here;
            (here, rest) = rest.split_at(count);
            written.extend(Block::new(here.iter().map(|message| message.place.number).collect()));
        }
        Ok(written)
    }

    /// These are durable.
    pub fn add(&mut self, written: Vec<Block>) {
        self.blocks.extend(written.into_iter().map(|block| (block.needed[0], block)));
    }

    /// What stays of rows when nobody needs these numbers any more.
    pub fn without(&self, numbers: &[u64]) -> Vec<Rest> {
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        let mut rests = Vec::new();
        let mut numbers = numbers.as_slice();
        while let Some((number, behind)) = numbers.split_first() {
            let at = self.blocks.range(..=number).next_back().filter(|(_, block)| *number <= block.last);
            let Some((first, block)) = at else {
                numbers = behind;
                continue;
            };
            let here;
            (here, numbers) = numbers.split_at(numbers.partition_point(|number| *number <= block.last));
            let is_needed = |number: &u64| here.binary_search(number).is_err();
            let needed: Vec<_> = block.needed.iter().copied().filter(is_needed).collect();
            if needed.len() < block.needed.len() {
                rests.push((*first, needed));
            }
        }
        rests
    }

    /// Deletes the rows of which nothing stays, within a transaction. When that is durable, [`leave`](Self::leave) is
    /// next.
    pub fn delete(db: &Connection, rests: &[Rest]) -> Result<()> {
        let mut delete = db.prepare_cached("DELETE FROM messages WHERE first = ?")?;
        let mut empty = rests.iter().filter(|(_, needed)| needed.is_empty());
        empty.try_for_each(|(first, _)| delete.execute([first.cast_signed()]).map(drop))
    }

    /// That stays of rows since `now`.
    pub fn leave(&mut self, rests: Vec<Rest>, now: Instant) {
        for (first, needed) in rests {
            if needed.is_empty() {
                self.blocks.remove(&first);
            } else if let Some(block) = self.blocks.get_mut(&first) {
                block.needed = needed;
                if !std::mem::replace(&mut block.is_ragged, true) {
                    self.ragged.push_back((first, now));
                }
            }
        }
        // Under load, they hardly ever come to be written again.
        while self.ragged.pop_front_if(|(first, _)| !self.blocks.contains_key(first)).is_some() {}
    }

    /// When [`work`](Self::work) has something to do.
    pub fn next_work(&self) -> Option<Instant> {
        self.ragged.front().map(|(_, since)| *since + PATIENCE)
    }

    /// Writes some rows again without what nobody needs, within a transaction, and says how many. When that is durable,
    /// [`worked`](Self::worked) is next.
    pub fn work(&self, db: &Connection, now: Instant) -> Result<usize> {
        let mut read = db.prepare_cached("SELECT entries FROM messages WHERE first = ?")?;
        let mut write = db.prepare_cached("UPDATE messages SET entries = ? WHERE first = ?")?;
        let mut rows = 0;
        for first in self.due(now).take(STEP) {
            rows += 1;
            let row = read.query_row([first.cast_signed()], |row| row.get::<_, Vec<u8>>(0)).optional()?;
            let (Some(block), Some(row)) = (self.blocks.get(&first), row) else { continue };
            let mut rest = Vec::with_capacity(row.len());
            for entry in entries(&row) {
                let entry = entry.map_err(malformed)?;
                if block.needed.binary_search(&entry.place.number).is_ok() {
                    entry.put(&mut rest);
                }
            }
            write.execute(params![rest, first.cast_signed()])?;
        }
        Ok(rows)
    }

    /// So many rows are durable as they should be.
    pub fn worked(&mut self, rows: usize) {
        for (first, _) in self.ragged.drain(..rows) {
            if let Some(block) = self.blocks.get_mut(&first) {
                block.is_ragged = false;
            }
        }
    }

    fn due(&self, now: Instant) -> impl Iterator<Item = u64> {
        self.ragged.iter().take_while(move |(_, since)| now - *since >= PATIENCE).map(|(first, _)| *first)
    }
}

/// A row of the first of these messages, one at least, and how many it has.
fn row(messages: &[Arc<Message>]) -> (Vec<u8>, usize) {
    let mut len = 0;
    let fits = |message: &&Arc<Message>| {
        let before = len;
        len += Entry::new(message).len();
        before == 0 || len <= ROW
    };
    let count = messages.iter().take_while(fits).count();
    let mut row = Vec::with_capacity(len);
    messages[..count].iter().for_each(|message| Entry::new(message).put(&mut row));
    (row, count)
}

/// A message that is stored.
pub(super) fn place(db: &Connection, number: u64) -> Result<Option<Place>> {
    let query = "SELECT entries FROM messages WHERE first <= ? ORDER BY first DESC LIMIT 1";
    let mut statement = db.prepare_cached(query)?;
    let found = statement.query_row([number.cast_signed()], |row| {
        let mut entries = entries(row.get_ref(0)?.as_blob()?);
        let found = entries.find(|entry| entry.is_err() || entry.is_ok_and(|e| e.place.number == number));
        Ok(found.transpose().map_err(malformed)?.map(|entry| entry.place))
    });
    Ok(found.optional()?.flatten())
}

fn malformed(_: Malformed) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(1, Type::Blob, DAMAGED.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{AccountId, DeviceId, Target, runs::tests::database};

    fn message(number: u64, len: usize) -> Arc<Message> {
        let target = Target::User(AccountId(2));
        let place = Place { number, id: [7; 16], time: 9, sender: AccountId(1), device: DeviceId(1), target };
        Arc::new(Message::new(place, "alice", "bob", 0, &vec![b'x'; len]).unwrap())
    }

    fn write(db: &Connection, blocks: &mut Blocks, messages: &[Arc<Message>]) {
        blocks.add(Blocks::write(db, messages).unwrap());
    }

    /// Three blocks with what isn't accepted between them and in them.
    fn three(db: &Connection) -> Blocks {
        let mut blocks = Blocks::default();
        for numbers in [[1, 2, 4], [5, 6, 7], [9, 11, 12]] {
            write(db, &mut blocks, &numbers.map(|number| message(number, 100)));
        }
        blocks
    }

    fn forget(db: &Connection, blocks: &mut Blocks, numbers: &[u64], now: Instant) {
        let rests = blocks.without(numbers);
        Blocks::delete(db, &rests).unwrap();
        blocks.leave(rests, now);
    }

    fn work(db: &Connection, blocks: &mut Blocks, now: Instant) -> usize {
        let rows = blocks.work(db, now).unwrap();
        blocks.worked(rows);
        rows
    }

    /// The numbers in each row; what is loaded knows the same, and so does every search.
    fn stored(db: &Connection) -> Vec<Vec<u64>> {
        let mut shown = Vec::new();
        let loaded = Blocks::load(db, |place| shown.push(place.number)).unwrap();
        let stored: Vec<_> = loaded.blocks.values().map(|block| block.needed.clone()).collect();
        assert_eq!(shown, stored.concat());
        for number in 0..=shown.last().map_or(0, |last| last + 2) {
            let found = place(db, number).unwrap().map(|place| place.number);
            assert_eq!(found, shown.contains(&number).then_some(number));
        }
        stored
    }

    #[test]
    fn a_row_has_as_many_as_fit_and_one_at_least() {
        let db = database();
        let all = [15_360, 15_360, 1800, 200, 1, 1, 15_360, 15_360];
        let all: Vec<_> = all.iter().zip(1..).map(|(len, number)| message(number, *len)).collect();
        let mut blocks = Blocks::default();
        write(&db, &mut blocks, &all);
        assert_eq!(stored(&db), [vec![1, 2, 3], vec![4, 5, 6, 7, 8]]);
        let longest = "SELECT max(length(entries)) FROM messages";
        assert!(db.query_row(longest, (), |row| unsigned(row, 0)).unwrap() <= ROW as u64);
        write(&db, &mut blocks, &[]);
        assert_eq!(stored(&db).len(), 2);
    }

    #[test]
    fn a_row_goes_with_its_last_message_and_is_written_again_when_the_others_are_gone_for_long() {
        let db = database();
        let mut blocks = three(&db);
        let start = Instant::now();
        forget(&db, &mut blocks, &[7, 1, 5, 12], start);
        assert_eq!(stored(&db), [[1, 2, 4], [5, 6, 7], [9, 11, 12]], "what is read again is forgotten again");
        assert_eq!(blocks.next_work(), Some(start + PATIENCE));
        forget(&db, &mut blocks, &[6, 2], start + PATIENCE / 2);
        assert_eq!(stored(&db), [[1, 2, 4], [9, 11, 12]]);
        let late = start + PATIENCE;
        assert_eq!(blocks.next_work(), Some(late));
        assert_eq!(work(&db, &mut blocks, late), 3, "of which one is gone");
        assert_eq!(stored(&db), [vec![4], vec![9, 11]]);
        assert_eq!(blocks.next_work(), None);
        forget(&db, &mut blocks, &[9], late);
        assert!(blocks.next_work().is_some(), "again");
        forget(&db, &mut blocks, &[4, 11], late);
        assert_eq!(stored(&db), [[0; 0]; 0]);
        assert!(blocks.blocks.is_empty() && blocks.next_work().is_none());
    }

    #[test]
    fn what_the_database_refused_stays_as_it_was() {
        let db = database();
        let mut blocks = three(&db);
        assert_eq!(blocks.without(&[5, 6, 7, 1]), [(1, vec![2, 4]), (5, vec![])]);
        assert_eq!(work(&db, &mut blocks, Instant::now() + PATIENCE), 0);
        assert_eq!(blocks.without(&[6, 12]), [(5, vec![5, 7]), (9, vec![9, 11])]);
        assert_eq!(stored(&db), [[1, 2, 4], [5, 6, 7], [9, 11, 12]]);
    }

    #[test]
    fn numbers_that_are_not_there_change_nothing() {
        let db = database();
        let mut blocks = three(&db);
        forget(&db, &mut blocks, &[0, 3, 8, 10, 13, u64::MAX], Instant::now());
        assert_eq!(stored(&db), [[1, 2, 4], [5, 6, 7], [9, 11, 12]]);
        assert!(blocks.next_work().is_none());
        forget(&db, &mut blocks, &(0..20).collect::<Vec<_>>(), Instant::now());
        assert!(stored(&db).is_empty());
    }

    #[test]
    fn many_rows_are_written_again_in_steps() {
        let db = database();
        let mut blocks = Blocks::default();
        let now = Instant::now();
        let rows = 2 * STEP as u64 + 1;
        for row in 0..rows {
            write(&db, &mut blocks, &[message(2 * row + 1, 1), message(2 * row + 2, 1)]);
        }
        forget(&db, &mut blocks, &(0..rows).map(|row| 2 * row + 1).collect::<Vec<_>>(), now);
        let late = now + PATIENCE;
        let steps = std::iter::from_fn(|| Some(work(&db, &mut blocks, late)).filter(|rows| *rows > 0));
        assert_eq!(steps.collect::<Vec<_>>(), [STEP, STEP, 1]);
        assert!(stored(&db).into_iter().eq((0..rows).map(|row| vec![2 * row + 2])));
    }

    #[test]
    fn a_damaged_block_is_an_error() {
        let db = database();
        three(&db);
        db.execute(
            "UPDATE messages SET entries = substr(entries, 1, length(entries) - 1) WHERE first = 9",
            (),
        )
        .unwrap();
        assert_eq!(place(&db, 5).unwrap().map(|place| place.number), Some(5));
        assert!(place(&db, 12).is_err());
        assert!(Blocks::load(&db, |_| {}).is_err());
    }
}
