//! What a board keeps in flash: keys, enrolment, pin, counters, outbox.

use crate::code::Code;
use crate::journal::{AppendError, Journal, MAX_BODY, PREVIEW, Place};
use crate::storage::Storage;
use crate::{MAX_ADDRESS, MAX_TEXT, OUTBOX};
use heapless::String;
use sordino_core::board::SECRET_LEN;
use sordino_core::bytes::Secret;
use sordino_core::config::MAX_USERNAME;
use sordino_core::identity::{Fingerprint, Pin, ServerKey};
use sordino_core::messages::{MessageId, Send};
use sordino_core::name::Target;
use sordino_core::suite::{PublicKey, SecretKey, Suite};
use sordino_core::wire::{Field, Overflow, Reader, Writer};

/// Counters of ephemeral keys that one write reserves.
const RESERVE: u64 = 32;
/// Bytes of a block that the outbox leaves for everything else, in both suites and at any write size.
const ESSENTIALS: usize = 2_048;
/// Smallest block, in bytes.
const SMALLEST: usize = 4_096;
/// number (4) ‖ id (16) ‖ target (at most 34) ‖ format (1) ‖ body with its length (2)
pub(crate) const OUTGOING: usize = HEAD + 1 + 2 + MAX_TEXT;
/// Its front: number, id and target.
const HEAD: usize = 4 + 16 + 34;

const _: () = assert!(OUTGOING <= MAX_BODY);

/// Kinds of records. Of the first ones the newest counts.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    /// suite (1) ‖ exponent ‖ public key
    Identity = 1,
    /// server fingerprint (32) ‖ address
    Server = 2,
    /// The code's secret; empty once it was used.
    Secret = 3,
    /// The board's username.
    Account = 4,
    /// The owner's username.
    Owner = 5,
    /// pin ‖ the server's static key
    Pin = 6,
    /// The first ephemeral counter that is not reserved (8).
    Counter = 7,
    /// Number of the last message that was handled (8).
    Seen = 8,
    /// Messages dropped so far (4) ‖ number of the last of them (4)
    Dropped = 9,
    Outgoing = 16,
    /// Number of a message that is settled (4).
    Settled = 17,
}

const SINGLES: usize = 9;

/// Why the state could not be read or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateError<E> {
    Flash(E),
    /// No room, even after compaction.
    Full,
    TooSmall,
}

/// A message in the outbox.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub number: u32,
    /// Sent on this connection and not answered yet.
    pub in_flight: bool,
    place: Place,
}

#[derive(Clone, Default)]
struct Index {
    singles: [Option<Place>; SINGLES],
    outbox: [Option<Entry>; OUTBOX],
}

impl Index {
    fn single(&self, kind: Kind) -> Option<Place> {
        self.singles.get(usize::from(kind as u8).wrapping_sub(1)).copied().flatten().filter(|p| p.len > 0)
    }

    fn note(&mut self, kind: u8, place: Place) {
        if let Some(slot) = self.singles.get_mut(usize::from(kind).wrapping_sub(1)) {
            *slot = Some(place);
        }
    }

    fn add(&mut self, number: u32, place: Place) -> bool {
        let free = self.outbox.iter_mut().find(|slot| slot.is_none());
        free.map(|slot| *slot = Some(Entry { number, in_flight: false, place })).is_some()
    }

    fn remove(&mut self, number: u32) {
        for slot in &mut self.outbox {
            if slot.is_some_and(|entry| entry.number == number) {
                *slot = None;
            }
        }
    }

    fn live(&mut self) -> impl Iterator<Item = &mut Place> {
        let singles = self.singles.iter_mut().flatten().filter(|p| p.len > 0);
        singles.chain(self.outbox.iter_mut().flatten().map(|entry| &mut entry.place))
    }
}

/// Journal and what was learnt from it.
pub(crate) struct State<F> {
    journal: Journal<F>,
    index: Index,
    /// Next ephemeral counter; below `reserved`, or equal when none is left.
    counter: u64,
    reserved: u64,
    pub seen: u64,
    pub dropped: u32,
    next: u32,
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |b| u32::from_be_bytes(*b))
}

fn long(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |b| u64::from_be_bytes(*b))
}

const _: () = assert!(PREVIEW >= 8);

impl<F: Storage> State<F> {
    pub fn mount(flash: F) -> Result<Self, StateError<F::Error>> {
        if flash.block_size() < SMALLEST {
            return Err(StateError::TooSmall);
        }
        let mut index = Index::default();
        let (mut reserved, mut seen, mut dropped, mut next) = (0, 0, 0, 0_u32);
        let journal = Journal::mount(flash, |kind, place, body| {
            index.note(kind, place);
            match kind {
                k if k == Kind::Counter as u8 => reserved = long(body),
                k if k == Kind::Seen as u8 => seen = long(body),
                k if k == Kind::Dropped as u8 => {
                    dropped = number(body);
                    index.remove(number(body.get(4..).unwrap_or_default()));
                }
                k if k == Kind::Settled as u8 => index.remove(number(body)),
                k if k == Kind::Outgoing as u8 => {
                    let _beyond_capacity = index.add(number(body), place);
                    next = next.max(number(body).wrapping_add(1));
                }
                _ => {}
            }
        })
        .map_err(StateError::Flash)?;
        Ok(Self { journal, index, counter: reserved, reserved, seen, dropped, next })
    }

    /// Erases everything.
    pub fn reset(&mut self) -> Result<(), StateError<F::Error>> {
        self.journal.format().map_err(StateError::Flash)?;
        self.index = Index::default();
        (self.counter, self.reserved, self.seen, self.dropped, self.next) = (0, 0, 0, 0, 0);
        Ok(())
    }

    fn put(&mut self, kind: Kind, body: &[u8]) -> Result<Place, StateError<F::Error>> {
        let place = match self.journal.append(kind as u8, body) {
            Ok(place) => place,
            Err(AppendError::Flash(error)) => return Err(StateError::Flash(error)),
            Err(AppendError::Full) => {
                self.compact()?;
                self.journal.append(kind as u8, body).map_err(|error| match error {
                    AppendError::Full => StateError::Full,
                    AppendError::Flash(error) => StateError::Flash(error),
                })?
            }
        };
        self.index.note(kind as u8, place);
        Ok(place)
    }

    fn compact(&mut self) -> Result<(), StateError<F::Error>> {
        let mut moved = self.index.clone();
        self.journal.compact(moved.live()).map_err(StateError::Flash)?;
        self.index = moved;
        Ok(())
    }

    fn read<'o>(&mut self, kind: Kind, out: &'o mut [u8]) -> Option<&'o [u8]> {
        let place = self.index.single(kind)?;
        self.journal.read(place, out).ok()
    }

    fn text<const N: usize>(&mut self, kind: Kind, skip: usize) -> Option<String<N>> {
        let mut buf = [0; 128];
        let text = self.read(kind, &mut buf)?.get(skip..)?;
        String::try_from(core::str::from_utf8(text).ok()?).ok()
    }

    /// The device key and its public key.
    pub fn identity<S: Suite>(&mut self) -> Option<(SecretKey<S>, PublicKey<S>)> {
        let mut buf = Secret::<[u8; MAX_BODY]>::zeroed();
        let body = self.read(Kind::Identity, buf.expose_mut())?;
        let (suite, keys) = body.split_first()?;
        let (exponent, public) = keys.split_at_checked(SecretKey::<S>::LEN)?;
        if *suite != S::ID {
            return None;
        }
        Some((SecretKey::<S>::from_bytes(exponent).ok()?, PublicKey::<S>::from_bytes(public).ok()?))
    }

    /// Puts keys and code into flash, so that both outlive a power cut before the code is used.
    ///
    /// The secret comes last: without it the enrolment hasn't begun.
    pub fn begin_enrolment<S: Suite>(
        &mut self,
        device: &SecretKey<S>,
        code: &Code,
    ) -> Result<(), StateError<F::Error>> {
        self.put(Kind::Secret, &[])?;
        self.put(Kind::Pin, &[])?;
        let public = device.public();
        let mut buf = Secret::<[u8; MAX_BODY]>::zeroed();
        let mut out = Writer::new(buf.expose_mut());
        let parts = [&[S::ID], device.expose(), public.as_bytes()];
        parts.iter().try_for_each(|part| out.put(part)).map_err(|Overflow| StateError::Full)?;
        let len = out.written();
        self.put(Kind::Identity, buf.expose().get(..len).unwrap_or_default())?;
        let mut server = [0; 32 + MAX_ADDRESS];
        let mut out = Writer::new(&mut server);
        let written = out.put(&code.fingerprint).and_then(|()| out.put(code.address.as_bytes()));
        let len = out.written();
        written.map_err(|Overflow| StateError::Full)?;
        self.put(Kind::Server, server.get(..len).unwrap_or_default())?;
        self.put(Kind::Secret, code.secret.expose()).map(|_| ())
    }

    /// The code's secret, until it was used.
    pub fn secret(&mut self) -> Option<Secret<[u8; SECRET_LEN]>> {
        let mut secret = Secret::zeroed();
        let whole = self.read(Kind::Secret, secret.expose_mut())?.len() == SECRET_LEN;
        whole.then_some(secret)
    }

    /// The owner's proof was right: the code has done its work.
    pub fn finish_enrolment(&mut self, username: &str, owner: &str) -> Result<(), StateError<F::Error>> {
        self.put(Kind::Owner, owner.as_bytes())?;
        self.put(Kind::Account, username.as_bytes())?;
        self.put(Kind::Secret, &[]).map(|_| ())
    }

    pub fn server(&mut self) -> Option<(String<MAX_ADDRESS>, Fingerprint)> {
        let mut buf = [0; 32];
        let fingerprint = self.read(Kind::Server, &mut buf)?.try_into().ok()?;
        Some((self.text(Kind::Server, 32)?, fingerprint))
    }

    pub fn account(&mut self) -> Option<String<MAX_USERNAME>> {
        self.text(Kind::Account, 0)
    }

    pub fn owner(&mut self) -> Option<String<MAX_USERNAME>> {
        self.text(Kind::Owner, 0)
    }

    /// The pin, and the server's static key if it is known.
    pub fn pin<S: Suite>(&mut self) -> Option<(Pin, Option<ServerKey<S>>)> {
        let mut buf = [0; MAX_BODY];
        let mut input = Reader::new(self.read(Kind::Pin, &mut buf)?);
        let pin = Pin::decode(&mut input).ok()?;
        let key =
            PublicKey::<S>::from_bytes(input.rest()).and_then(|key| ServerKey::from_pin(&pin, key)).ok();
        Some((pin, key))
    }

    pub fn set_pin<S: Suite>(&mut self, pin: &Pin, key: &ServerKey<S>) -> Result<(), StateError<F::Error>> {
        let mut buf = [0; MAX_BODY];
        let mut out = Writer::new(&mut buf);
        let written = pin.encode(&mut out).and_then(|()| out.put(key.public().as_bytes()));
        let len = out.written();
        written.map_err(|Overflow| StateError::Full)?;
        self.put(Kind::Pin, buf.get(..len).unwrap_or_default()).map(|_| ())
    }

    /// A counter for an ephemeral key that was never used before and never will be again.
    pub fn next_counter(&mut self) -> Result<u64, StateError<F::Error>> {
        if self.counter >= self.reserved {
            let reserved = self.counter.saturating_add(RESERVE);
            self.put(Kind::Counter, &reserved.to_be_bytes())?;
            self.reserved = reserved;
        }
        let counter = self.counter;
        self.counter = counter.saturating_add(1);
        Ok(counter)
    }

    /// Message `number` was handled and may be acknowledged.
    pub fn set_seen(&mut self, number: u64) -> Result<(), StateError<F::Error>> {
        self.put(Kind::Seen, &number.to_be_bytes())?;
        self.seen = number;
        Ok(())
    }

    /// Stores a message; the oldest ones that are not on their way make room. Its number.
    pub fn push(&mut self, message: &Send<'_>) -> Result<u32, StateError<F::Error>> {
        let number = self.next;
        let mut buf = [0; OUTGOING];
        let mut out = Writer::new(&mut buf);
        number
            .encode(&mut out)
            .and_then(|()| message.encode(&mut out))
            .map_err(|Overflow| StateError::Full)?;
        let len = out.written();
        while !self.takes(len) {
            let oldest = self.oldest(|entry| !entry.in_flight).ok_or(StateError::Full)?;
            self.drop_message(oldest.number)?;
        }
        let place = self.put(Kind::Outgoing, buf.get(..len).unwrap_or_default())?;
        let _room_was_made = self.index.add(number, place);
        self.next = number.wrapping_add(1);
        Ok(number)
    }

    fn takes(&self, body: usize) -> bool {
        let used =
            self.index.outbox.iter().flatten().map(|entry| Journal::<F>::cost(usize::from(entry.place.len)));
        let total = used.sum::<usize>().saturating_add(Journal::<F>::cost(body));
        self.waiting() < OUTBOX && total <= self.journal.capacity().saturating_sub(ESSENTIALS)
    }

    fn drop_message(&mut self, message: u32) -> Result<(), StateError<F::Error>> {
        let [a, b, c, d] = self.dropped.saturating_add(1).to_be_bytes();
        let [e, f, g, h] = message.to_be_bytes();
        self.put(Kind::Dropped, &[a, b, c, d, e, f, g, h])?;
        self.dropped = self.dropped.saturating_add(1);
        self.index.remove(message);
        Ok(())
    }

    /// The oldest message that `pick` likes.
    pub fn oldest(&self, pick: impl Fn(&Entry) -> bool) -> Option<Entry> {
        self.index.outbox.iter().flatten().filter(|e| pick(e)).min_by_key(|e| e.number).copied()
    }

    /// How many messages wait.
    pub fn waiting(&self) -> usize {
        self.index.outbox.iter().flatten().count()
    }

    /// Reads a message of the outbox.
    pub fn outgoing<'o>(&mut self, number: u32, out: &'o mut [u8; OUTGOING]) -> Option<Send<'o>> {
        let entry = *self.index.outbox.iter().flatten().find(|e| e.number == number)?;
        let mut input = Reader::new(self.journal.read(entry.place, out).ok()?);
        let _number = u32::decode(&mut input).ok()?;
        Send::decode(&mut input).ok()
    }

    /// The number of the message on its way that has this id.
    pub fn in_flight(&mut self, id: &MessageId) -> Option<u32> {
        let candidates = self.index.outbox.iter().flatten().filter(|e| e.in_flight);
        for entry in candidates {
            let mut head = [0; 4 + 16];
            let found = self.journal.read(entry.place, &mut head).ok()?;
            if found.get(4..) == Some(id.as_slice()) {
                return Some(entry.number);
            }
        }
        None
    }

    /// Whether a message goes to a room.
    pub fn is_for_room(&mut self, number: u32) -> bool {
        let mut head = [0; HEAD];
        matches!(self.target(number, &mut head), Some(Target::Room(_)))
    }

    fn target<'o>(&mut self, number: u32, head: &'o mut [u8; HEAD]) -> Option<Target<'o>> {
        let entry = *self.index.outbox.iter().flatten().find(|e| e.number == number)?;
        let mut input = Reader::new(self.journal.read(entry.place, head).ok()?);
        let _number = u32::decode(&mut input).ok()?;
        let _id = MessageId::decode(&mut input).ok()?;
        Target::decode(&mut input).ok()
    }

    /// How many messages are on their way.
    pub fn in_flight_count(&self) -> usize {
        self.index.outbox.iter().flatten().filter(|e| e.in_flight).count()
    }

    /// Marks a message as on its way, or not.
    pub fn mark(&mut self, number: u32, in_flight: bool) {
        for entry in self.index.outbox.iter_mut().flatten().filter(|e| e.number == number) {
            entry.in_flight = in_flight;
        }
    }

    /// A new connection: nothing is on its way.
    pub fn unmark_all(&mut self) {
        self.index.outbox.iter_mut().flatten().for_each(|entry| entry.in_flight = false);
    }

    /// The server has answered: the message leaves the outbox.
    pub fn settle(&mut self, number: u32) -> Result<(), StateError<F::Error>> {
        self.put(Kind::Settled, &number.to_be_bytes())?;
        self.index.remove(number);
        Ok(())
    }
}
