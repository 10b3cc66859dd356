//! Usernames and room names (`docs/PROTOCOL.md`, section 1).

use crate::config::{MAX_ROOM, MAX_USERNAME, MIN_USERNAME};
use crate::wire::{Field, Malformed, Overflow, Reader, Writer};
use core::fmt;

fn is_name(text: &str, min: usize, max: usize) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    (min..=max).contains(&text.len()) && text.bytes().all(allowed)
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $sigil:literal, $min:expr, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name<'a>(&'a str);

        impl<'a> $name<'a> {
            /// Checks the canonical form: no sigil, no upper case. `None` otherwise.
            pub fn new(text: &'a str) -> Option<Self> {
                is_name(text, $min, $max).then_some(Self(text))
            }

            /// The name without its sigil.
            pub const fn as_str(&self) -> &'a str {
                self.0
            }
        }

        impl fmt::Display for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($sigil, "{}"), self.0)
            }
        }

        impl<'a> Field<'a> for $name<'a> {
            fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
                self.0.encode(out)
            }

            fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
                Self::new(<&str>::decode(input)?).ok_or(Malformed)
            }
        }
    };
}

name!(
    /// A username in canonical form, 3 to 32 of `a-z 0-9 . _ -`. Displays as `@name`.
    Username, "@", MIN_USERNAME, MAX_USERNAME
);
name!(
    /// A room name in canonical form, 1 to 32 of `a-z 0-9 . _ -`. Displays as `#name`.
    RoomName, "#", 1, MAX_ROOM
);

/// To whom a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target<'a> {
    /// All devices of a user.
    User(Username<'a>),
    /// All members of a room.
    Room(RoomName<'a>),
}

impl<'a> Target<'a> {
    /// Reads `@name` or `#name` in canonical form.
    pub fn parse(text: &'a str) -> Option<Self> {
        let user = text.strip_prefix('@').and_then(Username::new).map(Self::User);
        user.or_else(|| text.strip_prefix('#').and_then(RoomName::new).map(Self::Room))
    }
}

const USER: u8 = 1;
const ROOM: u8 = 2;

impl<'a> Field<'a> for Target<'a> {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
        match self {
            Self::User(name) => USER.encode(out).and_then(|()| name.encode(out)),
            Self::Room(name) => ROOM.encode(out).and_then(|()| name.encode(out)),
        }
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        match u8::decode(input)? {
            USER => Field::decode(input).map(Self::User),
            ROOM => Field::decode(input).map(Self::Room),
            _ => Err(Malformed),
        }
    }
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => name.fmt(f),
            Self::Room(name) => name.fmt(f),
        }
    }
}
