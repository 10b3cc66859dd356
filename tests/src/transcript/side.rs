//! What both sides have in common: buffers, the loop around a connection, and how its events and its end are named.

use super::Failure;
use super::settings::Config;
use sordino_core::config::{Millis, RX_BUFFER, TX_BUFFER};
use sordino_core::conn::Role;
use sordino_core::entropy::Entropy;
use sordino_core::error::{Deadline, Distrust, Error, PeerFault};
use sordino_core::messages::{self, CloseReason, Message};
use sordino_core::wire::Writer;
use sordino_core::{Closed, Conn, Event, Io, Peer, RxBuf, Step, Suite, Ticket, TxBuf};
use std::collections::VecDeque;
use std::fmt;

/// One of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SideName {
    /// The one that connects.
    Client,
    /// The one that accepts.
    Server,
}

impl SideName {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Server];

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::BOTH.into_iter().find(|side| side.to_string() == word)
    }

    pub(crate) const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// The direction in which this side sends.
    pub(crate) const fn wire(self) -> &'static str {
        match self {
            Self::Client => "c->s",
            Self::Server => "s->c",
        }
    }

    pub(crate) fn sending(wire: &str) -> Option<Self> {
        Self::BOTH.into_iter().find(|side| side.wire() == wire)
    }
}

impl fmt::Display for SideName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

/// What the application sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Occurrence {
    pub name: String,
    /// The bytes by fields; one field `body` for a message.
    pub fields: Vec<(&'static str, Vec<u8>)>,
}

impl Occurrence {
    pub fn new(name: &str, fields: Vec<(&'static str, Vec<u8>)>) -> Self {
        Self { name: name.into(), fields }
    }

    pub fn data(&self) -> Vec<u8> {
        self.fields.iter().flat_map(|(_, value)| value.clone()).collect()
    }
}

/// One side of a connection, whatever its role and suite.
pub(crate) trait Side {
    /// Buffers, events and end.
    fn wire(&mut self) -> &mut Wire;

    /// Goes on as far as the input allows.
    fn run(&mut self);

    /// Handles what is due.
    fn tick(&mut self);

    /// The application acts.
    fn act(&mut self, verb: &str, argument: &str, body: &[u8]) -> Result<(), Failure>;
}

/// The random bytes of a transcript, in their order.
#[derive(Debug, Default)]
pub(crate) struct Draws(pub VecDeque<Vec<u8>>);

impl Entropy for Draws {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        let next = self.0.pop_front().filter(|next| next.len() == out.len()).ok_or(Error::Entropy)?;
        out.copy_from_slice(&next);
        Ok(())
    }
}

/// Buffers of one side, and what came out of it.
pub(crate) struct Wire {
    rx: Vec<u8>,
    received: usize,
    eof: bool,
    tx: Vec<u8>,
    pending: usize,
    pub draws: Draws,
    pub now: Millis,
    pub opened: Millis,
    pub events: VecDeque<Occurrence>,
    pub ended: Option<String>,
}

impl Wire {
    pub fn new(config: &Config, now: Millis) -> Self {
        Self {
            rx: vec![0; RX_BUFFER],
            received: 0,
            eof: false,
            tx: vec![0; TX_BUFFER],
            pending: 0,
            draws: Draws(config.draws()),
            now,
            opened: now,
            events: VecDeque::new(),
            ended: None,
        }
    }

    /// Puts bytes into the receive buffer; what doesn't fit is lost, as it is once the side has ended.
    pub fn receive(&mut self, data: &[u8]) {
        let space = &mut self.rx[self.received..];
        let len = data.len().min(space.len());
        space[..len].copy_from_slice(&data[..len]);
        self.received += len;
    }

    pub fn end_of_stream(&mut self) {
        self.eof = true;
    }

    pub fn output(&self) -> &[u8] {
        &self.tx[..self.pending]
    }

    /// Takes `len` bytes of the output.
    pub fn take_output(&mut self, len: usize) -> Vec<u8> {
        let taken = self.tx[..len].to_vec();
        self.tx.copy_within(len..self.pending, 0);
        self.pending -= len;
        taken
    }

    /// Lends the buffers to a call of the core.
    pub fn lend<T>(&mut self, call: impl FnOnce(&mut RxBuf<'_>, &mut Io<'_, '_>) -> T) -> T {
        let mut rx = RxBuf::resume(&mut self.rx, self.received);
        if self.eof {
            rx.end();
        }
        let mut tx = TxBuf::resume(&mut self.tx, self.pending);
        let result = call(&mut rx, &mut Io { now: self.now, tx: &mut tx, rng: &mut self.draws });
        let (unconsumed, pending) = (rx.unconsumed().to_vec(), tx.pending().to_vec());
        self.received = unconsumed.len();
        self.rx[..unconsumed.len()].copy_from_slice(&unconsumed);
        self.pending = pending.len();
        self.tx[..pending.len()].copy_from_slice(&pending);
        result
    }

    pub fn end(&mut self, why: impl Into<String>) {
        if self.ended.is_none() {
            self.ended = Some(why.into());
        }
    }

    pub fn see(&mut self, name: &str, fields: Vec<(&'static str, Vec<u8>)>) {
        self.events.push_back(Occurrence::new(name, fields));
    }
}

/// Steps a connection until it needs something; the ticket of an event that waits for an answer.
pub(crate) fn run_conn<R: Role, S: Suite>(conn: &mut Conn<R, S>, wire: &mut Wire) -> Option<Ticket> {
    loop {
        let before = wire.pending;
        let step = wire.lend(|rx, io| {
            let step = conn.step(rx, io)?;
            let Step::Event(id) = step else { return Ok((step, None)) };
            conn.event(rx, id).map(|event| (step, Some(describe::<S>(event))))
        });
        match step {
            Ok((Step::Progressed, _)) => {}
            Ok((Step::Event(_), Some((occurrence, ticket)))) => {
                wire.events.push_back(occurrence);
                if ticket.is_some() {
                    return ticket;
                }
            }
            Ok((Step::Closed(closed), _)) => {
                wire.end(closed_as(closed));
                return None;
            }
            Ok(_) => return None,
            Err(error) => {
                wire.end(if wire.pending == before && was_close(error) {
                    "closed 0".into()
                } else {
                    ended_as(error)
                });
                return None;
            }
        }
    }
}

/// Whether a fault that is answered with CLOSE 4 can, without an answer, only have been a malformed CLOSE.
const fn was_close(error: Error) -> bool {
    matches!(error, Error::Peer(PeerFault::MalformedMessage))
}

/// Handles what is due in a connection.
pub(crate) fn tick_conn<R: Role, S: Suite>(conn: &mut Conn<R, S>, wire: &mut Wire) {
    if conn.poll_timeout().is_none_or(|due| wire.now < due) {
        return;
    }
    if let Err(error) = wire.lend(|_, io| conn.handle_timeout(io)) {
        wire.end(ended_as(error));
    }
}

/// Sends a message whose body is given.
pub(crate) fn send<R: Role, S: Suite>(
    conn: &mut Conn<R, S>,
    wire: &mut Wire,
    name: &str,
    body: &[u8],
) -> Result<(), Failure> {
    let failed = |why: &dyn fmt::Display| Failure::new(format!("{name} was not sent: {why}"));
    if name != BUNDLED {
        let message = decode(name, body)?;
        return wire.lend(|_, io| conn.send(&message, io)).map_err(|e| failed(&e));
    }
    let messages = unbundle(body)?;
    let sent = wire.lend(|_, io| conn.send_bundle(messages.iter().copied(), io)).map_err(|e| failed(&e))?;
    if sent == messages.len() { Ok(()) } else { Err(failed(&"the peer doesn't take so many")) }
}

/// What transcripts call a record of several messages.
const BUNDLED: &str = "BUNDLE";

/// The messages that stand in a bundle's body.
fn unbundle(mut body: &[u8]) -> Result<Vec<Message<'_>>, Failure> {
    let short = || Failure::new("a bundle ends within a message");
    let mut messages = vec![];
    while let [kind, high, low, rest @ ..] = body {
        let (message, behind) =
            rest.split_at_checked(u16::from_be_bytes([*high, *low]).into()).ok_or_else(short)?;
        messages.push(decode(name_of(*kind), message)?);
        body = behind;
    }
    if body.is_empty() { Ok(messages) } else { Err(short()) }
}

/// Closes for the reason whose number is given.
pub(crate) fn close<R: Role, S: Suite>(
    conn: &mut Conn<R, S>,
    wire: &mut Wire,
    reason: &str,
) -> Result<(), Failure> {
    let reason = reason.parse().ok().and_then(CloseReason::from_u8);
    let reason = reason.ok_or_else(|| Failure::new("no reason of CLOSE"))?;
    wire.lend(|_, io| conn.close(reason, io));
    Ok(())
}

/// The message of that name with this body.
pub(crate) fn decode<'a>(name: &str, body: &'a [u8]) -> Result<Message<'a>, Failure> {
    let kind = NAMES.iter().find(|(_, n)| *n == name).map(|(kind, _)| *kind);
    let kind = kind.ok_or_else(|| Failure::new(format!("no message is called {name}")))?;
    Message::decode(kind, body).map_err(|_| Failure::new(format!("not the body of a {name}")))
}

fn describe<S: Suite>(event: Event<'_>) -> (Occurrence, Option<Ticket>) {
    match event {
        Event::Admit { ticket, .. } => (Occurrence::new("admit", vec![]), Some(ticket)),
        Event::Auth { request, ticket } => (message(&Message::Auth(request)), Some(ticket)),
        Event::Message(other) => (message(&other), None),
        Event::Established(Peer::Device(key)) => {
            let key = sordino_core::suite::PublicKey::<S>::from_bytes(key);
            let print = key.map(|key| sordino_core::identity::device_fingerprint::<S>(&key).to_vec());
            (Occurrence::new("established", vec![("device", print.unwrap_or_default())]), None)
        }
        Event::Established(Peer::Server(hello)) => {
            let fields = vec![
                ("connection-id", hello.connection.to_vec()),
                ("server-time", hello.time.to_be_bytes().to_vec()),
            ];
            (Occurrence::new("established", fields), None)
        }
    }
}

fn message(message: &Message<'_>) -> Occurrence {
    let mut body = vec![0; RX_BUFFER];
    let mut out = Writer::new(&mut body);
    let encoded = message.encode(&mut out);
    let len = out.written();
    body.truncate(len);
    assert!(encoded.is_ok(), "a message that was decoded can be encoded");
    Occurrence::new(name_of(message.kind()), vec![("body", body)])
}

/// The name of a type of message.
fn name_of(kind: u8) -> &'static str {
    NAMES.iter().find(|(number, _)| *number == kind).map_or("unknown", |(_, name)| name)
}

const NAMES: [(u8, &str); 25] = [
    (1, "CLOSE"),
    (2, "PING"),
    (3, "PONG"),
    (messages::BUNDLE, BUNDLED),
    (16, "AUTH"),
    (17, "AUTH_RESULT"),
    (18, "GET_POLICY"),
    (19, "POLICY"),
    (20, "NOTICE"),
    (32, "SEND"),
    (33, "ACCEPTED"),
    (34, "REFUSED"),
    (35, "DELIVERED"),
    (36, "RECEIVE"),
    (37, "DELIVER"),
    (38, "ACK"),
    (48, "JOIN"),
    (49, "LEAVE"),
    (50, "DONE"),
    (51, "LIST_ROOMS"),
    (52, "ROOMS"),
    (53, "LIST_MEMBERS"),
    (54, "WHO"),
    (55, "USERS"),
    (56, "ROOM_EVENT"),
];

fn closed_as(closed: Closed) -> String {
    match closed {
        Closed::Here(reason) => format!("closing {}", reason as u8),
        Closed::ByPeer(reason) => format!("closed {}", reason as u8),
    }
}

/// How a transcript names an error.
pub(crate) fn ended_as(error: Error) -> String {
    match error {
        Error::Refused(code) => format!("refused {}", code as u8),
        Error::Untrusted(distrust) => format!(
            "untrusted {}",
            match distrust {
                Distrust::Malformed => "form",
                Distrust::Root => "root",
                Distrust::Signature => "signature",
                Distrust::Stale => "version",
                Distrust::Key => "statement",
            }
        ),
        Error::Truncated => "truncated".into(),
        Error::Timeout(Deadline::Handshake) => "timeout".into(),
        Error::Timeout(_) => "closing 7".into(),
        Error::Peer(PeerFault::Gate) => "refused 3".into(),
        Error::Peer(PeerFault::Record | PeerFault::Sequence) => "record".into(),
        Error::Peer(PeerFault::UnexpectedMessage | PeerFault::MalformedMessage) => "closing 4".into(),
        Error::Peer(_) | Error::Incompatible(_) => "handshake".into(),
        Error::Misuse(_) | Error::Entropy => error.to_string(),
    }
}
