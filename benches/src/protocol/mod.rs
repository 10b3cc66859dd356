//! What a client says and hears, without a socket: bytes in, bytes out.

mod irc;
mod mqtt;
mod sordino;
mod tls;

use anyhow::Result;

pub use irc::Irc;
pub use mqtt::Mqtt;
pub use sordino::{Account, Entry, Sordino};
pub use tls::Tls;

/// How far a connection goes before it is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Nobody logs in.
    Handshake,
    /// Logged in; nothing is received.
    Login,
    /// Receives what is sent to its own name.
    Direct,
    /// A member of this room.
    Room(String),
}

/// To whom a message goes.
#[derive(Clone, Copy, Debug)]
pub enum Whom<'a> {
    /// The member of a room.
    Room(&'a str),
    /// The user of a name.
    User(&'a str),
}

/// What a client notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The goal is reached.
    Ready,
    /// A message, by the number at its start.
    Message(u64),
}

/// A client.
pub trait Protocol {
    /// The first bytes.
    ///
    /// # Errors
    /// As the protocol's library says.
    fn open(&mut self, out: &mut Vec<u8>) -> Result<()>;

    /// Received bytes.
    ///
    /// # Errors
    /// The server said something unexpected.
    fn receive(&mut self, input: &[u8], out: &mut Vec<u8>, seen: &mut Vec<Seen>) -> Result<()>;

    /// Sends a message.
    ///
    /// # Errors
    /// As the protocol's library says.
    fn say(&mut self, to: Whom<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<()>;
}

/// Bytes of every message, in every protocol.
pub const BODY: usize = 100;

/// A message that carries a number.
#[must_use]
pub fn body(number: u64) -> [u8; BODY] {
    let mut body = [b'x'; BODY];
    body[..16].copy_from_slice(format!("{number:016x}").as_bytes());
    body
}

fn number(body: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(body.get(..16)?).ok()?, 16).ok()
}
