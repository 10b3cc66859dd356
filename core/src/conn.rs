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
//!   Every further call returns the same result.
//! - Room for a CLOSE is always kept in the output.

use crate::buf::RxBuf;
use crate::config::{CONTROL_RECORD, HEADER_LEN, MAX_AUTH_FAILURES, MAX_LIFETIME, Millis, Timeouts};
use crate::error::{Deadline, Error, ErrorCode, Misuse, PeerFault, SendError};
use crate::event::{Answer, AnswerError, Closed, Event, EventId, Peer, Step, Ticket};
use crate::handshake::client::{ClientConfig, ClientHandshake, ServerHello};
use crate::handshake::server::{ERROR_LEN, ServerConfig, ServerHandshake};
use crate::handshake::{Finished, Handshake, Header, Kind, Outcome};
use crate::identity::StaticKey;
pub use crate::io::Io;
use crate::messages::{self, Auth, AuthCode, AuthResult, Close, CloseReason, Message, Phase, Ping};
use crate::record::{Direction, Inbound, Outbound, max_body};
use crate::suite::{Suite, Suite1, Suite2, SuiteList};
use crate::wire::{Overflow, Writer};
use core::ops::Range;

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
    phase: Stage<R, S>,
    lent: Lent,
    timers: Timers,
}

enum Stage<R: Role, S: Suite> {
    Handshake(R::Handshake<S>),
    Open(Open<S>),
    Ended(Result<Closed, Error>),
}

/// After the handshake.
struct Open<S: Suite> {
    out: Outbound<S>,
    inbound: Inbound<S>,
    peer_max: u16,
    phase: Phase,
    failures: u8,
    /// Token of a PING that was not answered for want of room.
    pong: Option<u64>,
}

/// The part of the receive buffer that the latest event shows, and the ticket that waits for an answer.
struct Lent {
    serial: u32,
    what: Lend,
    /// Bytes at the front of the buffer that the next step drops.
    used: usize,
    unanswered: bool,
}

#[derive(Clone)]
enum Lend {
    Nothing,
    Admit,
    Established(Range<usize>),
    Message(u8, Range<usize>),
}

struct Timers {
    limits: Timeouts,
    /// Connection's start, then the handshake's end.
    since: Millis,
    heard: Millis,
    pinged: bool,
}

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
    /// [`AnswerError::NoRoom`] gives the ticket back; [`AnswerError::Failed`] does not.
    pub fn answer(
        &mut self,
        ticket: Ticket,
        answer: Answer<'_>,
        io: &mut Io<'_, '_>,
    ) -> Result<(), AnswerError> {
        if !self.lent.unanswered || self.lent.serial != ticket.0 {
            return Err(AnswerError::Failed(Error::Misuse(Misuse::Stale)));
        }
        match (&self.lent.what, answer) {
            (Lend::Admit, Answer::Admit) => {
                self.lent.unanswered = false;
                Ok(())
            }
            (Lend::Admit, Answer::Busy) => {
                self.lent.unanswered = false;
                self.refuse_handshake(io).map_err(AnswerError::Failed)
            }
            (Lend::Message(..), Answer::Auth(result)) => self.answer_auth(ticket, &result, io),
            _ => Err(AnswerError::Failed(Error::Misuse(Misuse::WrongAnswer))),
        }
    }

    fn answer_auth(
        &mut self,
        ticket: Ticket,
        result: &AuthResult<'_>,
        io: &mut Io<'_, '_>,
    ) -> Result<(), AnswerError> {
        match self.send(&Message::AuthResult(*result), io) {
            Ok(()) => {}
            Err(SendError::NoRoom(room)) => return Err(AnswerError::NoRoom(ticket, room)),
            Err(_) => return Err(AnswerError::Failed(Error::Misuse(Misuse::WrongAnswer))),
        }
        self.lent.unanswered = false;
        let Stage::Open(open) = &mut self.phase else { return Ok(()) };
        if result.code == AuthCode::Ok {
            open.phase = Phase::Ready;
            return Ok(());
        }
        open.failures = open.failures.saturating_add(1);
        if open.failures >= MAX_AUTH_FAILURES {
            self.close(CloseReason::AuthFailed, io);
        }
        Ok(())
    }

    /// Ends a handshake that the application did not admit.
    fn refuse_handshake(&mut self, io: &mut Io<'_, '_>) -> Result<(), Error> {
        self.phase = Stage::Ended(Ok(Closed::Here(CloseReason::Overloaded)));
        io.put_error(S::ID, ErrorCode::Busy)
    }
}

impl<R: Role, S: Suite> Conn<R, S> {
    fn start(handshake: R::Handshake<S>, limits: Timeouts, now: Millis) -> Result<Self, Error> {
        if limits.lifetime > MAX_LIFETIME {
            return Err(Error::Misuse(Misuse::Parameter));
        }
        Ok(Self {
            phase: Stage::Handshake(handshake),
            lent: Lent { serial: 0, what: Lend::Nothing, used: 0, unanswered: false },
            timers: Timers { limits, since: now, heard: now, pinged: false },
        })
    }

    /// Does the next thing that can be done.
    ///
    /// # Errors
    /// The connection is over; see the module's call contract.
    pub fn step(&mut self, rx: &mut RxBuf<'_>, io: &mut Io<'_, '_>) -> Result<Step, Error> {
        if self.lent.unanswered {
            self.refuse(io)?;
        }
        rx.consume(core::mem::take(&mut self.lent.used));
        self.lent.what = Lend::Nothing;
        let step = match &mut self.phase {
            Stage::Ended(end) => return (*end).map(Step::Closed),
            Stage::Handshake(_) => self.step_handshake(rx, io),
            Stage::Open(_) => self.step_record(rx, io),
        };
        if let Err(error) = step {
            self.phase = Stage::Ended(Err(error));
        }
        step
    }

    /// The event that the latest step named.
    ///
    /// # Errors
    /// [`Misuse::Stale`] for an event of an earlier step, and for one that was answered.
    pub fn event<'i>(&mut self, rx: &'i RxBuf<'_>, id: EventId) -> Result<Event<'i>, Error> {
        const STALE: Error = Error::Misuse(Misuse::Stale);
        if id.0 != self.lent.serial {
            return Err(STALE);
        }
        let lent = |range: &Range<usize>| rx.unconsumed().get(range.clone()).ok_or(STALE);
        match self.lent.what.clone() {
            Lend::Nothing => Err(STALE),
            Lend::Admit => self.ticket().map(Event::Admit),
            Lend::Established(range) => {
                let peer = lent(&range)?;
                Ok(Event::Established(match R::SENDS {
                    Direction::ToClient => Peer::Device(peer),
                    Direction::ToServer => Peer::Server(ServerHello::decode(peer)?),
                }))
            }
            Lend::Message(kind, range) => match Message::decode(kind, lent(&range)?).map_err(|_| STALE)? {
                Message::Auth(request) => Ok(Event::Auth { request, ticket: self.ticket()? }),
                message => Ok(Event::Message(message)),
            },
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`SendError`]; nothing was changed.
    pub fn send(&mut self, message: &Message<'_>, io: &mut Io<'_, '_>) -> Result<(), SendError> {
        let Stage::Open(open) = &mut self.phase else { return Err(SendError::Closed) };
        if matches!(message, Message::Close(_)) || !messages::allowed(message.kind(), R::SENDS, open.phase) {
            return Err(SendError::NotAllowed);
        }
        open.send(message, CONTROL_RECORD, io)
    }

    /// Largest body of a record that the peer receives, in bytes; 0 before the handshake's end.
    pub fn max_body(&self) -> usize {
        match &self.phase {
            Stage::Open(open) => max_body(open.peer_max),
            _ => 0,
        }
    }

    /// Whether a login has succeeded.
    pub const fn is_ready(&self) -> bool {
        matches!(&self.phase, Stage::Open(Open { phase: Phase::Ready, .. }))
    }

    /// Whether the handshake still goes on: a step may then cost exponentiations.
    pub const fn is_handshaking(&self) -> bool {
        matches!(&self.phase, Stage::Handshake(_))
    }

    /// Says goodbye: room for this is always kept. No effect on a connection that is over.
    ///
    /// In a handshake nothing is written.
    pub fn close(&mut self, reason: CloseReason, io: &mut Io<'_, '_>) {
        if let Stage::Open(open) = &mut self.phase {
            open.close(reason, io);
        }
        if !matches!(self.phase, Stage::Ended(_)) {
            self.phase = Stage::Ended(Ok(Closed::Here(reason)));
        }
    }

    /// When [`Self::handle_timeout`] must be called; `None` when the connection is over.
    pub fn poll_timeout(&self) -> Option<Millis> {
        let timers = &self.timers;
        match &self.phase {
            Stage::Ended(_) => None,
            Stage::Handshake(_) => Some(timers.after(timers.since, timers.limits.handshake)),
            Stage::Open(open) => {
                let silence = if timers.pinged { timers.limits.idle } else { timers.limits.ping };
                let life = timers.after(timers.since, timers.limits.lifetime);
                let next = timers.after(timers.heard, silence).min(life);
                Some(timers.login_end(open.phase).map_or(next, |login| login.min(next)))
            }
        }
    }

    /// Does what is due at `io.now`: PING, or the end of the connection.
    ///
    /// # Errors
    /// [`Error::Timeout`]: the connection is over.
    pub fn handle_timeout(&mut self, io: &mut Io<'_, '_>) -> Result<(), Error> {
        let timers = &mut self.timers;
        let (reason, deadline) = match &mut self.phase {
            Stage::Ended(end) => return (*end).map(|_| ()),
            Stage::Handshake(_) => {
                if io.now < timers.after(timers.since, timers.limits.handshake) {
                    return Ok(());
                }
                (CloseReason::Timeout, Some(Deadline::Handshake))
            }
            Stage::Open(open) => {
                if io.now >= timers.after(timers.since, timers.limits.lifetime) {
                    (CloseReason::Expired, None)
                } else if io.now >= timers.after(timers.heard, timers.limits.idle) {
                    (CloseReason::Timeout, Some(Deadline::Idle))
                } else if timers.login_end(open.phase).is_some_and(|end| io.now >= end) {
                    (CloseReason::Timeout, Some(Deadline::Login))
                } else {
                    if !timers.pinged && io.now >= timers.after(timers.heard, timers.limits.ping) {
                        // Without room the output is not moving, and the idle limit decides.
                        let ping = Message::Ping(Ping { token: io.now });
                        let _unsent = open.send(&ping, CONTROL_RECORD, io);
                        timers.pinged = true;
                    }
                    return Ok(());
                }
            }
        };
        self.close(reason, io);
        let Some(deadline) = deadline else { return Ok(()) };
        self.phase = Stage::Ended(Err(Error::Timeout(deadline)));
        Err(Error::Timeout(deadline))
    }

    fn step_handshake(&mut self, rx: &mut RxBuf<'_>, io: &mut Io<'_, '_>) -> Result<Step, Error> {
        let Stage::Handshake(state) = &mut self.phase else { return Err(Error::Misuse(Misuse::Stale)) };
        // The ERROR that a refusal would write must find room at any time.
        if let Err(room) = io.tx.room(state.room().max(ERROR_LEN)) {
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
                self.phase = Stage::Handshake(next);
                self.lent.used = total;
                Ok(Step::Progressed)
            }
            Outcome::Admit(next) => {
                self.phase = Stage::Handshake(next);
                self.lent.unanswered = true;
                Ok(self.lend(Lend::Admit, 0))
            }
            Outcome::Done { finished, peer } => {
                self.phase = Stage::Open(Open::new::<R>(&finished));
                self.timers.since = io.now;
                self.timers.heard = io.now;
                Ok(self.lend(Lend::Established(peer), total))
            }
        }
    }

    fn step_record(&mut self, rx: &mut RxBuf<'_>, io: &mut Io<'_, '_>) -> Result<Step, Error> {
        let Stage::Open(open) = &mut self.phase else { return Err(Error::Misuse(Misuse::Stale)) };
        open.send_pong(io);
        let received = rx.unconsumed();
        let total = match open.inbound.frame(received)? {
            Some(total) if total <= received.len() => total,
            partial => return need_input(rx, partial.unwrap_or_default()).map(|()| Step::NeedInput),
        };
        let record = rx.filled_mut().get_mut(..total).unwrap_or_default();
        let opened = open.inbound.open(record)?;
        self.timers.heard = io.now;
        self.timers.pinged = false;
        if !messages::allowed(opened.kind, R::RECEIVES, open.phase) {
            return Err(self.fault(PeerFault::UnexpectedMessage, io));
        }
        let body = record.get(opened.body.clone()).unwrap_or_default();
        let Ok(message) = Message::decode(opened.kind, body) else {
            return Err(self.fault(PeerFault::MalformedMessage, io));
        };
        match message {
            Message::Close(close) => {
                self.phase = Stage::Ended(Ok(Closed::ByPeer(close.reason)));
                self.lent.used = total;
                return Ok(Step::Closed(Closed::ByPeer(close.reason)));
            }
            Message::Ping(ping) => {
                open.pong = Some(ping.token);
                open.send_pong(io);
            }
            Message::Pong(_) => {}
            _ => {
                if matches!(message, Message::AuthResult(AuthResult { code: AuthCode::Ok, .. })) {
                    open.phase = Phase::Ready;
                }
                self.lent.unanswered = matches!(message, Message::Auth(Auth { .. }));
                return Ok(self.lend(Lend::Message(opened.kind, opened.body), total));
            }
        }
        self.lent.used = total;
        Ok(Step::Progressed)
    }

    fn lend(&mut self, what: Lend, used: usize) -> Step {
        self.lent.serial = self.lent.serial.wrapping_add(1);
        self.lent.what = what;
        self.lent.used = used;
        Step::Event(EventId(self.lent.serial))
    }

    /// The ticket of the lent event, once.
    fn ticket(&mut self) -> Result<Ticket, Error> {
        if !self.lent.unanswered {
            return Err(Error::Misuse(Misuse::Stale));
        }
        Ok(Ticket(self.lent.serial))
    }

    /// The application dropped its ticket.
    fn refuse(&mut self, io: &mut Io<'_, '_>) -> Result<(), Error> {
        self.lent.unanswered = false;
        let error = Error::Misuse(Misuse::Unanswered);
        match &mut self.phase {
            Stage::Handshake(_) => io.put_error(S::ID, ErrorCode::Busy)?,
            Stage::Open(open) => open.close(CloseReason::Overloaded, io),
            Stage::Ended(_) => {}
        }
        self.phase = Stage::Ended(Err(error));
        Err(error)
    }

    /// The peer broke the protocol inside of an authentic record.
    fn fault(&mut self, fault: PeerFault, io: &mut Io<'_, '_>) -> Error {
        self.close(CloseReason::Protocol, io);
        Error::Peer(fault)
    }
}

impl<S: Suite> Open<S> {
    fn new<R: Role>(finished: &Finished<S>) -> Self {
        let secret = |direction| match direction {
            Direction::ToServer => &finished.to_server,
            Direction::ToClient => &finished.to_client,
        };
        Self {
            out: Outbound::new(R::SENDS, secret(R::SENDS), 0),
            inbound: Inbound::new(R::RECEIVES, secret(R::RECEIVES), 0, finished.own_max),
            peer_max: finished.peer_max,
            phase: Phase::Login,
            failures: 0,
            pong: None,
        }
    }

    /// Seals a message in its place in the output, leaving `reserve` bytes free.
    fn send(&mut self, message: &Message<'_>, reserve: usize, io: &mut Io<'_, '_>) -> Result<(), SendError> {
        let mut count = Writer::counting();
        message.encode(&mut count).map_err(|Overflow| SendError::TooLarge)?;
        let body = count.written();
        let len = Outbound::<S>::wire_len(body).ok_or(SendError::TooLarge)?;
        if body > max_body(self.peer_max) {
            return Err(SendError::TooLarge);
        }
        let region = io.tx.room(len.saturating_add(reserve)).map_err(SendError::NoRoom)?;
        let mut out = Writer::new(region.get_mut(Outbound::<S>::BODY..).unwrap_or_default());
        message.encode(&mut out).map_err(|Overflow| SendError::TooLarge)?;
        let sealed = self.out.seal(region, message.kind(), body).ok_or(SendError::Exhausted)?;
        io.tx.commit(sealed);
        Ok(())
    }

    /// Answers the last PING, if there is room.
    fn send_pong(&mut self, io: &mut Io<'_, '_>) {
        if let Some(token) = self.pong
            && self.send(&Message::Pong(Ping { token }), CONTROL_RECORD, io).is_ok()
        {
            self.pong = None;
        }
    }

    /// Writes a CLOSE into the room that every send keeps. Only a used-up sequence prevents it.
    fn close(&mut self, reason: CloseReason, io: &mut Io<'_, '_>) {
        let close = Close { reason, received: self.inbound.sequence() };
        let _exhausted = self.send(&Message::Close(close), 0, io);
    }
}

impl Timers {
    const fn after(&self, start: Millis, span: u32) -> Millis {
        start.saturating_add(span as Millis)
    }

    /// When a login must have succeeded.
    fn login_end(&self, phase: Phase) -> Option<Millis> {
        (phase == Phase::Login && self.limits.login != 0).then(|| self.after(self.since, self.limits.login))
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
