//! Many clients on one thread.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use polling::{Event, Events, PollMode, Poller};
use rustix::net::sockopt::set_tcp_quickack;

use crate::protocol::{Protocol, Seen, Whom};

/// Longer than any answer takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of one read.
const READ: usize = 64 * 1024;

struct Member {
    socket: TcpStream,
    protocol: Box<dyn Protocol>,
    /// To be written.
    out: Vec<u8>,
    /// Woken when it can be written.
    blocked: bool,
}

/// See the module.
pub struct Crowd {
    poller: Poller,
    events: Events,
    members: Vec<Member>,
    ready: usize,
    /// Members with output of this turn.
    dirty: Vec<usize>,
    heard: Vec<(usize, u64)>,
    buffer: Vec<u8>,
}

impl Crowd {
    /// Nobody yet.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> Result<Self> {
        Ok(Self {
            poller: Poller::new()?,
            events: Events::new(),
            members: Vec::new(),
            ready: 0,
            dirty: Vec::new(),
            heard: Vec::new(),
            buffer: vec![0; READ],
        })
    }

    /// Members that have reached their goal.
    #[must_use]
    pub const fn ready(&self) -> usize {
        self.ready
    }

    /// Connects another member.
    ///
    /// # Errors
    /// The connection is refused.
    pub fn add(&mut self, address: SocketAddr, mut protocol: Box<dyn Protocol>) -> Result<()> {
        let socket = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut out = Vec::new();
        protocol.open(&mut out)?;
        let key = self.members.len();
        // SAFETY: a member keeps its socket until `leave`, which takes it out of the poller first.
        unsafe { self.poller.add_with_mode(&socket, Event::readable(key), PollMode::Level)? };
        self.members.push(Member { socket, protocol, out, blocked: false });
        self.flush(key)
    }

    /// Connects members, a few at a time, until all have reached their goal.
    ///
    /// # Errors
    /// One of them failed, or nothing happened for a long time.
    pub fn gather(
        &mut self,
        address: SocketAddr,
        members: impl IntoIterator<Item = Result<Box<dyn Protocol>>>,
        at_once: usize,
    ) -> Result<()> {
        for protocol in members {
            while self.members.len() - self.ready >= at_once {
                self.progress()?;
            }
            self.add(address, protocol?)?;
        }
        while self.ready < self.members.len() {
            self.progress()?;
        }
        Ok(())
    }

    fn progress(&mut self) -> Result<()> {
        let (ready, late) = (self.ready, Instant::now() + PATIENCE);
        while self.ready == ready {
            ensure!(Instant::now() < late, "nobody became ready; {ready} of {} are", self.members.len());
            self.turn(Duration::from_secs(1))?;
        }
        Ok(())
    }

    /// Lets a member say something at the end of this turn.
    ///
    /// # Errors
    /// As the protocol says.
    pub fn say(&mut self, member: usize, to: Whom<'_>, body: &[u8]) -> Result<()> {
        let Member { protocol, out, .. } = &mut self.members[member];
        let silent = out.is_empty();
        protocol.say(to, body, out)?;
        if silent {
            self.dirty.push(member);
        }
        Ok(())
    }

    /// Writes what was said, waits, and reads. Who heard which message.
    ///
    /// # Errors
    /// A connection ended or said something unexpected.
    pub fn turn(&mut self, wait: Duration) -> Result<&[(usize, u64)]> {
        for member in std::mem::take(&mut self.dirty) {
            self.flush(member)?;
        }
        self.heard.clear();
        self.events.clear();
        self.poller.wait(&mut self.events, Some(wait))?;
        let events: Vec<Event> = self.events.iter().collect();
        for event in events {
            if event.writable {
                self.flush(event.key)?;
            }
            if event.readable {
                self.read(event.key).with_context(|| format!("member {}", event.key))?;
            }
        }
        Ok(&self.heard)
    }

    fn read(&mut self, key: usize) -> Result<()> {
        let Member { socket, protocol, out, .. } = &mut self.members[key];
        let read = match socket.read(&mut self.buffer) {
            Ok(0) => anyhow::bail!("the server ended the connection"),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // A server that lets Nagle's algorithm collect its small writes would otherwise wait for a delayed
        // acknowledgement, and never be at its maximum.
        set_tcp_quickack(&*socket, true)?;
        let mut seen = Vec::new();
        protocol.receive(&self.buffer[..read], out, &mut seen)?;
        for seen in seen {
            match seen {
                Seen::Ready => self.ready += 1,
                Seen::Message(number) => self.heard.push((key, number)),
            }
        }
        self.flush(key)
    }

    fn flush(&mut self, key: usize) -> Result<()> {
        let Member { socket, out, blocked, .. } = &mut self.members[key];
        while !out.is_empty() {
            match socket.write(out) {
                Ok(written) => drop(out.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        if *blocked == out.is_empty() {
            *blocked = !out.is_empty();
            let interest = if *blocked { Event::all(key) } else { Event::readable(key) };
            self.poller.modify_with_mode(socket.as_fd(), interest, PollMode::Level)?;
        }
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for member in &self.members {
            // The poller goes too.
            let _ = self.poller.delete(&member.socket);
        }
    }
}
