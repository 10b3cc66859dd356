//! Who is addressed: `@user` or `#room`, as people write them.

use std::{fmt, str::FromStr};

use sordino_core::config::{MAX_ROOM, MAX_USERNAME, MIN_USERNAME};
use sordino_core::name;

/// A user or a room, with its name in canonical form and without the sigil.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// `@name`
    User(String),
    /// `#name`
    Room(String),
}

impl Target {
    /// The form that a message carries.
    ///
    /// # Errors
    /// The sentence of [`username`] or [`room`] for a target that wasn't parsed.
    pub fn borrowed(&self) -> Result<name::Target<'_>, String> {
        let borrowed = match self {
            Self::User(user) => name::Username::new(user).map(name::Target::User),
            Self::Room(room) => name::RoomName::new(room).map(name::Target::Room),
        };
        borrowed.ok_or_else(|| format!("{self} isn't in canonical form"))
    }

    /// The name without its sigil.
    pub fn name(&self) -> &str {
        match self {
            Self::User(name) | Self::Room(name) => name,
        }
    }
}

impl From<name::Target<'_>> for Target {
    fn from(target: name::Target<'_>) -> Self {
        match target {
            name::Target::User(user) => Self::User(user.as_str().to_owned()),
            name::Target::Room(room) => Self::Room(room.as_str().to_owned()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "@{name}"),
            Self::Room(name) => write!(f, "#{name}"),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    /// Folds ASCII upper case.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('@') {
            username(text).map(Self::User)
        } else if text.starts_with('#') {
            room(text).map(Self::Room)
        } else {
            Err(format!("{text:?} is neither a user (@name) nor a room ('#name', quoted for the shell)"))
        }
    }
}

/// A username, with or without `@`, folded.
///
/// # Errors
/// A sentence that says which rule of PROTOCOL.md section 1 is broken.
pub fn username(text: &str) -> Result<String, String> {
    let folded = text.strip_prefix('@').unwrap_or(text).to_ascii_lowercase();
    match name::Username::new(&folded) {
        Some(_) => Ok(folded),
        None => Err(format!(
            "{text:?}: a username is {MIN_USERNAME} to {MAX_USERNAME} characters of a-z 0-9 . _ -"
        )),
    }
}

/// A room name, with or without `#`, folded.
///
/// # Errors
/// A sentence that says which rule of PROTOCOL.md section 1 is broken.
pub fn room(text: &str) -> Result<String, String> {
    let folded = text.strip_prefix('#').unwrap_or(text).to_ascii_lowercase();
    match name::RoomName::new(&folded) {
        Some(_) => Ok(folded),
        None => Err(format!("{text:?}: a room name is 1 to {MAX_ROOM} characters of a-z 0-9 . _ -")),
    }
}
