//! What a connection sends: a message, or one that was encoded once for many connections.

use super::Role;
use crate::messages::Message;
use crate::wire::{Malformed, Overflow, Writer};

/// What [`Conn::send`](super::Conn::send) takes: a [`Message`] or an [`Encoded`] one.
pub trait Sendable: private::Sendable {}

impl<T: private::Sendable> Sendable for T {}

pub(super) mod private {
    use super::{Overflow, Role, Writer};

    pub trait Sendable {
        /// Number of the type.
        fn kind(&self) -> u8;

        /// Writes the body.
        fn encode<R: Role>(&self, out: &mut Writer<'_>) -> Result<(), Overflow>;
    }
}

impl private::Sendable for Message<'_> {
    fn kind(&self) -> u8 {
        Message::kind(self)
    }

    fn encode<R: Role>(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
        super::encode::<R>(self, out)
    }
}

/// A message that was encoded once, in memory of its own, to be sent over many connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded<B> {
    kind: u8,
    body: B,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Encoded<B> {
    /// Encodes a message into memory of the length in bytes that is given to `memory`.
    ///
    /// # Errors
    /// [`Overflow`]: the message is not of its type's form, or the memory of another length.
    pub fn new(message: &Message<'_>, memory: impl FnOnce(usize) -> B) -> Result<Self, Overflow> {
        let mut count = Writer::counting();
        message.encode(&mut count)?;
        let mut body = memory(count.written());
        message.encode(&mut Writer::new(body.as_mut()))?;
        if body.as_ref().len() != count.written() {
            return Err(Overflow);
        }
        Ok(Self { kind: message.kind(), body })
    }
}

impl<B: AsRef<[u8]>> Encoded<B> {
    /// The body.
    pub fn body(&self) -> &[u8] {
        self.body.as_ref()
    }

    /// The message.
    ///
    /// # Errors
    /// [`Malformed`], if the memory that was lent shows other bytes now.
    pub fn message(&self) -> Result<Message<'_>, Malformed> {
        Message::decode(self.kind, self.body.as_ref())
    }
}

impl<B: AsRef<[u8]>> private::Sendable for Encoded<B> {
    fn kind(&self) -> u8 {
        self.kind
    }

    fn encode<R: Role>(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
        out.put(self.body.as_ref())
    }
}

impl<T: private::Sendable> private::Sendable for &T {
    fn kind(&self) -> u8 {
        (**self).kind()
    }

    fn encode<R: Role>(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
        (**self).encode::<R>(out)
    }
}
