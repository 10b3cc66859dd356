//! Attacks 1 and 2: Diffie-Hellman values that nobody honest would send.

use ed25519_dalek::{Signer, SigningKey};
use num_bigint::BigUint;
use sordino_core::dh::{Ffdhe2048, Ffdhe3072};
use sordino_core::error::{Distrust, Error, ErrorCode, PeerFault};
use sordino_core::identity::{Pin, ServedSuite, ServerKey, Statement, device_fingerprint, key_id};
use sordino_core::suite::{PublicKey, SecretKey, dh_len, tag_len};
use sordino_core::wire::{Field, Writer};
use sordino_core::{Suite, Suite1, Suite2, kdf};
use sordino_tests::both_suites;
use sordino_tests::pair::forge::{
    FreeClient, FreeServer, MESSAGE_1, MESSAGE_2, MESSAGE_3, Value, exponent, framed, gate, honest_offer,
    offer,
};
use sordino_tests::pair::script::{admit_all, log_in, silent};
use sordino_tests::pair::setup::{ROOT_SEED, static_key, static_secret};
use sordino_tests::pair::{Memory, Pair, Party, Seen, ServerSide, Setup, device, lone_client, lone_server};

const NOW: u64 = 1_000;
const OUT_OF_RANGE: Error = Error::Peer(PeerFault::DhRange);
const FAILED: Error = Error::Peer(PeerFault::Handshake);

both_suites! {
    attack_01_values_out_of_range
    attack_01_wrong_lengths
    attack_02_negated_ephemeral_keys
    attack_02_negated_static_keys
}

fn prime<S: Suite>() -> BigUint {
    match S::ID {
        Suite1::ID => BigUint::from_bytes_be(&Ffdhe2048::prime()),
        Suite2::ID => BigUint::from_bytes_be(&Ffdhe3072::prime()),
        _ => unreachable!(),
    }
}

fn padded<S: Suite>(value: &BigUint) -> Vec<u8> {
    let bytes = value.to_bytes_be();
    [vec![0; dh_len::<S>() - bytes.len()], bytes].concat()
}

fn negated<S: Suite>(y: &PublicKey<S>) -> Vec<u8> {
    padded::<S>(&(prime::<S>() - BigUint::from_bytes_be(y.as_bytes())))
}

/// Values out of range, each with what an even exponent would make of it: an attacker knows the outcome.
fn out_of_range<S: Suite>() -> Vec<Value> {
    let p = prime::<S>();
    let top = (BigUint::from(1u8) << (8 * dh_len::<S>())) - 1u8;
    let values = [
        (BigUint::ZERO, BigUint::ZERO),
        (BigUint::from(1u8), BigUint::from(1u8)),
        (&p - 1u8, BigUint::from(1u8)),
        (p.clone(), BigUint::ZERO),
        (&p + 1u8, BigUint::from(1u8)),
        (top.clone(), top),
    ];
    values.map(|(y, z)| Value { bytes: padded::<S>(&y), shared: padded::<S>(&z) }).into()
}

/// A server's static key as its root would sign it, whatever the key is.
fn key_answer<S: Suite>(version: u32, key: &[u8]) -> Vec<u8> {
    // SHA-256, as the hash of suite 1.
    let id = kdf::hash::<Suite1>(&[b"sordino/1 static key", &[S::ID], key]);
    let statement = Statement::new(version, 1, &[(S::ID, id)]).unwrap();
    let mut bytes = vec![0; 300];
    let mut out = Writer::new(&mut bytes);
    statement.encode(&mut out).unwrap();
    let len = out.written();
    bytes.truncate(len);
    let root = SigningKey::from_bytes(&ROOT_SEED);
    let signature = root.sign(&[b"sordino/1 key statement", &bytes[..]].concat()).to_bytes();
    let length = u16::try_from(len).unwrap().to_be_bytes();
    let body = [&root.verifying_key().to_bytes()[..], &length, &bytes, &signature, key].concat();
    framed(2, S::ID, &body)
}

fn asked<S: ServedSuite>(answer: &[u8]) -> Error {
    let mut memory = Memory::default();
    let setup = Setup { key_request: true, ..Setup::default() };
    let mut client = lone_client::<S>(&mut memory, &setup, silent());
    client.feed(answer, NOW);
    client.outcome.expect("the key answer was refused").unwrap_err()
}

fn admitted<'m, S: ServedSuite>(memory: &'m mut Memory, message_1: &[u8]) -> Party<'m, ServerSide<S>> {
    let mut server = lone_server::<S>(memory, &Setup::default(), admit_all());
    server.feed(message_1, NOW);
    server
}

/// Red if `Group::in_range` accepts everything: both sides then agree on 0 or 1. For the position of the check:
/// red if `check_gate` no longer looks at e, since the server then admits and computes before it refuses.
fn attack_01_values_out_of_range<S: ServedSuite>() {
    let e = exponent::<S>(&[0x5a; 40][..SecretKey::<S>::LEN]);
    for value in out_of_range::<S>() {
        let (_, message) = FreeClient::<S>::message_1(static_key::<S>(), &e, &value, &honest_offer::<S>());
        let mut memory = Memory::default();
        let server = admitted::<S>(&mut memory, &message);
        assert_eq!(server.outcome, Some(Err(OUT_OF_RANGE)));
        assert!(server.log.is_empty(), "refused before the application is asked for an exponentiation");
        assert!(server.end.tx.is_empty(), "silently");
        assert_eq!(server.end.rng.0, Setup::default().seeds[1], "no ephemeral key was made");

        let mut memory = Memory::default();
        let mut client = lone_client::<S>(&mut memory, &Setup::default(), log_in());
        client.settle(NOW);
        let mut free =
            FreeServer::<S>::read_1(static_key::<S>(), &static_secret::<S>(), &client.take(usize::MAX));
        assert!(free.payload_1.is_some());
        let payload = offer(16_384, &[S::ID, 0, 0, 0, 0, 0, 0, 0], 47);
        client.feed(&free.message_2(&value, &payload), NOW);
        assert_eq!(client.outcome, Some(Err(OUT_OF_RANGE)));
        assert!(client.log.is_empty() && client.end.tx.is_empty());

        let (mut free, message) = FreeClient::<S>::start(static_key::<S>(), &e);
        let mut memory = Memory::default();
        let mut server = admitted::<S>(&mut memory, &message);
        assert!(free.read_2(&server.take(usize::MAX)).is_some());
        server.feed(&free.message_3(&value, &[0; 15]), NOW);
        assert_eq!(server.outcome, Some(Err(OUT_OF_RANGE)));
        assert_eq!(server.log, [Seen::Admit]);
        assert!(server.end.tx.is_empty());

        assert_eq!(asked::<S>(&key_answer::<S>(3, &value.bytes)), OUT_OF_RANGE);
    }
}

/// Red if `awaited` doesn't compare the header's length, or if a key answer may have another length.
fn attack_01_wrong_lengths<S: ServedSuite>() {
    let length = Error::Peer(PeerFault::Length);
    let key = static_key::<S>().as_bytes();
    for wrong in [&key[1..], &[&[0], key].concat()] {
        assert_eq!(PublicKey::<S>::from_bytes(wrong).unwrap_err(), length);
        assert_eq!(asked::<S>(&key_answer::<S>(3, wrong)), Error::Untrusted(Distrust::Malformed));
    }
    let e = exponent::<S>(&[0x5a; 40][..SecretKey::<S>::LEN]);
    let (mut free, first) = FreeClient::<S>::start(static_key::<S>(), &e);
    // Two bytes of header tell: nothing of a body is waited for.
    let wrong = |kind, message: &[u8], by: i16| {
        let length = u16::try_from(message.len() - 8).unwrap().wrapping_add_signed(by);
        let mut header = framed(kind, S::ID, &[]);
        header[6..].copy_from_slice(&length.to_be_bytes());
        header
    };
    let second = vec![0; 8 + dh_len::<S>() + 48 + tag_len::<S>()];
    for by in [-1, 1, i16::MIN] {
        let mut memory = Memory::default();
        let server = admitted::<S>(&mut memory, &wrong(MESSAGE_1, &first, by));
        assert_eq!(server.outcome, Some(Err(length)));

        let mut memory = Memory::default();
        let mut client = lone_client::<S>(&mut memory, &Setup::default(), log_in());
        client.settle(NOW);
        client.feed(&wrong(MESSAGE_2, &second, by), NOW);
        assert_eq!(client.outcome, Some(Err(length)));
    }
    let mut memory = Memory::default();
    let mut server = admitted::<S>(&mut memory, &first);
    assert!(free.read_2(&server.take(usize::MAX)).is_some());
    let device = free.honest_device(&device::<S>().0);
    let third = free.message_3(&device, &[0; 15]);
    server.feed(&wrong(MESSAGE_3, &third, -1), NOW);
    assert_eq!(server.outcome, Some(Err(length)));
}

/// Red if e is not hashed into the transcript (on both sides): −Y gives the same shared value as Y. In message 1 the gate
/// would have to be left out too, since it covers e.
fn attack_02_negated_ephemeral_keys<S: ServedSuite>() {
    let (setup, mut memory) = (Setup::default(), Memory::default());
    let mut pair = Pair::<S>::new(&mut memory, &setup, [log_in(), admit_all()]);
    pair.client.settle(NOW);
    let first = pair.client.take(usize::MAX);
    let (header, rest) = first.split_at(8);
    let (_, rest) = rest.split_at(16);
    let (e, sealed) = rest.split_at(dh_len::<S>());
    let minus = negated::<S>(&PublicKey::<S>::from_bytes(e).unwrap());
    let forged = [header, &gate::<S>(static_key::<S>(), header, &minus), &minus, sealed].concat();
    pair.server.feed(&forged, NOW);
    assert_eq!(pair.server.log, [Seen::Admit], "the gate is public knowledge, and passes");
    assert_eq!(pair.server.outcome, Some(Err(FAILED)));
    assert!(pair.server.end.tx.is_empty());

    let mut memory = Memory::default();
    let mut server = admitted::<S>(&mut memory, &first);
    let mut second = server.take(usize::MAX);
    let e = PublicKey::<S>::from_bytes(&second[8..8 + dh_len::<S>()]).unwrap();
    second[8..8 + dh_len::<S>()].copy_from_slice(&negated::<S>(&e));
    pair.client.feed(&second, NOW);
    assert_eq!(pair.client.outcome, Some(Err(FAILED)));
    assert!(pair.client.log.is_empty());
}

/// Red if `check_long_lived` accepts every symbol; the pinned part also if the gate key and the transcript both
/// leave the static key out.
fn attack_02_negated_static_keys<S: ServedSuite>() {
    let residue = Error::Peer(PeerFault::DhResidue);
    let minus = negated::<S>(static_key::<S>());
    assert_eq!(asked::<S>(&key_answer::<S>(3, &minus)), residue);

    // A client that was made to store −Y does not come through, even if someone repairs its gate.
    let minus = PublicKey::<S>::from_bytes(&minus).unwrap();
    let statement = Statement::new(3, 1, &[(S::ID, key_id::<S>(&minus))]).unwrap();
    let pin = Pin { root: *Setup::default().identity.root(), statement };
    let held = ServerKey::<S>::from_pin(&pin, minus).unwrap();
    let e = exponent::<S>(&[0x5a; 40][..SecretKey::<S>::LEN]);
    let (_, first) = FreeClient::<S>::start(held.public(), &e);
    let mut memory = Memory::default();
    let mut server = admitted::<S>(&mut memory, &first);
    assert_eq!(server.outcome, Some(Err(Error::Peer(PeerFault::Gate))));
    assert_eq!(server.take(usize::MAX), framed(6, S::ID, &[ErrorCode::UnknownKey as u8]));

    let (header, body) = first.split_at(8);
    let gate = gate::<S>(static_key::<S>(), header, &body[16..16 + dh_len::<S>()]);
    let mut memory = Memory::default();
    let server = admitted::<S>(&mut memory, &[header, &gate, &body[16..]].concat());
    assert_eq!(server.log, [Seen::Admit]);
    assert_eq!(server.outcome, Some(Err(FAILED)));

    // A client may call itself −Y: that is another device, and one that can't be bound to an account.
    let (secret, public) = device::<S>();
    let (mut free, first) = FreeClient::<S>::start(static_key::<S>(), &e);
    let mut memory = Memory::default();
    let mut server = admitted::<S>(&mut memory, &first);
    assert!(free.read_2(&server.take(usize::MAX)).is_some());
    let honest = free.honest_device(&secret);
    let minus = negated::<S>(&public);
    let third = free.message_3(&Value { bytes: minus.clone(), ..honest }, &[0; 15]);
    server.feed(&third, NOW);
    assert_eq!(server.log, [Seen::Admit, Seen::Device(minus.clone())]);
    let minus = PublicKey::<S>::from_bytes(&minus).unwrap();
    assert_eq!(minus.check_long_lived().unwrap_err(), residue);
    assert_ne!(device_fingerprint::<S>(&minus), device_fingerprint::<S>(&public));
}
