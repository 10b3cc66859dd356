//! What was said, in an SQLite file of the home: one for each account. Several processes may use it at once.

mod entry;

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

pub use entry::{Entry, Id, State};

use crate::failure::{Failure, Result};
use crate::text::target::Target;

/// How long a process waits for another one's transaction.
const BUSY: Duration = Duration::from_secs(10);

/// The messages of one account.
#[derive(Clone, Debug)]
pub struct History {
    pool: SqlitePool,
}

/// A message that this device sends.
#[derive(Clone, Debug)]
pub struct Outgoing<'a> {
    /// Own username.
    pub sender: &'a str,
    /// Chosen by this device.
    pub id: Id,
    /// To whom.
    pub target: &'a Target,
    /// This machine's clock in Unix milliseconds, until the server's is known.
    pub time: u64,
    /// UTF-8 text.
    pub text: &'a str,
}

impl History {
    /// Opens the file, made with mode 0600 when missing, and brings its schema up to date.
    ///
    /// # Errors
    /// Exit code 1 when the file can't be opened or isn't a history.
    pub async fn open(path: &Path) -> Result<Self> {
        let fail = |e: &dyn std::fmt::Display| {
            Failure::failed(format!("the history {} can't be opened: {e}", path.display()))
        };
        // SQLite would take the mode from the umask; its journal files copy the mode of the database.
        crate::home::open_private(path).map_err(|e| fail(&e))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY);
        let pool =
            SqlitePoolOptions::new().max_connections(1).connect_with(options).await.map_err(|e| fail(&e))?;
        sqlx::migrate!().run(&pool).await.map_err(|e| fail(&e))?;
        Ok(Self { pool })
    }

    /// Which of these messages were not shown yet, by their position. A message that stands twice is new once.
    ///
    /// # Errors
    /// Exit code 1 when the database fails.
    pub async fn unseen(&self, entries: &[Entry]) -> Result<Vec<bool>> {
        let mut unseen: Vec<bool> = Vec::with_capacity(entries.len());
        let mut connection = self.pool.acquire().await?;
        for (at, entry) in entries.iter().enumerate() {
            let earlier = entries.iter().take(at).any(|e| e.id == entry.id && e.sender == entry.sender);
            let shown: Option<bool> =
                sqlx::query_scalar("SELECT shown FROM messages WHERE sender = ? AND id = ?")
                    .bind(&entry.sender)
                    .bind(&entry.id[..])
                    .fetch_optional(&mut *connection)
                    .await?;
            unseen.push(!earlier && shown != Some(true));
        }
        Ok(unseen)
    }

    /// Records delivered messages as shown, in one transaction. Those that are known stay as they are.
    ///
    /// # Errors
    /// Exit code 1 when the database fails; then nothing is recorded.
    pub async fn record_shown(&self, entries: &[Entry]) -> Result<()> {
        let mut transaction = self.pool.begin().await?;
        for entry in entries {
            sqlx::query(
                "INSERT INTO messages (sender, id, conversation, target, place, numbered, time, format, body, state, shown)
                 VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?, ?, 1)
                 ON CONFLICT (sender, id) DO UPDATE SET shown = 1",
            )
            .bind(&entry.sender)
            .bind(&entry.id[..])
            .bind(entry.conversation.to_string())
            .bind(entry.target.to_string())
            .bind(entry.number.unwrap_or(0) as i64)
            .bind(entry.time as i64)
            .bind(entry.format)
            .bind(&entry.body)
            .bind(entry.state.map(State::name))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Records a message of this device as queued, at the end of its conversation. One to the own user may have
    /// been received by another process meanwhile, and stays as it is.
    ///
    /// # Errors
    /// Exit code 1 when the database fails.
    pub async fn record_queued(&self, message: &Outgoing<'_>) -> Result<()> {
        sqlx::query(
            "INSERT INTO messages (sender, id, conversation, target, place, numbered, time, format, body, state, shown)
             VALUES (?, ?, ?, ?, (SELECT COALESCE(MAX(place), 0) FROM messages), 0, ?, 0, ?, 'queued', 0)
             ON CONFLICT (sender, id) DO NOTHING",
        )
        .bind(message.sender)
        .bind(&message.id[..])
        .bind(message.target.to_string())
        .bind(message.target.to_string())
        .bind(message.time as i64)
        .bind(message.text.as_bytes())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The server has the message: it gets its place in the server's order.
    ///
    /// # Errors
    /// Exit code 1 when the database fails.
    pub async fn record_accepted(&self, sender: &str, id: &Id, number: u64, time: u64) -> Result<()> {
        sqlx::query(
            "UPDATE messages SET place = ?, numbered = 1, time = ?,
                    state = CASE state WHEN 'delivered' THEN state ELSE 'accepted' END
             WHERE sender = ? AND id = ?",
        )
        .bind(number as i64)
        .bind(time as i64)
        .bind(sender)
        .bind(&id[..])
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// A new state of an own message.
    ///
    /// # Errors
    /// Exit code 1 when the database fails.
    pub async fn record_state(&self, sender: &str, id: &Id, state: State) -> Result<()> {
        sqlx::query("UPDATE messages SET state = ? WHERE sender = ? AND id = ?")
            .bind(state.name())
            .bind(sender)
            .bind(&id[..])
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Marks what an earlier process left queued as failed: nobody sends it any more. Only one process queues at a
    /// time, the one that holds the home's receive lock.
    ///
    /// # Errors
    /// Exit code 1 when the database fails.
    pub async fn give_up_queued(&self) -> Result<()> {
        sqlx::query("UPDATE messages SET state = 'failed' WHERE state = 'queued'")
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The last `limit` messages of a conversation, oldest first.
    ///
    /// # Errors
    /// Exit code 1 when the database fails or holds what no version wrote.
    pub async fn conversation(&self, with: &Target, limit: u32) -> Result<Vec<Entry>> {
        let rows = sqlx::query_as::<_, entry::Row>(
            "SELECT sender, id, conversation, target, place, numbered, time, format, body, state FROM messages
             WHERE conversation = ? ORDER BY place DESC, numbered, time DESC, rowid DESC LIMIT ?",
        )
        .bind(with.to_string())
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().rev().map(Entry::try_from).collect()
    }

    /// Waits for running statements and closes the file.
    pub async fn close(self) {
        self.pool.close().await;
    }
}
