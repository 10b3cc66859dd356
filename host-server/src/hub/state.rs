//! The hub's decisions, without sockets, clocks or a database.
//!
//! A decision (`&self`) says what would change; once that is durable it is applied (`&mut self`). Only the
//! committer decides, one thing after the other, so nothing can come between the two but acknowledgements,
//! which only make room.

use std::{collections::BTreeMap, mem, sync::Arc};

use sordino_core::messages::{CloseReason, Code, NoticeLevel, RoomEventKind};

use super::{
    directory::Directory,
    mailbox::{Mailboxes, Released, Waiting},
    outlet::{Outgoing, Outlet, Wakes},
    presence::{Connected, ConnectionId, Presence},
    recent::Recent,
};
use crate::{
    config::Limits,
    store::{
        AccountId, Batch, ById, Change, DeviceId, Member, Message, MessageId, Place, Room, RoomId, Snapshot,
        Target,
    },
};

/// Where a message is meant to go, by name in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// A user.
    User(Box<str>),
    /// A room.
    Room(Box<str>),
}

/// A message on its way in.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Who gets the answer.
    pub origin: ConnectionId,
    /// The sending account.
    pub account: AccountId,
    /// The sending device.
    pub device: DeviceId,
    /// The sender's choice.
    pub id: MessageId,
    /// The receivers.
    pub recipient: Recipient,
    /// What the body is.
    pub format: u8,
    /// The message.
    pub body: Box<[u8]>,
}

/// A message that will be accepted when it is durable.
#[derive(Clone, Debug)]
pub struct Draft {
    /// With number and time.
    pub message: Arc<Message>,
    /// Devices whose lists take it; with none it isn't stored.
    pub takers: Vec<DeviceId>,
    /// Devices that miss it because their lists are full.
    pub missers: Vec<DeviceId>,
    /// The sending connection.
    pub origin: ConnectionId,
}

/// What a batch has promised so far. Between its first decision and its last nothing else changes but acknowledgements.
#[derive(Debug, Default)]
pub struct Promised {
    numbers: u64,
    /// No list can get full: so much is free in each.
    roomy: bool,
    /// How many messages come to a device, unless there is room anyway.
    coming: ById<DeviceId, usize>,
    /// Everybody in the rooms that get some.
    rooms: ById<RoomId, Vec<DeviceId>>,
    /// Devices that get some otherwise.
    others: Vec<DeviceId>,
}

/// A connection that has logged in.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Its name in the hub.
    pub id: ConnectionId,
    /// Its user.
    pub account: AccountId,
    /// Its user's name.
    pub username: Arc<str>,
    /// Messages that wait for its device.
    pub pending: u32,
}

/// The next deliveries for a session: messages that are in the store only come before those that are at hand.
#[derive(Clone, Debug, Default)]
pub struct Deliveries {
    /// Numbers in the store.
    pub stored: Vec<u64>,
    /// At hand.
    pub ready: Vec<Arc<Message>>,
}

/// A message that was delivered for the first time, and when in Unix milliseconds.
pub type Confirmation = (Waiting, u64);

/// See the module.
#[derive(Debug)]
pub struct State {
    /// Accounts, devices, rooms.
    pub directory: Directory,
    /// What waits.
    pub mailboxes: Mailboxes,
    /// Who is here.
    pub presence: Presence,
    recent: Recent,
    last_number: u64,
    last_time: u64,
    unsaved: Unsaved,
    missed: ById<DeviceId, u32>,
    /// What an account is told when a device of it receives next.
    remarks: ById<AccountId, Vec<String>>,
    limits: Limits,
}

/// Decided without the committer, to be made durable with its next batch. If it gets lost in a crash, messages
/// are delivered again or stay a little longer.
#[derive(Debug, Default)]
struct Unsaved {
    cursors: BTreeMap<DeviceId, u64>,
    seen: BTreeMap<DeviceId, u64>,
    released: Released,
    announced: bool,
}

impl Promised {
    fn count(&mut self, target: Target, takers: &[DeviceId]) {
        self.numbers += 1;
        if matches!(target, Target::User(_)) {
            self.others.extend(takers);
        }
        if !self.roomy {
            for device in takers {
                *self.coming.entry(*device).or_default() += 1;
            }
        }
    }
}

impl State {
    /// What follows from the disk.
    #[must_use]
    pub fn new(snapshot: Snapshot, limits: Limits) -> Self {
        let mut state = Self {
            directory: Directory::default(),
            // What was accepted stays, whatever the limits are today.
            mailboxes: Mailboxes::new(usize::MAX),
            presence: Presence::default(),
            recent: Recent::default(),
            last_number: snapshot.last_number,
            last_time: 0,
            unsaved: Unsaved::default(),
            missed: ById::default(),
            remarks: ById::default(),
            limits,
        };
        let Snapshot { accounts, boards, devices, rooms, members, messages, last_rows, .. } = snapshot;
        accounts.into_iter().for_each(|a| state.directory.add_account(a));
        boards.into_iter().for_each(|b| state.directory.add_board(b));
        devices.into_iter().for_each(|d| state.directory.add_device(d));
        rooms.into_iter().for_each(|r| state.directory.add_room(r));
        members.into_iter().for_each(|m| state.directory.add_member(m));
        state.directory.set_last_rows(last_rows);
        for (place, delivered) in messages {
            let readers = state.directory.readers(&place);
            if !state.mailboxes.place(Waiting::new(place, delivered > 0, None), &readers) {
                state.unsaved.released.forget(&place, delivered > 0);
            }
            state.last_time = place.time;
        }
        state.mailboxes.limit(state.limits.mailbox as usize);
        state
    }

    /// The last number given: what a device or a member that is new has behind it.
    #[must_use]
    pub const fn last_number(&self) -> u64 {
        self.last_number
    }

    // ---- messages ----

    /// The beginning of a batch of so many messages at most.
    #[must_use]
    pub fn promise(&self, messages: usize) -> Promised {
        Promised { roomy: self.mailboxes.has_room_for(messages), ..Promised::default() }
    }

    /// Whether a message can be accepted, and under what number. `now` is in Unix milliseconds.
    ///
    /// # Errors
    /// The code of REFUSED.
    pub fn accept(&self, submission: &Submission, now: u64, promised: &mut Promised) -> Result<Draft, Code> {
        let sender = self.directory.person(submission.account).ok_or(Code::NotAllowed)?;
        let (target, target_name) = self.resolve(submission)?;
        let place = Place {
            number: self.last_number + promised.numbers + 1,
            id: submission.id,
            time: now.max(self.last_time),
            sender: submission.account,
            device: submission.device,
            target,
        };
        let mut takers = self.readers(&place, &mut promised.rooms);
        let mut missers = Vec::new();
        if !promised.roomy {
            let is_full = |device: &mut DeviceId| {
                !self.mailboxes.has_room(*device, promised.coming.get(device).copied().unwrap_or(0))
            };
            missers.extend(takers.extract_if(.., is_full));
        }
        if !self.reaches_somebody(&place, &takers) {
            return Err(Code::MailboxFull);
        }
        let message =
            Message::new(place, &sender.account.name, target_name, submission.format, &submission.body)
                .ok_or(Code::NotAllowed)?;
        promised.count(target, &takers);
        Ok(Draft { message: Arc::new(message), takers, missers, origin: submission.origin })
    }

    /// The devices that need a new message. Those of a room are looked up once for a batch.
    fn readers(&self, place: &Place, rooms: &mut ById<RoomId, Vec<DeviceId>>) -> Vec<DeviceId> {
        let Target::Room(room) = place.target else { return self.directory.readers(place) };
        let everybody = rooms.entry(room).or_insert_with(|| self.directory.in_room(room));
        let mut readers = Vec::with_capacity(everybody.len());
        readers.extend(everybody.iter().filter(|device| **device != place.device));
        readers
    }

    fn resolve(&self, submission: &Submission) -> Result<(Target, &str), Code> {
        match &submission.recipient {
            Recipient::User(name) => {
                let person = self.directory.person_named(name).ok_or(Code::NotFound)?;
                // Without a device there is nobody who could ever read it.
                if person.devices.is_empty() {
                    return Err(Code::NotFound);
                }
                Ok((Target::User(person.account.id), &person.account.name))
            }
            Recipient::Room(name) => {
                let room = &self.directory.room_named(name).ok_or(Code::NotFound)?.room;
                self.directory.member(room.id, submission.account).ok_or(Code::NotMember)?;
                Ok((Target::Room(room.id), &room.name))
            }
        }
    }

    fn reaches_somebody(&self, place: &Place, takers: &[DeviceId]) -> bool {
        let owners = || takers.iter().filter_map(|d| self.directory.device(*d)).map(|d| d.account);
        match place.target {
            Target::User(account) => owners().any(|owner| owner == account),
            Target::Room(room) => {
                let alone = self.directory.room(room).is_none_or(|r| r.members.len() == 1);
                alone || owners().any(|owner| owner != place.sender)
            }
        }
    }

    /// A message is durable: into the lists, and the answer to its sender. [`Self::call`] is next.
    pub fn publish(&mut self, draft: Draft, wakes: &mut Wakes) {
        let Draft { message, takers, missers, origin } = draft;
        let place = message.place;
        (self.last_number, self.last_time) = (place.number, place.time);
        for device in missers {
            *self.missed.entry(device).or_default() += 1;
        }
        if self.mailboxes.place(Waiting::new(place, false, Some(origin)), &takers) {
            self.recent.push(message);
        }
        if let Some(sender) = self.presence.get(origin) {
            wakes.answer(&sender.outlet, Outgoing::Accepted(place.id, place.number, place.time));
        }
    }

    /// All of a batch is published: each of its receivers hears once that there is more.
    pub fn call(&self, promised: &Promised, wakes: &mut Wakes) {
        let devices = promised.rooms.values().flatten().chain(&promised.others);
        for receiver in devices.filter_map(|device| self.presence.receiver(*device)) {
            wakes.mail(&receiver.outlet);
        }
    }

    /// A message was accepted before: later news of it go to this connection.
    pub fn repeat(&mut self, number: u64, origin: ConnectionId) {
        if let Some(waiting) = self.mailboxes.get_mut(number) {
            waiting.origin = Some(origin);
        }
    }

    /// The next deliveries of a receiving connection, from behind a number.
    #[must_use]
    pub fn deliveries(&self, id: ConnectionId, after: u64, most: usize) -> Deliveries {
        let mut next = Deliveries::default();
        if let Some(connected) = self.presence.get(id).filter(|_| self.presence.is_receiving(id)) {
            let numbers = self.mailboxes.after(connected.device, after, most);
            next.ready.reserve(numbers.len());
            for number in numbers {
                match self.recent.get(number) {
                    Some(message) => next.ready.push(message),
                    None => {
                        debug_assert!(next.ready.is_empty(), "only the oldest leave `recent`");
                        next.stored.push(number);
                    }
                }
            }
        }
        next
    }

    /// A device has acknowledged everything up to a number. True if the committer must hear of it.
    pub fn acknowledge(&mut self, id: ConnectionId, number: u64, now: u64) -> bool {
        let Some(connected) = self.presence.get(id) else { return false };
        let (device, account) = (connected.device, connected.account);
        self.mailboxes.acknowledge(device, account, number, now, &mut self.unsaved.released);
        self.directory.set_cursor(device, number);
        self.unsaved.cursors.insert(device, number);
        !mem::replace(&mut self.unsaved.announced, true)
    }

    /// These deliveries are durable: the senders hear of them.
    pub fn confirm(&self, deliveries: Vec<Confirmation>, wakes: &mut Wakes) {
        for (message, time) in deliveries {
            let place = message.place;
            let origin =
                message.origin.and_then(|id| self.presence.get(id)).filter(|c| c.device == place.device);
            if let Some(sender) = origin.or_else(|| self.connection_of(place.device)) {
                wakes.tell(&sender.outlet, Outgoing::Delivered(place.id, time));
            }
        }
    }

    fn connection_of(&self, device: DeviceId) -> Option<&Connected> {
        let owner = self.directory.person(self.directory.device(device)?.account)?;
        self.presence.of_user(&owner.account.name).map(|(_, c)| c).find(|c| c.device == device)
    }

    // ---- rooms ----

    /// What a JOIN changes; nothing if the account is a member already.
    ///
    /// # Errors
    /// The code of DONE.
    pub fn join(&self, account: AccountId, name: &str, now: u64) -> Result<Vec<Change>, Code> {
        let person = self.directory.person(account).ok_or(Code::NotAllowed)?;
        let room = self.directory.room_named(name);
        if room.is_some_and(|r| person.rooms.contains(&r.room.id)) {
            return Ok(Vec::new());
        }
        if person.rooms.len() >= self.limits.rooms_per_account as usize {
            return Err(Code::TooManyRooms);
        }
        let joins = |room: RoomId| Change::Member(Member { room, account, joined_at: self.last_number });
        match room {
            Some(room) if room.members.len() >= usize::from(self.limits.room_members) => Err(Code::RoomFull),
            Some(room) => Ok(vec![joins(room.room.id)]),
            None if self.directory.rooms() >= self.limits.rooms as usize => Err(Code::TooManyRooms),
            None => {
                let room = Room { id: self.directory.next_room(), name: Arc::from(name) };
                Ok(vec![Change::Room(room.clone(), now), joins(room.id)])
            }
        }
    }

    /// What a LEAVE changes.
    ///
    /// # Errors
    /// The code of DONE.
    pub fn leave(&self, account: AccountId, name: &str) -> Result<Vec<Change>, Code> {
        let room = self.directory.room_named(name).ok_or(Code::NotFound)?;
        self.directory.member(room.room.id, account).ok_or(Code::NotMember)?;
        let mut changes = vec![Change::NoMember(room.room.id, account)];
        if room.members.len() == 1 {
            changes.push(Change::NoRoom(room.room.id));
        }
        Ok(changes)
    }

    /// Tells a room's members that are receiving, but not the connection that caused it.
    fn announce(&self, event: RoomEventKind, room: RoomId, account: AccountId, cause: Option<ConnectionId>) {
        let (Some(room), Some(person)) = (self.directory.room(room), self.directory.person(account)) else {
            return;
        };
        for username in room.members.keys() {
            for (id, connected) in self.presence.of_user(username) {
                if Some(id) != cause && self.presence.is_receiving(id) {
                    let event = Outgoing::RoomEvent(
                        event,
                        Arc::clone(&room.room.name),
                        Arc::clone(&person.account.name),
                    );
                    connected.outlet.tell(event);
                }
            }
        }
    }

    // ---- changes ----

    /// A change is durable. `cause` is the connection that asked for it.
    pub fn apply(&mut self, change: &Change, cause: Option<ConnectionId>) {
        match change {
            Change::NoMember(room, account) => {
                let devices = self.directory.person(*account).map_or_else(Vec::new, |p| p.devices.clone());
                self.mailboxes.leave(&devices, *account, *room, &mut self.unsaved.released);
                self.directory.apply(change);
                self.announce(RoomEventKind::Left, *room, *account, cause);
            }
            Change::Member(member) => {
                self.directory.apply(change);
                self.announce(RoomEventKind::Joined, member.room, member.account, cause);
            }
            Change::NoRoom(room) => {
                self.mailboxes.remove_room(*room, &mut self.unsaved.released);
                self.directory.apply(change);
            }
            Change::NoDevice(device) => {
                self.close_device(*device);
                self.mailboxes.remove_device(*device, &mut self.unsaved.released);
                self.unsaved.cursors.remove(device);
                self.unsaved.seen.remove(device);
                self.missed.remove(device);
                self.directory.apply(change);
            }
            Change::Disabled(account) => {
                self.directory.apply(change);
                self.close_account(*account);
            }
            _ => self.directory.apply(change),
        }
    }

    fn close_account(&self, account: AccountId) {
        let Some(person) = self.directory.person(account) else { return };
        for (_, connected) in self.presence.of_user(&person.account.name) {
            connected.outlet.close(CloseReason::Revoked);
        }
    }

    fn close_device(&self, device: DeviceId) {
        let Some(owner) = self.directory.device(device).and_then(|d| self.directory.person(d.account)) else {
            return;
        };
        for (_, connected) in self.presence.of_user(&owner.account.name).filter(|(_, c)| c.device == device) {
            connected.outlet.close(CloseReason::Revoked);
        }
    }

    /// Drops what was accepted before a time (Unix milliseconds).
    pub fn expire(&mut self, before: u64) {
        self.mailboxes.expire(before, &mut self.unsaved.released);
    }

    // ---- connections ----

    /// A device has logged in. `None`: it isn't bound any more, or its account is disabled.
    pub fn attach(&mut self, device: DeviceId, outlet: Arc<Outlet>, now: u64) -> Option<Attached> {
        let owner =
            self.directory.person(self.directory.device(device)?.account).filter(|p| !p.account.disabled)?;
        let username = Arc::clone(&owner.account.name);
        let account = owner.account.id;
        self.unsaved.seen.insert(device, now);
        let id = self.presence.attach(Connected { account, username: Arc::clone(&username), device, outlet });
        let pending = u32::try_from(self.mailboxes.pending(device)).unwrap_or(u32::MAX);
        Some(Attached { id, account, username, pending })
    }

    /// RECEIVE with a window above 0.
    pub fn receive(&mut self, id: ConnectionId) {
        self.presence.receive(id);
        let Some(connected) = self.presence.get(id) else { return };
        connected.outlet.mail();
        if let Some(missed) = self.missed.remove(&connected.device) {
            let text =
                format!("{missed} messages didn't fit into this device's mailbox and are lost for it.");
            connected.outlet.tell(Outgoing::Notice(NoticeLevel::Warning, text));
        }
        for text in self.remarks.remove(&connected.account).unwrap_or_default() {
            connected.outlet.tell(Outgoing::Notice(NoticeLevel::Warning, text));
        }
    }

    /// Tells an account's receiving connections something, or the first one that receives again.
    pub fn remark(&mut self, account: AccountId, text: String) {
        let Some(owner) = self.directory.person(account) else { return };
        let here: Vec<_> = (self.presence.of_user(&owner.account.name))
            .filter(|(id, _)| self.presence.is_receiving(*id))
            .map(|(_, connected)| Arc::clone(&connected.outlet))
            .collect();
        for outlet in &here {
            outlet.tell(Outgoing::Notice(NoticeLevel::Warning, text.clone()));
        }
        if here.is_empty() {
            self.remarks.entry(account).or_default().push(text);
        }
    }

    /// Tells one connection something, if it is still there.
    pub fn tell(&self, id: ConnectionId, event: Outgoing) {
        if let Some(connected) = self.presence.get(id) {
            connected.outlet.tell(event);
        }
    }

    // ---- the committer's share ----

    /// Moves what acknowledgements have changed into a batch. What they have delivered is for [`Self::confirm`] once
    /// the batch is durable.
    pub fn drain_unsaved(&mut self, batch: &mut Batch) -> Vec<Confirmation> {
        let Unsaved { cursors, seen, released, .. } = mem::take(&mut self.unsaved);
        batch.cursors.extend(cursors);
        batch.seen.extend(seen);
        batch.answers.extend(released.delivered.iter().map(|(message, time)| message.place.answer(*time)));
        batch.answers.extend(released.undelivered);
        batch.forget.extend(released.forgotten);
        released.delivered
    }

    /// The batch could not be committed: what was drained into it waits for the next one.
    pub fn restore_unsaved(&mut self, mut batch: Batch, mut deliveries: Vec<Confirmation>) {
        for (device, number) in batch.cursors.drain(..) {
            self.unsaved.cursors.entry(device).and_modify(|n| *n = number.max(*n)).or_insert(number);
        }
        for (device, time) in batch.seen.drain(..) {
            self.unsaved.seen.entry(device).or_insert(time);
        }
        let released = &mut self.unsaved.released;
        released.delivered.append(&mut deliveries);
        released.forgotten.append(&mut batch.forget);
        released.undelivered.extend(batch.answers.drain(..).filter(|sent| sent.delivered == 0));
    }
}
