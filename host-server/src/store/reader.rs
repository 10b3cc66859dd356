//! Reads beside the writer.

use std::{collections::HashMap, sync::Arc};

use smol::stream::StreamExt as _;
use sordino_core::{config::OPERATOR, wire::Malformed};
use sqlx::{Row as _, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    Account, AccountId, Board, Claim, Device, Member, Message, Place, Room, RoomId, Snapshot, Target,
    entry::{DAMAGED, Entry, entries},
};

/// Of accounts and rooms.
type Names = HashMap<Target, String>;

/// Blocks that may have messages of these numbers.
const BLOCKS: &str = "SELECT entries FROM messages WHERE first IN
    (SELECT (SELECT max(first) FROM messages WHERE first <= value) FROM json_each(?)) ORDER BY first";

/// Messages whose deliveries are looked up together.
const PLACES: usize = 1024;

/// A pool of connections that only read.
#[derive(Clone, Debug)]
pub struct Reader {
    pool: SqlitePool,
}

impl Reader {
    pub(super) const fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    /// The messages of these numbers, which ascend, that still exist.
    ///
    /// # Errors
    /// The database's.
    pub async fn messages(&self, numbers: &[u64]) -> sqlx::Result<Vec<Arc<Message>>> {
        // So that no more rows are in memory than there are connections.
        let mut connection = self.pool.acquire().await?;
        let query = sqlx::query_scalar(BLOCKS).bind(json(numbers));
        let rows: Vec<Vec<u8>> = query.fetch_all(&mut *connection).await?;
        let mut found = Vec::with_capacity(numbers.len());
        for row in &rows {
            for entry in entries(row) {
                let entry = entry.map_err(malformed)?;
                if numbers.binary_search(&entry.place.number).is_ok() {
                    found.push(entry);
                }
            }
        }
        let names = names(&mut connection, &found).await?;
        found.iter().filter_map(|entry| message(entry, &names).transpose()).collect()
    }

    /// An account's password hash in PHC form; none if there is no such account.
    ///
    /// # Errors
    /// The database's.
    pub async fn password(&self, account: AccountId) -> sqlx::Result<Option<String>> {
        let query = sqlx::query_scalar::<_, Option<String>>("SELECT password FROM accounts WHERE id = ?");
        Ok(query.bind(account).fetch_optional(&self.pool).await?.flatten())
    }

    /// The number of stored messages, with those that nobody needs any more and whose rows have them yet.
    ///
    /// # Errors
    /// The database's.
    pub async fn count(&self) -> sqlx::Result<u64> {
        let mut count = 0;
        let mut rows = sqlx::query_scalar::<_, Vec<u8>>("SELECT entries FROM messages").fetch(&self.pool);
        while let Some(row) = rows.next().await.transpose()? {
            count += entries(&row).count() as u64;
        }
        Ok(count)
    }

    /// Everything that the server decides from.
    ///
    /// # Errors
    /// The database's.
    pub async fn snapshot(&self) -> sqlx::Result<Snapshot> {
        let db = &self.pool;
        let (accounts, devices, rooms): (i64, i64, i64) =
            (last_row(db, "accounts").await?, last_row(db, "devices").await?, last_row(db, "rooms").await?);
        let mut snapshot = Snapshot {
            last_number: sqlx::query_scalar::<_, i64>(
                "SELECT max(last_number, coalesce((SELECT max(number) FROM sent), 0)) FROM place",
            )
            .fetch_one(db)
            .await?
            .cast_unsigned(),
            last_rows: (accounts, devices, rooms),
            ..Snapshot::default()
        };
        for row in sqlx::query("SELECT id, name, disabled FROM accounts").fetch_all(db).await? {
            let name = Arc::from(row.try_get::<&str, _>("name")?);
            snapshot.accounts.push(Account {
                id: row.try_get("id")?,
                name,
                disabled: row.try_get("disabled")?,
            });
        }
        for row in sqlx::query("SELECT * FROM boards").fetch_all(db).await? {
            snapshot.boards.push(board(&row)?);
        }
        for row in
            sqlx::query("SELECT id, account, fingerprint, label, cursor FROM devices").fetch_all(db).await?
        {
            snapshot.devices.push(device(&row)?);
        }
        for row in sqlx::query("SELECT id, name FROM rooms").fetch_all(db).await? {
            snapshot
                .rooms
                .push(Room { id: row.try_get("id")?, name: Arc::from(row.try_get::<&str, _>("name")?) });
        }
        for row in sqlx::query("SELECT room, account, joined_at FROM members").fetch_all(db).await? {
            let (room, account) = (row.try_get("room")?, row.try_get("account")?);
            snapshot.members.push(Member { room, account, joined_at: unsigned(&row, "joined_at")? });
        }
        snapshot.messages = self.waiting().await?;
        let last = snapshot.messages.last().map_or(0, |(place, _)| place.number);
        snapshot.last_number = snapshot.last_number.max(last);
        Ok(snapshot)
    }

    /// Where all messages go, with the time of their delivery.
    async fn waiting(&self) -> sqlx::Result<Vec<(Place, u64)>> {
        let mut waiting = Vec::new();
        let mut rows =
            sqlx::query_scalar::<_, Vec<u8>>("SELECT entries FROM messages ORDER BY first").fetch(&self.pool);
        while let Some(row) = rows.next().await.transpose()? {
            for entry in entries(&row) {
                waiting.push((entry.map_err(malformed)?.place, 0));
            }
        }
        for places in waiting.chunks_mut(PLACES) {
            let numbers: Vec<_> = places.iter().map(|(place, _)| place.number).collect();
            let query = "SELECT number, delivered FROM sent WHERE number IN (SELECT value FROM json_each(?))";
            let sent: Vec<(i64, i64)> =
                sqlx::query_as(query).bind(json(&numbers)).fetch_all(&self.pool).await?;
            for (number, delivered) in sent {
                if let Ok(at) = numbers.binary_search(&number.cast_unsigned()) {
                    places[at].1 = delivered.cast_unsigned();
                }
            }
        }
        Ok(waiting)
    }

    /// Devices that were not here since a time (Unix milliseconds). The operator's and those of boards are not
    /// among them: nobody could bind these again.
    ///
    /// # Errors
    /// The database's.
    pub async fn unseen_since(&self, time: u64) -> sqlx::Result<Vec<Device>> {
        let query = "SELECT d.id, account, fingerprint, label, cursor FROM devices d JOIN accounts a ON a.id = account
            WHERE seen < ? AND name <> ? AND account NOT IN (SELECT account FROM boards)";
        let rows = sqlx::query(query).bind(time.cast_signed()).bind(OPERATOR).fetch_all(&self.pool).await?;
        rows.iter().map(device).collect()
    }

    /// Closes the pool.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Of all senders and targets.
async fn names(db: &mut SqliteConnection, entries: &[Entry<'_>]) -> sqlx::Result<Names> {
    let mut names = Names::default();
    let (mut accounts, mut rooms) = (Vec::new(), Vec::new());
    for Entry { place, .. } in entries {
        accounts.push(place.sender.0);
        match place.target {
            Target::User(account) => accounts.push(account.0),
            Target::Room(room) => rooms.push(room.0),
        }
    }
    for (ids, query) in [
        (&mut accounts, "SELECT 0, id, name FROM accounts WHERE id IN (SELECT value FROM json_each(?))"),
        (&mut rooms, "SELECT 1, id, name FROM rooms WHERE id IN (SELECT value FROM json_each(?))"),
    ] {
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            continue;
        }
        let named: Vec<(bool, i64, String)> =
            sqlx::query_as(query).bind(json(ids)).fetch_all(&mut *db).await?;
        names.extend(named.into_iter().map(|(is_room, id, name)| match is_room {
            true => (Target::Room(RoomId(id)), name),
            false => (Target::User(AccountId(id)), name),
        }));
    }
    Ok(names)
}

async fn last_row(db: &SqlitePool, table: &str) -> sqlx::Result<i64> {
    Ok(sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = ?")
        .bind(table)
        .fetch_optional(db)
        .await?
        .unwrap_or(0))
}

/// `None` if its room doesn't exist any more: then nobody needs it.
fn message(entry: &Entry<'_>, names: &Names) -> sqlx::Result<Option<Arc<Message>>> {
    let place = entry.place;
    let (Some(sender), Some(target)) = (names.get(&Target::User(place.sender)), names.get(&place.target))
    else {
        return Ok(None);
    };
    let message = Message::new(place, sender, target, entry.format, entry.body);
    message.map(|message| Some(Arc::new(message))).ok_or_else(|| {
        sqlx::Error::Decode(format!("message {} is not one of the protocol's", place.number).into())
    })
}

fn json(numbers: &[impl serde::Serialize]) -> String {
    serde_json::to_string(numbers).expect("numbers are JSON")
}

fn malformed(_: Malformed) -> sqlx::Error {
    sqlx::Error::Decode(DAMAGED.into())
}

fn board(row: &SqliteRow) -> sqlx::Result<Board> {
    let claimed = row.try_get::<Option<&[u8]>, _>("device")?.is_some();
    let claim = || -> sqlx::Result<Claim> {
        Ok(Claim {
            device: bytes(row, "device")?,
            proof: bytes(row, "board_proof")?,
            time: unsigned(row, "claimed")?,
        })
    };
    Ok(Board {
        account: row.try_get("account")?,
        owner: row.try_get("owner")?,
        lookup: bytes(row, "lookup")?,
        owner_proof: bytes(row, "owner_proof")?,
        expires: unsigned(row, "expires")?,
        claim: claimed.then(claim).transpose()?,
    })
}

fn device(row: &SqliteRow) -> sqlx::Result<Device> {
    Ok(Device {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        fingerprint: bytes(row, "fingerprint")?,
        label: row.try_get("label")?,
        cursor: unsigned(row, "cursor")?,
    })
}

fn unsigned(row: &SqliteRow, column: &str) -> sqlx::Result<u64> {
    row.try_get::<i64, _>(column).map(i64::cast_unsigned)
}

fn bytes<const N: usize>(row: &SqliteRow, column: &str) -> sqlx::Result<[u8; N]> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes
        .try_into()
        .map_err(|_| sqlx::Error::Decode(format!("{column} has {} bytes instead of {N}", bytes.len()).into()))
}
