//! A server and a client whose keys, randomness and applications are fixed, so that what one side says is always the
//! same bytes.

use std::sync::OnceLock;

use ed25519_dalek::SigningKey;
use sordino_core::config::{RX_BUFFER, TX_BUFFER, Timeouts};
use sordino_core::conn::Role;
use sordino_core::entropy::Entropy;
use sordino_core::error::{PeerFault, SendError};
use sordino_core::event::EventId;
use sordino_core::identity::{Pin, ServedSuite, ServerIdentity, ServerKey, StaticKey, Trust};
use sordino_core::key_request::KeyRequest;
use sordino_core::messages::{CloseReason, Message};
use sordino_core::suite::{PublicKey, SecretKey};
use sordino_core::wire::Writer;
use sordino_core::{
    Accept, Acceptor, Answer, Client, ClientConfig, Closed, Conn, Error, Event, Io, Peer, RxBuf, Server,
    ServerConfig, Step, Suite, Suite1, Suite2, SuiteList, TxBuf,
};

use super::conversation::{LOGGED_IN, SCRIPT, replies};

pub const ROOT_SEED: [u8; 32] = [7; 32];
pub const STATEMENT_VERSION: u32 = 5;
const DATE: u64 = 1_790_000_000;
pub const MAX_RECORD: u16 = 4096;
/// Each byte of the client's device exponent.
pub const DEVICE_BYTE: u8 = 0x51;

/// The server, and what a client pins of it.
pub fn served() -> &'static (ServerIdentity, Pin) {
    static SERVED: OnceLock<(ServerIdentity, Pin)> = OnceLock::new();
    SERVED.get_or_init(|| {
        let (one, two) = (secret_key::<Suite1>(0x31), secret_key::<Suite2>(0x32));
        let (one, two) = (StaticKey::new(one), StaticKey::new(two));
        let identity = ServerIdentity::sign(&ROOT_SEED, STATEMENT_VERSION, DATE, Some(one), Some(two))
            .expect("both suites are given");
        let root = SigningKey::from_bytes(&ROOT_SEED).verifying_key().to_bytes();
        let pin = Pin { root, statement: identity.statement().clone() };
        (identity, pin)
    })
}

/// The server's static public key of a suite.
pub fn static_key<S: ServedSuite>() -> PublicKey<S> {
    S::key(&served().0).expect("both suites are given").public().clone()
}

pub fn secret_key<S: Suite>(byte: u8) -> SecretKey<S> {
    SecretKey::<S>::from_bytes(&vec![byte; SecretKey::<S>::LEN]).expect("the suite's length")
}

/// The same bytes in each run.
struct Fixed(u8);

impl Entropy for Fixed {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        for byte in out {
            self.0 = self.0.wrapping_mul(5).wrapping_add(1);
            *byte = self.0;
        }
        Ok(())
    }
}

/// The first `N` random bytes of a connection.
pub fn fixed<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    Fixed(1).fill(&mut out).expect("never fails");
    out
}

/// What an application sees: type (1) ‖ body of a message, or what else an event shows.
pub type Seen = Vec<u8>;

/// A message as its bytes, which tell more than its `Debug` does.
pub fn see(message: &Message<'_>) -> Seen {
    let mut bytes = vec![0; RX_BUFFER];
    bytes[0] = message.kind();
    let mut out = Writer::new(&mut bytes[1..]);
    message.encode(&mut out).expect("room for what was received");
    let len = 1 + out.written();
    bytes.truncate(len);
    bytes
}

/// One side's buffers, and what came of them.
pub struct Link {
    rx: Vec<u8>,
    held: usize,
    ended: bool,
    tx: Vec<u8>,
    rng: Fixed,
    /// All that was written to the peer.
    pub out: Vec<u8>,
    /// What the application saw.
    pub seen: Vec<Seen>,
    /// How it ended.
    pub end: Option<Result<Closed, Error>>,
}

impl Link {
    fn new() -> Self {
        Self {
            rx: vec![0; RX_BUFFER],
            held: 0,
            ended: false,
            tx: vec![0; TX_BUFFER],
            rng: Fixed(1),
            out: Vec::new(),
            seen: Vec::new(),
            end: None,
        }
    }

    /// Lends the buffers to `work`, then keeps what it left unread and unwritten.
    fn lend<T>(&mut self, work: impl FnOnce(&mut RxBuf<'_>, &mut Io<'_, '_>, &mut Vec<Seen>) -> T) -> T {
        let mut rx = RxBuf::resume(&mut self.rx, self.held);
        if self.ended {
            rx.end();
        }
        let mut tx = TxBuf::new(&mut self.tx);
        let result = work(&mut rx, &mut Io { now: 0, tx: &mut tx, rng: &mut self.rng }, &mut self.seen);
        self.out.extend_from_slice(tx.pending());
        let rest = rx.unconsumed().to_vec();
        self.rx[..rest.len()].copy_from_slice(&rest);
        self.held = rest.len();
        result
    }

    /// Takes the front of `bytes` that finds room; the rest.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, later) = bytes.split_at(bytes.len().min(self.rx.len() - self.held));
        self.rx[self.held..self.held + now.len()].copy_from_slice(now);
        self.held += now.len();
        later
    }
}

/// What the application does with an event.
type React<R, S> = fn(&mut Conn<R, S>, &RxBuf<'_>, EventId, &mut Io<'_, '_>, &mut Vec<Seen>);

/// Steps until input is needed or the connection is over. Each step must do something.
fn drive<R: Role, S: Suite>(conn: &mut Conn<R, S>, link: &mut Link, react: React<R, S>) {
    let most = link.held + 8;
    for _ in 0..most {
        let said = link.out.len();
        let step = link.lend(|rx, io, seen| {
            let step = conn.step(rx, io);
            if let Ok(Step::Event(id)) = step {
                react(conn, rx, id, io, seen);
            }
            step
        });
        link.end = match step {
            Ok(Step::NeedInput) => return,
            Ok(Step::NeedOutput(room)) => panic!("{room:?} in an empty output"),
            Ok(Step::Progressed | Step::Event(_)) => continue,
            Ok(Step::Closed(closed)) => Some(Ok(closed)),
            Err(error) => {
                assert!(link.out.len() == said || is_answered(error), "answered to {error:?}");
                Some(Err(error))
            }
        };
        let again = link.lend(|rx, io, _| conn.step(rx, io));
        assert_eq!(again, step, "the end is the end");
        assert_eq!(conn.poll_timeout(), None);
        return;
    }
    panic!("{most} steps for fewer bytes");
}

/// PROTOCOL.md: all other failures end a connection without an answer.
fn is_answered(error: Error) -> bool {
    matches!(error, Error::Peer(PeerFault::Gate | PeerFault::UnexpectedMessage | PeerFault::MalformedMessage))
}

/// A side of the conversation.
pub trait Side {
    /// Its buffers and results.
    fn link(&mut self) -> &mut Link;

    /// Does all that can be done now.
    fn advance(&mut self);

    /// Receives bytes.
    fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.link().end.is_none() {
            let rest = self.link().fill(bytes);
            assert!(rest.len() < bytes.len(), "a full buffer holds a whole record");
            bytes = rest;
            self.advance();
        }
    }

    /// Receives the end of the stream, which ends the connection.
    fn finish(&mut self) {
        if self.link().end.is_none() {
            self.link().ended = true;
            self.advance();
            assert!(self.link().end.is_some(), "waits for input after the end of the stream");
        }
    }
}

enum ServerStage {
    /// `None` only while it turns into a connection.
    Start(Option<Acceptor>),
    One(Box<Conn<Server, Suite1>>),
    Two(Box<Conn<Server, Suite2>>),
}

/// A server that admits everybody and logs everybody in.
pub struct ServerSide {
    stage: ServerStage,
    link: Link,
}

impl ServerSide {
    pub fn new() -> Self {
        let config = ServerConfig { max_record: MAX_RECORD, bundles: true, counter: 1, time: DATE * 1000 };
        let acceptor = Acceptor::new(config, Timeouts::SERVER, 0);
        Self { stage: ServerStage::Start(Some(acceptor)), link: Link::new() }
    }

    /// The client's choice; 1 before it was made.
    pub fn suite(&self) -> u8 {
        if matches!(self.stage, ServerStage::Two(_)) { 2 } else { 1 }
    }

    /// Answers key requests; true once there is a connection.
    fn accept(&mut self) -> bool {
        let ServerStage::Start(slot) = &mut self.stage else { return true };
        let mut acceptor = slot.take().expect("put back below");
        let identity = &served().0;
        let accept = self.link.lend(|rx, io, _| acceptor.step(identity, rx, io));
        self.stage = match accept {
            Ok(Accept::NeedInput | Accept::Progressed) => ServerStage::Start(Some(acceptor)),
            Ok(Accept::NeedOutput(room)) => panic!("{room:?} in an empty output"),
            Ok(Accept::Suite1) => ServerStage::One(Box::new(acceptor.connection(identity).expect("offered"))),
            Ok(Accept::Suite2) => ServerStage::Two(Box::new(acceptor.connection(identity).expect("offered"))),
            Err(error) => {
                self.link.end = Some(Err(error));
                return false;
            }
        };
        match accept {
            Ok(Accept::NeedInput) => false,
            Ok(Accept::Progressed) => self.accept(),
            _ => true,
        }
    }
}

impl Side for ServerSide {
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    fn advance(&mut self) {
        if !self.accept() {
            return;
        }
        match &mut self.stage {
            ServerStage::Start(_) => unreachable!("accepted above"),
            ServerStage::One(conn) => drive(conn, &mut self.link, serve),
            ServerStage::Two(conn) => drive(conn, &mut self.link, serve),
        }
    }
}

fn serve<S: Suite>(
    conn: &mut Conn<Server, S>,
    rx: &RxBuf<'_>,
    id: EventId,
    io: &mut Io<'_, '_>,
    seen: &mut Vec<Seen>,
) {
    let event = conn.event(rx, id).expect("the event of this step");
    match event {
        Event::Admit { ticket, .. } => {
            seen.push(b"admit".to_vec());
            conn.answer(ticket, Answer::Admit, io).expect("the ticket of this step");
        }
        Event::Auth { request, ticket } => {
            seen.push(see(&Message::Auth(request)));
            conn.answer(ticket, Answer::Auth(LOGGED_IN), io).expect("room for an answer");
        }
        Event::Established(peer) => seen.push(established(peer)),
        Event::Message(message) => {
            seen.push(see(&message));
            for reply in replies(&message) {
                conn.send(&reply, io).expect("room for a few replies");
            }
        }
    }
}

/// Who the peer is.
fn established(peer: Peer<'_>) -> Seen {
    match peer {
        Peer::Device(key) => key.to_vec(),
        Peer::Server(hello) => format!("{hello:?}").into_bytes(),
    }
}

enum ClientStage<S: Suite> {
    Asked(KeyRequest<S>),
    Open(Box<Conn<Client, S>>),
}

/// A client that knows the server's fingerprint and follows the script.
pub struct ClientSide<S: ServedSuite> {
    stage: ClientStage<S>,
    link: Link,
}

impl<S: ServedSuite> ClientSide<S> {
    pub fn new() -> Self {
        let mut link = Link::new();
        let request = link.lend(|_, io, _| KeyRequest::send(io)).expect("room for a header");
        Self { stage: ClientStage::Asked(request), link }
    }

    /// Checks the key answer; true once there is a connection.
    fn ask(&mut self) -> bool {
        let ClientStage::Asked(request) = &self.stage else { return true };
        let trust = Trust::Fingerprint(served().1.fingerprint(), STATEMENT_VERSION);
        match self.link.lend(|rx, _, _| request.receive(rx, trust)) {
            Ok(None) => false,
            Ok(Some((pin, key))) => {
                self.link.seen.push(format!("{pin:?}").into_bytes());
                self.stage = ClientStage::Open(Box::new(connect(key)));
                true
            }
            Err(error) => {
                self.link.end = Some(Err(error));
                false
            }
        }
    }
}

fn connect<S: ServedSuite>(server: ServerKey<S>) -> Conn<Client, S> {
    let device = secret_key::<S>(DEVICE_BYTE);
    let config = ClientConfig {
        server,
        device_public: device.public(),
        device,
        suites: SuiteList::new(&[S::ID]).expect("one suite"),
        max_record: MAX_RECORD,
        bundles: true,
        counter: 1,
    };
    Conn::client(config, Timeouts::CLIENT, 0).expect("valid parameters")
}

impl<S: ServedSuite> Side for ClientSide<S> {
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    fn advance(&mut self) {
        if !self.ask() {
            return;
        }
        if let ClientStage::Open(conn) = &mut self.stage {
            drive(conn, &mut self.link, converse);
        }
    }
}

/// After each event the next line of the script, and goodbye at its end.
fn converse<S: Suite>(
    conn: &mut Conn<Client, S>,
    rx: &RxBuf<'_>,
    id: EventId,
    io: &mut Io<'_, '_>,
    seen: &mut Vec<Seen>,
) {
    let event = conn.event(rx, id).expect("the event of this step");
    // The first thing that a client sees is the pin, the second the handshake's end.
    let line = seen.len().saturating_sub(1);
    seen.push(match event {
        Event::Established(peer) => established(peer),
        Event::Message(message) => see(&message),
        event => panic!("{event:?} on the client's side"),
    });
    match SCRIPT.get(line) {
        Some(message) => {
            // A server that keeps no rules may not have logged the client in.
            let sent = conn.send(message, io);
            assert!(matches!(sent, Ok(()) | Err(SendError::NotAllowed)), "{sent:?}");
        }
        None => conn.close(CloseReason::Bye, io),
    }
}
