//! Rows that are inserted many at a time: to begin and to end a statement costs as much as a row.

use std::sync::OnceLock;

use rusqlite::{
    Connection, Result, Statement,
    types::{ToSqlOutput, ValueRef},
};

/// Rows of one statement. What is left of a batch goes one by one.
const RUN: usize = 16;

/// A statement for `N` columns of a table.
pub(super) struct Rows<const N: usize> {
    insert: &'static str,
    run: OnceLock<String>,
    one: OnceLock<String>,
}

impl<const N: usize> Rows<N> {
    /// `insert` is the statement up to the columns in brackets. OR ABORT, which is meant when nothing is said, keeps a
    /// journal of the pages that a statement of many rows touches.
    pub const fn new(insert: &'static str) -> Self {
        Self { insert, run: OnceLock::new(), one: OnceLock::new() }
    }

    /// Inserts rows, within a transaction. An error ends it.
    pub fn insert<'a, T>(
        &self,
        db: &Connection,
        rows: &'a [T],
        values: impl Fn(&'a T) -> [ValueRef<'a>; N],
    ) -> Result<()> {
        let (runs, rest) = rows.as_chunks::<RUN>();
        if !runs.is_empty() {
            let mut statement = db.prepare_cached(self.run.get_or_init(|| self.text(RUN)))?;
            runs.iter().try_for_each(|run| execute(&mut statement, run, &values))?;
        }
        if !rest.is_empty() {
            let mut statement = db.prepare_cached(self.one.get_or_init(|| self.text(1)))?;
            rest.chunks(1).try_for_each(|row| execute(&mut statement, row, &values))?;
        }
        Ok(())
    }

    fn text(&self, rows: usize) -> String {
        let row = format!("({})", ["?"; N].join(", "));
        format!("{} VALUES {}", self.insert, vec![row; rows].join(", "))
    }
}

fn execute<'a, T, const N: usize>(
    statement: &mut Statement<'_>,
    rows: &'a [T],
    values: impl Fn(&'a T) -> [ValueRef<'a>; N],
) -> Result<()> {
    for (at, value) in rows.iter().flat_map(values).enumerate() {
        statement.raw_bind_parameter(at + 1, ToSqlOutput::Borrowed(value))?;
    }
    statement.raw_execute().map(drop)
}

#[cfg(test)]
mod tests {
    use rusqlite::types::ValueRef::{Integer, Null};

    use super::*;

    static PAIRS: Rows<2> = Rows::new("INSERT INTO pairs (a, b)");

    #[test]
    fn runs_and_what_is_left_are_all_there_in_their_order() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE pairs (a INTEGER, b INTEGER)").unwrap();
        for count in [0, 1, 15, 16, 17, 40] {
            db.execute_batch("DELETE FROM pairs").unwrap();
            let rows: Vec<i64> = (0..count).collect();
            PAIRS.insert(&db, &rows, |n| [Integer(*n), if n % 2 == 0 { Null } else { Integer(-n) }]).unwrap();
            let mut query = db.prepare("SELECT a, b FROM pairs ORDER BY rowid").unwrap();
            let found = query.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            let expected: Vec<(i64, Option<i64>)> =
                rows.iter().map(|n| (*n, (n % 2 != 0).then_some(-n))).collect();
            assert_eq!(found.collect::<Result<Vec<_>>>().unwrap(), expected);
        }
    }
}
