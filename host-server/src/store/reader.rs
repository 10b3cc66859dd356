//! Reads beside the writer.

use std::sync::Arc;

use smol::stream::StreamExt as _;
use sordino_core::config::OPERATOR;
use sqlx::{Row as _, SqlitePool, sqlite::SqliteRow};

use super::{
    Account, AccountId, Board, Claim, Device, Member, Message, Place, Room, RoomId, Snapshot, Target,
};

const MESSAGE: &str =
    "SELECT m.*, s.name AS sender_name, coalesce(a.name, r.name) AS target_name FROM messages m
    JOIN accounts s ON s.id = m.sender
    LEFT JOIN accounts a ON a.id = m.account
    LEFT JOIN rooms r ON r.id = m.room
    WHERE m.number IN (SELECT value FROM json_each(?)) ORDER BY m.number";

const PLACES: &str = "SELECT m.number, m.id, m.time, m.sender, m.device, m.account, m.room, coalesce(s.delivered, 0) AS delivered
    FROM messages m LEFT JOIN sent s ON s.number = m.number ORDER BY m.number";

/// A pool of connections that only read.
#[derive(Clone, Debug)]
pub struct Reader {
    pool: SqlitePool,
}

impl Reader {
    pub(super) const fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    /// The messages of these numbers that still exist, in ascending order.
    ///
    /// # Errors
    /// The database's.
    pub async fn messages(&self, numbers: &[u64]) -> sqlx::Result<Vec<Arc<Message>>> {
        let numbers = serde_json::to_string(numbers).expect("numbers are JSON");
        let rows = sqlx::query(MESSAGE).bind(numbers).fetch_all(&self.pool).await?;
        rows.iter().map(|row| message(row).map(Arc::new)).collect()
    }

    /// An account's password hash in PHC form; none if there is no such account.
    ///
    /// # Errors
    /// The database's.
    pub async fn password(&self, account: AccountId) -> sqlx::Result<Option<String>> {
        let query = sqlx::query_scalar::<_, Option<String>>("SELECT password FROM accounts WHERE id = ?");
        Ok(query.bind(account).fetch_optional(&self.pool).await?.flatten())
    }

    /// The number of stored messages.
    ///
    /// # Errors
    /// The database's.
    pub async fn count(&self) -> sqlx::Result<u64> {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM messages")
            .fetch_one(&self.pool)
            .await
            .map(i64::cast_unsigned)
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
                "SELECT max(last_number,
                coalesce((SELECT number FROM accepted ORDER BY number DESC LIMIT 1), 0)) FROM place",
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
        let mut places = sqlx::query(PLACES).fetch(db);
        while let Some(row) = places.next().await {
            let row = row?;
            snapshot.messages.push((place(&row)?, unsigned(&row, "delivered")?));
        }
        Ok(snapshot)
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

async fn last_row(db: &SqlitePool, table: &str) -> sqlx::Result<i64> {
    Ok(sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = ?")
        .bind(table)
        .fetch_optional(db)
        .await?
        .unwrap_or(0))
}

fn message(row: &SqliteRow) -> sqlx::Result<Message> {
    let place = place(row)?;
    let (sender, target) = (row.try_get("sender_name")?, row.try_get("target_name")?);
    Message::new(place, sender, target, row.try_get("format")?, row.try_get("body")?).ok_or_else(|| {
        sqlx::Error::Decode(format!("message {} is not one of the protocol's", place.number).into())
    })
}

fn place(row: &SqliteRow) -> sqlx::Result<Place> {
    let account: Option<AccountId> = row.try_get("account")?;
    let target = match account {
        Some(account) => Target::User(account),
        None => Target::Room(row.try_get::<RoomId, _>("room")?),
    };
    Ok(Place {
        number: unsigned(row, "number")?,
        id: bytes(row, "id")?,
        time: unsigned(row, "time")?,
        sender: row.try_get("sender")?,
        device: row.try_get("device")?,
        target,
    })
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
