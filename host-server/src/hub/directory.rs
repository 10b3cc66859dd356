//! Accounts, devices, rooms and who is in them, in memory: what `store` holds, ready to decide from.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use crate::store::{
    Account, AccountId, Board, ById, Change, Device, DeviceId, Member, Place, Room, RoomId, Target,
};

/// An account and what hangs on it.
#[derive(Debug)]
pub struct Person {
    /// Its row.
    pub account: Account,
    /// Its devices in order of binding.
    pub devices: Vec<DeviceId>,
    /// The rooms it is in.
    pub rooms: BTreeSet<RoomId>,
}

/// A room and its members by username.
#[derive(Debug)]
pub struct Assembly {
    /// Its row.
    pub room: Room,
    /// Members by username.
    pub members: BTreeMap<Arc<str>, Member>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Directory {
    people: ById<AccountId, Person>,
    by_name: BTreeMap<Arc<str>, AccountId>,
    devices: ById<DeviceId, Device>,
    by_fingerprint: HashMap<[u8; 32], DeviceId>,
    boards: ById<AccountId, Board>,
    by_lookup: HashMap<[u8; 32], AccountId>,
    rooms: ById<RoomId, Assembly>,
    by_room_name: BTreeMap<Arc<str>, RoomId>,
    last_rows: (i64, i64, i64),
}

impl Directory {
    /// Takes a change that is durable. Changes come in the order in which they were decided.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Account(account, ..) => self.add_account(account.clone()),
            Change::Device(device, _) => self.add_device(device.clone()),
            Change::NoDevice(id) => self.remove_device(*id),
            Change::Label(id, label) => {
                if let Some(device) = self.devices.get_mut(id) {
                    device.label.clone_from(label);
                }
            }
            Change::Board(board) => self.add_board(board.clone()),
            Change::Claimed(account, claim) => {
                if let Some(board) = self.boards.get_mut(account) {
                    board.claim = Some(*claim);
                }
            }
            Change::Disabled(account) => self.set_disabled(*account, true),
            Change::Enabled(account) => self.set_disabled(*account, false),
            Change::Room(room, _) => self.add_room(room.clone()),
            Change::NoRoom(id) => self.remove_room(*id),
            Change::Member(member) => self.add_member(*member),
            Change::NoMember(room, account) => self.remove_member(*room, *account),
            Change::Password(..) => {}
        }
    }

    fn set_disabled(&mut self, account: AccountId, disabled: bool) {
        if let Some(person) = self.people.get_mut(&account) {
            person.account.disabled = disabled;
        }
    }

    /// Row ids are never given twice, also when the last row is gone.
    pub const fn set_last_rows(&mut self, rows: (i64, i64, i64)) {
        self.last_rows = rows;
    }

    /// The id of the next account.
    #[must_use]
    pub const fn next_account(&self) -> AccountId {
        AccountId(self.last_rows.0 + 1)
    }

    /// The id of the next device.
    #[must_use]
    pub const fn next_device(&self) -> DeviceId {
        DeviceId(self.last_rows.1 + 1)
    }

    /// The id of the next room.
    #[must_use]
    pub const fn next_room(&self) -> RoomId {
        RoomId(self.last_rows.2 + 1)
    }

    /// An account by its id.
    #[must_use]
    pub fn person(&self, id: AccountId) -> Option<&Person> {
        self.people.get(&id)
    }

    /// An account by its name in canonical form.
    #[must_use]
    pub fn person_named(&self, name: &str) -> Option<&Person> {
        self.by_name.get(name).and_then(|id| self.people.get(id))
    }

    /// A device by its id.
    #[must_use]
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        self.devices.get(&id)
    }

    /// A device by its key.
    #[must_use]
    pub fn device_with(&self, fingerprint: &[u8; 32]) -> Option<&Device> {
        self.by_fingerprint.get(fingerprint).and_then(|id| self.devices.get(id))
    }

    /// An account's board.
    #[must_use]
    pub fn board(&self, account: AccountId) -> Option<&Board> {
        self.boards.get(&account)
    }

    /// The board that a code lets in.
    #[must_use]
    pub fn board_with(&self, lookup: &[u8; 32]) -> Option<&Board> {
        self.by_lookup.get(lookup).and_then(|account| self.boards.get(account))
    }

    /// A member's boards behind a name, in ascending order.
    pub fn boards_after<'a>(
        &'a self,
        owner: AccountId,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a Person, &'a Board)> {
        let people = self.by_name.range::<str, _>(behind(name)).filter_map(|(_, id)| self.people.get(id));
        people.filter_map(move |person| {
            Some((person, self.boards.get(&person.account.id).filter(|b| b.owner == owner)?))
        })
    }

    /// Everything up to `number` is acknowledged by a device.
    pub fn set_cursor(&mut self, id: DeviceId, number: u64) {
        if let Some(device) = self.devices.get_mut(&id) {
            device.cursor = device.cursor.max(number);
        }
    }

    /// A room by its id.
    #[must_use]
    pub fn room(&self, id: RoomId) -> Option<&Assembly> {
        self.rooms.get(&id)
    }

    /// A room by its name in canonical form.
    #[must_use]
    pub fn room_named(&self, name: &str) -> Option<&Assembly> {
        self.by_room_name.get(name).and_then(|id| self.rooms.get(id))
    }

    /// Rooms behind a name, in ascending order.
    pub fn rooms_after<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Assembly> {
        self.by_room_name.range::<str, _>(behind(name)).filter_map(|(_, id)| self.rooms.get(id))
    }

    /// A membership.
    #[must_use]
    pub fn member(&self, room: RoomId, account: AccountId) -> Option<&Member> {
        self.rooms.get(&room)?.members.get(&self.people.get(&account)?.account.name)
    }

    /// How many accounts there are.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.people.len()
    }

    /// How many rooms there are.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// The devices that need a message (PROTOCOL.md section 9, *Receiving*), each once.
    #[must_use]
    pub fn readers(&self, place: &Place) -> Vec<DeviceId> {
        let mut readers = Vec::new();
        let to_self = place.target == Target::User(place.sender);
        match place.target {
            Target::User(account) => self.add_devices(account, &mut readers),
            Target::Room(room) => {
                // With a room goes what was said in it.
                let Some(room) = self.rooms.get(&room) else { return readers };
                // Most members have one device.
                readers.reserve(room.members.len());
                for member in room.members.values().filter(|m| m.joined_at < place.number) {
                    self.add_devices(member.account, &mut readers);
                }
            }
        }
        let sender_reads = match place.target {
            Target::User(_) => to_self,
            Target::Room(room) => self.member(room, place.sender).is_some_and(|m| m.joined_at < place.number),
        };
        if !sender_reads {
            self.add_devices(place.sender, &mut readers);
        }
        readers.retain(|id| {
            (to_self || *id != place.device) && self.devices.get(id).is_some_and(|d| d.cursor < place.number)
        });
        readers
    }

    /// The devices of a room's members.
    #[must_use]
    pub fn in_room(&self, room: RoomId) -> Vec<DeviceId> {
        let mut devices = Vec::new();
        for member in self.rooms.get(&room).into_iter().flat_map(|room| room.members.values()) {
            self.add_devices(member.account, &mut devices);
        }
        devices
    }

    fn add_devices(&self, account: AccountId, to: &mut Vec<DeviceId>) {
        if let Some(person) = self.people.get(&account) {
            to.extend_from_slice(&person.devices);
        }
    }

    pub(super) fn add_account(&mut self, account: Account) {
        self.last_rows.0 = self.last_rows.0.max(account.id.0);
        self.by_name.insert(Arc::clone(&account.name), account.id);
        self.people.insert(account.id, Person { account, devices: Vec::new(), rooms: BTreeSet::new() });
    }

    pub(super) fn add_board(&mut self, board: Board) {
        if let Some(old) = self.boards.insert(board.account, board.clone()) {
            self.by_lookup.remove(&old.lookup);
        }
        self.by_lookup.insert(board.lookup, board.account);
    }

    pub(super) fn add_device(&mut self, device: Device) {
        self.last_rows.1 = self.last_rows.1.max(device.id.0);
        if let Some(person) = self.people.get_mut(&device.account) {
            person.devices.push(device.id);
        }
        self.by_fingerprint.insert(device.fingerprint, device.id);
        self.devices.insert(device.id, device);
    }

    fn remove_device(&mut self, id: DeviceId) {
        let Some(device) = self.devices.remove(&id) else { return };
        self.by_fingerprint.remove(&device.fingerprint);
        if let Some(person) = self.people.get_mut(&device.account) {
            person.devices.retain(|d| *d != id);
        }
    }

    pub(super) fn add_room(&mut self, room: Room) {
        self.last_rows.2 = self.last_rows.2.max(room.id.0);
        self.by_room_name.insert(Arc::clone(&room.name), room.id);
        self.rooms.insert(room.id, Assembly { room, members: BTreeMap::new() });
    }

    fn remove_room(&mut self, id: RoomId) {
        if let Some(room) = self.rooms.remove(&id) {
            self.by_room_name.remove(&room.room.name);
        }
    }

    pub(super) fn add_member(&mut self, member: Member) {
        let (Some(person), Some(room)) =
            (self.people.get_mut(&member.account), self.rooms.get_mut(&member.room))
        else {
            return;
        };
        person.rooms.insert(member.room);
        room.members.insert(Arc::clone(&person.account.name), member);
    }

    fn remove_member(&mut self, room: RoomId, account: AccountId) {
        let Some(person) = self.people.get_mut(&account) else { return };
        person.rooms.remove(&room);
        if let Some(room) = self.rooms.get_mut(&room) {
            room.members.remove(&person.account.name);
        }
    }
}

/// The part of an ordered map behind a name; the empty name is before all.
pub(super) fn behind(name: &str) -> (Bound<&str>, Bound<&str>) {
    (Bound::Excluded(name), Bound::Unbounded)
}
