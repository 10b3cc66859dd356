//! The index of sent ids, as sorted runs.
//!
//! Ids are random: in one tree of all of them, each has its place on another page, so that the more there are, the more
//! a message costs. A run is written once, from its least entry to its greatest. Of each level, several runs are merged
//! into one of the next: an id is written once for each level, and there are few runs to look into.
//!
//! A merge moves entries in steps, and messages get their turn in between. After each step every entry has one place.
//! Those whose message is forgotten are left out.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Result, params};

use super::{DeviceId, MessageId, writer::unsigned};

/// Device, id in two parts, number: big-endian, so that entries compare as their bytes do.
type Entry = [[u8; 8]; 4];

/// Runs of one level that become one of the next. With more of them, a repeated id is looked for in more runs; with
/// fewer, each id is written more often.
const FACTOR: usize = 4;
/// Entries of a block. With what else is in its row, it just fits into a page of SQLite's.
const BLOCK: usize = 125;
/// Blocks that are moved or dropped in one step: some more than a new run has, so that merges keep up with new runs, and
/// take messages no longer, some 5 ms.
const STEP: usize = 128;

/// A run and what is known of it.
#[derive(Debug)]
struct Run {
    id: i64,
    /// The greatest number in it.
    last: u64,
    /// How often its entries were merged.
    level: i64,
    /// The run that its entries are moving to.
    merges: Option<i64>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Runs {
    /// The newest first, and so the levels in ascending order.
    runs: Vec<Run>,
    /// No lesser number was known any more when this was loaded.
    oldest: u64,
}

/// What is to be done.
enum Work<'a> {
    /// Merge these into one of the next level.
    Start(&'a [Run]),
    /// Go on moving entries to this one.
    Move(i64),
    /// Nothing in it is known any more.
    Drop(&'a Run),
}

impl Runs {
    /// What the database has.
    pub fn load(db: &Connection) -> Result<Self> {
        // The run that a merge makes is as new as the newest that goes into it.
        let query = "SELECT id, last, level, merges FROM sent_runs ORDER BY last DESC, level";
        let mut statement = db.prepare_cached(query)?;
        let runs = statement.query_map((), |row| {
            Ok(Run { id: row.get(0)?, last: unsigned(row, 1)?, level: row.get(2)?, merges: row.get(3)? })
        })?;
        let runs = runs.collect::<Result<_>>()?;
        let oldest = "SELECT min(coalesce((SELECT number FROM sent ORDER BY number LIMIT 1), ?1),
            coalesce((SELECT first FROM messages ORDER BY first LIMIT 1), ?1))";
        let mut statement = db.prepare_cached(oldest)?;
        let oldest = statement.query_row([i64::MAX], |row| unsigned(row, 0))?;
        Ok(Self { runs, oldest })
    }

    /// No message before this number is known any more.
    pub fn oldest(&self) -> u64 {
        self.oldest
    }

    /// The greatest number that is in a run.
    pub fn last(&self) -> u64 {
        self.runs.first().map_or(0, |run| run.last)
    }

    /// The number that an id has in the newest of the runs that have it; if its message is forgotten, there may be none.
    pub fn number(&self, db: &Connection, device: DeviceId, id: &MessageId) -> Result<Option<u64>> {
        let greatest = entry(device, id, u64::MAX);
        let mut query = db.prepare_cached(
            "SELECT entries FROM sent_blocks WHERE run = ? AND least <= ? ORDER BY least DESC LIMIT 1",
        )?;
        for run in self.runs.iter().filter(|run| run.last >= self.oldest) {
            let number = query.query_row(params![run.id, greatest.as_flattened()], |row| {
                let entries = entries(row.get_ref(0)?.as_blob()?);
                let end = entries.partition_point(|entry| *entry <= greatest);
                let found = end.checked_sub(1).and_then(|at| entries.get(at));
                Ok(found.filter(|entry| entry[..3] == greatest[..3]).map(number))
            });
            if let Some(number) = number.optional()?.flatten() {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Writes a new run, within a transaction; what is loaded then knows of it.
    pub fn write(db: &Connection, numbers: &HashMap<(DeviceId, MessageId), u64>) -> Result<()> {
        let entries = numbers.iter().map(|((device, id), number)| entry(*device, id, *number));
        let mut sorted: Vec<Entry> = entries.collect();
        sorted.sort_unstable();
        let Some(last) = sorted.iter().map(number).max() else { return Ok(()) };
        let run = insert_run(db, last, 0)?;
        sorted.chunks(BLOCK).try_for_each(|block| insert_block(db, run, block))
    }

    /// Whether [`work`](Self::work) has something to do.
    pub fn have_work(&self) -> bool {
        self.due().is_some()
    }

    /// One step of what is to be done, within a transaction; what is loaded then knows of it.
    pub fn work(&self, db: &Connection) -> Result<()> {
        match self.due() {
            None => Ok(()),
            Some(Work::Move(to)) => self.move_entries(db, to),
            Some(Work::Drop(run)) => drop_blocks(db, run),
            Some(Work::Start(runs)) => start(db, runs),
        }
    }

    /// A merge that has begun comes first: there is one at a time.
    fn due(&self) -> Option<Work<'_>> {
        if let Some(to) = self.runs.iter().find_map(|run| run.merges) {
            return Some(Work::Move(to));
        }
        if let Some(run) = self.runs.last().filter(|run| run.last < self.oldest) {
            return Some(Work::Drop(run));
        }
        let mut levels = self.runs.chunk_by(|newer, older| newer.level == older.level);
        levels.find_map(|runs| runs.rchunks_exact(FACTOR).next()).map(Work::Start)
    }

    fn move_entries(&self, db: &Connection, to: i64) -> Result<()> {
        let merging = self.runs.iter().filter(|run| run.merges == Some(to));
        let mut sources = merging.map(|run| Source::new(db, run.id)).collect::<Result<Vec<_>>>()?;
        let mut block = Vec::with_capacity(BLOCK);
        for _ in 0..STEP * BLOCK {
            let Some(entry) = pop_least(&mut sources)? else {
                db.prepare_cached("DELETE FROM sent_runs WHERE merges = ?")?.execute([to])?;
                break;
            };
            if number(&entry) >= self.oldest {
                block.push(entry);
            }
            if block.len() == BLOCK {
                insert_block(db, to, &block)?;
                block.clear();
            }
        }
        insert_block(db, to, &block)?;
        sources.iter_mut().try_for_each(|source| source.put_back(db))
    }
}

/// A run that is being emptied, from its least entry on.
struct Source<'a> {
    run: i64,
    take: CachedStatement<'a>,
    /// The next entries, the least at the end.
    entries: Vec<Entry>,
}

impl<'a> Source<'a> {
    fn new(db: &'a Connection, run: i64) -> Result<Self> {
        let take = db.prepare_cached(
            "DELETE FROM sent_blocks WHERE run = ?1
            AND least = (SELECT min(least) FROM sent_blocks WHERE run = ?1) RETURNING entries",
        )?;
        let mut source = Self { run, take, entries: Vec::new() };
        source.fill()?;
        Ok(source)
    }

    fn fill(&mut self) -> Result<()> {
        let mut rows = self.take.query([self.run])?;
        while let Some(row) = rows.next()? {
            self.entries.extend(entries(row.get_ref(0)?.as_blob()?).iter().rev());
        }
        Ok(())
    }

    fn put_back(&mut self, db: &Connection) -> Result<()> {
        self.entries.reverse();
        insert_block(db, self.run, &self.entries)
    }
}

/// Shows every id of every run with its number.
pub(super) fn for_each(db: &Connection, mut show: impl FnMut(DeviceId, &MessageId, u64)) -> Result<()> {
    let mut statement = db.prepare("SELECT entries FROM sent_blocks")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        for entry in entries(row.get_ref(0)?.as_blob()?) {
            let [device, id @ .., _] = entry;
            if let Ok(id) = id.as_flattened().try_into() {
                show(DeviceId(i64::from_be_bytes(*device)), id, number(entry));
            }
        }
    }
    Ok(())
}

/// How many ids there are in all runs, or some more.
pub(super) fn count(db: &Connection) -> Result<usize> {
    let blocks = db.query_row("SELECT count(*) FROM sent_blocks", (), |row| unsigned(row, 0))?;
    Ok(usize::try_from(blocks).unwrap_or(usize::MAX).saturating_mul(BLOCK))
}

/// Takes the least entry of all.
fn pop_least(sources: &mut [Source<'_>]) -> Result<Option<Entry>> {
    let with_least = sources.iter_mut().filter(|source| !source.entries.is_empty());
    let Some(source) = with_least.min_by_key(|source| source.entries.last().copied()) else {
        return Ok(None);
    };
    let least = source.entries.pop();
    if source.entries.is_empty() {
        source.fill()?;
    }
    Ok(least)
}

/// As the newest of these, so that what is newer stays newer.
fn start(db: &Connection, runs: &[Run]) -> Result<()> {
    let Some(newest) = runs.first() else { return Ok(()) };
    let to = insert_run(db, newest.last, newest.level + 1)?;
    let mut statement = db.prepare_cached("UPDATE sent_runs SET merges = ? WHERE id = ?")?;
    runs.iter().try_for_each(|run| statement.execute([to, run.id]).map(drop))
}

fn drop_blocks(db: &Connection, run: &Run) -> Result<()> {
    let mut blocks = db.prepare_cached(
        "DELETE FROM sent_blocks WHERE run = ?1
        AND least IN (SELECT least FROM sent_blocks WHERE run = ?1 ORDER BY least LIMIT ?2)",
    )?;
    if blocks.execute(params![run.id, STEP as i64])? < STEP {
        db.prepare_cached("DELETE FROM sent_runs WHERE id = ?")?.execute([run.id])?;
    }
    Ok(())
}

fn insert_run(db: &Connection, last: u64, level: i64) -> Result<i64> {
    let mut statement = db.prepare_cached("INSERT INTO sent_runs (last, level) VALUES (?, ?)")?;
    statement.insert([last.cast_signed(), level])
}

fn insert_block(db: &Connection, run: i64, block: &[Entry]) -> Result<()> {
    let Some(least) = block.first() else { return Ok(()) };
    let mut statement =
        db.prepare_cached("INSERT INTO sent_blocks (run, least, entries) VALUES (?, ?, ?)")?;
    statement.execute(params![run, least.as_flattened(), block.as_flattened().as_flattened()]).map(drop)
}

fn entry(device: DeviceId, id: &MessageId, number: u64) -> Entry {
    let mut entry = [device.0.to_be_bytes(), [0; 8], [0; 8], number.to_be_bytes()];
    entry[1..3].as_flattened_mut().copy_from_slice(id);
    entry
}

fn number([.., number]: &Entry) -> u64 {
    u64::from_be_bytes(*number)
}

fn entries(bytes: &[u8]) -> &[Entry] {
    bytes.as_chunks().0.as_chunks().0
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Of a round: four of them take a merge more than one step.
    const ROUND: u64 = 5000;

    /// In the present form, and empty.
    pub fn database() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        for migration in [
            include_str!("../../migrations/0001_ledger.sql"),
            include_str!("../../migrations/0002_boards.sql"),
            include_str!("../../migrations/0003_sent_in_order.sql"),
            include_str!("../../migrations/0004_runs_of_ids.sql"),
            include_str!("../../migrations/0005_sent_when_delivered.sql"),
            include_str!("../../migrations/0006_messages_in_blocks.sql"),
        ] {
            db.execute_batch(migration).unwrap();
        }
        db
    }

    /// Spread over all ids, and over a few devices.
    fn key(number: u64) -> (DeviceId, MessageId) {
        let id = u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        (DeviceId((number % 3).cast_signed() + 254), id.to_be_bytes())
    }

    /// Keys and their numbers become rows of `sent`, and a run.
    fn write(db: &Connection, keys: impl Iterator<Item = ((DeviceId, MessageId), u64)>) -> Runs {
        let round: HashMap<_, _> = keys.collect();
        let mut statement = db.prepare("INSERT INTO sent VALUES (?, ?, ?, 0, 0)").unwrap();
        db.execute_batch("BEGIN").unwrap();
        for ((device, id), number) in &round {
            statement.execute(params![number.cast_signed(), device.0, id]).unwrap();
        }
        Runs::write(db, &round).unwrap();
        db.execute_batch("COMMIT").unwrap();
        Runs::load(db).unwrap()
    }

    fn write_round(db: &Connection, round: u64) -> Runs {
        write(db, (round * ROUND + 1..=(round + 1) * ROUND).map(|number| (key(number), number)))
    }

    /// One step, which fails in the end at first.
    fn work(db: &Connection, runs: &Runs) -> Runs {
        for end in ["ROLLBACK", "COMMIT"] {
            db.execute_batch("BEGIN").unwrap();
            runs.work(db).unwrap();
            db.execute_batch(end).unwrap();
        }
        Runs::load(db).unwrap()
    }

    fn work_all(db: &Connection, mut runs: Runs) -> Runs {
        while runs.have_work() {
            runs = work(db, &runs);
        }
        runs
    }

    fn find(db: &Connection, runs: &Runs, number: u64) -> Option<u64> {
        let (device, id) = key(number);
        runs.number(db, device, &id).unwrap()
    }

    fn forget(db: &Connection, last: u64) -> Runs {
        db.execute("DELETE FROM sent WHERE number <= ?", [last.cast_signed()]).unwrap();
        Runs::load(db).unwrap()
    }

    /// The numbers of all entries. A run's are in order, within blocks and from one to the next.
    fn stored(db: &Connection) -> Vec<u64> {
        let mut statement =
            db.prepare("SELECT run, least, entries FROM sent_blocks ORDER BY run, least").unwrap();
        let mut rows = statement.query(()).unwrap();
        let mut all: Vec<(i64, Entry)> = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let block = entries(row.get_ref(2).unwrap().as_blob().unwrap());
            assert_eq!(row.get_ref(1).unwrap().as_blob().unwrap(), block[0].as_flattened());
            assert!(block.len() <= BLOCK);
            all.extend(block.iter().map(|entry| (row.get::<_, i64>(0).unwrap(), *entry)));
        }
        assert!(all.is_sorted());
        let mut numbers: Vec<_> = all.iter().map(|(_, entry)| number(entry)).collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn every_id_has_one_place_and_is_found_after_every_step() {
        let db = database();
        let mut steps = 0;
        for round in 0..24 {
            let last = (round + 1) * ROUND;
            let mut runs = write_round(&db, round);
            loop {
                assert_eq!(runs.last(), last);
                assert!(stored(&db).into_iter().eq(1..=last), "round {round}, step {steps}");
                for number in (1..=last).step_by(97) {
                    assert_eq!(find(&db, &runs, number), Some(number), "round {round}, step {steps}");
                    assert_eq!(find(&db, &runs, number + last), None);
                }
                if !runs.have_work() {
                    break;
                }
                runs = work(&db, &runs);
                steps += 1;
            }
            assert!(runs.runs.len() <= 6, "{runs:?}");
        }
        assert!(steps > 24, "each merge takes several steps");
        let runs = Runs::load(&db).unwrap();
        assert!((1..=24 * ROUND).all(|number| find(&db, &runs, number) == Some(number)));
    }

    #[test]
    fn the_work_of_a_step_does_not_grow_with_the_runs() {
        let db = database();
        let mut runs = Runs::load(&db).unwrap();
        for round in 0..16 {
            runs = write_round(&db, round);
            while runs.have_work() {
                let before = db.total_changes();
                runs = work(&db, &runs);
                // Once in vain, once for good; blocks that are taken, written, and put back.
                let changes = db.total_changes() - before;
                assert!(changes <= 2 * 2 * (STEP + 2 * FACTOR) as u64, "{changes} in round {round}");
            }
        }
        assert_eq!(runs.runs.len(), 1);
        runs = forget(&db, 16 * ROUND);
        let mut left = stored(&db).len();
        while runs.have_work() {
            runs = work(&db, &runs);
            let dropped = left - stored(&db).len();
            assert!(dropped <= STEP * BLOCK);
            left -= dropped;
        }
        assert_eq!((left, runs.last()), (0, 0));
    }

    /// What one version writes, another one reads.
    #[test]
    fn an_entry_has_its_form_on_disk() {
        let entry = entry(DeviceId(0x0102), &[7; 16], 0x0304);
        assert_eq!(
            hex::encode(entry.as_flattened()),
            "0000000000000102 07070707070707070707070707070707 0000000000000304".replace(' ', "")
        );
        assert_eq!(number(&entry), 0x0304);
    }

    #[test]
    fn an_id_is_its_devices_own_and_wholly_compared() {
        let db = database();
        let id = |first, last| [first, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, last];
        let keys = [(1, 3), (1, 9), (2, 3), (255, 3), (256, 3)];
        let keys = keys.map(|(device, last)| (DeviceId(device), id(5, last)));
        let runs = write(&db, keys.into_iter().zip(1..));
        for ((device, id), number) in keys.iter().zip(1..) {
            assert_eq!(runs.number(&db, *device, id).unwrap(), Some(number));
        }
        for (device, id) in
            [(1, id(5, 4)), (1, id(4, 3)), (1, id(6, 9)), (2, id(5, 9)), (0, id(5, 3)), (257, id(5, 3))]
        {
            assert_eq!(runs.number(&db, DeviceId(device), &id).unwrap(), None);
        }
    }

    #[test]
    fn what_is_forgotten_goes_with_its_run_or_at_a_merge() {
        let db = database();
        for round in 0..5 {
            work_all(&db, write_round(&db, round));
        }
        // Of the large run, a part; then all of it, and a part of the next.
        let runs = work_all(&db, forget(&db, ROUND + 7));
        assert_eq!(stored(&db).len() as u64, 5 * ROUND);
        assert_eq!(find(&db, &runs, ROUND + 8), Some(ROUND + 8));
        let runs = work_all(&db, forget(&db, 4 * ROUND + 7));
        assert!(stored(&db).into_iter().eq(4 * ROUND + 1..=5 * ROUND));
        assert_eq!(find(&db, &runs, 4 * ROUND), None);
        for round in 5..8 {
            work_all(&db, write_round(&db, round));
        }
        assert!(stored(&db).into_iter().eq(4 * ROUND + 8..=8 * ROUND), "a merge leaves them out");
    }

    #[test]
    fn a_run_stays_until_its_last_message_is_forgotten() {
        let db = database();
        write_round(&db, 0);
        write_round(&db, 1);
        let runs = work_all(&db, forget(&db, ROUND - 1));
        assert_eq!(find(&db, &runs, ROUND), Some(ROUND));
        let runs = work_all(&db, forget(&db, ROUND));
        assert!(stored(&db).into_iter().eq(ROUND + 1..=2 * ROUND));
        assert_eq!((find(&db, &runs, ROUND), runs.runs.len()), (None, 1));
    }

    /// As at the first start with an index of this form.
    #[test]
    fn of_many_runs_the_oldest_are_merged_first() {
        let db = database();
        for round in 0..6 {
            write_round(&db, round);
        }
        let runs = work_all(&db, Runs::load(&db).unwrap());
        let levels: Vec<_> = runs.runs.iter().map(|run| (run.level, run.last)).collect();
        assert_eq!(levels, [(0, 6 * ROUND), (0, 5 * ROUND), (1, 4 * ROUND)]);
    }

    #[test]
    fn an_id_that_is_sent_again_has_its_last_number_at_any_time() {
        let db = database();
        write_round(&db, 0);
        let again = |number| if number % 2 == 0 { key(number % ROUND) } else { key(number) };
        forget(&db, ROUND);
        for round in 1..9 {
            let first = round * ROUND + 1;
            // Each round repeats what the one before had sent, which is forgotten.
            let mut runs = write(&db, (first..first + ROUND).map(|number| (again(number), number)));
            loop {
                for number in (first..first + ROUND).step_by(31) {
                    let (device, id) = again(number);
                    assert_eq!(runs.number(&db, device, &id).unwrap(), Some(number), "{round}");
                }
                if !runs.have_work() {
                    break;
                }
                runs = work(&db, &runs);
            }
            // Most of the times, the run has what is known beside what isn't.
            forget(&db, first + ROUND - 1 - round % 4);
        }
    }

    #[test]
    fn a_merge_goes_on_when_what_it_moves_is_forgotten_meanwhile() {
        let db = database();
        let mut runs = Runs::load(&db).unwrap();
        for round in 0..4 {
            runs = write_round(&db, round);
        }
        runs = work(&db, &runs);
        runs = work(&db, &runs);
        assert!(runs.runs.iter().any(|run| run.merges.is_some()), "it has begun");
        runs = forget(&db, 3 * ROUND);
        runs = work(&db, &runs);
        assert_eq!(find(&db, &runs, 3 * ROUND + 1), Some(3 * ROUND + 1));
        runs = work_all(&db, forget(&db, 4 * ROUND));
        assert_eq!((stored(&db).len(), runs.runs.len()), (0, 0));
    }
}
