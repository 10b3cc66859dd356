//! The server's first contact: answers key requests, and becomes a connection of the suite that the client chose.

use crate::buf::RxBuf;
use crate::config::{HEADER_LEN, MAX_HANDSHAKE_LEN, MAX_KEY_REQUESTS, Millis, Timeouts};
use crate::conn::{Conn, Server, need_input};
use crate::error::{Deadline, Error, ErrorCode, Mismatch, Misuse, NoRoom, PeerFault};
use crate::handshake::server::ServerConfig;
use crate::handshake::{Header, Kind};
use crate::identity::{ServedSuite, ServerIdentity};
use crate::io::Io;
use crate::suite::{Suite, Suite1};

/// Reads the first header of a new connection.
pub struct Acceptor {
    config: ServerConfig,
    limits: Timeouts,
    since: Millis,
    key_requests: u8,
    ended: Option<Error>,
}

/// What a step of the [`Acceptor`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Nothing can be done until more bytes were received.
    NeedInput,
    /// Nothing was consumed or changed: write some of the output to the peer first.
    NeedOutput(NoRoom),
    /// A key request was answered: call again.
    Progressed,
    /// Message 1 of suite 1 begins in the buffer: go on with [`Acceptor::connection`].
    Suite1,
    /// Message 1 of suite 2 begins in the buffer: go on with [`Acceptor::connection`].
    Suite2,
}

impl Acceptor {
    /// A connection that was accepted at `now`.
    pub const fn new(config: ServerConfig, limits: Timeouts, now: Millis) -> Self {
        Self { config, limits, since: now, key_requests: 0, ended: None }
    }

    /// Does the next thing that can be done, like [`Conn::step`].
    ///
    /// # Errors
    /// The connection is over. The output may hold an ERROR for the client.
    pub fn step(
        &mut self,
        identity: &ServerIdentity,
        rx: &mut RxBuf<'_>,
        io: &mut Io<'_, '_>,
    ) -> Result<Accept, Error> {
        if let Some(error) = self.ended {
            return Err(error);
        }
        let step = self.read_header(identity, rx, io);
        self.ended = step.err();
        step
    }

    fn read_header(
        &mut self,
        identity: &ServerIdentity,
        rx: &mut RxBuf<'_>,
        io: &mut Io<'_, '_>,
    ) -> Result<Accept, Error> {
        if let Some(room) = io.no_room(MAX_HANDSHAKE_LEN)? {
            return Ok(Accept::NeedOutput(room));
        }
        let header = match Header::read(rx.unconsumed()) {
            Ok(Some(header)) => header,
            Ok(None) => return need_input(rx, HEADER_LEN).map(|()| Accept::NeedInput),
            Err(error) => {
                if error == Error::Incompatible(Mismatch::Version) {
                    let suite = rx.unconsumed().get(4).copied().unwrap_or_default();
                    io.put_error(suite, ErrorCode::UnsupportedVersion)?;
                }
                return Err(error);
            }
        };
        match (header.kind, header.suite) {
            (Kind::KeyRequest | Kind::Message1, suite) if !identity.suites().contains(suite) => {
                io.put_error(suite, ErrorCode::UnsupportedSuite)?;
                Err(Error::Incompatible(Mismatch::Suite))
            }
            (Kind::Message1, Suite1::ID) => Ok(Accept::Suite1),
            (Kind::Message1, _) => Ok(Accept::Suite2),
            (Kind::KeyRequest, _) => self.answer_key_request(&header, identity, rx, io),
            _ => Err(Error::Peer(PeerFault::UnexpectedType)),
        }
    }

    /// The connection of the suite that the client chose, over the same buffers. The acceptor is done then.
    ///
    /// # Errors
    /// [`Mismatch::Suite`] if the identity has no key of `S`; [`Misuse::Parameter`]; [`Misuse::Stale`] if it
    /// was called before.
    pub fn connection<S: ServedSuite>(
        &mut self,
        identity: &ServerIdentity,
    ) -> Result<Conn<Server, S>, Error> {
        if let Some(error) = self.ended.replace(Error::Misuse(Misuse::Stale)) {
            return Err(error);
        }
        let key = S::key(identity).ok_or(Error::Incompatible(Mismatch::Suite))?;
        Conn::server(key, identity.suites(), self.config, self.limits, self.since)
    }

    fn answer_key_request(
        &mut self,
        header: &Header,
        identity: &ServerIdentity,
        rx: &mut RxBuf<'_>,
        io: &mut Io<'_, '_>,
    ) -> Result<Accept, Error> {
        if header.length != 0 {
            return Err(Error::Peer(PeerFault::Length));
        }
        if self.key_requests >= MAX_KEY_REQUESTS {
            return Err(Error::Peer(PeerFault::KeyRequests));
        }
        identity.put_key_answer(header.suite, io)?;
        self.key_requests = self.key_requests.saturating_add(1);
        rx.consume(HEADER_LEN);
        Ok(Accept::Progressed)
    }

    /// When [`Self::handle_timeout`] must be called.
    pub const fn poll_timeout(&self) -> Millis {
        self.since.saturating_add(self.limits.handshake as Millis)
    }

    /// Ends a connection that took too long to begin.
    ///
    /// # Errors
    /// [`Error::Timeout`]: the connection is over.
    pub const fn handle_timeout(&self, now: Millis) -> Result<(), Error> {
        if now >= self.poll_timeout() { Err(Error::Timeout(Deadline::Handshake)) } else { Ok(()) }
    }
}
