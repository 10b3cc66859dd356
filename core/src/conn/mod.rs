//! One connection: phases, dispatch, deadlines.
//!
//! # Call contract
//! - The driver owns sockets, buffers, clock and randomness. It puts received bytes into an [`RxBuf`],
//!   calls [`Conn::step`] until that needs something, and writes what stands in the [`TxBuf`].
//! - The same `RxBuf` and `TxBuf` contents serve all calls of one connection. `io.now` never goes back.
//! - A step that returns [`Step::Event`] lends a part of the receive buffer; [`Conn::event`] shows it until the
//!   next step, which erases it. Between the two the driver may send and answer, and may receive more.
//! - [`Step::NeedOutput`] means that nothing was consumed or changed.
//! - [`Conn::poll_timeout`] says when [`Conn::handle_timeout`] must be called next; calling it early is harmless.
//! - After an error or a close, write the output (it may hold a CLOSE or an ERROR) and drop the connection.
//!   Every further call returns the same result. Receive memory that is used again is wiped by [`RxBuf::wipe`].
//! - Room for a CLOSE is always kept in the output.

mod open;
mod sendable;
mod timers;

use crate::buf::RxBuf;
use crate::bytes::Bytes;
use crate::config::{HEADER_LEN, INNER_HEAD, MAX_AUTH_FAILURES, Millis, Timeouts};
use crate::error::{Deadline, Error, ErrorCode, Misuse, PeerFault, SendError};
use crate::event::{Answer, AnswerError, Closed, Event, EventId, Peer, Step, Ticket};
use crate::handshake::client::{ClientConfig, ClientHandshake, ServerHello};
use crate::handshake::server::{ServerConfig, ServerHandshake};
use crate::handshake::{Finished, Handshake, Header, Kind, Outcome};
use crate::identity::StaticKey;
use crate::io::Io;
use crate::messages::{AuthResult, CloseReason, Message, Phase};
use crate::record::Direction;
use crate::suite::{Suite, Suite1, Suite2, SuiteList, least_scratch};
use crate::wire::{Malformed, Overflow, Writer};
use core::ops::Range;
use open::{Open, Received, bundled, is_auth, is_close};
pub use sendable::{Encoded, Sendable};
use timers::{Due, Timers};

/// A message that role `R` receives. Apart, so that it stands in the program once.
#[inline(never)]
fn decode<R: Role>(kind: u8, body: &[u8]) -> Result<Message<'_>, Malformed> {
    Message::decode_on_way(kind, body, Some(R::RECEIVES))
}

/// Writes a message that role `R` sends. Apart for the same reason.
#[inline(never)]
fn encode<R: Role>(message: &Message<'_>, out: &mut Writer<'_>) -> Result<(), Overflow> {
    message.encode_on_way(out, Some(R::SENDS))
}

/// Which side of a connection this is.
pub trait Role: private::Role {}

/// The side that connects.
#[derive(Debug)]
pub struct Client;

/// The side that accepts.
#[derive(Debug)]
pub struct Server;

impl Role for Client {}
impl Role for Server {}

mod private {
    use super::{Client, ClientHandshake, Direction, Handshake, Server, ServerHandshake, Suite};

    pub trait Role: Sized {
        const SENDS: Direction;
        const RECEIVES: Direction;
        type Handshake<S: Suite>: Handshake<S>;
    }

    impl Role for Client {
        const SENDS: Direction = Direction::ToServer;
        const RECEIVES: Direction = Direction::ToClient;
        type Handshake<S: Suite> = ClientHandshake<S>;
    }

    impl Role for Server {
        const SENDS: Direction = Direction::ToClient;
        const RECEIVES: Direction = Direction::ToServer;
        type Handshake<S: Suite> = ServerHandshake<S>;
    }
}

/// A connection of role `R` in suite `S`: state and keys; no buffers, clock or randomness inside.
pub struct Conn<R: Role, S: Suite> {
    stage: Stage<R, S>,
    lent: Lent,
    timers: Timers,
}

enum Stage<R: Role, S: Suite> {
    Handshake(R::Handshake<S>),
    Open(Open<S>),
    Ended {
        end: Result<Closed, Error>,
        /// Zeros over every byte where keys were: a smaller variant would leave some of them standing.
        _cover: S::Cover,
    },
}

/// The part of the receive buffer that the latest event shows, and whether its ticket waits for an answer.
struct Lent {
    serial: u32,
    event: Lend,
    /// Type of a message, and place of what the event shows. Fields rather than parts of the enum, so that each
    /// assignment writes all of them.
    kind: u8,
    body: Range<usize>,
    /// Bytes at the front of the buffer that the next step drops.
    used: usize,
    /// Of a bundle, behind those bytes: its messages that were not shown, and the rest of its record.
    left: usize,
    behind: usize,
    unanswered: bool,
}

#[derive(Clone, Copy)]
enum Lend {
    Nothing,
    Admit,
    Established,
    Message,
}

/// Bytes of a connection's largest stage, which the keys of the records fill.
pub(crate) const fn open_size<S: Suite>() -> usize {
    size_of::<Open<S>>()
}

/// Whether the keys of the records stand on every byte where those of the handshake stood.
const fn covered<R: Role, S: Suite>() -> bool {
    size_of::<R::Handshake<S>>() <= open_size::<S>()
}

const _: () = assert!(covered::<Server, Suite1>() && covered::<Server, Suite2>());
const _: () = assert!(covered::<Client, Suite1>() && covered::<Client, Suite2>());
const _: () = assert!(size_of::<Conn<Server, Suite1>>() <= 1536);
const _: () = assert!(size_of::<Conn<Server, Suite2>>() <= 2304);
const _: () = assert!(size_of::<Conn<Client, Suite1>>() <= 1536);
const _: () = assert!(size_of::<Conn<Client, Suite2>>() <= 2304);

impl<S: Suite> Conn<Client, S> {
    /// A client's connection; its first step writes message 1.
    ///
    /// # Errors
    /// [`Misuse::Parameter`].
    pub fn client(config: ClientConfig<S>, limits: Timeouts, now: Millis) -> Result<Self, Error> {
        Self::start(ClientHandshake::new(config)?, limits, now)
    }
}

impl<S: Suite> Conn<Server, S> {
    /// A server's connection that awaits message 1. [`crate::acceptor::Acceptor`] makes it.
    pub(crate) fn server(
        key: &StaticKey<S>,
        suites: SuiteList,
        config: ServerConfig,
        limits: Timeouts,
        since: Millis,
    ) -> Result<Self, Error> {
        Self::start(ServerHandshake::new(key, suites, config)?, limits, since)
    }

    /// Answers the event that gave `ticket`.
    ///
    /// # Errors
    /// [`AnswerError::NoRoom`] gives the ticket back; the others do not.
    pub fn answer(
        &mut self,
        ticket: Ticket,
        answer: Answer<'_>,
        io: &mut Io<'_, '_>,
    ) -> Result<(), AnswerError> {
        if let Stage::Ended { .. } = self.stage {
            return Err(AnswerError::Ended);
        }
        if !self.lent.unanswered || self.lent.serial != ticket.0 {
            return Err(AnswerError::Failed(Error::Misuse(Misuse::Stale)));
        }
        match (self.lent.event, answer) {
            (Lend::Admit, Answer::Admit) => {
                self.lent.unanswered = false;
                Ok(())
            }
            (Lend::Admit, Answer::Busy) => {
                self.end(Ok(Closed::Here(CloseReason::Overloaded)));
                io.put_error(S::ID, ErrorCode::Busy).map_err(AnswerError::Failed)
            }
            (Lend::Message, Answer::Auth(result)) => self.answer_auth(ticket, &result, io),
            _ => Err(AnswerError::Failed(Error::Misuse(Misuse::WrongAnswer))),
        }
    }

    fn answer_auth(
        &mut self,
        ticket: Ticket,
        result: &AuthResult<'_>,
        io: &mut Io<'_, '_>,
    ) -> Result<(), AnswerError> {
        let Stage::Open(open) = &mut self.stage else { return Err(AnswerError::Ended) };
        match open.send_result(result, io) {
            Ok(()) => self.lent.unanswered = false,
            Err(SendError::NoRoom(room)) => return Err(AnswerError::NoRoom(ticket, room)),
            Err(_) => return Err(AnswerError::Failed(Error::Misuse(Misuse::WrongAnswer))),
        }
        if open.refused_logins >= MAX_AUTH_FAILURES {
            self.close(CloseReason::AuthFailed, io);
        }
        Ok(())
    }
}

impl<R: Role, S: Suite> Conn<R, S> {
    fn start(handshake: R::Handshake<S>, limits: Timeouts, now: Millis) -> Result<Self, Error> {
        Ok(Self {
            stage: Stage::Handshake(handshake),
            lent: Lent {
                serial: 0,
                event: Lend::Nothing,
                kind: 0,
                body: 0..0,
                used: 0,
                left: 0,
                behind: 0,
                unanswered: false,
            },
            timers: Timers::new(limits, now)?,
        })
    }

    /// Does the next thing that can be done.
    ///
    /// # Errors
    /// The connection is over; see the module's call contract.
    // Apart, so that firmware that calls it in several places has it once.
    #[inline(never)]
    pub fn step(&mut self, rx: &mut RxBuf<'_>, io: &mut Io<'_, '_>) -> Result<Step, Error> {
        if self.lent.unanswered
            && let Err(error) = self.refuse(io)
        {
            self.end(Err(error));
        }
        rx.consume(core::mem::take(&mut self.lent.used));
        self.lent.event = Lend::Nothing;
        let step = match &mut self.stage {
            Stage::Ended { end, .. } => return (*end).map(Step::Closed),
            Stage::Handshake(_) => self.step_handshake(rx, io),
            Stage::Open(_) => self.step_record(rx, io),
        };
        if let Err(error) = step {
            self.end(Err(error));
            rx.consume(core::mem::take(&mut self.lent.used));
        }
        step
    }

    /// The event that the latest step named.
    ///
    /// # Errors
    /// [`Misuse::Stale`] for an event of an earlier step, and for one that was answered.
    pub fn event<'i>(&self, rx: &'i RxBuf<'_>, id: EventId) -> Result<Event<'i>, Error> {
        const STALE: Error = Error::Misuse(Misuse::Stale);
        if id.0 != self.lent.serial {
            return Err(STALE);
        }
        let shown = rx.unconsumed().get(self.lent.body.clone()).ok_or(STALE);
        match self.lent.event {
            Lend::Nothing => Err(STALE),
            Lend::Admit => Ok(Event::Admit { ephemeral: shown?, ticket: self.ticket()? }),
            Lend::Established => {
                let peer = shown?;
                Ok(Event::Established(match R::SENDS {
                    Direction::ToClient => Peer::Device(peer),
                    Direction::ToServer => Peer::Server(ServerHello::decode(peer)?),
                }))
            }
            Lend::Message => match decode::<R>(self.lent.kind, shown?).map_err(|_| STALE)? {
                Message::Auth(request) => Ok(Event::Auth { request, ticket: self.ticket()? }),
                message => Ok(Event::Message(message)),
            },
        }
    }

    /// Sends a message. CLOSE goes by [`Self::close`], AUTH_RESULT by [`Conn::answer`].
    ///
    /// # Errors
    /// [`SendError`]; nothing was changed.
    pub fn send(&mut self, message: &impl Sendable, io: &mut Io<'_, '_>) -> Result<(), SendError> {
        match &mut self.stage {
            Stage::Handshake(_) => Err(SendError::NotAllowed),
            Stage::Open(open) => open.send::<R>(message, io),
            Stage::Ended { .. } => Err(SendError::Closed),
        }
    }

    /// Sends the first of these messages, and in the same record those behind it for which that has room, if the peer
    /// receives bundles. How many were sent: 0 if there are none.
    ///
    /// # Errors
    /// [`SendError`]; nothing was changed.
    pub fn send_bundle(
        &mut self,
        messages: impl Iterator<Item: Sendable> + Clone,
        io: &mut Io<'_, '_>,
    ) -> Result<usize, SendError> {
        match &mut self.stage {
            Stage::Handshake(_) => Err(SendError::NotAllowed),
            Stage::Open(open) => open.send_bundle::<R>(messages, io),
            Stage::Ended { .. } => Err(SendError::Closed),
        }
    }

    /// Largest body of a record that the peer receives, in bytes; 0 before the handshake's end.
    pub fn max_body(&self) -> usize {
        match &self.stage {
            Stage::Open(open) => open.max_body(),
            _ => 0,
        }
    }

    /// Whether a login has succeeded.
    pub const fn is_ready(&self) -> bool {
        matches!(&self.stage, Stage::Open(Open { phase: Phase::Ready, .. }))
    }

    /// Whether the handshake still goes on: a step may then cost exponentiations.
    pub const fn is_handshaking(&self) -> bool {
        matches!(&self.stage, Stage::Handshake(_))
    }

    /// Says goodbye: room for this is always kept. No effect on a connection that is over.
    ///
    /// In a handshake nothing is written.
    pub fn close(&mut self, reason: CloseReason, io: &mut Io<'_, '_>) {
        match &mut self.stage {
            Stage::Handshake(_) => {}
            Stage::Open(open) => open.close::<R>(reason, io),
            Stage::Ended { .. } => return,
        }
        self.end(Ok(Closed::Here(reason)));
    }

    /// When [`Self::handle_timeout`] must be called; `None` when the connection is over.
    pub fn poll_timeout(&self) -> Option<Millis> {
        match &self.stage {
            Stage::Handshake(_) => Some(self.timers.handshake_end()),
            Stage::Open(open) => Some(self.timers.next(open.phase)),
            Stage::Ended { .. } => None,
        }
    }

    /// Does what is due at `io.now`: PING, or the end of the connection.
    ///
    /// # Errors
    /// [`Error::Timeout`]: the connection is over.
    pub fn handle_timeout(&mut self, io: &mut Io<'_, '_>) -> Result<(), Error> {
        let due = match &mut self.stage {
            Stage::Ended { end, .. } => return (*end).map(|_| ()),
            Stage::Handshake(_) if io.now >= self.timers.handshake_end() => Due::Timeout(Deadline::Handshake),
            Stage::Handshake(_) => Due::Nothing,
            Stage::Open(open) => {
                let due = self.timers.due(open.phase, io.now);
                if due == Due::Ping {
                    open.ping::<R>(io);
                }
                due
            }
        };
        match due {
            Due::Nothing | Due::Ping => Ok(()),
            Due::Expired => {
                self.close(CloseReason::Expired, io);
                Ok(())
            }
            Due::Timeout(deadline) => {
                self.close(CloseReason::Timeout, io);
                self.end(Err(Error::Timeout(deadline)));
                Err(Error::Timeout(deadline))
            }
        }
    }

    // Apart, so that its states don't stand on the stack below every record.
    #[inline(never)]
    fn step_handshake(&mut self, rx: &mut RxBuf<'_>, io: &mut Io<'_, '_>) -> Result<Step, Error> {
        let Stage::Handshake(state) = &mut self.stage else { return Err(Error::Misuse(Misuse::Stale)) };
        // What the state writes, and the CLOSE that may follow it, take less room than the powers before.
        let needed = least_scratch::<S>();
        if let Some(room) = io.no_room(needed)? {
            return Ok(Step::NeedOutput(room));
        }
        let total = match state.expects() {
            None => 0,
            Some((kind, len)) => match awaited::<R, S>(kind, len, rx)? {
                Some(total) => total,
                None => return Ok(Step::NeedInput),
            },
        };
        let message = rx.filled_mut().get_mut(..total).unwrap_or_default();
        match state.handle(message, io)? {
            Outcome::Continue(next) => {
                *state = next;
                self.lent.used = total;
                Ok(Step::Progressed)
            }
            Outcome::Admit { next, ephemeral } => {
                *state = next;
                self.lent.unanswered = true;
                Ok(self.lend(Lend::Admit, 0, ephemeral, 0))
            }
            Outcome::Done { finished, peer } => {
                self.open(&finished, io.now);
                Ok(self.lend(Lend::Established, 0, peer, total))
            }
        }
    }

    // Apart, so that the keys of the records don't stand on the stack below the powers.
    #[inline(never)]
    fn open(&mut self, finished: &Finished<S>, now: Millis) {
        self.stage = Stage::Open(Open::new::<R>(finished));
        self.timers.established(now);
    }

    fn step_record(&mut self, rx: &mut RxBuf<'_>, io: &mut Io<'_, '_>) -> Result<Step, Error> {
        let Stage::Open(open) = &mut self.stage else { return Err(Error::Misuse(Misuse::Stale)) };
        open.send_control::<R>(io);
        if self.lent.left > 0 {
            return self.unbundle(0, rx, io);
        }
        let received = rx.unconsumed();
        let total = match open.inbound.frame(received)? {
            Some(total) if total <= received.len() => total,
            partial => return need_input(rx, partial.unwrap_or_default()).map(|()| Step::NeedInput),
        };
        let record = rx.filled_mut().get_mut(..total).unwrap_or_default();
        let opened = open.inbound.open(record)?;
        self.timers.heard(io.now);
        self.lent.used = total;
        if open.takes_bundle(opened.kind) {
            self.lent.used = opened.body.start;
            self.lent.left = opened.body.len();
            self.lent.behind = total.saturating_sub(opened.body.end);
            return self.unbundle(opened.body.start, rx, io);
        }
        self.receive(opened.kind, opened.body, total, rx, io)
    }

    /// Takes the next message of a bundle, behind `start` bytes of the receive buffer that are used up.
    fn unbundle(&mut self, start: usize, rx: &mut RxBuf<'_>, io: &mut Io<'_, '_>) -> Result<Step, Error> {
        let end = start.saturating_add(self.lent.left);
        let left = rx.unconsumed().get(start..end).unwrap_or_default();
        // A CLOSE is a record of its own.
        let Some((kind, len)) = bundled(left).filter(|(kind, _)| !is_close(*kind)) else {
            self.close(CloseReason::Protocol, io);
            return Err(Error::Peer(PeerFault::MalformedMessage));
        };
        let body = start.saturating_add(INNER_HEAD);
        let body = body..body.saturating_add(len);
        self.lent.left = end.saturating_sub(body.end);
        let behind = if self.lent.left == 0 { core::mem::take(&mut self.lent.behind) } else { 0 };
        let used = body.end.saturating_add(behind);
        self.receive(kind, body, used, rx, io)
    }

    /// Takes note of the message whose body stands there, in the first `used` bytes of the receive buffer.
    fn receive(
        &mut self,
        kind: u8,
        body: Range<usize>,
        used: usize,
        rx: &RxBuf<'_>,
        io: &mut Io<'_, '_>,
    ) -> Result<Step, Error> {
        let Stage::Open(open) = &mut self.stage else { return Err(Error::Misuse(Misuse::Stale)) };
        self.lent.used = used;
        match open.receive::<R>(kind, rx.unconsumed().get(body.clone()).unwrap_or_default(), io) {
            Ok(Received::Control) => Ok(Step::Progressed),
            Ok(Received::Close(reason)) => {
                self.end(Ok(Closed::ByPeer(reason)));
                Ok(Step::Closed(Closed::ByPeer(reason)))
            }
            Ok(Received::Message) => {
                self.lent.unanswered = is_auth(kind);
                Ok(self.lend(Lend::Message, kind, body, used))
            }
            Err(fault) => {
                // A CLOSE is never answered, or two sides could go on answering.
                if !is_close(kind) {
                    open.close::<R>(CloseReason::Protocol, io);
                }
                Err(Error::Peer(fault))
            }
        }
    }

    fn lend(&mut self, event: Lend, kind: u8, body: Range<usize>, used: usize) -> Step {
        self.lent.serial = self.lent.serial.wrapping_add(1);
        self.lent.event = event;
        self.lent.kind = kind;
        self.lent.body = body;
        self.lent.used = used;
        Step::Event(EventId(self.lent.serial))
    }

    /// The ticket of the lent event, as long as it was not answered.
    fn ticket(&self) -> Result<Ticket, Error> {
        if self.lent.unanswered { Ok(Ticket(self.lent.serial)) } else { Err(Error::Misuse(Misuse::Stale)) }
    }

    /// The application dropped its ticket.
    fn refuse(&mut self, io: &mut Io<'_, '_>) -> Result<(), Error> {
        match &mut self.stage {
            Stage::Handshake(_) => io.put_error(S::ID, ErrorCode::Busy)?,
            Stage::Open(open) => open.close::<R>(CloseReason::Overloaded, io),
            Stage::Ended { .. } => {}
        }
        Err(Error::Misuse(Misuse::Unanswered))
    }

    /// Erases all keys. What is left of a bundle goes with what the next step drops.
    fn end(&mut self, end: Result<Closed, Error>) {
        let Lent { used, left, behind, .. } = &mut self.lent;
        *used = used.saturating_add(core::mem::take(left)).saturating_add(core::mem::take(behind));
        self.stage = Stage::Ended { end, _cover: S::Cover::zeroed() };
        self.lent.unanswered = false;
    }
}

/// Whole length of the one handshake message that may come now; `None` until it is there.
fn awaited<R: Role, S: Suite>(kind: Kind, len: usize, rx: &RxBuf<'_>) -> Result<Option<usize>, Error> {
    let Some(header) = Header::read(rx.unconsumed())? else {
        return need_input(rx, HEADER_LEN).map(|()| None);
    };
    let refusal = header.kind == Kind::Error && R::RECEIVES == Direction::ToClient;
    let expected = if refusal { 1 } else { len };
    if header.kind != kind && !refusal {
        return Err(Error::Peer(PeerFault::UnexpectedType));
    }
    if header.suite != S::ID && !refusal {
        return Err(Error::Peer(PeerFault::Header));
    }
    if header.length != expected {
        return Err(Error::Peer(PeerFault::Length));
    }
    let Some(message) = rx.unconsumed().get(..header.total()) else {
        return need_input(rx, header.total()).map(|()| None);
    };
    match message.last() {
        Some(&code) if refusal => {
            Err(ErrorCode::from_u8(code).map_or(Error::Peer(PeerFault::Handshake), Error::Refused))
        }
        _ => Ok(Some(header.total())),
    }
}

/// More must come; an error if it can't.
pub(crate) fn need_input(rx: &RxBuf<'_>, needed: usize) -> Result<(), Error> {
    if rx.ended() {
        Err(Error::Truncated)
    } else if needed > rx.capacity() {
        Err(Error::Misuse(Misuse::BufferTooSmall))
    } else {
        Ok(())
    }
}
