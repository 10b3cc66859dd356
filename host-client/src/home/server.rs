//! The server that this home trusts.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files;
use crate::failure::{Exit, Failure, Result};

pub const FILE: &str = "server.toml";

/// The pin record of PROTOCOL.md section 4, and the static keys that were verified under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownServer {
    /// Ed25519 root public key, 64 hexadecimal digits.
    pub root: String,
    /// The root's fingerprint, 64 hexadecimal digits, for people who read the file.
    pub fingerprint: String,
    /// Highest version of the key statement seen.
    pub version: u32,
    /// The suites of that statement.
    #[serde(default)]
    pub suites: Vec<StaticKey>,
}

/// One suite of the pinned statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticKey {
    /// 1 or 2.
    pub suite: u8,
    /// Key id, 64 hexadecimal digits.
    pub id: String,
    /// The static public key itself once it was fetched, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl KnownServer {
    /// Keeps the static keys that another record of the same version has and this one lacks.
    fn keep_keys_of(&mut self, other: &Self) {
        for mine in &mut self.suites {
            let same = other.suites.iter().find(|o| o.suite == mine.suite && o.id == mine.id);
            mine.key = mine.key.take().or_else(|| same.and_then(|o| o.key.clone()));
        }
    }
}

/// Stores the record unless the file already holds a newer one. The caller holds the home's lock.
pub fn pin(path: &Path, known: &KnownServer) -> Result<()> {
    let mut record = known.clone();
    if let Some(present) = files::read_toml::<KnownServer>(path)? {
        if present.root != known.root {
            return Err(Failure::new(Exit::Untrusted, "another process pinned another server in this home meanwhile"));
        }
        if present.version > known.version {
            return Ok(());
        }
        record.keep_keys_of(&present);
        if record == present {
            return Ok(());
        }
    }
    files::write_toml(path, &record)
}
