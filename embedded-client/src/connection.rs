//! What a connection begins with, and what follows its end: shared by both clients.

use crate::MAX_ADDRESS;
use crate::backoff::{Backoff, after};
use crate::board::{Board, Inner};
use crate::code::split_address;
use crate::event::Offline;
use crate::session::End;
use crate::storage::Storage;
use heapless::String;
use rand_core::TryCryptoRng;
use sordino_core::ClientConfig;
use sordino_core::bytes::Secret;
use sordino_core::config::{MIN_RECORD, Millis};
use sordino_core::entropy::Entropy;
use sordino_core::error::{Error, ErrorCode, Misuse};
use sordino_core::event::Closed;
use sordino_core::identity::{Fingerprint, Pin, ServerKey, Trust};
use sordino_core::messages::{AuthCode, CloseReason};
use sordino_core::suite::{Suite, SuiteList};

/// Time for TCP to connect, and for the key answer, in milliseconds.
pub(crate) const LIMIT: u32 = 10_000;

/// The randomness of one connection: a handshake takes 32 bytes. Exhausted after that, never repeated.
pub(crate) struct Drawn {
    bytes: Option<Secret<[u8; 32]>>,
}

impl Entropy for Drawn {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        let bytes =
            self.bytes.take().filter(|bytes| bytes.expose().len() == out.len()).ok_or(Error::Entropy)?;
        out.copy_from_slice(bytes.expose());
        Ok(())
    }
}

/// Where to connect, and whom to trust there.
pub(crate) struct Plan<S: Suite> {
    address: String<MAX_ADDRESS>,
    fingerprint: Fingerprint,
    pin: Option<Pin>,
    /// The server's static key, unless it has to be asked for.
    pub key: Option<ServerKey<S>>,
}

impl<S: Suite> Plan<S> {
    /// Host and port.
    pub fn place(&self) -> (&str, u16) {
        split_address(&self.address).unwrap_or_default()
    }

    /// Against what the key answer is checked.
    pub fn trust(&self) -> Trust<'_> {
        self.pin.as_ref().map_or(Trust::Fingerprint(self.fingerprint, 0), Trust::Pinned)
    }
}

/// What comes after a connection's end.
pub(crate) enum Then {
    Stop,
    Again,
    /// Tell, and wait until then.
    Wait(Offline, u32, Millis),
}

impl<F: Storage, G: TryCryptoRng, S: Suite> Board<F, G, S> {
    /// What the next connection needs; `None` before an enrolment.
    pub(crate) fn plan(&self) -> Option<Plan<S>> {
        let mut inner = self.inner().ok()?;
        let stale = inner.stale_key;
        let state = &mut inner.state;
        if state.account().is_none() && state.secret().is_none() {
            return None;
        }
        let (address, fingerprint) = state.server()?;
        let (pin, key) = state.pin::<S>().unzip();
        Some(Plan { address, fingerprint, pin, key: key.flatten().filter(|_| !stale) })
    }

    pub(crate) fn draw(&self) -> Result<Drawn, End> {
        let bytes = self.access()?.draw().ok_or(End::Offline(Offline::Entropy))?;
        Ok(Drawn { bytes: Some(bytes) })
    }

    pub(crate) fn access(&self) -> Result<core::cell::RefMut<'_, Inner<F, G>>, End> {
        self.inner().map_err(|_| End::Offline(Offline::Protocol(Error::Misuse(Misuse::Stale))))
    }

    /// Keeps what the server has shown.
    pub(crate) fn keep(&self, pin: &Pin, key: &ServerKey<S>) -> Result<(), End> {
        let mut inner = self.access()?;
        inner.stale_key = false;
        let same = inner.state.pin::<S>().is_some_and(|(old, old_key)| {
            old == *pin && old_key.is_some_and(|old_key| old_key.id() == key.id())
        });
        if !same {
            inner.state.set_pin(pin, key)?;
        }
        Ok(())
    }

    /// Keys and a counter that was never used before.
    pub(crate) fn client(&self, server: ServerKey<S>) -> Result<ClientConfig<S>, End> {
        let mut inner = self.access()?;
        let (device, device_public) = inner.state.identity::<S>().ok_or(End::Turned)?;
        let counter = inner.state.next_counter()?;
        let suites = SuiteList::new(&[S::ID]).ok_or(End::Turned)?;
        Ok(ClientConfig {
            server,
            device,
            device_public,
            suites,
            max_record: MIN_RECORD,
            bundles: true,
            counter,
        })
    }

    /// What a failure of the protocol means for the next connection.
    pub(crate) fn failed(&self, error: Error) -> End {
        if error == Error::Refused(ErrorCode::UnknownKey)
            && let Ok(mut inner) = self.inner()
        {
            inner.stale_key = true;
        }
        End::Offline(Offline::Protocol(error))
    }

    /// Decides what comes after a connection.
    pub(crate) fn ended(&self, end: End, now: Millis) -> Then {
        let Ok(mut inner) = self.inner() else { return Then::Again };
        inner.online = false;
        let random = inner.dice();
        let (reason, wait) = match end {
            End::Stopped => return Then::Stop,
            End::Turned => return Then::Again,
            End::Told(code, seconds) => (Offline::Login(code), Backoff::told(seconds, random)),
            End::Offline(reason) if needs_people(reason) => (reason, Backoff::refused(random)),
            End::Offline(reason) => (reason, inner.backoff.next(random)),
        };
        Then::Wait(reason, wait, after(now, wait))
    }

    pub(crate) fn generation(&self) -> u32 {
        self.inner().map_or(0, |inner| inner.generation)
    }
}

/// How an ended connection counts.
pub(crate) fn closed(closed: Closed) -> End {
    match closed {
        Closed::ByPeer(CloseReason::Revoked) => End::Offline(Offline::Login(AuthCode::Denied)),
        Closed::ByPeer(_) | Closed::Here(_) => End::Offline(Offline::Closed),
    }
}

/// Trying again soon can't help.
fn needs_people(reason: Offline) -> bool {
    match reason {
        Offline::Login(code) => code != AuthCode::Unavailable && code != AuthCode::RateLimited,
        Offline::Protocol(Error::Untrusted(_) | Error::Incompatible(_)) | Offline::Owner => true,
        _ => false,
    }
}
