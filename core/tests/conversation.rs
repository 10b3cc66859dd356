//! Both roles in memory: key request, handshake, login, a message, goodbye.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use sordino_core::config::{Millis, Timeouts};
use sordino_core::entropy::Entropy;
use sordino_core::error::Error;
use sordino_core::identity::{Pin, ServedSuite, ServerIdentity, StaticKey, Trust, server_fingerprint};
use sordino_core::key_request::KeyRequest;
use sordino_core::messages::{Auth, AuthCode, AuthResult, CloseReason, MessageId, Ping, Send};
use sordino_core::name::{Target, Username};
use sordino_core::suite::SecretKey;
use sordino_core::wire::Opaque;
use sordino_core::{
    Accept, Acceptor, Answer, Client, ClientConfig, Closed, Conn, Event, Io, Message, Peer, RxBuf, Server,
    ServerConfig, Step, Suite, Suite1, Suite2, SuiteList, TxBuf,
};

const BUFFER: usize = 20_000;
/// Rounds that a conversation may take: one byte by byte takes fewer, and one that stalls is an error.
const ROUNDS: u64 = 20_000;

/// Not random: a counter through SplitMix64.
struct Counter(u64);

impl Entropy for Counter {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        for byte in out {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = (z >> 32) as u8;
        }
        Ok(())
    }
}

fn identity() -> ServerIdentity {
    let mut rng = Counter(7);
    let one = StaticKey::new(SecretKey::<Suite1>::generate(&mut rng).unwrap());
    let two = StaticKey::new(SecretKey::<Suite2>::generate(&mut rng).unwrap());
    ServerIdentity::sign(&[9; 32], 1, 1_700_000_000, Some(one), Some(two)).unwrap()
}

/// One end: buffers and randomness.
struct End<'b> {
    rx: RxBuf<'b>,
    tx: TxBuf<'b>,
    rng: Counter,
}

impl<'b> End<'b> {
    fn new(memory: &'b mut [u8; 2 * BUFFER], seed: u64) -> Self {
        let (rx, tx) = memory.split_at_mut(BUFFER);
        Self { rx: RxBuf::new(rx), tx: TxBuf::new(tx), rng: Counter(seed) }
    }

    fn with<T>(&mut self, now: Millis, f: impl FnOnce(&mut RxBuf<'_>, &mut Io<'_, '_>) -> T) -> T {
        let mut io = Io { now, tx: &mut self.tx, rng: &mut self.rng };
        f(&mut self.rx, &mut io)
    }

    /// Carries at most `chunk` bytes to the other end.
    fn carry(&mut self, to: &mut End<'_>, chunk: usize) -> bool {
        let pending = self.tx.pending();
        let len = pending.len().min(chunk).min(to.rx.spare().len());
        to.rx.spare()[..len].copy_from_slice(&pending[..len]);
        to.rx.commit(len);
        self.tx.consume(len);
        len > 0
    }
}

fn converse<S: ServedSuite>(chunk: usize) {
    let identity = identity();
    let (mut a, mut b) = ([0; 2 * BUFFER], [0; 2 * BUFFER]);
    let (mut alice, mut server) = (End::new(&mut a, 1), End::new(&mut b, 2));

    let request = alice.with(0, |_, io| KeyRequest::<S>::send(io)).unwrap();
    let config = ServerConfig { max_record: 16_384, bundles: true, counter: 5, time: 1_700_000_000_000 };
    let mut acceptor = Acceptor::new(config, Timeouts::SERVER, 0);
    let trust = Trust::Fingerprint(server_fingerprint(identity.root()), 1);
    let mut ask = |_| {
        alice.carry(&mut server, chunk);
        server.with(0, |rx, io| acceptor.step(&identity, rx, io)).unwrap();
        server.carry(&mut alice, chunk);
        request.receive(&mut alice.rx, trust).unwrap()
    };
    let (pin, key): (Pin, _) = (0..ROUNDS).find_map(&mut ask).unwrap();
    assert_eq!(pin.fingerprint(), identity.fingerprint());

    let device = SecretKey::<S>::generate(&mut alice.rng).unwrap();
    let device_public = device.public();
    let config = ClientConfig {
        server: key,
        device,
        device_public: device_public.clone(),
        suites: SuiteList::new(&[S::ID]).unwrap(),
        max_record: 1024,
        bundles: true,
        counter: 1,
    };
    let mut client = Conn::<Client, S>::client(config, Timeouts::CLIENT, 0).unwrap();
    let mut served: Option<Conn<Server, S>> = None;
    let mut log = Vec::new();
    let id: MessageId = [3; 16];

    for now in 0..ROUNDS {
        let step = alice.with(now, |rx, io| client.step(rx, io)).unwrap();
        if let Step::Event(event) = step {
            match client.event(&alice.rx, event).unwrap() {
                Event::Established(Peer::Server(hello)) => {
                    assert_eq!(hello.time, 1_700_000_000_000);
                    log.push("server proven");
                    alice.with(now, |_, io| client.send(&Message::Auth(Auth::DEVICE), io)).unwrap();
                }
                Event::Message(Message::AuthResult(result)) => {
                    assert_eq!(result.username, "alice");
                    log.push("logged in");
                    let target = Target::User(Username::new("bob").unwrap());
                    let send = Message::Send(Send { id, target, format: 0, body: Opaque(b"hello") });
                    let ping = Message::Ping(Ping { token: 77 });
                    alice
                        .with(now, |_, io| client.send(&send, io).and_then(|()| client.send(&ping, io)))
                        .unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
        alice.carry(&mut server, chunk);
        let Some(conn) = &mut served else {
            let accept = server.with(now, |rx, io| acceptor.step(&identity, rx, io)).unwrap();
            if !matches!(accept, Accept::NeedInput) {
                served = Some(acceptor.connection(&identity).unwrap());
            }
            continue;
        };
        let step = server.with(now, |rx, io| conn.step(rx, io)).unwrap();
        if let Step::Event(event) = step {
            match conn.event(&server.rx, event).unwrap() {
                Event::Admit { ticket, .. } => {
                    log.push("admitted");
                    server.with(now, |_, io| conn.answer(ticket, Answer::Admit, io)).unwrap();
                }
                Event::Established(Peer::Device(key)) => {
                    assert_eq!(key, device_public.as_bytes());
                    log.push("client proven");
                }
                Event::Auth { ticket, .. } => {
                    let result = AuthResult {
                        code: AuthCode::Ok,
                        retry_after: 0,
                        device: 4,
                        pending: 0,
                        username: "alice",
                    };
                    server.with(now, |_, io| conn.answer(ticket, Answer::Auth(result), io)).unwrap();
                }
                Event::Message(Message::Send(send)) => {
                    assert_eq!((send.id, send.body.0), (id, &b"hello"[..]));
                    log.push("message");
                    alice.with(now, |_, io| client.close(CloseReason::Bye, io));
                    while alice.carry(&mut server, chunk) {}
                }
                other => panic!("{other:?}"),
            }
        }
        if step == Step::Closed(Closed::ByPeer(CloseReason::Bye)) {
            break;
        }
        server.carry(&mut alice, chunk);
    }
    let told = ["admitted", "server proven", "client proven", "logged in", "message"];
    assert_eq!(log, told);
}

#[test]
fn suite_1_whole() {
    converse::<Suite1>(usize::MAX);
}

#[test]
fn suite_1_byte_by_byte() {
    converse::<Suite1>(1);
}

#[test]
fn suite_2_whole() {
    converse::<Suite2>(usize::MAX);
}

#[test]
fn suite_2_in_sevens() {
    converse::<Suite2>(7);
}

#[test]
fn sizes() {
    println!(
        "suite 1: {} bytes, suite 2: {} bytes",
        size_of::<Conn<Server, Suite1>>(),
        size_of::<Conn<Server, Suite2>>()
    );
    assert_eq!(Suite1::ID + 1, Suite2::ID);
}
