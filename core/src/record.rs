//! Records: the only place that touches record ciphertext (`docs/PROTOCOL.md`, section 6).
//!
//! ```text
//! length (2) | ciphertext (bucket) | tag          plaintext: type (1) | length (2) | body | zeros
//! ```

use crate::aead::{KeyBlock, Opener, Sealer};
use crate::bytes::Secret;
use crate::config::{INNER_HEAD, MAX_RECORD, RECORD_PREFIX, RECORDS_PER_EPOCH, SEQUENCE_LIMIT};
use crate::error::{Error, PeerFault};
use crate::kdf;
use crate::suite::{Suite, tag_len};
use core::ops::Range;

const RECORD_KEYS: &[u8] = b"sordino/1 record keys";
const NEXT_EPOCH: &[u8] = b"sordino/1 next epoch";
/// What padding and PKCS#7 take at least: the final 01.
const PAD: usize = 1;
/// direction (1) | epoch (4) | sequence (8) | length (2)
const AAD_LEN: usize = 15;

const FAILED: Error = Error::Peer(PeerFault::Record);

/// Which way a record travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// From client to server.
    ToServer = 0,
    /// From server to client.
    ToClient = 1,
}

/// The smallest bucket whose plaintext takes a body of `body_len` bytes; `None` above 16 KiB.
pub fn bucket_for(body_len: usize) -> Option<usize> {
    let needed = body_len.checked_add(INNER_HEAD)?.checked_add(PAD)?;
    let bucket = match needed {
        ..=64 => 64,
        65..=1024 => needed.checked_next_power_of_two()?,
        _ => needed.checked_next_multiple_of(1024)?,
    };
    (bucket <= usize::from(MAX_RECORD)).then_some(bucket)
}

/// Largest body that a record of bucket `max_record` takes, in bytes.
pub const fn max_body(max_record: u16) -> usize {
    (max_record as usize).saturating_sub(INNER_HEAD).saturating_sub(PAD)
}

/// A direction's epoch secret, in the form that makes the keys of the present epoch and the next secret.
struct Epochs<S: Suite> {
    next: Secret<S::Hash>,
    direction: Direction,
    sequence: u64,
}

impl<S: Suite> Epochs<S> {
    /// Keys of the epoch that `secret` opens. The secret itself is erased by its drop.
    fn start(direction: Direction, secret: &Secret<S::Hash>, sequence: u64) -> (Self, KeyBlock<S>) {
        let mut next = Secret::zeroed();
        kdf::expand::<S>(secret.expose(), NEXT_EPOCH, next.expose_mut());
        (Self { next, direction, sequence }, KeyBlock::expand(secret, RECORD_KEYS))
    }

    fn n(&self) -> u64 {
        self.sequence.checked_rem(RECORDS_PER_EPOCH).unwrap_or_default()
    }

    fn aad(&self, length: [u8; RECORD_PREFIX]) -> [u8; AAD_LEN] {
        // Below 2^32, since the sequence is below 2^44.
        let epoch = u32::try_from(self.sequence.checked_div(RECORDS_PER_EPOCH).unwrap_or_default());
        let mut aad = [0; AAD_LEN];
        let parts: [&[u8]; 4] = [
            &[self.direction as u8],
            &epoch.unwrap_or(u32::MAX).to_be_bytes(),
            &self.sequence.to_be_bytes(),
            &length,
        ];
        for (to, from) in aad.iter_mut().zip(parts.iter().flat_map(|p| p.iter())) {
            *to = *from;
        }
        aad
    }

    /// Counts a record; the keys of the next epoch, when that one was the last of its own.
    fn advance(&mut self) -> Option<KeyBlock<S>> {
        self.sequence = self.sequence.saturating_add(1);
        if self.n() != 0 {
            return None;
        }
        let (next, keys) = Self::start(self.direction, &self.next, self.sequence);
        *self = next;
        Some(keys)
    }
}

/// Seals the records of one direction.
pub struct Outbound<S: Suite> {
    sealer: Sealer<S>,
    epochs: Epochs<S>,
}

impl<S: Suite> Outbound<S> {
    /// Starts under an epoch secret at `sequence`, which must be the first of an epoch
    /// (0 for a new connection).
    pub fn new(direction: Direction, secret: &Secret<S::Hash>, sequence: u64) -> Self {
        let (epochs, keys) = Epochs::start(direction, secret, sequence);
        Self { sealer: Sealer::new(&keys), epochs }
    }

    /// Sequence number of the next record.
    pub const fn sequence(&self) -> u64 {
        self.epochs.sequence
    }

    /// Where in a record's region the body goes.
    pub const BODY: usize = RECORD_PREFIX + INNER_HEAD;

    /// Bytes on the wire of a record with a body of `body_len` bytes.
    pub fn wire_len(body_len: usize) -> Option<usize> {
        bucket_for(body_len)?.checked_add(RECORD_PREFIX)?.checked_add(tag_len::<S>())
    }

    /// Seals, in place, the record whose body of `body_len` bytes stands at [`Self::BODY`] of `region`.
    ///
    /// Returns the bytes on the wire; `None`, with nothing counted, if the region is too small, the body
    /// too large or the sequence used up.
    pub fn seal(&mut self, region: &mut [u8], kind: u8, body_len: usize) -> Option<usize> {
        if self.epochs.sequence >= SEQUENCE_LIMIT {
            return None;
        }
        let bucket = bucket_for(body_len)?;
        let total = Self::wire_len(body_len)?;
        let (prefix, sealed) = region.get_mut(..total)?.split_first_chunk_mut::<RECORD_PREFIX>()?;
        let plain = bucket.checked_sub(PAD)?;
        let (head, rest) = sealed.get_mut(..plain)?.split_first_chunk_mut::<INNER_HEAD>()?;
        let [high, low] = u16::try_from(body_len).ok()?.to_be_bytes();
        *head = [kind, high, low];
        rest.get_mut(body_len..)?.fill(0);
        *prefix = u16::try_from(sealed.len()).ok()?.to_be_bytes();
        let aad = self.epochs.aad(*prefix);
        self.sealer.seal(self.epochs.n(), &aad, sealed, plain)?;
        if let Some(keys) = self.epochs.advance() {
            self.sealer = Sealer::new(&keys);
        }
        Some(total)
    }
}

/// An opened record: its type, and where in the record's region the body stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Type of the message.
    pub kind: u8,
    /// Place of the body.
    pub body: Range<usize>,
}

/// Opens the records of one direction.
pub struct Inbound<S: Suite> {
    opener: Opener<S>,
    epochs: Epochs<S>,
    max_record: u16,
}

impl<S: Suite> Inbound<S> {
    /// Starts like [`Outbound::new`]; buckets above `max_record` are refused.
    pub fn new(direction: Direction, secret: &Secret<S::Hash>, sequence: u64, max_record: u16) -> Self {
        let (epochs, keys) = Epochs::start(direction, secret, sequence);
        Self { opener: Opener::new(&keys), epochs, max_record }
    }

    /// Sequence number of the next record: how many were accepted.
    pub const fn sequence(&self) -> u64 {
        self.epochs.sequence
    }

    /// Length on the wire of the record at the front of `received`; `None` until its length has come.
    ///
    /// # Errors
    /// [`PeerFault::Record`] if no record has this length, [`PeerFault::Sequence`] after the last one.
    pub fn frame(&self, received: &[u8]) -> Result<Option<usize>, Error> {
        if self.epochs.sequence >= SEQUENCE_LIMIT {
            return Err(Error::Peer(PeerFault::Sequence));
        }
        let Some((length, _)) = received.split_first_chunk::<RECORD_PREFIX>() else {
            return Ok(None);
        };
        let sealed = usize::from(u16::from_be_bytes(*length));
        let bucket = sealed.checked_sub(tag_len::<S>()).ok_or(FAILED)?;
        let body = bucket.checked_sub(INNER_HEAD).and_then(|b| b.checked_sub(PAD)).ok_or(FAILED)?;
        if bucket > usize::from(self.max_record) || bucket_for(body) != Some(bucket) {
            return Err(FAILED);
        }
        sealed.checked_add(RECORD_PREFIX).map(Some).ok_or(FAILED)
    }

    /// Verifies and decrypts, in place, one whole record as [`frame`](Self::frame) measured it.
    ///
    /// # Errors
    /// [`PeerFault::Record`], one error for every reason. Then nothing was counted, and the connection is over.
    pub fn open(&mut self, record: &mut [u8]) -> Result<Opened, Error> {
        if self.frame(record)? != Some(record.len()) {
            return Err(FAILED);
        }
        let (prefix, sealed) = record.split_first_chunk_mut::<RECORD_PREFIX>().ok_or(FAILED)?;
        let bucket = sealed.len().checked_sub(tag_len::<S>()).ok_or(FAILED)?;
        let aad = self.epochs.aad(*prefix);
        let plain = self.opener.open(self.epochs.n(), &aad, sealed).map_err(|_| FAILED)?;
        if plain.len().checked_add(PAD) != Some(bucket) {
            return Err(FAILED);
        }
        let ([kind, high, low], rest) = plain.split_first_chunk::<INNER_HEAD>().ok_or(FAILED)?;
        let body_len = usize::from(u16::from_be_bytes([*high, *low]));
        let padding = rest.get(body_len..).ok_or(FAILED)?;
        if bucket_for(body_len) != Some(bucket) || padding.iter().fold(0, |acc, b| acc | b) != 0 {
            return Err(FAILED);
        }
        let opened =
            Opened { kind: *kind, body: Outbound::<S>::BODY..Outbound::<S>::BODY.saturating_add(body_len) };
        if let Some(keys) = self.epochs.advance() {
            self.opener = Opener::new(&keys);
        }
        Ok(opened)
    }
}
