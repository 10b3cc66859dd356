//! Noise XK over finite-field Diffie-Hellman (`docs/PROTOCOL.md`, section 5).
//!
//! One struct for each state. A step makes the next state, and the old one is erased where it stands: moving it
//! out would leave its secrets behind.

pub(crate) mod client;
pub(crate) mod server;
mod symmetric;

pub(crate) use symmetric::{HandshakeKeys, Symmetric};

use crate::bytes::{Bytes, Secret};
use crate::config::{CONTROL_RECORD, HEADER_LEN, MAX_RECORD, MIN_RECORD, VERSION};
use crate::dh::Group;
use crate::entropy::Entropy;
use crate::error::{Error, Mismatch, Misuse, PeerFault};
use crate::io::Io;
use crate::kdf;
use crate::suite::{SecretKey, Suite, Suite1, Suite2, SuiteList, dh_len, least_scratch, tag_len};
use core::ops::Range;

const MAGIC: [u8; 2] = *b"SO";
pub(crate) const GATE_LEN: usize = 16;
/// Plaintext lengths of the payloads: 16k − 1.
pub(crate) const PAYLOAD1: usize = 31;
pub(crate) const PAYLOAD2: usize = 47;
pub(crate) const PAYLOAD3: usize = 31;
/// Zeros behind the client's static key in message 3, so that its plaintext has 16k − 1 bytes.
pub(crate) const STATIC_PAD: usize = 15;

/// Types of handshake messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    KeyRequest = 1,
    KeyAnswer = 2,
    Message1 = 3,
    Message2 = 4,
    Message3 = 5,
    Error = 6,
}

/// The header before every handshake message.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub kind: Kind,
    pub suite: u8,
    /// Bytes that follow.
    pub length: usize,
}

impl Header {
    /// `length` is at most [`crate::config::MAX_HANDSHAKE_LEN`] by the constants of the suites.
    pub const fn new(kind: Kind, suite: u8, length: usize) -> Self {
        Self { kind, suite, length }
    }

    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let [m0, m1] = MAGIC;
        let [.., high, low] = self.length.to_be_bytes();
        [m0, m1, VERSION, self.kind as u8, self.suite, 0, high, low]
    }

    /// Reads the header at the front of `received`; `None` until all of it has come.
    pub fn read(received: &[u8]) -> Result<Option<Self>, Error> {
        // A stranger is turned away at the first wrong byte.
        if received.iter().zip(&MAGIC).any(|(a, b)| a != b) {
            return Err(Error::Peer(PeerFault::Header));
        }
        let Some(&[_, _, version, kind, suite, flags, high, low]) = received.first_chunk::<HEADER_LEN>()
        else {
            return Ok(None);
        };
        if version != VERSION {
            return Err(Error::Incompatible(Mismatch::Version));
        }
        if flags != 0 {
            return Err(Error::Peer(PeerFault::Header));
        }
        let kind = match kind {
            1 => Kind::KeyRequest,
            2 => Kind::KeyAnswer,
            3 => Kind::Message1,
            4 => Kind::Message2,
            5 => Kind::Message3,
            6 => Kind::Error,
            _ => return Err(Error::Peer(PeerFault::UnexpectedType)),
        };
        Ok(Some(Self { kind, suite, length: usize::from(u16::from_be_bytes([high, low])) }))
    }

    /// Bytes of header and body.
    pub const fn total(&self) -> usize {
        self.length.saturating_add(HEADER_LEN)
    }
}

/// Body lengths of suite `S`.
pub(crate) const fn message1_len<S: Suite>() -> usize {
    GATE_LEN.saturating_add(dh_len::<S>()).saturating_add(sealed_len::<S>(PAYLOAD1))
}

pub(crate) const fn message2_len<S: Suite>() -> usize {
    dh_len::<S>().saturating_add(sealed_len::<S>(PAYLOAD2))
}

pub(crate) const fn message3_len<S: Suite>() -> usize {
    static_len::<S>().saturating_add(sealed_len::<S>(PAYLOAD3))
}

/// Sealed length of the client's static key.
pub(crate) const fn static_len<S: Suite>() -> usize {
    sealed_len::<S>(dh_len::<S>().saturating_add(STATIC_PAD))
}

/// Sealed length of a plaintext of 16k − 1 bytes.
pub(crate) const fn sealed_len<S: Suite>(plain: usize) -> usize {
    plain.saturating_add(1).saturating_add(tag_len::<S>())
}

/// An ephemeral exponent that stays unique while the counter or the randomness does (section 3).
pub(crate) fn ephemeral<S: Suite>(
    rng: &mut dyn Entropy,
    own: &SecretKey<S>,
    counter: u64,
) -> Result<SecretKey<S>, Error> {
    let mut random = Secret::<[u8; 32]>::zeroed();
    rng.fill(random.expose_mut())?;
    let prk =
        kdf::extract::<S>(b"sordino/1 ephemeral", &[random.expose(), own.expose(), &counter.to_be_bytes()]);
    let mut exponent = Secret::<<S::Group as Group>::Exponent>::zeroed();
    kdf::expand::<S>(prk.expose(), b"", exponent.expose_mut());
    Ok(SecretKey::<S>::clamp(exponent))
}

/// What a side receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receives {
    /// Its largest record, in bytes.
    pub max_record: u16,
    /// Of the peer's, they were secret once. A `bool` would be a place for the tag of an enum around it, on which
    /// everything depends.
    capabilities: u8,
}

/// The capability to receive several messages in one record.
const BUNDLES: u8 = 1;

impl Receives {
    pub const fn new(max_record: u16, bundles: bool) -> Self {
        Self { max_record, capabilities: if bundles { BUNDLES } else { 0 } }
    }

    pub const fn bundles(self) -> bool {
        self.capabilities & BUNDLES != 0
    }
}

/// What both payload 1 and payload 2 begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    pub receives: Receives,
    pub suites: SuiteList,
}

/// max record (2) ‖ capabilities (4) ‖ suites (8)
pub(crate) const OFFER_LEN: usize = 14;

impl Offer {
    /// Checks what the own side announces.
    pub fn new(receives: Receives, suites: SuiteList) -> Result<Self, Error> {
        if is_max_record(receives.max_record) {
            Ok(Self { receives, suites })
        } else {
            Err(Error::Misuse(Misuse::Parameter))
        }
    }

    pub fn encode(&self) -> [u8; OFFER_LEN] {
        let [high, low] = self.receives.max_record.to_be_bytes();
        let [a, b, c, d, e, f, g, h] = *self.suites.as_bytes();
        [high, low, 0, 0, 0, self.receives.capabilities, a, b, c, d, e, f, g, h]
    }

    pub fn decode(bytes: &[u8; OFFER_LEN]) -> Result<Self, Error> {
        let [high, low, _, _, _, capabilities, suites @ ..] = *bytes;
        let max_record = u16::from_be_bytes([high, low]);
        let receives = Receives { max_record, capabilities };
        let suites = SuiteList::from_wire(suites);
        suites
            .filter(|_| is_max_record(max_record))
            .map(|suites| Self { receives, suites })
            .ok_or(Error::Peer(PeerFault::Handshake))
    }

    /// Both sides refuse a suite that is not the best of both lists.
    pub fn check_suite<S: Suite>(&self, peer: &Self) -> Result<(), Error> {
        if self.suites.best_common(&peer.suites) == Some(S::ID) {
            Ok(())
        } else {
            Err(Error::Incompatible(Mismatch::Downgrade))
        }
    }
}

fn is_max_record(bytes: u16) -> bool {
    (MIN_RECORD..=MAX_RECORD).contains(&bytes) && bytes.is_multiple_of(MIN_RECORD)
}

/// What a finished handshake leaves: the epoch 0 secrets and what both sides receive.
pub struct Finished<S: Suite> {
    pub to_server: Secret<S::Hash>,
    pub to_client: Secret<S::Hash>,
    pub own: Receives,
    pub peer: Receives,
}

/// A public value within a handshake message.
pub(crate) fn public<S: Suite>(bytes: &[u8]) -> Result<crate::suite::PublicKey<S>, Error> {
    crate::suite::PublicKey::<S>::from_bytes(bytes)
}

const _: () = assert!(message3_len::<Suite2>() + HEADER_LEN <= crate::config::MAX_HANDSHAKE_LEN);
const _: () = assert!(<[u8; 384] as Bytes>::LEN == dh_len::<Suite2>());

/// Whether [`least_scratch`] has room for each message of the handshake, and for what may stand behind it: an ERROR
/// that refuses, which is a header and one byte, or a CLOSE.
const fn fits<S: Suite>() -> bool {
    let room = least_scratch::<S>().saturating_sub(HEADER_LEN).saturating_sub(CONTROL_RECORD);
    message1_len::<S>() <= room && message2_len::<S>() <= room && message3_len::<S>() <= room
}

const _: () = assert!(fits::<Suite1>() && fits::<Suite2>() && HEADER_LEN < CONTROL_RECORD);

/// Where a step of the handshake leads.
pub enum Outcome<H, S: Suite> {
    /// The message is used up; the next state.
    Continue(H),
    /// The same message again, in the next state, once the application admits it; `ephemeral` is the place in it
    /// of the peer's key.
    Admit { next: H, ephemeral: Range<usize> },
    /// The handshake is over; `peer` is the place in the message of what the peer says of itself.
    Done { finished: Finished<S>, peer: Range<usize> },
}

/// The states of one side.
pub trait Handshake<S: Suite>: Sized {
    /// The one message that this state accepts and the length of its body; `None`: it acts by itself.
    fn expects(&self) -> Option<(Kind, usize)>;

    /// Takes the step. The message is whole and has the expected type and length; the output has
    /// [`least_scratch`] free bytes.
    fn handle(&mut self, message: &mut [u8], io: &mut Io<'_, '_>) -> Result<Outcome<Self, S>, Error>;
}
