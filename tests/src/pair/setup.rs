//! What a pair is made of: identities, limits, memory, randomness.

use super::party::End;
use sordino_core::config::{Millis, RX_BUFFER, TX_BUFFER, Timeouts};
use sordino_core::entropy::Entropy;
use sordino_core::error::Error;
use sordino_core::identity::{Pin, ServedSuite, ServerIdentity, ServerKey, StaticKey};
use sordino_core::suite::{PublicKey, SecretKey};
use sordino_core::{ClientConfig, RxBuf, ServerConfig, Suite, Suite1, Suite2, SuiteList, TxBuf};
use std::sync::{LazyLock, OnceLock};

/// Not random: a counter through SplitMix64.
#[derive(Clone, Debug)]
pub struct Seeded(pub u64);

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        for byte in out {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = (z >> 32) as u8;
        }
        Ok(())
    }
}

/// Parameters of a pair.
#[derive(Clone)]
pub struct Setup {
    /// Whether the client begins with a key request.
    pub key_request: bool,
    /// The client's suite list; `None`: just the suite in use.
    pub client_suites: Option<SuiteList>,
    /// Max record of client and server, in bytes.
    pub max_record: [u16; 2],
    /// Whether client and server receive bundles.
    pub bundles: [bool; 2],
    /// Time limits of client and server.
    pub limits: [Timeouts; 2],
    /// Seeds of the random numbers of client and server.
    pub seeds: [u64; 2],
    /// The virtual clock when the connection begins, in milliseconds.
    pub start: Millis,
    /// The server's keys.
    pub identity: &'static ServerIdentity,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            key_request: false,
            client_suites: None,
            max_record: [1024, 16_384],
            bundles: [false; 2],
            limits: [Timeouts::CLIENT, Timeouts::SERVER],
            seeds: [1, 2],
            start: 1_000,
            identity: identity(),
        }
    }
}

/// Number of the client's ephemeral key.
pub const CLIENT_COUNTER: u64 = 11;
/// Number of the server's ephemeral key.
pub const SERVER_COUNTER: u64 = 12;
/// The server's Unix time in payload 2, in milliseconds.
pub const SERVER_TIME: u64 = 1_790_000_000_000;
/// Ed25519 seed of the server's root.
pub const ROOT_SEED: [u8; 32] = [9; 32];

impl Setup {
    /// The client's side of the handshake.
    pub fn client<S: ServedSuite>(&self, server: ServerKey<S>) -> ClientConfig<S> {
        let (device, device_public) = device::<S>();
        let only = SuiteList::new(&[S::ID]).unwrap_or_else(|| unreachable!());
        ClientConfig {
            server,
            device,
            device_public,
            suites: self.client_suites.unwrap_or(only),
            max_record: self.max_record[0],
            bundles: self.bundles[0],
            counter: CLIENT_COUNTER,
        }
    }

    /// The server's side of the handshake.
    pub const fn server(&self) -> ServerConfig {
        ServerConfig {
            max_record: self.max_record[1],
            bundles: self.bundles[1],
            counter: SERVER_COUNTER,
            time: SERVER_TIME,
        }
    }

    /// What the client remembers of the server.
    pub fn pin(&self) -> Pin {
        Pin { root: *self.identity.root(), statement: self.identity.statement().clone() }
    }

    /// The server's key as the client holds it.
    ///
    /// # Panics
    /// If the server has no key of `S`.
    pub fn server_key<S: ServedSuite>(&self) -> ServerKey<S> {
        let key = S::key(self.identity).map(StaticKey::public).unwrap();
        ServerKey::from_pin(&self.pin(), key.clone()).unwrap()
    }
}

/// The server's static exponent of suite `S`.
pub fn static_secret<S: Suite>() -> SecretKey<S> {
    SecretKey::<S>::generate(&mut Seeded(70 + u64::from(S::ID))).unwrap_or_else(|_| unreachable!())
}

/// The server's static key of suite `S`.
pub fn static_key<S: ServedSuite>() -> &'static PublicKey<S> {
    S::key(identity()).map(StaticKey::public).unwrap_or_else(|| unreachable!())
}

/// A server that offers both suites.
pub fn identity() -> &'static ServerIdentity {
    static IDENTITY: LazyLock<ServerIdentity> = LazyLock::new(|| served(true, true));
    &IDENTITY
}

/// A server that offers suite 1 only.
pub fn suite_1_identity() -> &'static ServerIdentity {
    static IDENTITY: LazyLock<ServerIdentity> = LazyLock::new(|| served(true, false));
    &IDENTITY
}

fn served(one: bool, two: bool) -> ServerIdentity {
    let one = one.then(|| StaticKey::new(static_secret::<Suite1>()));
    let two = two.then(|| StaticKey::new(static_secret::<Suite2>()));
    ServerIdentity::sign(&ROOT_SEED, 3, 1_790_000_000, one, two).unwrap_or_else(|_| unreachable!())
}

/// The client's device key of suite `S`.
pub fn device<S: Suite>() -> (SecretKey<S>, PublicKey<S>) {
    static PUBLIC: [OnceLock<Vec<u8>>; 3] = [const { OnceLock::new() }; 3];
    let secret =
        SecretKey::<S>::generate(&mut Seeded(80 + u64::from(S::ID))).unwrap_or_else(|_| unreachable!());
    let public = PUBLIC[usize::from(S::ID)].get_or_init(|| secret.public().as_bytes().to_vec());
    let public = PublicKey::<S>::from_bytes(public).unwrap_or_else(|_| unreachable!());
    (secret, public)
}

/// Memory for the buffers of both ends.
pub struct Memory {
    pub(super) client: [Vec<u8>; 2],
    pub(super) server: [Vec<u8>; 2],
}

impl Default for Memory {
    fn default() -> Self {
        Self::sized(RX_BUFFER, TX_BUFFER)
    }
}

impl Memory {
    /// Receive and send buffers of so many bytes at both ends.
    pub fn sized(rx: usize, tx: usize) -> Self {
        let buffers = || [vec![0; rx], vec![0; tx]];
        Self { client: buffers(), server: buffers() }
    }

    /// All buffers.
    pub fn buffers(&self) -> impl Iterator<Item = &[u8]> {
        self.client.iter().chain(&self.server).map(Vec::as_slice)
    }

    /// Both ends with fresh buffers.
    pub fn ends(&mut self, setup: &Setup) -> (End<'_>, End<'_>) {
        (end(&mut self.client, setup.seeds[0]), end(&mut self.server, setup.seeds[1]))
    }
}

fn end(memory: &mut [Vec<u8>; 2], seed: u64) -> End<'_> {
    let [rx, tx] = memory;
    End { rx: RxBuf::new(rx), tx: TxBuf::new(tx), rng: Seeded(seed) }
}
