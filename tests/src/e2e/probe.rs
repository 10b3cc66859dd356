//! A blocking connection that shows every record that the server sends, as it travelled and as it was meant.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use getrandom::SysRng;
use rustix::net::sockopt::set_socket_linger;
use sordino_core::{
    Client, ClientConfig, Closed, Conn, Error, Event, Io, Message, RxBuf, Step, Suite, SuiteList, TxBuf,
    config::{MAX_RECORD, RX_BUFFER, TX_BUFFER, Timeouts},
    error::ErrorCode,
    identity::Trust,
    key_request::KeyRequest,
    messages::{Auth, AuthMethod},
    suite::{PublicKey, SecretKey},
    wire::Writer,
};

use super::{Host, PATIENCE};

/// A device's key of a suite.
pub struct Device<S: Suite>(SecretKey<S>, PublicKey<S>);

impl<S: Suite> Device<S> {
    /// A new one.
    ///
    /// # Panics
    /// Without randomness.
    #[must_use]
    pub fn new() -> Self {
        let secret = SecretKey::<S>::generate(&mut SysRng).expect("random bytes");
        let public = secret.public();
        Self(secret, public)
    }
}

impl<S: Suite> Default for Device<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Suite> Clone for Device<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), self.1.clone())
    }
}

/// A record from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The message's type.
    pub kind: u8,
    /// Its body, without padding. The core has checked that the padding is zeros.
    pub body: Vec<u8>,
    /// The record's length on the wire, in bytes.
    pub wire: usize,
}

/// Why there is no connection, or no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// TCP failed: refused or reset.
    Tcp,
    /// The protocol says why.
    Protocol(Error),
    /// The server said CLOSE.
    Closed(Closed),
}

impl Ended {
    /// Whether the server turned the connection away because a limit was reached: ERROR 4, or a connection that ends
    /// before anything was answered.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::Tcp | Self::Protocol(Error::Truncated | Error::Refused(ErrorCode::Busy)))
    }
}

/// Memory for a [`Probe`].
pub struct Memory {
    rx: Vec<u8>,
    tx: Vec<u8>,
}

impl Memory {
    /// Room for the largest records.
    #[must_use]
    pub fn new() -> Self {
        Self { rx: vec![0; RX_BUFFER], tx: vec![0; TX_BUFFER] }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

struct Wire<'b> {
    stream: TcpStream,
    rx: RxBuf<'b>,
    tx: TxBuf<'b>,
    start: Instant,
    /// What came and isn't counted as a record yet.
    came: Vec<u8>,
    /// Bytes that may still be sent before everything ends.
    left: usize,
}

impl Wire<'_> {
    fn io<T>(&mut self, f: impl FnOnce(&mut RxBuf<'_>, &mut Io<'_, '_>) -> T) -> T {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        f(&mut self.rx, &mut Io { now, tx: &mut self.tx, rng: &mut SysRng })
    }

    fn write(&mut self) -> Result<(), Ended> {
        while !self.tx.is_empty() {
            let most = self.tx.pending().len().min(self.left);
            if most == 0 {
                return Err(Ended::Tcp);
            }
            let written = self.stream.write(&self.tx.pending()[..most]).map_err(|_| Ended::Tcp)?;
            self.tx.consume(written);
            self.left -= written;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), Ended> {
        if self.left == 0 {
            return Err(Ended::Tcp);
        }
        let spare = self.rx.spare();
        match self.stream.read(spare).map_err(|_| Ended::Tcp)? {
            0 => self.rx.end(),
            n => {
                self.came.extend_from_slice(&spare[..n]);
                self.rx.commit(n);
            }
        }
        Ok(())
    }

    /// The length of the first record that came and wasn't counted.
    fn count(&mut self) -> usize {
        let length = 2 + usize::from(u16::from_be_bytes([self.came[0], self.came[1]]));
        self.came.drain(..length);
        length
    }
}

/// A connection of suite `S`.
pub struct Probe<'b, S: Suite> {
    conn: Conn<Client, S>,
    wire: Wire<'b>,
}

impl<'b, S: Suite> Probe<'b, S> {
    /// Connects, asks for the server's key and carries the handshake out.
    ///
    /// # Errors
    /// How it ended.
    pub fn connect(memory: &'b mut Memory, host: &Host, device: Device<S>) -> Result<Self, Ended> {
        Self::begin(memory, host, device, usize::MAX)?.shake_hands()
    }

    /// Connects, tries a wrong password and asks for the policy, but resets the connection (RST) when so many bytes are
    /// sent.
    ///
    /// # Errors
    /// It has come to that: [`Ended::Tcp`].
    pub fn reset_after(
        memory: &'b mut Memory,
        host: &Host,
        device: Device<S>,
        bytes: usize,
    ) -> Result<(), Ended> {
        let mut probe = Self::begin(memory, host, device, bytes)?.shake_hands()?;
        probe.try_password("nobody", "nothing")?;
        probe.send(&Message::GetPolicy(()))?;
        probe.hear().map(drop)
    }

    fn shake_hands(mut self) -> Result<Self, Ended> {
        while self.conn.is_handshaking() {
            self.step()?;
        }
        self.wire.write()?;
        self.wire.came.clear();
        Ok(self)
    }

    /// A message 1 that a client of this server would send.
    ///
    /// # Errors
    /// How it ended.
    pub fn message_1(memory: &'b mut Memory, host: &Host, device: Device<S>) -> Result<Vec<u8>, Ended> {
        let Self { mut conn, mut wire } = Self::begin(memory, host, device, usize::MAX)?;
        wire.io(|rx, io| conn.step(rx, io)).map_err(Ended::Protocol)?;
        Ok(wire.tx.pending().to_vec())
    }

    /// Connects and asks for the server's key. At most so many bytes will be sent on this connection, and then a RST.
    fn begin(memory: &'b mut Memory, host: &Host, device: Device<S>, left: usize) -> Result<Self, Ended> {
        let stream = TcpStream::connect(host.address()).map_err(|_| Ended::Tcp)?;
        stream.set_nodelay(true).map_err(|_| Ended::Tcp)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|_| Ended::Tcp)?;
        if left < usize::MAX {
            set_socket_linger(&stream, Some(Duration::ZERO)).map_err(|_| Ended::Tcp)?;
        }
        let (rx, tx) = (RxBuf::new(&mut memory.rx), TxBuf::new(&mut memory.tx));
        let mut wire = Wire { stream, rx, tx, start: Instant::now(), came: Vec::new(), left };
        let request = wire.io(|_, io| KeyRequest::<S>::send(io)).map_err(Ended::Protocol)?;
        wire.write()?;
        let server = loop {
            wire.read()?;
            match request.receive(&mut wire.rx, Trust::FirstUse).map_err(Ended::Protocol)? {
                Some((_, key)) => break key,
                None => continue,
            }
        };
        let suites = SuiteList::new(&[S::ID]).ok_or(Ended::Tcp)?;
        let Device(device, device_public) = device;
        let config = ClientConfig {
            server,
            device,
            device_public,
            suites,
            max_record: MAX_RECORD,
            // Each message in a record of its own, whose length is looked at.
            bundles: false,
            counter: 1,
        };
        let conn = Conn::client(config, Timeouts::CLIENT, 0).map_err(Ended::Protocol)?;
        Ok(Self { conn, wire })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// How the connection ended.
    ///
    /// # Panics
    /// When the message can't be sent in this phase.
    pub fn send(&mut self, message: &Message<'_>) -> Result<(), Ended> {
        let conn = &mut self.conn;
        self.wire.io(|_, io| conn.send(message, io)).expect("the message may be sent now");
        self.wire.write()
    }

    /// The next record.
    ///
    /// # Errors
    /// How the connection ended.
    pub fn hear(&mut self) -> Result<Heard, Ended> {
        loop {
            if let Some(heard) = self.step()? {
                return Ok(heard);
            }
        }
    }

    /// Tries to log in by password and returns the answer.
    ///
    /// # Errors
    /// How the connection ended.
    pub fn try_password(&mut self, username: &str, password: &str) -> Result<Heard, Ended> {
        self.send(&Message::Auth(Auth { method: AuthMethod::Password, username, password, ..Auth::DEVICE }))?;
        self.hear()
    }

    /// Writes what the core has to say. A server that has left may have said why: reading tells.
    fn answer(&mut self) {
        let _ = self.wire.write();
    }

    /// Moves on; the record, when the step was one.
    fn step(&mut self) -> Result<Option<Heard>, Ended> {
        let conn = &mut self.conn;
        match self.wire.io(|rx, io| conn.step(rx, io)).map_err(Ended::Protocol)? {
            Step::NeedInput => {
                self.answer();
                self.wire.read()?;
            }
            Step::NeedOutput(_) | Step::Progressed => self.answer(),
            Step::Closed(closed) => return Err(Ended::Closed(closed)),
            Step::Event(id) => {
                let event = self.conn.event(&self.wire.rx, id).map_err(Ended::Protocol)?;
                if let Event::Message(message) = event {
                    let (kind, body) = (message.kind(), encoded(&message));
                    return Ok(Some(Heard { kind, body, wire: self.wire.count() }));
                }
            }
        }
        Ok(None)
    }
}

fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut body = vec![0; usize::from(MAX_RECORD)];
    let mut out = Writer::new(&mut body);
    message.encode(&mut out).expect("what was decoded can be encoded");
    let len = out.written();
    body.truncate(len);
    body
}
