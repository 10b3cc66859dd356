//! A message with what its readers get of it, encoded once for all of them.

use sordino_core::{
    Encoded, Message as Wire,
    messages::Deliver,
    name::{RoomName, Target as To, Username},
    wire::Opaque,
};

use super::{Place, Target};

/// A whole message. Its bytes are shared by all sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Number, sender, target.
    pub place: Place,
    /// What the body is.
    pub format: u8,
    body_len: usize,
    deliver: Encoded<Box<[u8]>>,
}

impl Message {
    /// A message of 1 to 15,360 bytes, with the names that its readers see. `None` if the protocol doesn't know such
    /// names or such a length.
    #[must_use]
    pub fn new(place: Place, sender: &str, target: &str, format: u8, body: &[u8]) -> Option<Self> {
        let deliver = Deliver {
            number: place.number,
            id: place.id,
            time: place.time,
            sender: Username::new(sender)?,
            target: match place.target {
                Target::User(_) => To::User(Username::new(target)?),
                Target::Room(_) => To::Room(RoomName::new(target)?),
            },
            format,
            total: u16::try_from(body.len()).ok()?,
            offset: 0,
            part: Opaque(body),
        };
        let deliver = Encoded::new(&Wire::Deliver(deliver), |len| vec![0; len].into()).ok()?;
        Some(Self { place, format, body_len: body.len(), deliver })
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        // DELIVER ends with it.
        let encoded = self.deliver.body();
        &encoded[encoded.len() - self.body_len..]
    }

    /// A DELIVER of all of it.
    #[must_use]
    pub const fn encoded(&self) -> &Encoded<Box<[u8]>> {
        &self.deliver
    }

    /// The same, to read.
    #[must_use]
    pub fn deliver(&self) -> Option<Deliver<'_>> {
        match self.deliver.message() {
            Ok(Wire::Deliver(deliver)) => Some(deliver),
            _ => None,
        }
    }
}
