//! One end of a connection.

use super::Outcome;
use super::script::{Act, Script};
use super::setup::{Memory, Seeded, Setup};
use sordino_core::config::Millis;
use sordino_core::conn::{Client, Conn, Role, Server};
use sordino_core::error::{Deadline, Error, SendError};
use sordino_core::event::{Answer, AnswerError, Closed, Event, EventId, Peer, Step, Ticket};
use sordino_core::identity::{ServedSuite, ServerIdentity, Trust, server_fingerprint};
use sordino_core::key_request::KeyRequest;
use sordino_core::messages::{AuthMethod, CloseReason, Message};
use sordino_core::wire::Writer;
use sordino_core::{Accept, Acceptor, Io, RxBuf, Suite, TxBuf};
use std::collections::VecDeque;

/// Buffers and randomness of one end.
pub struct End<'m> {
    /// Received bytes.
    pub rx: RxBuf<'m>,
    /// Bytes to be written.
    pub tx: TxBuf<'m>,
    /// Where random numbers come from.
    pub rng: Seeded,
}

impl<'m> End<'m> {
    /// Lends the buffers to a call of a state machine.
    pub fn with<T>(&mut self, now: Millis, call: impl FnOnce(&mut RxBuf<'m>, &mut Io<'_, 'm>) -> T) -> T {
        let mut io = Io { now, tx: &mut self.tx, rng: &mut self.rng };
        call(&mut self.rx, &mut io)
    }
}

/// What one end saw, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Client: the key answer passed all checks.
    Key,
    /// Server: message 1 has the right gate.
    Admit,
    /// Server: the handshake is over; the client's device key.
    Device(Vec<u8>),
    /// Client: the handshake is over; the server's connection id.
    Server([u8; 16]),
    /// Server: credentials.
    Auth(AuthMethod, String, String),
    /// A message: its type and body.
    Message(u8, Vec<u8>),
    /// The application's message was not sent.
    Unsent(SendError),
}

impl Seen {
    /// The entry that an event makes.
    pub fn of(event: &Event<'_>) -> Self {
        match event {
            Event::Admit { .. } => Self::Admit,
            Event::Established(Peer::Device(key)) => Self::Device(key.to_vec()),
            Event::Established(Peer::Server(hello)) => Self::Server(hello.connection),
            Event::Auth { request, .. } => {
                Self::Auth(request.method, request.username.into(), request.password.into())
            }
            Event::Message(message) => Self::message(message),
        }
    }

    /// The entry that `message` makes at its receiver.
    pub fn message(message: &Message<'_>) -> Self {
        let mut body = vec![0; usize::from(u16::MAX)];
        let mut out = Writer::new(&mut body);
        message.encode(&mut out).unwrap_or_else(|_| unreachable!());
        let len = out.written();
        body.truncate(len);
        Self::Message(message.kind(), body)
    }
}

/// The state machines of one end, from the first byte to the last.
pub trait Machine {
    /// Role of the connection.
    type Role: Role;
    /// Its suite.
    type Suite: Suite;

    /// Whether this is the end that connects.
    const CONNECTS: bool;

    /// Does the next thing that can be done; `None` in place of a step: the machine became a connection.
    fn step(&mut self, end: &mut End<'_>, now: Millis) -> Result<Option<Step>, Error>;

    /// The connection, once there is one.
    fn open(&mut self) -> Option<&mut Conn<Self::Role, Self::Suite>>;

    /// The connection, to look at.
    fn look(&self) -> Option<&Conn<Self::Role, Self::Suite>>;

    /// When something is due.
    fn poll_timeout(&self) -> Option<Millis>;

    /// Does what is due before there is a connection.
    fn early_timeout(&mut self, now: Millis) -> Result<(), Error>;

    /// Gives an application's answer.
    fn answer(&mut self, ticket: Ticket, answer: Answer<'_>, io: &mut Io<'_, '_>) -> Result<(), AnswerError>;

    /// A second machine in the same state.
    fn fork(&self) -> Self;

    /// The connection.
    ///
    /// # Panics
    /// If there is none yet.
    fn conn(&mut self) -> &mut Conn<Self::Role, Self::Suite> {
        self.open().expect("there is no connection yet")
    }
}

/// A second state machine in the same state, so that a test can try many continuations of one handshake.
pub(crate) fn twin<T>(machine: &T) -> T {
    // SAFETY: the machines of the core own no memory but their own bytes (the core can't allocate) and no handles.
    // A copy of the bytes is therefore a machine by itself, and dropping both erases each its own.
    unsafe { std::ptr::read(machine) }
}

/// The client's stages.
pub enum ClientSide<S: ServedSuite> {
    /// The key request is sent.
    Asking(KeyRequest<S>, Setup),
    /// The connection.
    Open(Box<Conn<Client, S>>),
}

/// The server's stages.
pub enum ServerSide<S: ServedSuite> {
    /// The first header is awaited. Empty while it becomes a connection.
    Accepting(Option<Acceptor>, &'static ServerIdentity),
    /// The connection.
    Open(Box<Conn<Server, S>>),
}

impl<S: ServedSuite> ClientSide<S> {
    fn new(setup: &Setup, end: &mut End<'_>) -> Self {
        if setup.key_request {
            let request = end.with(setup.start, |_, io| KeyRequest::send(io)).unwrap();
            Self::Asking(request, setup.clone())
        } else {
            let config = setup.client(setup.server_key());
            Self::Open(Box::new(Conn::client(config, setup.limits[0], setup.start).unwrap()))
        }
    }
}

impl<S: ServedSuite> Machine for ClientSide<S> {
    type Role = Client;
    type Suite = S;
    const CONNECTS: bool = true;

    fn step(&mut self, end: &mut End<'_>, now: Millis) -> Result<Option<Step>, Error> {
        match self {
            Self::Open(conn) => end.with(now, |rx, io| conn.step(rx, io)).map(Some),
            Self::Asking(request, setup) => {
                let trust = Trust::Fingerprint(server_fingerprint(setup.identity.root()), 0);
                let Some((_, key)) = request.receive(&mut end.rx, trust)? else {
                    return Ok(Some(Step::NeedInput));
                };
                *self = Self::Open(Box::new(Conn::client(setup.client(key), setup.limits[0], setup.start)?));
                Ok(None)
            }
        }
    }

    fn open(&mut self) -> Option<&mut Conn<Client, S>> {
        match self {
            Self::Open(conn) => Some(conn),
            Self::Asking(..) => None,
        }
    }

    fn look(&self) -> Option<&Conn<Client, S>> {
        match self {
            Self::Open(conn) => Some(conn),
            Self::Asking(..) => None,
        }
    }

    fn poll_timeout(&self) -> Option<Millis> {
        match self {
            Self::Open(conn) => conn.poll_timeout(),
            Self::Asking(_, setup) => Some(setup.start + Millis::from(setup.limits[0].handshake)),
        }
    }

    fn early_timeout(&mut self, now: Millis) -> Result<(), Error> {
        match self.poll_timeout() {
            Some(due) if due <= now => Err(Error::Timeout(Deadline::Handshake)),
            _ => Ok(()),
        }
    }

    fn answer(&mut self, _: Ticket, _: Answer<'_>, _: &mut Io<'_, '_>) -> Result<(), AnswerError> {
        unreachable!("a client is never asked")
    }

    fn fork(&self) -> Self {
        match self {
            Self::Asking(request, setup) => Self::Asking(twin(request), setup.clone()),
            Self::Open(conn) => Self::Open(Box::new(twin(&**conn))),
        }
    }
}

impl<S: ServedSuite> Machine for ServerSide<S> {
    type Role = Server;
    type Suite = S;
    const CONNECTS: bool = false;

    fn step(&mut self, end: &mut End<'_>, now: Millis) -> Result<Option<Step>, Error> {
        match self {
            Self::Open(conn) => end.with(now, |rx, io| conn.step(rx, io)).map(Some),
            Self::Accepting(acceptor, identity) => {
                let (waiting, identity) = (acceptor.as_mut().unwrap(), *identity);
                match end.with(now, |rx, io| waiting.step(identity, rx, io))? {
                    Accept::NeedInput => Ok(Some(Step::NeedInput)),
                    Accept::NeedOutput(room) => Ok(Some(Step::NeedOutput(room))),
                    Accept::Progressed => Ok(Some(Step::Progressed)),
                    chosen @ (Accept::Suite1 | Accept::Suite2) => {
                        assert_eq!(chosen == Accept::Suite2, S::ID == 2, "the pair is of one suite");
                        *self = Self::Open(Box::new(acceptor.take().unwrap().connection(identity)?));
                        Ok(None)
                    }
                }
            }
        }
    }

    fn open(&mut self) -> Option<&mut Conn<Server, S>> {
        match self {
            Self::Open(conn) => Some(conn),
            Self::Accepting(..) => None,
        }
    }

    fn look(&self) -> Option<&Conn<Server, S>> {
        match self {
            Self::Open(conn) => Some(conn),
            Self::Accepting(..) => None,
        }
    }

    fn poll_timeout(&self) -> Option<Millis> {
        match self {
            Self::Open(conn) => conn.poll_timeout(),
            Self::Accepting(acceptor, _) => acceptor.as_ref().map(Acceptor::poll_timeout),
        }
    }

    fn early_timeout(&mut self, now: Millis) -> Result<(), Error> {
        match self {
            Self::Accepting(Some(acceptor), _) => acceptor.handle_timeout(now),
            _ => Ok(()),
        }
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer<'_>, io: &mut Io<'_, '_>) -> Result<(), AnswerError> {
        self.conn().answer(ticket, answer, io)
    }

    fn fork(&self) -> Self {
        match self {
            Self::Accepting(acceptor, identity) => Self::Accepting(twin(acceptor), identity),
            Self::Open(conn) => Self::Open(Box::new(twin(&**conn))),
        }
    }
}

/// One end of a connection with its application.
pub struct Party<'m, M> {
    /// The state machines.
    pub machine: M,
    /// Buffers and randomness.
    pub end: End<'m>,
    /// What the application saw.
    pub log: Vec<Seen>,
    /// How the connection ended, once it has.
    pub outcome: Option<Outcome>,
    /// The ticket of an event that the script did not answer. While it is here no step is taken.
    pub ticket: Option<Ticket>,
    script: Script<'m>,
    acts: VecDeque<Act>,
}

impl<'m, S: ServedSuite> Party<'m, ClientSide<S>> {
    /// A client that has not taken a step.
    pub fn client(setup: &Setup, mut end: End<'m>, script: Script<'m>) -> Self {
        Self::with(ClientSide::new(setup, &mut end), end, script)
    }
}

impl<'m, S: ServedSuite> Party<'m, ServerSide<S>> {
    /// A server that has not read a byte.
    pub fn server(setup: &Setup, end: End<'m>, script: Script<'m>) -> Self {
        let acceptor = Acceptor::new(setup.server(), setup.limits[1], setup.start);
        Self::with(ServerSide::Accepting(Some(acceptor), setup.identity), end, script)
    }
}

impl<'m, M: Machine> Party<'m, M> {
    fn with(machine: M, end: End<'m>, script: Script<'m>) -> Self {
        let (log, acts) = (Vec::new(), VecDeque::new());
        Self { machine, end, log, outcome: None, ticket: None, script, acts }
    }

    /// The same end once more, in other memory and with an empty output and log.
    ///
    /// # Panics
    /// If something waits to be written, done or answered.
    pub fn fork<'n>(&self, memory: &'n mut Memory, script: Script<'n>) -> Party<'n, M> {
        assert!(self.end.tx.is_empty() && self.acts.is_empty() && self.ticket.is_none());
        let [rx, tx] = if M::CONNECTS { &mut memory.client } else { &mut memory.server };
        let received = self.end.rx.unconsumed();
        rx[..received.len()].copy_from_slice(received);
        let rx = RxBuf::resume(rx, received.len());
        let end = End { rx, tx: TxBuf::new(tx), rng: self.end.rng.clone() };
        Party { outcome: self.outcome, ..Party::with(self.machine.fork(), end, script) }
    }

    /// Gives received bytes; how many found room.
    pub fn give(&mut self, bytes: &[u8]) -> usize {
        let mut given = 0;
        while given < bytes.len() {
            let spare = self.end.rx.spare();
            let len = spare.len().min(bytes.len() - given);
            if len == 0 {
                break;
            }
            spare[..len].copy_from_slice(&bytes[given..given + len]);
            self.end.rx.commit(len);
            given += len;
        }
        given
    }

    /// Gives bytes and takes steps until all of them are used or the connection is over.
    pub fn feed(&mut self, bytes: &[u8], now: Millis) {
        let mut rest = bytes;
        loop {
            let given = self.give(rest);
            rest = &rest[given..];
            if !self.settle(now) && (given == 0 || rest.is_empty()) {
                return;
            }
        }
    }

    /// Takes at most so many bytes of output.
    pub fn take(&mut self, most: usize) -> Vec<u8> {
        let pending = self.end.tx.pending();
        let taken = pending[..pending.len().min(most)].to_vec();
        self.end.tx.consume(taken.len());
        taken
    }

    /// Lets the application do something outside of an event.
    pub fn act(&mut self, act: Act, now: Millis) {
        self.acts.push_back(act);
        self.do_acts(now);
    }

    /// Takes steps until the connection needs bytes, room or an answer, or is over. Whether anything happened.
    ///
    /// # Panics
    /// If the connection goes on without an end: each step progresses, names what it needs, or ends.
    pub fn settle(&mut self, now: Millis) -> bool {
        let mut busy = self.do_acts(now);
        for _ in 0..100_000 {
            if self.outcome.is_some() || self.ticket.is_some() {
                return busy;
            }
            if let Ok(Some(Step::NeedInput | Step::NeedOutput(_))) = self.step_once(now) {
                return busy;
            }
            busy = true;
        }
        panic!("the connection spins");
    }

    /// Takes one step, and shows its event to the script.
    pub fn step_once(&mut self, now: Millis) -> Result<Option<Step>, Error> {
        let step = self.machine.step(&mut self.end, now);
        match step {
            Ok(Some(Step::Event(id))) => self.show(id, now),
            Ok(Some(Step::Closed(closed))) => self.finish(Ok(closed)),
            // Only the client's way to a connection leads over a key answer that it checked.
            Ok(None) if M::CONNECTS => self.log.push(Seen::Key),
            Ok(_) => {}
            Err(error) => self.finish(Err(error)),
        }
        step
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Option<Millis> {
        self.machine.poll_timeout().filter(|_| self.outcome.is_none())
    }

    /// Lets the connection do what is due.
    pub fn handle_timeout(&mut self, now: Millis) {
        if self.outcome.is_some() {
            return;
        }
        let end = &mut self.end;
        let done = match self.machine.open() {
            Some(conn) => end.with(now, |_, io| conn.handle_timeout(io)),
            None => self.machine.early_timeout(now),
        };
        if let Err(error) = done {
            self.finish(Err(error));
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    fn show(&mut self, id: EventId, now: Millis) {
        let event = self.machine.conn().event(&self.end.rx, id).expect("an event of the latest step");
        self.log.push(Seen::of(&event));
        self.acts.extend((self.script)(&event));
        if let Event::Admit { ticket, .. } | Event::Auth { ticket, .. } = event {
            self.ticket = Some(ticket);
        }
        self.do_acts(now);
    }

    /// Carries out decisions in order, until one finds no room. Whether any was carried out.
    fn do_acts(&mut self, now: Millis) -> bool {
        let mut busy = false;
        while let Some(act) = self.acts.pop_front() {
            if !self.do_act(act, now) {
                self.acts.push_front(act);
                break;
            }
            busy = true;
        }
        busy
    }

    fn do_act(&mut self, act: Act, now: Millis) -> bool {
        let (machine, end) = (&mut self.machine, &mut self.end);
        match act {
            Act::Send(message) => match end.with(now, |_, io| machine.conn().send(&message, io)) {
                Ok(()) => true,
                Err(SendError::NoRoom(_)) => false,
                Err(error) => {
                    self.log.push(Seen::Unsent(error));
                    true
                }
            },
            Act::Answer(answer) => {
                let ticket = self.ticket.take().expect("nothing is to be answered");
                match end.with(now, |_, io| machine.answer(ticket, answer, io)) {
                    Ok(()) => true,
                    Err(AnswerError::NoRoom(ticket, _)) => {
                        self.ticket = Some(ticket);
                        false
                    }
                    Err(other) => panic!("the answer was not taken: {other:?}"),
                }
            }
            Act::Close(reason) => {
                end.with(now, |_, io| machine.conn().close(reason, io));
                true
            }
        }
    }

    /// Whether the connection ended by the peer's CLOSE with this reason.
    pub fn was_closed(&self, reason: CloseReason) -> bool {
        self.outcome == Some(Ok(Closed::ByPeer(reason)))
    }
}
