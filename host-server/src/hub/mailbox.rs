//! What waits for each device: lists of numbers, and for each number how many lists it stands in.
//!
//! A list is the whole output queue of a device, whether connected, slow or away: it grows by 8 bytes for
//! a message, up to the configured capacity. Everything here follows from the database and is built
//! again at start by the same rules.

use std::collections::{
    VecDeque,
    hash_map::{Entry, OccupiedEntry},
};

use super::presence::ConnectionId;
use crate::store::{AccountId, ById, DeviceId, Place, RoomId, Sent, Target};

/// Messages for which a list has room at first: when many come, it doesn't grow in small steps each time.
const FIRST: usize = 16;

/// A message that some device needs.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// Number, sender, target.
    pub place: Place,
    /// Whether a device of a receiver has acknowledged it.
    pub delivered: bool,
    /// The connection that sent it, as long as the server hasn't been restarted.
    pub origin: Option<ConnectionId>,
    lists: u32,
}

/// What an acknowledgement, a departure or age has done.
#[derive(Debug, Default)]
pub struct Released {
    /// Numbers of messages that nobody needs any more.
    pub forgotten: Vec<u64>,
    /// Those of them that were never delivered.
    pub undelivered: Vec<Sent>,
    /// Messages that were delivered for the first time, and when in Unix milliseconds.
    pub delivered: Vec<(Waiting, u64)>,
}

impl Released {
    /// Nobody needs a message any more.
    pub fn forget(&mut self, place: &Place, delivered: bool) {
        self.forgotten.push(place.number);
        if !delivered {
            self.undelivered.push(place.answer(0));
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Mailboxes {
    lists: ById<DeviceId, VecDeque<u64>>,
    waiting: ById<u64, Waiting>,
    capacity: usize,
}

impl Mailboxes {
    /// `capacity` in messages for each device.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { lists: ById::default(), waiting: ById::default(), capacity }
    }

    /// From now on, lists take messages up to another capacity; those that have more keep it.
    pub fn limit(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Whether a device's list takes another message.
    #[must_use]
    pub fn has_room(&self, device: DeviceId, coming: usize) -> bool {
        self.pending(device) + coming < self.capacity
    }

    /// Whether every list takes so many messages: none has more than there are.
    #[must_use]
    pub fn has_room_for(&self, coming: usize) -> bool {
        self.waiting.len() + coming <= self.capacity
    }

    /// How many messages wait for a device.
    #[must_use]
    pub fn pending(&self, device: DeviceId) -> usize {
        self.lists.get(&device).map_or(0, VecDeque::len)
    }

    /// How many messages somebody needs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody needs anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Puts a message into the lists of `readers` that have room; its number is above all numbers before.
    /// The result is true if at least one list took it.
    pub fn place(&mut self, mut message: Waiting, readers: &[DeviceId]) -> bool {
        for device in readers {
            let list = self.lists.entry(*device).or_insert_with(|| VecDeque::with_capacity(FIRST));
            if list.len() < self.capacity {
                list.push_back(message.place.number);
                message.lists += 1;
            }
        }
        if message.lists > 0 {
            self.waiting.insert(message.place.number, message);
        }
        message.lists > 0
    }

    /// The first numbers above `after` that wait for a device, at most `most`.
    pub fn after(&self, device: DeviceId, after: u64, most: usize) -> impl ExactSizeIterator<Item = u64> {
        let behind = self.lists.get(&device).map(|list| {
            // Who keeps up is near the end.
            let near = list.iter().rev().take(most).position(|n| *n <= after);
            let start = near.map_or_else(|| list.partition_point(|n| *n <= after), |at| list.len() - at);
            list.range(start..)
        });
        behind.unwrap_or_default().take(most).copied()
    }

    /// A device of `account` has acknowledged everything up to `number`, at `now` (Unix milliseconds).
    pub fn acknowledge(
        &mut self,
        device: DeviceId,
        account: AccountId,
        number: u64,
        now: u64,
        released: &mut Released,
    ) {
        let Some(list) = self.lists.get_mut(&device) else { return };
        for number in list.drain(..list.partition_point(|n| *n <= number)) {
            let Entry::Occupied(mut message) = self.waiting.entry(number) else { continue };
            if !message.get().delivered && reaches(&message.get().place, account) {
                message.get_mut().delivered = true;
                released.delivered.push((*message.get(), now));
            }
            release(message, released);
        }
        if list.is_empty() {
            // An idle device costs nothing.
            self.lists.remove(&device);
        }
    }

    /// `devices` of `account` no longer read a room; copies of what the account sent there stay.
    pub fn leave(&mut self, devices: &[DeviceId], account: AccountId, room: RoomId, released: &mut Released) {
        let leaves = |place: &Place| place.target == Target::Room(room) && place.sender != account;
        for device in devices {
            self.drop_where(*device, leaves, released);
        }
    }

    /// A device is no longer bound.
    pub fn remove_device(&mut self, device: DeviceId, released: &mut Released) {
        for number in self.lists.remove(&device).unwrap_or_default() {
            self.release(number, released);
        }
    }

    /// A room doesn't exist any more, nor what was said in it.
    pub fn remove_room(&mut self, room: RoomId, released: &mut Released) {
        self.forget_where(|place| place.target == Target::Room(room), released);
    }

    /// Drops messages that were accepted before `time` (Unix milliseconds).
    pub fn expire(&mut self, time: u64, released: &mut Released) {
        self.forget_where(|place| place.time < time, released);
    }

    /// A message that waits. After a repeated SEND its delivery is told to the connection that asked last.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Waiting> {
        self.waiting.get_mut(&number)
    }

    fn forget_where(&mut self, gone: impl Fn(&Place) -> bool, released: &mut Released) {
        if self.waiting.values().any(|m| gone(&m.place)) {
            for device in self.lists.keys().copied().collect::<Vec<_>>() {
                self.drop_where(device, &gone, released);
            }
        }
    }

    fn drop_where(&mut self, device: DeviceId, gone: impl Fn(&Place) -> bool, released: &mut Released) {
        let Some(list) = self.lists.get_mut(&device) else { return };
        let waiting = &self.waiting;
        let is_gone = |number: &u64| waiting.get(number).is_none_or(|m| gone(&m.place));
        let (dropped, kept): (VecDeque<u64>, VecDeque<u64>) = list.drain(..).partition(is_gone);
        if kept.is_empty() {
            self.lists.remove(&device);
        } else {
            *list = kept;
        }
        for number in dropped {
            self.release(number, released);
        }
    }

    fn release(&mut self, number: u64, released: &mut Released) {
        if let Entry::Occupied(message) = self.waiting.entry(number) {
            release(message, released);
        }
    }
}

/// One list less needs a message.
fn release(mut message: OccupiedEntry<'_, u64, Waiting>, released: &mut Released) {
    message.get_mut().lists -= 1;
    if message.get().lists == 0 {
        let Waiting { place, delivered, .. } = message.remove();
        released.forget(&place, delivered);
    }
}

impl Waiting {
    /// A message that no list has yet.
    #[must_use]
    pub const fn new(place: Place, delivered: bool, origin: Option<ConnectionId>) -> Self {
        Self { place, delivered, origin, lists: 0 }
    }
}

/// Whether an acknowledgement by this account is a delivery: the target, or a member other than the sender.
fn reaches(place: &Place, account: AccountId) -> bool {
    match place.target {
        Target::User(target) => target == account,
        Target::Room(_) => place.sender != account,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: AccountId = AccountId(1);
    const BOB: AccountId = AccountId(2);
    const ALICE_PHONE: DeviceId = DeviceId(11);
    const BOB_PHONE: DeviceId = DeviceId(21);
    const BOB_DESK: DeviceId = DeviceId(22);
    const ROOM: RoomId = RoomId(5);

    fn to(number: u64, target: Target) -> Waiting {
        let place = Place { number, id: [0; 16], time: number, sender: ALICE, device: ALICE_PHONE, target };
        Waiting::new(place, false, None)
    }

    /// What `change` has done to the mailboxes.
    fn released(boxes: &mut Mailboxes, change: impl FnOnce(&mut Mailboxes, &mut Released)) -> Released {
        let mut released = Released::default();
        change(boxes, &mut released);
        released
    }

    fn acknowledge(boxes: &mut Mailboxes, device: DeviceId, account: AccountId, number: u64) -> Released {
        released(boxes, |boxes, released| boxes.acknowledge(device, account, number, 9, released))
    }

    fn after(boxes: &Mailboxes, device: DeviceId, number: u64, most: usize) -> Vec<u64> {
        boxes.after(device, number, most).collect()
    }

    fn boxes(capacity: usize, numbers: &[u64], target: Target) -> Mailboxes {
        let mut boxes = Mailboxes::new(capacity);
        for number in numbers {
            boxes.place(to(*number, target), &[BOB_PHONE, BOB_DESK]);
        }
        boxes
    }

    #[test]
    fn a_message_stays_until_the_last_device_has_acknowledged() {
        let mut boxes = boxes(9, &[1, 2, 4], Target::User(BOB));
        assert_eq!(after(&boxes, BOB_PHONE, 1, 9), [2, 4]);
        let first = acknowledge(&mut boxes, BOB_PHONE, BOB, 2);
        assert!(first.forgotten.is_empty());
        assert_eq!(
            first.delivered.iter().map(|(m, time)| (m.place.number, *time)).collect::<Vec<_>>(),
            [(1, 9), (2, 9)]
        );
        let second = acknowledge(&mut boxes, BOB_DESK, BOB, 4);
        assert_eq!(second.forgotten, [1, 2]);
        assert!(second.undelivered.is_empty());
        assert_eq!(second.delivered.len(), 1, "1 and 2 were delivered before");
        assert_eq!(boxes.len(), 1);
    }

    #[test]
    fn acknowledging_twice_releases_once() {
        let mut boxes = boxes(9, &[1], Target::User(BOB));
        acknowledge(&mut boxes, BOB_PHONE, BOB, 1);
        acknowledge(&mut boxes, BOB_PHONE, BOB, 1);
        assert_eq!(boxes.len(), 1);
        assert_eq!(after(&boxes, BOB_DESK, 0, 9), [1]);
    }

    #[test]
    fn a_copy_for_the_sender_is_no_delivery() {
        let mut boxes = Mailboxes::new(9);
        boxes.place(to(1, Target::User(BOB)), &[BOB_PHONE, DeviceId(12)]);
        assert!(acknowledge(&mut boxes, DeviceId(12), ALICE, 1).delivered.is_empty());
        assert_eq!(acknowledge(&mut boxes, BOB_PHONE, BOB, 1).delivered.len(), 1);
    }

    #[test]
    fn a_full_list_is_skipped_and_the_others_are_not() {
        let mut boxes = boxes(2, &[1, 2], Target::Room(ROOM));
        acknowledge(&mut boxes, BOB_DESK, BOB, 1);
        assert!(!boxes.has_room(BOB_PHONE, 0));
        assert!(boxes.has_room(BOB_DESK, 0) && !boxes.has_room(BOB_DESK, 1));
        assert!(boxes.place(to(3, Target::Room(ROOM)), &[BOB_PHONE, BOB_DESK]));
        assert_eq!(after(&boxes, BOB_PHONE, 0, 9), [1, 2]);
        assert_eq!(after(&boxes, BOB_DESK, 0, 9), [2, 3]);
        assert!(!boxes.place(to(4, Target::Room(ROOM)), &[BOB_PHONE]));
        assert_eq!(boxes.len(), 3);
    }

    #[test]
    fn the_next_ones_are_found_near_and_far() {
        let numbers = [1, 2, 4, 5, 7, 8, 9];
        let boxes = boxes(9, &numbers, Target::User(BOB));
        for number in 0..=10 {
            for most in 0..=8 {
                let expected: Vec<u64> = numbers.into_iter().filter(|n| *n > number).take(most).collect();
                assert_eq!(after(&boxes, BOB_PHONE, number, most), expected, "{most} behind {number}");
            }
        }
    }

    #[test]
    fn there_is_room_for_as_many_as_every_list_takes() {
        let mut boxes = boxes(4, &[1, 2], Target::User(BOB));
        boxes.place(to(3, Target::User(ALICE)), &[ALICE_PHONE]);
        assert!(boxes.has_room_for(1) && !boxes.has_room_for(2), "a list may have all three");
        acknowledge(&mut boxes, BOB_PHONE, BOB, 2);
        assert!(!boxes.has_room_for(2), "another list has them yet");
        acknowledge(&mut boxes, BOB_DESK, BOB, 2);
        assert!(boxes.has_room_for(3) && !boxes.has_room_for(4));
    }

    #[test]
    fn leaving_takes_what_others_said_only() {
        let mut boxes = boxes(9, &[1], Target::Room(ROOM));
        boxes.place(to(2, Target::User(BOB)), &[BOB_PHONE]);
        let mut own = to(3, Target::Room(ROOM));
        own.place.sender = BOB;
        boxes.place(own, &[BOB_PHONE]);
        let devices = [BOB_PHONE, BOB_DESK];
        let left = released(&mut boxes, |boxes, released| boxes.leave(&devices, BOB, ROOM, released));
        assert_eq!(after(&boxes, BOB_PHONE, 0, 9), [2, 3]);
        let room = released(&mut boxes, |boxes, released| boxes.remove_room(ROOM, released));
        let device = released(&mut boxes, |boxes, released| boxes.remove_device(BOB_PHONE, released));
        for (released, number) in [(left, 1), (room, 3), (device, 2)] {
            assert_eq!(released.forgotten, [number]);
            assert_eq!(released.undelivered.iter().map(|sent| sent.number).collect::<Vec<_>>(), [number]);
        }
        assert!(boxes.is_empty());
    }

    #[test]
    fn age_ends_a_message() {
        let mut boxes = boxes(9, &[1, 2, 3], Target::User(BOB));
        let mut expired = released(&mut boxes, |boxes, released| boxes.expire(3, released)).forgotten;
        expired.sort_unstable();
        assert_eq!(expired, [1, 2]);
        assert_eq!(after(&boxes, BOB_PHONE, 0, 9), [3]);
    }
}
