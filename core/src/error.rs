//! Errors, sorted by who is to blame. All are `Copy` and at most 8 bytes.

use core::fmt;

/// Why a connection ended, or a step could not be taken.
///
/// After an error the connection is over: every further call returns the same error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The peer, or someone on the way, sent what the protocol does not allow.
    Peer(PeerFault),
    /// Both sides are honest and don't fit together.
    Incompatible(Mismatch),
    /// The server's identity is not the one that the client trusts.
    Untrusted(Distrust),
    /// The server, **or someone on the way**, refused before it was authenticated.
    Refused(ErrorCode),
    /// The caller used the API against its contract.
    Misuse(Misuse),
    /// The stream ended without a CLOSE: something may be missing.
    Truncated,
    /// A time limit passed.
    Timeout(Deadline),
    /// The caller's random number generator failed.
    Entropy,
}

/// What the peer did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerFault {
    /// The header's magic, flags or suite is not that of the protocol.
    Header,
    /// A handshake message of another type than the one that this state accepts.
    UnexpectedType,
    /// A handshake message of another length than its type has.
    Length,
    /// A Diffie-Hellman value outside of 1 < Y < p − 1.
    DhRange,
    /// A long-lived key whose Jacobi symbol is not 1.
    DhResidue,
    /// The gate of message 1 does not fit the server's key.
    Gate,
    /// A handshake payload failed authentication or has an impossible field.
    Handshake,
    /// A record failed: length, tag, padding. One error on purpose.
    Record,
    /// The sequence of a direction is used up.
    Sequence,
    /// The record's type is unknown, or not allowed in this direction or phase.
    UnexpectedMessage,
    /// The record's body is not of its type's form.
    MalformedMessage,
    /// More key requests than allowed on a connection.
    KeyRequests,
}

/// What does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The peer speaks another version of the protocol.
    Version,
    /// The client asked for a suite that this server does not offer.
    Suite,
    /// The suite in use is not the highest one that both sides list: a downgrade.
    Downgrade,
}

/// Why a server's identity is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// Another root than the pinned or the given one: another server.
    Root,
    /// The root's signature over the key statement is wrong.
    Signature,
    /// The key statement is older than one seen before, or differs under the same version.
    Stale,
    /// The statement does not list the suite, or the key is not the listed one.
    Key,
    /// The key answer is malformed.
    Malformed,
}

/// How the caller broke the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// A ticket or event of an earlier step.
    Stale,
    /// An answer that does not fit the ticket.
    WrongAnswer,
    /// A buffer is too small for the announced records: see [`crate::config::RX_BUFFER`].
    BufferTooSmall,
    /// A parameter outside its limits (max record, suites, key).
    Parameter,
    /// A step was taken while an answer was due: the request counts as refused.
    Unanswered,
}

/// Which time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// The handshake took too long.
    Handshake,
    /// No login in time.
    Login,
    /// The peer was silent too long.
    Idle,
}

/// Code of the unauthenticated ERROR message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ErrorCode {
    /// The server does not offer the suite.
    UnsupportedSuite = 1,
    /// The server does not speak this version.
    UnsupportedVersion = 2,
    /// The gate did not fit: the client's static key of the server is not current.
    UnknownKey = 3,
    /// A limit was reached.
    Busy = 4,
}

impl ErrorCode {
    /// The code with this number.
    pub const fn from_u8(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::UnsupportedSuite),
            2 => Some(Self::UnsupportedVersion),
            3 => Some(Self::UnknownKey),
            4 => Some(Self::Busy),
            _ => None,
        }
    }
}

/// Why a message was not sent. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// Not enough room in the output: write some of it to the peer first.
    NoRoom(NoRoom),
    /// The message does not fit the records that the peer receives.
    TooLarge,
    /// The message is not of its own type's form.
    Malformed,
    /// This message is not allowed in this direction or phase.
    NotAllowed,
    /// The sequence is used up: reconnect.
    Exhausted,
    /// The connection is closed.
    Closed,
}

/// The output has fewer free bytes than needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// Free bytes needed, reserve included.
    pub needed: u32,
}

const _: () = assert!(size_of::<Error>() <= 8);
const _: () = assert!(size_of::<SendError>() <= 8);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(fault) => write!(f, "the peer broke the protocol: {}", fault.text()),
            Self::Incompatible(mismatch) => f.write_str(mismatch.text()),
            Self::Untrusted(distrust) => f.write_str(distrust.text()),
            Self::Refused(code) => write!(f, "the server, or someone on the way, refused: {}", code.text()),
            Self::Misuse(misuse) => write!(f, "internal error: {misuse:?}"),
            Self::Truncated => f.write_str("the connection was cut without a goodbye"),
            Self::Timeout(Deadline::Handshake) => f.write_str("the handshake took too long"),
            Self::Timeout(Deadline::Login) => f.write_str("no login in time"),
            Self::Timeout(Deadline::Idle) => f.write_str("the peer has gone silent"),
            Self::Entropy => f.write_str("the random number generator failed"),
        }
    }
}

impl core::error::Error for Error {}

impl PeerFault {
    const fn text(self) -> &'static str {
        match self {
            Self::Header => "not a Sordino header",
            Self::UnexpectedType => "a handshake message out of order",
            Self::Length => "a handshake message of wrong length",
            Self::DhRange => "a Diffie-Hellman value out of range",
            Self::DhResidue => "a long-lived key outside of the subgroup",
            Self::Gate => "the gate does not fit the server's key",
            Self::Handshake => "a handshake payload failed authentication",
            Self::Record => "a record failed authentication",
            Self::Sequence => "the sequence is used up",
            Self::UnexpectedMessage => "a message that is not allowed here",
            Self::MalformedMessage => "a malformed message",
            Self::KeyRequests => "too many key requests",
        }
    }
}

impl Mismatch {
    const fn text(self) -> &'static str {
        match self {
            Self::Version => "the peer speaks another version of the protocol",
            Self::Suite => "the server does not offer this suite",
            Self::Downgrade => "both sides know a stronger suite than the one in use",
        }
    }
}

impl Distrust {
    const fn text(self) -> &'static str {
        match self {
            Self::Root => "this server has another root key than the trusted one",
            Self::Signature => "the server's key statement is not signed by its root",
            Self::Stale => "the server's key statement is older than one seen before",
            Self::Key => "the server's static key is not the one that its root signed",
            Self::Malformed => "the server's key answer is malformed",
        }
    }
}

impl ErrorCode {
    const fn text(self) -> &'static str {
        match self {
            Self::UnsupportedSuite => "this suite is not offered",
            Self::UnsupportedVersion => "this version of the protocol is not spoken",
            Self::UnknownKey => "the server's key has changed",
            Self::Busy => "the server is busy",
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoom(_) => "no room in the output",
            Self::TooLarge => "the message is larger than the peer's records",
            Self::Malformed => "the message is not of its own form",
            Self::NotAllowed => "this message is not allowed now",
            Self::Exhausted => "the sequence is used up",
            Self::Closed => "the connection is closed",
        })
    }
}

impl core::error::Error for SendError {}
