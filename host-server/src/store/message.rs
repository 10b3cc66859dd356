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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{AccountId, DeviceId, RoomId};

    const IN_ROOM: Target = Target::Room(RoomId(3));
    const TO_USER: Target = Target::User(AccountId(2));

    fn message(target: Target, names: [&str; 2], body: &[u8]) -> Option<Message> {
        let place =
            Place { number: 7, id: [9; 16], time: 8, sender: AccountId(1), device: DeviceId(1), target };
        Message::new(place, names[0], names[1], 5, body)
    }

    #[test]
    fn readers_get_all_of_it() {
        for (target, to) in [
            (IN_ROOM, To::Room(RoomName::new("lobby").unwrap())),
            (TO_USER, To::User(Username::new("lobby").unwrap())),
        ] {
            let message = message(target, ["alice", "lobby"], b"hello").unwrap();
            assert_eq!(message.body(), b"hello");
            let deliver = message.deliver().unwrap();
            assert_eq!((deliver.number, deliver.id, deliver.time, deliver.format), (7, [9; 16], 8, 5));
            assert_eq!((deliver.sender.as_str(), deliver.target), ("alice", to));
            assert_eq!((deliver.total, deliver.offset, deliver.part), (5, 0, Opaque(b"hello")));
        }
    }

    #[test]
    fn what_could_not_be_delivered_is_no_message() {
        assert!(message(IN_ROOM, ["alice", "lobby"], &[0; 15_360]).is_some());
        assert!(message(IN_ROOM, ["alice", "lobby"], &[0; 15_361]).is_none());
        assert!(message(IN_ROOM, ["alice", "lobby"], &[]).is_none());
        for names in [["Alice", "lobby"], ["alice", "The Lobby"], ["", "lobby"], ["alice", ""]] {
            assert!(message(IN_ROOM, names, b"hello").is_none(), "{names:?}");
            assert!(message(TO_USER, names, b"hello").is_none(), "{names:?}");
        }
    }
}
