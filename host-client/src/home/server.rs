//! The server that this home trusts.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sordino_core::identity::{MAX_PIN, Pin};
use sordino_core::wire::{Field, Reader, Writer};

use super::files;
use crate::failure::{Exit, Failure, Result};

pub const FILE: &str = "server.toml";

/// The pin record of PROTOCOL.md section 4, and the static keys that were verified under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownServer {
    /// Root, and the newest key statement seen.
    pub pin: Pin,
    /// Static public key of suite 1, if it was fetched under this statement.
    pub suite1: Option<Vec<u8>>,
    /// Static public key of suite 2, if it was fetched under this statement.
    pub suite2: Option<Vec<u8>>,
}

/// The same as text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// For people who read the file.
    fingerprint: String,
    pin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suite1: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suite2: Option<String>,
}

impl KnownServer {
    /// The slot of a suite's static key.
    pub fn key_mut(&mut self, suite: u8) -> &mut Option<Vec<u8>> {
        if suite == 1 { &mut self.suite1 } else { &mut self.suite2 }
    }

    /// A suite's static key.
    pub fn key(&self, suite: u8) -> Option<&[u8]> {
        if suite == 1 { self.suite1.as_deref() } else { self.suite2.as_deref() }
    }

    /// Puts a newly verified record in this one's place, unless it is of an older statement. Static keys of the same
    /// statement are kept.
    ///
    /// # Errors
    /// Exit code 4 when it is of another root.
    pub fn update(&mut self, verified: &Self) -> Result<()> {
        if self.pin.root != verified.pin.root {
            return Err(Failure::new(Exit::Untrusted, "another server was pinned here meanwhile"));
        }
        if self.pin.statement.version > verified.pin.statement.version {
            return Ok(());
        }
        let old = std::mem::replace(self, verified.clone());
        if old.pin.statement.keys() == self.pin.statement.keys() {
            self.suite1 = self.suite1.take().or(old.suite1);
            self.suite2 = self.suite2.take().or(old.suite2);
        }
        Ok(())
    }

    fn store(&self) -> Stored {
        let mut bytes = [0; MAX_PIN];
        let mut out = Writer::new(&mut bytes);
        // A pin has at most MAX_PIN bytes, by that constant's definition.
        let len = self.pin.encode(&mut out).map_or(0, |()| out.written());
        Stored {
            fingerprint: hex::encode(self.pin.fingerprint()),
            pin: hex::encode(&bytes[..len]),
            suite1: self.suite1.as_ref().map(hex::encode),
            suite2: self.suite2.as_ref().map(hex::encode),
        }
    }

    fn restore(stored: &Stored) -> Option<Self> {
        let bytes = hex::decode(&stored.pin).ok()?;
        let mut input = Reader::new(&bytes);
        let pin = Pin::decode(&mut input).ok()?;
        input.finish().ok()?;
        let key = |text: &Option<String>| text.as_ref().map(hex::decode).transpose().ok();
        Some(Self { pin, suite1: key(&stored.suite1)?, suite2: key(&stored.suite2)? })
    }
}

/// The stored record.
pub fn read(path: &Path) -> Result<Option<KnownServer>> {
    match files::read_toml(path)? {
        Some(stored) => KnownServer::restore(&stored).map(Some).ok_or_else(|| files::damaged(path)),
        None => Ok(None),
    }
}

/// Stores a verified record by the rule of [`KnownServer::update`]. The caller holds the home's lock.
pub fn pin(path: &Path, verified: &KnownServer) -> Result<()> {
    let present = read(path)?;
    let mut record = present.clone().unwrap_or_else(|| verified.clone());
    record.update(verified)?;
    if Some(&record) == present.as_ref() {
        return Ok(());
    }
    files::write_toml(path, &record.store())
}
