//! From an address to a connection whose server has proven itself.

use std::time::{Duration, Instant};

use embedded_io_adapters::futures_03::FromFutures;
use getrandom::SysRng;
use smol::net::TcpStream;
use sordino_core::ClientConfig;
use sordino_core::config::{MAX_RECORD, RX_BUFFER, TX_BUFFER, Timeouts};
use sordino_core::drive::{Clock, Drive, DriveError, Link, Next};
use sordino_core::error::{Distrust, Error, ErrorCode};
use sordino_core::identity::{Fingerprint, Pin, ServerKey, Trust};
use sordino_core::suite::{PublicKey, Suite, SuiteList};

use super::identity::Identity;
use super::{Options, explain};
use crate::failure::{Exit, Failure, Result};
use crate::home::KnownServer;
use crate::text::output::grouped;
use crate::wait;

type Half = FromFutures<TcpStream>;
type Wire<'b> = Link<'b, Half, Half, Monotonic, SysRng>;
/// The core's driver over smol.
pub type Driver<'b, S> = Drive<'b, S, Half, Half, Monotonic, SysRng>;

/// Time for the TCP connection.
const TCP: Duration = Duration::from_secs(10);

/// Milliseconds since a connection's start.
pub struct Monotonic(Instant);

impl Clock for Monotonic {
    fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn sleep_until(&self, at: u64) {
        smol::Timer::at(self.0 + Duration::from_millis(at)).await;
    }
}

/// Memory of a connection, about 33 KiB.
pub struct Buffers {
    rx: Vec<u8>,
    tx: Vec<u8>,
}

impl Buffers {
    /// Room for the largest records.
    pub fn new() -> Self {
        Self { rx: vec![0; RX_BUFFER], tx: vec![0; TX_BUFFER] }
    }

    fn wire(&mut self, stream: &TcpStream) -> Wire<'_> {
        let half = || FromFutures::new(stream.clone());
        Link::new(half(), half(), &mut self.rx, &mut self.tx, Monotonic(Instant::now()), SysRng)
    }
}

/// What is known once the handshake is over.
#[derive(Clone, Copy, Debug)]
pub struct Greeting {
    /// Of the server's root.
    pub fingerprint: Fingerprint,
    /// Whether this device had no pin before.
    pub first: bool,
}

/// What a client needs to know before it dials.
pub struct Dial<'a> {
    identity: &'a Identity,
    options: &'a Options,
    known: Option<KnownServer>,
}

impl<'a> Dial<'a> {
    /// Looks up whom this device trusts.
    ///
    /// # Errors
    /// Exit code 4 when the given fingerprint isn't that of the pinned server: there is no need to ask the network.
    pub fn new(identity: &'a Identity, options: &'a Options) -> Result<Self> {
        let dial = Self { identity, options, known: identity.server()? };
        match (&dial.known, options.fingerprint) {
            (Some(known), Some(given)) if known.pin.fingerprint() != given => Err(dial.other_server()),
            _ => Ok(dial),
        }
    }

    /// A connected stream.
    ///
    /// # Errors
    /// Exit code 3.
    pub async fn stream(&self) -> Result<TcpStream> {
        let address = &self.options.server;
        let connected = wait::within(TCP, TcpStream::connect((address.host.as_str(), address.port))).await;
        let stream = connected
            .ok_or_else(|| explain::silent(&format!("connecting to {address}"), TCP))?
            .map_err(|e| explain::unreachable(address, &e))?;
        stream.set_nodelay(true).map_err(|e| explain::unreachable(address, &e))?;
        Ok(stream)
    }

    /// The static key of an earlier connection, with the pin that vouches for it.
    pub fn stored<S: Suite>(&self) -> Option<(Pin, ServerKey<S>)> {
        let known = self.known.as_ref()?;
        let key = PublicKey::<S>::from_bytes(known.key(S::ID)?).ok()?;
        Some((known.pin.clone(), ServerKey::from_pin(&known.pin, key).ok()?))
    }

    /// The handshake with a stored key; `None` when the server says that it isn't current.
    ///
    /// # Errors
    /// As [`explain`] sorts them.
    pub async fn with_stored_key<'b, S: Suite>(
        &self,
        stream: &TcpStream,
        buffers: &'b mut Buffers,
        pin: Pin,
        key: ServerKey<S>,
    ) -> Result<Option<(Driver<'b, S>, Greeting)>> {
        self.shake_hands(buffers.wire(stream), pin, key).await
    }

    /// Asks the server for its key, then the handshake.
    ///
    /// # Errors
    /// As [`explain`] sorts them.
    pub async fn with_fresh_key<'b, S: Suite>(
        &self,
        stream: &TcpStream,
        buffers: &'b mut Buffers,
    ) -> Result<(Driver<'b, S>, Greeting)> {
        let trust = match (&self.known, self.options.fingerprint) {
            (Some(known), _) => Trust::Pinned(&known.pin),
            (None, Some(given)) => Trust::Fingerprint(given, 0),
            (None, None) => Trust::FirstUse,
        };
        let mut wire = buffers.wire(stream);
        let fetched = wire.fetch_key::<S>(trust, Timeouts::CLIENT.handshake).await;
        let (pin, key) = fetched.map_err(|e| self.explain(&e))?;
        let connected = self.shake_hands(wire, pin, key).await?;
        connected.ok_or_else(|| explain::core(&Error::Refused(ErrorCode::UnknownKey)))
    }

    /// Carries the handshake out and keeps the pin; `None` for ERROR 3.
    async fn shake_hands<'b, S: Suite>(
        &self,
        wire: Wire<'b>,
        pin: Pin,
        key: ServerKey<S>,
    ) -> Result<Option<(Driver<'b, S>, Greeting)>> {
        let greeting = Greeting { fingerprint: pin.fingerprint(), first: self.known.is_none() };
        let mut verified = KnownServer { pin, suite1: None, suite2: None };
        *verified.key_mut(S::ID) = Some(key.public().as_bytes().to_vec());
        let config = self.config(key, &verified.pin)?;
        let mut drive = wire.connect(config, Timeouts::CLIENT).map_err(|e| explain::core(&e))?;
        match drive.next().await {
            // The first event of a client's connection is the handshake's end.
            Ok(Next::Event(_) | Next::Room) => {}
            Ok(Next::Closed(_)) => return Err(explain::core(&Error::Truncated)),
            Err(DriveError::Protocol(Error::Refused(ErrorCode::UnknownKey))) => return Ok(None),
            Err(error) => return Err(self.explain(&error)),
        }
        self.identity.pin(&verified)?;
        Ok(Some((drive, greeting)))
    }

    fn config<S: Suite>(&self, server: ServerKey<S>, pin: &Pin) -> Result<ClientConfig<S>> {
        let (device, device_public) = self.identity.device_key::<S>()?;
        // Nothing above the chosen suite: a server that has a better one must not be blamed for the choice.
        let signed = pin.statement.keys().iter().map(|(suite, _)| *suite);
        let willing: Vec<u8> = signed.filter(|suite| (1..=S::ID).contains(suite)).collect();
        let suites = SuiteList::new(&willing)
            .ok_or_else(|| Failure::failed("the server's statement lists no suite"))?;
        let counter = self.identity.counter()?;
        Ok(ClientConfig {
            server,
            device,
            device_public,
            suites,
            max_record: MAX_RECORD,
            bundles: true,
            counter,
        })
    }

    fn explain(&self, error: &DriveError<std::io::Error>) -> Failure {
        match error {
            DriveError::Protocol(Error::Untrusted(Distrust::Root)) => self.other_server(),
            error => explain::drive(error, &self.options.server),
        }
    }

    /// The loud message for another root.
    fn other_server(&self) -> Failure {
        let (trusted, source) = match (&self.known, self.options.fingerprint) {
            (Some(known), _) => {
                (known.pin.fingerprint(), format!("pinned on first contact in {}", self.identity.place()))
            }
            (None, Some(given)) => (given, "the one that you gave".to_owned()),
            (None, None) => (Fingerprint::default(), "none".to_owned()),
        };
        Failure::new(
            Exit::Untrusted,
            format!(
                "*** THIS IS NOT THE SERVER THAT YOU TRUST ***\n\
                 The server at {} shows another identity than the trusted one.\n\
                 Trusted fingerprint ({source}):\n  {}\n\
                 Somebody may be between you and the server; or this is another server; or it lost its keys.\n\
                 Nothing of yours was sent. Ask the operator for the fingerprint by another way. For another server,\n\
                 use another --home, with --fingerprint.",
                self.options.server,
                grouped(&hex::encode(trusted)),
            ),
        )
    }
}
