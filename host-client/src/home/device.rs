//! This device's keys, and the counter that keeps its ephemeral keys apart.

use std::ops::Range;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::files;
use crate::failure::Result;

pub const FILE: &str = "device.toml";
pub const COUNTER: &str = "counter";

/// Private exponent ‖ public key in hexadecimal, for each suite that was ever used from this home. The public key
/// saves an exponentiation at each connection.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceKeys {
    /// 32 + 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    suite1: Option<String>,
    /// 40 + 384 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    suite2: Option<String>,
}

impl Drop for DeviceKeys {
    fn drop(&mut self) {
        self.suite1.zeroize();
        self.suite2.zeroize();
    }
}

impl DeviceKeys {
    fn slot(&mut self, suite: u8) -> &mut Option<String> {
        if suite == 1 { &mut self.suite1 } else { &mut self.suite2 }
    }
}

/// The stored key of a suite, made and stored first when it is missing.
pub fn key(
    path: &Path,
    suite: u8,
    make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>>,
) -> Result<Zeroizing<Vec<u8>>> {
    let mut keys: DeviceKeys = files::read_toml(path)?.unwrap_or_default();
    if let Some(hexadecimal) = keys.slot(suite) {
        return hex::decode(hexadecimal).map(Zeroizing::new).map_err(|_| files::damaged(path));
    }
    let fresh = make()?;
    *keys.slot(suite) = Some(hex::encode(&*fresh));
    files::write_toml(path, &keys)?;
    Ok(fresh)
}

/// Counters that were never handed out: the file remembers, and the clock is a floor for a home that was restored
/// from a backup.
pub fn reserve_counters(path: &Path, count: u64) -> Result<Range<u64>> {
    let stored = match files::read(path)? {
        Some(text) => text.trim().parse().map_err(|_| files::damaged(path))?,
        None => 0,
    };
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64);
    let start = clock.max(stored);
    let end = start.checked_add(count).ok_or_else(|| files::damaged(path))?;
    files::write(path, format!("{end}\n").as_bytes())?;
    Ok(start..end)
}
