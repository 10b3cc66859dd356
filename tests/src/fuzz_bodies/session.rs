//! A peer who holds the keys and keeps no rules: flags (1) ‖ any number of type (1) ‖ length (2) ‖ body.
//!
//! Bit 0 of the flags chooses suite 2, bit 1 the client as the side under test.

use std::sync::OnceLock;

use sordino_core::bytes::{Bytes, Secret};
use sordino_core::config::{HEADER_LEN, MAX_TAG};
use sordino_core::error::PeerFault;
use sordino_core::event::Closed;
use sordino_core::identity::ServedSuite;
use sordino_core::kdf;
use sordino_core::messages::{AuthCode, AuthResult, BUNDLE, CloseReason, Message, Phase, allowed};
use sordino_core::record::{Direction, Inbound, Outbound, max_body};
use sordino_core::suite::{PublicKey, SecretKey, dh_len};
use sordino_core::{Error, Suite1, Suite2};

use super::conversation::{SCRIPT, honest};
use super::peers::{
    ClientSide, DEVICE_BYTE, Link, MAX_RECORD, Seen, ServerSide, Side, fixed, secret_key, see, static_key,
};

const CLOSE: u8 = 1;

/// Says what the input says in authentic records; the other side must see what is allowed, and refuse the rest.
pub fn session(data: &[u8]) {
    let Some((&flags, script)) = data.split_first() else { return };
    match flags & 3 {
        0 => against_server::<Suite1>(script),
        1 => against_server::<Suite2>(script),
        2 => against_client::<Suite1>(script),
        _ => against_client::<Suite2>(script),
    }
}

fn against_server<S: ServedSuite>(script: &[u8]) {
    let mut side = ServerSide::new();
    run::<S>(&mut side, &honest(S::ID).0.received, Direction::ToServer, script);
}

fn against_client<S: ServedSuite>(script: &[u8]) {
    let mut side = ClientSide::<S>::new();
    run::<S>(&mut side, &honest(S::ID).1.received, Direction::ToClient, script);
}

fn run<S: ServedSuite>(side: &mut dyn Side, honest: &[u8], direction: Direction, script: &[u8]) {
    side.receive(&honest[..handshake_len(honest)]);
    let before = side.link().seen.len();
    let expected = speak::<S>(side, direction, script);
    side.finish();
    check::<S>(side.link(), before, direction, &expected);
}

/// What must come of a script.
struct Expected {
    seen: Vec<Seen>,
    end: Result<Closed, Error>,
    /// Records that the side has opened.
    opened: u64,
    /// Type of the last of them.
    last: u8,
}

/// Sends the script until the connection is over, and predicts it.
fn speak<S: ServedSuite>(side: &mut dyn Side, direction: Direction, mut script: &[u8]) -> Expected {
    let mut out = Outbound::<S>::new(direction, &secret::<S>(direction), 0);
    let mut expected = Expected { seen: Vec::new(), end: Err(Error::Truncated), opened: 0, last: 0 };
    let mut login = Login { phase: Phase::Login, asked: false };
    while let [kind, high, low, rest @ ..] = script {
        let wanted = usize::from(u16::from_be_bytes([*high, *low]));
        let (body, rest) = rest.split_at(wanted.min(rest.len()).min(max_body(MAX_RECORD)));
        script = rest;
        side.receive(&seal(&mut out, *kind, body));
        expected.opened += 1;
        expected.last = *kind;
        if expected.take(*kind, body, direction, &mut login) {
            break;
        }
    }
    expected
}

impl Expected {
    /// Takes a record. Whether the connection is over.
    fn take(&mut self, kind: u8, body: &[u8], direction: Direction, login: &mut Login) -> bool {
        if kind != BUNDLE || login.phase != Phase::Ready {
            let fate = fate(kind, body, direction, login);
            return self.meet(fate, direction, login);
        }
        let mut rest = body;
        loop {
            let message = match rest {
                [kind, high, low, rest @ ..] if *kind != CLOSE => {
                    rest.split_at_checked(u16::from_be_bytes([*high, *low]).into()).map(|cut| (*kind, cut))
                }
                _ => None,
            };
            let Some((kind, (body, behind))) = message else {
                let end = Err(Error::Peer(PeerFault::MalformedMessage));
                return self.meet(Fate::Over(end), direction, login);
            };
            let fate = fate(kind, body, direction, login);
            if self.meet(fate, direction, login) || behind.is_empty() {
                return self.end != Err(Error::Truncated);
            }
            rest = behind;
        }
    }

    /// What comes of a message. Whether the connection is over.
    fn meet(&mut self, fate: Fate, direction: Direction, login: &mut Login) -> bool {
        match fate {
            Fate::Quiet => {}
            Fate::Seen(seen) => {
                // The second line of the client's script is AUTH, its answer to the first thing that it sees.
                login.asked |= self.seen.is_empty();
                self.seen.push(seen);
            }
            Fate::Over(end) => {
                self.end = end;
                return true;
            }
        }
        // The client says goodbye at the end of its own script.
        let done = direction == Direction::ToClient && self.seen.len() == SCRIPT.len();
        if done {
            self.end = Ok(Closed::Here(CloseReason::Bye));
        }
        done
    }
}

fn seal<S: ServedSuite>(out: &mut Outbound<S>, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut region = vec![0; Outbound::<S>::wire_len(body.len()).expect("below the largest body")];
    region[Outbound::<S>::BODY..][..body.len()].copy_from_slice(body);
    out.seal(&mut region, kind, body.len()).expect("room for the record");
    region
}

enum Fate {
    Quiet,
    Seen(Seen),
    Over(Result<Closed, Error>),
}

struct Login {
    phase: Phase,
    /// The client waits for an AUTH_RESULT.
    asked: bool,
}

/// PROTOCOL.md section 7 for one message.
fn fate(kind: u8, body: &[u8], direction: Direction, login: &mut Login) -> Fate {
    if !allowed(kind, direction, login.phase) {
        return Fate::Over(Err(Error::Peer(PeerFault::UnexpectedMessage)));
    }
    let Ok(message) = Message::decode(kind, body) else {
        return Fate::Over(Err(Error::Peer(PeerFault::MalformedMessage)));
    };
    match message {
        Message::Close(close) => {
            return Fate::Over(Ok(Closed::ByPeer(
                CloseReason::from_u8(close.reason).unwrap_or(CloseReason::Other),
            )));
        }
        Message::Ping(_) | Message::Pong(_) => return Fate::Quiet,
        Message::AuthResult(_) if !login.asked => {
            return Fate::Over(Err(Error::Peer(PeerFault::UnexpectedMessage)));
        }
        Message::AuthResult(AuthResult { code, .. }) => {
            login.asked = false;
            if code == AuthCode::Ok {
                login.phase = Phase::Ready;
            }
        }
        // The server under test logs everybody in.
        Message::Auth(_) => login.phase = Phase::Ready,
        _ => {}
    }
    Fate::Seen(see(&message))
}

fn check<S: ServedSuite>(link: &Link, before: usize, direction: Direction, expected: &Expected) {
    assert_eq!(link.seen[before..], expected.seen);
    assert_eq!(link.end, Some(expected.end));
    let said = answers::<S>(link, direction);
    let goodbye = said.last().map(|(kind, body)| Message::decode(*kind, body).expect("well-formed"));
    let closes = match expected.end {
        // A CLOSE is never answered, whatever its form.
        Err(Error::Peer(_)) if expected.last != CLOSE => Some(CloseReason::Protocol),
        Ok(Closed::Here(reason)) => Some(reason),
        _ => None,
    };
    match (closes, goodbye) {
        (Some(reason), Some(Message::Close(close))) => {
            assert_eq!((close.reason, close.received), (reason as u8, expected.opened));
        }
        (None, None) => {}
        (None, Some(last)) => assert!(!matches!(last, Message::Close(_)), "{last:?} to a silent end"),
        (Some(reason), last) => panic!("{last:?} in place of CLOSE {reason:?}"),
    }
}

/// The records that the side under test has sent.
fn answers<S: ServedSuite>(link: &Link, heard: Direction) -> Vec<(u8, Vec<u8>)> {
    let direction = match heard {
        Direction::ToServer => Direction::ToClient,
        Direction::ToClient => Direction::ToServer,
    };
    let mut inbound = Inbound::<S>::new(direction, &secret::<S>(direction), 0, MAX_RECORD);
    let mut rest = link.out[handshake_len(&link.out)..].to_vec();
    let mut said = Vec::new();
    while let Some(total) = inbound.frame(&rest).expect("a record") {
        let mut record: Vec<u8> = rest.drain(..total).collect();
        let opened = inbound.open(&mut record).expect("an authentic record");
        said.push((opened.kind, record[opened.body].to_vec()));
    }
    assert!(rest.is_empty(), "a part of a record");
    said
}

/// Length of the handshake messages that a stream begins with.
fn handshake_len(stream: &[u8]) -> usize {
    let mut len = 0;
    while let Some([b'S', b'O', _, _, _, _, high, low, ..]) = stream.get(len..) {
        len += HEADER_LEN + usize::from(u16::from_be_bytes([*high, *low]));
    }
    len
}

/// The secret of epoch 0 in the honest handshake, by PROTOCOL.md sections 3, 5.2 and 5.4, with the client's keys.
fn secret<S: ServedSuite>(direction: Direction) -> Secret<S::Hash> {
    static SECRETS: [OnceLock<[[u8; 2 * MAX_TAG]; 2]>; 2] = [const { OnceLock::new() }; 2];
    let both = SECRETS[usize::from(S::ID - 1)].get_or_init(|| {
        let (to_server, to_client) = split::<S>();
        [to_server, to_client].map(|secret| {
            let mut bytes = [0; 2 * MAX_TAG];
            bytes[..S::Hash::LEN].copy_from_slice(secret.expose());
            bytes
        })
    });
    let bytes = &both[direction as usize][..S::Hash::LEN];
    Secret::new(S::Hash::copy_of(bytes).expect("the hash's length"))
}

fn split<S: ServedSuite>() -> (Secret<S::Hash>, Secret<S::Hash>) {
    let device = secret_key::<S>(DEVICE_BYTE);
    let prk =
        kdf::extract::<S>(b"sordino/1 ephemeral", &[&fixed::<32>(), device.expose(), &1u64.to_be_bytes()]);
    let mut exponent = vec![0; SecretKey::<S>::LEN];
    kdf::expand::<S>(prk.expose(), b"", &mut exponent);
    let e = SecretKey::<S>::from_bytes(&exponent).expect("the suite's length");

    let received = &honest(S::ID).1.received;
    let message2 = handshake_len(received) - HEADER_LEN - dh_len::<S>() - 48 - S::Key::LEN;
    let server_e = &received[message2 + HEADER_LEN..][..dh_len::<S>()];
    let server_e = PublicKey::<S>::from_bytes(server_e).expect("in range");

    let mut ck = Secret::new(kdf::hash::<S>(&[S::PROTOCOL.as_bytes()]));
    let static_key = static_key::<S>();
    for (own, peer) in [(&e, &static_key), (&e, &server_e), (&device, &server_e)] {
        let shared = own.agree(peer, &mut [0; 2048]).expect("enough scratch");
        ck = kdf::noise::<S>(&ck, shared.expose()).0;
    }
    kdf::noise::<S>(&ck, b"")
}
