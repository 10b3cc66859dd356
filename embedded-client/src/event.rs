//! What a running board tells.

use core::fmt;
use sordino_core::error::Error;
use sordino_core::messages::{AuthCode, Code, Deliver};
use sordino_core::name::{Target, Username};

/// Something happened.
#[derive(Debug)]
pub enum Event<'e> {
    /// Logged in.
    Online {
        /// The board's own name.
        username: &'e str,
        /// Messages that wait on the server.
        pending: u32,
    },
    /// The code was used: the board has its account.
    Enrolled {
        /// The member who made the code, proven by it.
        owner: &'e str,
    },
    /// The connection ended or did not come about.
    Offline {
        /// Why.
        reason: Offline,
        /// Milliseconds until the next attempt.
        retry_in: u32,
    },
    /// Somebody wrote. It is acknowledged when the handler returns, and comes again only if power fails before.
    Message(Message<'e>),
    /// The server has stored the message of this number.
    Accepted(u32),
    /// The server does not take the message of this number; it has left the outbox.
    Refused(u32, Code),
    /// A line from the server for people.
    Notice(&'e str),
    /// Blocking client only: there is nothing to do. Poll sensors, sleep until an interrupt.
    Idle,
}

/// A message, or a part of one that is larger than a record.
#[derive(Clone, Copy, Debug)]
pub struct Message<'e> {
    /// Who sent it.
    pub from: Username<'e>,
    /// To the board, or to a room.
    pub to: Target<'e>,
    /// Unix time in milliseconds at which the server took it.
    pub time: u64,
    /// What the body is: 0 = UTF-8 text.
    pub format: u8,
    /// Length of the whole body, in bytes.
    pub total: u16,
    /// Where in the body this part begins: 0 for a whole message.
    pub offset: u16,
    /// The part, in bytes.
    pub part: &'e [u8],
}

impl<'e> From<&Deliver<'e>> for Message<'e> {
    fn from(deliver: &Deliver<'e>) -> Self {
        let Deliver { sender, target, time, format, total, offset, part, .. } = *deliver;
        Self { from: sender, to: target, time, format, total, offset, part: part.0 }
    }
}

impl<'e> Message<'e> {
    /// The text, if this is a whole text message.
    pub fn text(&self) -> Option<&'e str> {
        let whole = self.format == 0 && self.offset == 0 && usize::from(self.total) == self.part.len();
        core::str::from_utf8(self.part).ok().filter(|_| whole)
    }
}

/// Why a board is offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offline {
    /// The server can't be reached, or the stream failed.
    Network,
    /// The server said goodbye.
    Closed,
    /// The protocol failed. [`Error::Untrusted`]: this is not the server that the code names.
    Protocol(Error),
    /// The server refused the login. [`AuthCode::Denied`]: the code is used up or too old, or the board was revoked.
    Login(AuthCode),
    /// The server does not know the secret of the code: whoever answers is not acting for the owner.
    Owner,
    /// The board's flash failed.
    Flash,
    /// The board's random number generator failed.
    Entropy,
}

impl fmt::Display for Offline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network => f.write_str("the server can't be reached"),
            Self::Closed => f.write_str("the server has closed the connection"),
            Self::Protocol(error) => error.fmt(f),
            Self::Login(AuthCode::Denied) => f.write_str(
                "the server refuses this board: revoked or disabled, or its code is used up or too old",
            ),
            Self::Login(code) => write!(f, "the server refuses the login: {code:?}"),
            Self::Owner => f.write_str("the server doesn't know the code: it is not acting for the owner"),
            Self::Flash => f.write_str("the flash failed"),
            Self::Entropy => f.write_str("the random number generator failed"),
        }
    }
}
