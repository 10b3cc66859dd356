//! The rows, as the rest of the server sees them.

use std::sync::Arc;

/// An account's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub struct AccountId(pub i64);

/// A device's row; its number in AUTH_RESULT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub struct DeviceId(pub i64);

/// A room's row. A room that is made again under the same name is another room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub struct RoomId(pub i64);

/// By numbers that the server gave: nobody else chooses what falls together.
pub type ById<K, V> = foldhash::HashMap<K, V>;

/// 16 random bytes that the sender chose.
pub type MessageId = [u8; 16];

/// An account without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Row.
    pub id: AccountId,
    /// In canonical form.
    pub name: Arc<str>,
    /// Nobody logs in.
    pub disabled: bool,
}

/// A key that is bound to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Row.
    pub id: DeviceId,
    /// Its owner.
    pub account: AccountId,
    /// PROTOCOL.md section 4.
    pub fingerprint: [u8; 32],
    /// Its owner's name for it.
    pub label: String,
    /// Everything up to this number is acknowledged, or older than the binding.
    pub cursor: u64,
}

/// An open room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Row.
    pub id: RoomId,
    /// Without sigil.
    pub name: Arc<str>,
}

/// Who is in a room, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where.
    pub room: RoomId,
    /// Who.
    pub account: AccountId,
    /// The last number given when it joined.
    pub joined_at: u64,
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// One user's devices.
    User(AccountId),
    /// The members of a room.
    Room(RoomId),
}

/// Who needs a message follows from this, cursors and memberships.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its place in the server's order.
    pub number: u64,
    /// The sender's choice.
    pub id: MessageId,
    /// Unix milliseconds at acceptance; never decreases with `number`.
    pub time: u64,
    /// The sending account.
    pub sender: AccountId,
    /// The sending device.
    pub device: DeviceId,
    /// The receivers.
    pub target: Target,
}

impl Place {
    /// What its id is answered with. `delivered`: Unix milliseconds of the first acknowledgement, 0 before it.
    #[must_use]
    pub const fn answer(&self, delivered: u64) -> Sent {
        let Self { number, id, time, device, .. } = *self;
        Sent { device, id, number, time, delivered }
    }
}

/// The answer that an id got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The sending device.
    pub device: DeviceId,
    /// The sender's choice.
    pub id: MessageId,
    /// The message's place.
    pub number: u64,
    /// Unix milliseconds at acceptance.
    pub time: u64,
    /// Unix milliseconds of the first acknowledgement, 0 before it.
    pub delivered: u64,
}

/// What an account is made with.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Contact data only.
    pub email: String,
    /// Argon2id in PHC form; with none, nobody logs in with a password.
    pub password: Option<String>,
}

/// An account that is a board's, and the code that lets its board in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// Its account.
    pub account: AccountId,
    /// Who enrolled it.
    pub owner: AccountId,
    /// SHA-256 of the code's lookup id.
    pub lookup: [u8; 32],
    /// What the board is given in WELCOME.
    pub owner_proof: [u8; 32],
    /// Unix milliseconds after which the code is not good any more.
    pub expires: u64,
    /// The key that claimed the code.
    pub claim: Option<Claim>,
}

/// A key has claimed a board's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The device key's fingerprint.
    pub device: [u8; 32],
    /// HMAC under the code's secret over it, for the owner to check.
    pub proof: [u8; 32],
    /// Unix milliseconds.
    pub time: u64,
}

/// A change of accounts, devices or rooms. Times are Unix milliseconds.
#[derive(Clone, Debug)]
pub enum Change {
    /// A new account, and when.
    Account(Account, Credentials, u64),
    /// Another password hash.
    Password(AccountId, String),
    /// A key is bound, and when.
    Device(Device, u64),
    /// A device's owner logged in again and named it.
    Label(DeviceId, String),
    /// A key is no longer bound.
    NoDevice(DeviceId),
    /// An account is a board's; a code that was not claimed is replaced.
    Board(Board),
    /// A board has claimed its code.
    Claimed(AccountId, Claim),
    /// Nobody logs in to this account any more.
    Disabled(AccountId),
    /// The operator has let its devices in again.
    Enabled(AccountId),
    /// A new room, and when.
    Room(Room, u64),
    /// A room's last member left.
    NoRoom(RoomId),
    /// A member joined.
    Member(Member),
    /// A member left.
    NoMember(RoomId, AccountId),
}

/// Everything that the server decides from, as it stands on disk.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// All accounts.
    pub accounts: Vec<Account>,
    /// All boards.
    pub boards: Vec<Board>,
    /// All devices.
    pub devices: Vec<Device>,
    /// All rooms.
    pub rooms: Vec<Room>,
    /// All memberships.
    pub members: Vec<Member>,
    /// All messages in ascending order, without their bodies; with the time of their delivery, 0 before it.
    pub messages: Vec<(Place, u64)>,
    /// The last number given.
    pub last_number: u64,
    /// The last row ids given: accounts, devices, rooms.
    pub last_rows: (i64, i64, i64),
}
