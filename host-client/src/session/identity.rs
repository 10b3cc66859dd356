//! Who a client is and whom it trusts: kept in a home, or in memory for tests and load generators.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use getrandom::SysRng;
use sordino_core::dh::Group;
use sordino_core::suite::{PublicKey, SecretKey, Suite};
use zeroize::Zeroizing;

use super::explain;
use crate::failure::{Failure, Result};
use crate::home::{Home, KnownServer};

/// Counters that a home hands out at once: one write to the disk for so many connections of a process.
const RESERVED: u64 = 16;

/// A device: its keys, its counter and its pinned server.
#[derive(Clone, Debug)]
pub struct Identity {
    keeper: Keeper,
    counters: Arc<Mutex<Range<u64>>>,
}

#[derive(Clone, Debug)]
enum Keeper {
    Home(Home),
    Memory(Arc<Mutex<Memory>>),
}

#[derive(Debug, Default)]
struct Memory {
    device: [Option<Zeroizing<Vec<u8>>>; 2],
    server: Option<KnownServer>,
    counter: u64,
}

/// A device key of a suite with its public key.
pub type DeviceKey<S> = (SecretKey<S>, PublicKey<S>);

impl Identity {
    /// The device of a home.
    pub fn of_home(home: Home) -> Self {
        Self { keeper: Keeper::Home(home), counters: Arc::default() }
    }

    /// A new device that is forgotten with its last clone.
    pub fn in_memory() -> Self {
        Self { keeper: Keeper::Memory(Arc::default()), counters: Arc::default() }
    }

    /// The device key of a suite, made first when there is none (one exponentiation).
    ///
    /// # Errors
    /// Exit code 1 when the home or the random number generator fails.
    pub fn device_key<S: Suite>(&self) -> Result<DeviceKey<S>> {
        let blob = match &self.keeper {
            Keeper::Home(home) => home.device_key(S::ID, make::<S>)?,
            Keeper::Memory(memory) => {
                let slot = &mut lock(memory).device[usize::from(S::ID == 2)];
                match slot {
                    Some(blob) => blob.clone(),
                    None => slot.insert(make::<S>()?).clone(),
                }
            }
        };
        split::<S>(&blob)
            .ok_or_else(|| Failure::failed("the stored device key isn't one: restore it from a backup"))
    }

    /// A number that never repeats for this device.
    ///
    /// # Errors
    /// Exit code 1 when the home fails.
    pub fn counter(&self) -> Result<u64> {
        let mut reserved = lock(&self.counters);
        if reserved.is_empty() {
            *reserved = match &self.keeper {
                Keeper::Home(home) => home.reserve_counters(RESERVED)?,
                Keeper::Memory(memory) => {
                    let mut memory = lock(memory);
                    let start = memory.counter;
                    memory.counter += RESERVED;
                    start..memory.counter
                }
            };
        }
        reserved.next().ok_or_else(|| Failure::failed("this device's counter is used up"))
    }

    /// Where the pin is kept, for people.
    pub fn place(&self) -> String {
        match &self.keeper {
            Keeper::Home(home) => home.path("").display().to_string(),
            Keeper::Memory(_) => "memory".to_owned(),
        }
    }

    /// The pinned server, if there is one.
    ///
    /// # Errors
    /// Exit code 1 when the home fails.
    pub fn server(&self) -> Result<Option<KnownServer>> {
        match &self.keeper {
            Keeper::Home(home) => home.server(),
            Keeper::Memory(memory) => Ok(lock(memory).server.clone()),
        }
    }

    /// Pins a verified server, or follows its rotation.
    ///
    /// # Errors
    /// Exit code 4 for another root; 1 when the home fails.
    pub fn pin(&self, verified: &KnownServer) -> Result<()> {
        match &self.keeper {
            Keeper::Home(home) => home.pin(verified),
            Keeper::Memory(memory) => match &mut lock(memory).server {
                Some(present) => present.update(verified),
                none => {
                    *none = Some(verified.clone());
                    Ok(())
                }
            },
        }
    }
}

fn make<S: Suite>() -> Result<Zeroizing<Vec<u8>>> {
    let secret = SecretKey::<S>::generate(&mut SysRng).map_err(|e| explain::core(&e))?;
    Ok(Zeroizing::new([secret.expose(), secret.public().as_bytes()].concat()))
}

fn split<S: Suite>(blob: &[u8]) -> Option<DeviceKey<S>> {
    let (secret, public) = blob.split_at_checked(blob.len().checked_sub(public_len::<S>())?)?;
    Some((SecretKey::<S>::from_bytes(secret).ok()?, PublicKey::<S>::from_bytes(public).ok()?))
}

fn public_len<S: Suite>() -> usize {
    <<S::Group as Group>::Public as sordino_core::bytes::Bytes>::LEN
}

/// A panic of another thread leaves whole values behind: each is replaced as a whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
