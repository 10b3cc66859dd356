//! Everything durable, in one SQLite file: the only module that knows SQL.
//!
//! [`Writer`] commits batches, one transaction and so one sync to disk for each; [`Reader`] answers from a
//! pool beside it. Who needs a message isn't kept in tables but follows from cursors and memberships
//! (see [`crate::hub`]).

mod blocks;
mod entry;
mod filter;
mod ids;
mod message;
mod model;
mod reader;
mod rows;
mod runs;
mod writer;

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use sqlx::{
    Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};

pub use message::Message;
pub use model::{
    Account, AccountId, Board, ById, Change, Claim, Credentials, Device, DeviceId, Member, MessageId, Place,
    Room, RoomId, Sent, Snapshot, Target,
};
pub use reader::Reader;
pub use writer::{Batch, NotCommitted, Writer};

/// The database's file name in the data directory; SQLite adds `-wal` and `-shm`.
pub const FILE: &str = "sordino.db";

/// How long a lock of somebody else is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const READERS: u32 = 2;
const READER_CACHE_KIB: i64 = 512;

/// Opens the database in `dir`, makes it or brings it to the present form.
///
/// # Errors
/// The file can't be opened or made, isn't a database, or comes from a newer version of the server.
pub async fn open(dir: &Path) -> Result<(Writer, Reader)> {
    let path = dir.join(FILE);
    // SQLite gives its other files the mode of this one.
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("can't open {}", path.display()))?;
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .journal_mode(SqliteJournalMode::Wal)
        .foreign_keys(true)
        .busy_timeout(PATIENCE);
    let mut connection = SqliteConnection::connect_with(&options)
        .await
        .with_context(|| format!("can't open the database {}", path.display()))?;
    sqlx::migrate!("./migrations")
        .run(&mut connection)
        .await
        .context("can't bring the database to the present form")?;
    connection.close().await.context("can't close the database")?;
    let pool = SqlitePoolOptions::new()
        .min_connections(0)
        .max_connections(READERS)
        .connect_lazy_with(options.read_only(true).pragma("cache_size", (-READER_CACHE_KIB).to_string()));
    let writer = Writer::open(&path, PATIENCE).context("can't open the database to write")?;
    Ok((writer, Reader::new(pool)))
}
