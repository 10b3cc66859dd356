//! Who is addressed: `@user` or `#room`, as people write them.

use std::{fmt, str::FromStr};

/// A user or a room, with its name in canonical form and without the sigil.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// `@name`
    User(String),
    /// `#name`
    Room(String),
}

impl Target {
    /// The name without its sigil.
    pub fn name(&self) -> &str {
        match self {
            Self::User(name) | Self::Room(name) => name,
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
        if let Some(name) = text.strip_prefix('@') {
            username(name).map(Self::User)
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
    name(text.strip_prefix('@').unwrap_or(text), "a username", 3)
}

/// A room name, with or without `#`, folded.
///
/// # Errors
/// A sentence that says which rule of PROTOCOL.md section 1 is broken.
pub fn room(text: &str) -> Result<String, String> {
    name(text.strip_prefix('#').unwrap_or(text), "a room name", 1)
}

fn name(text: &str, what: &str, shortest: usize) -> Result<String, String> {
    let folded = text.to_ascii_lowercase();
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    if (shortest..=32).contains(&folded.len()) && folded.bytes().all(allowed) {
        Ok(folded)
    } else {
        Err(format!("{text:?}: {what} is {shortest} to 32 characters of a-z 0-9 . _ -"))
    }
}
