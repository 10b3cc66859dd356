//! Attacks 3 to 5: an altered handshake, a man in the middle, a downgrade.

use sordino_core::error::{Distrust, Error, ErrorCode, Mismatch, PeerFault};
use sordino_core::identity::{
    Pin, ServedSuite, ServerIdentity, ServerKey, Statement, StaticKey, Trust, check_key_answer, key_id,
};
use sordino_core::suite::SecretKey;
use sordino_core::{Suite, Suite1, Suite2, SuiteList};
use sordino_tests::both_suites;
use sordino_tests::pair::forge::{FreeClient, FreeServer, MESSAGE_1, Value, exponent, framed, gate, offer};
use sordino_tests::pair::lane::frames;
use sordino_tests::pair::script::{admit_all, log_in, silent};
use sordino_tests::pair::setup::{ROOT_SEED, identity, static_key, static_secret, suite_1_identity};
use sordino_tests::pair::{
    Machine, Memory, Outcome, Pair, Party, Seen, Setup, device, lone_client, lone_server,
};

const NOW: u64 = 1_000;
const FAILED: Error = Error::Peer(PeerFault::Handshake);
const DOWNGRADE: Error = Error::Incompatible(Mismatch::Downgrade);

both_suites! {
    attack_03_every_bit_flipped
    attack_04_key_of_his_own
    attack_04_between_both
    attack_04_device_key_of_another
    attack_04_pin_of_another_suite
    attack_05_suite_lists
    attack_05_forged_unsupported
    attack_05_old_version_replayed
    attack_05_old_messages_replayed
}

/// Messages 1 to 3 of the honest handshake that `Setup::default` always makes.
fn honest<S: ServedSuite>() -> [Vec<u8>; 3] {
    let mut memory = Memory::default();
    let pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let (up, down) = (frames(&pair.up.sent, 2), frames(&pair.down.sent, 1));
    [up[0].to_vec(), down[0].to_vec(), up[1].to_vec()]
}

/// How the receiver of message `number` ends, having come so far honestly.
fn end_of<M: Machine>(
    receiver: &Party<'_, M>,
    message: &[u8],
    memory: &mut Memory,
) -> (Vec<Seen>, Option<Outcome>) {
    let mut fork = receiver.fork(memory, admit_all());
    fork.feed(message, NOW);
    fork.end.rx.end();
    fork.settle(NOW);
    (fork.log, fork.outcome)
}

fn flip_bits<M: Machine>(receiver: &Party<'_, M>, honest: &[u8]) {
    let mut memory = Memory::sized(2048, 2048);
    for at in 0..honest.len() {
        for bit in 0..8 {
            let mut message = honest.to_vec();
            message[at] ^= 1 << bit;
            let (log, outcome) = end_of(receiver, &message, &mut memory);
            assert!(matches!(outcome, Some(Err(_))), "byte {at}, bit {bit}: {outcome:?}");
            assert!(log.iter().all(|seen| *seen == Seen::Admit), "byte {at}, bit {bit}: {log:?}");
        }
    }
}

/// Red if a tag isn't compared whole, or if the ciphertext isn't under it.
fn attack_03_every_bit_flipped<S: ServedSuite>() {
    let [first, second, third] = honest::<S>();
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::new(&mut memory, &Setup::default(), [silent(), admit_all()]);
    flip_bits(&pair.server, &first);
    pair.client.settle(NOW);
    assert_eq!(pair.client.take(usize::MAX), first);
    flip_bits(&pair.client, &second);
    pair.server.feed(&first, NOW);
    assert_eq!(pair.server.take(usize::MAX), second);
    flip_bits(&pair.server, &third);

    let mut memory = Memory::default();
    let (log, _) = end_of(&pair.client, &second, &mut memory);
    assert!(matches!(log[..], [Seen::Server(_)]), "unaltered, it is the right message");
    let (log, _) = end_of(&pair.server, &third, &mut memory);
    assert!(matches!(log[..], [Seen::Device(_)]));
}

/// Another server with a root and static keys of his own.
fn mallory() -> ServerIdentity {
    let one = StaticKey::new(exponent::<Suite1>(&[0x66; 32]));
    let two = StaticKey::new(exponent::<Suite2>(&[0x66; 40]));
    ServerIdentity::sign(&[0x66; 32], 4, 1_790_000_000, Some(one), Some(two)).unwrap()
}

fn mallorys_secret<S: Suite>() -> SecretKey<S> {
    exponent::<S>(&[0x66; 40][..SecretKey::<S>::LEN])
}

/// The key answer that a server gives.
fn key_answer<S: ServedSuite>(identity: &'static ServerIdentity) -> Vec<u8> {
    let mut memory = Memory::default();
    let mut server = lone_server::<S>(&mut memory, &Setup { identity, ..Setup::default() }, silent());
    server.feed(&framed(1, S::ID, &[]), NOW);
    server.take(usize::MAX)
}

/// Red if `Trust::check_root` accepts another root, or if neither `check_key_answer` nor `ServerKey::from_pin` compares
/// the key's id.
fn attack_04_key_of_his_own<S: ServedSuite>() {
    let mallory: &'static ServerIdentity = Box::leak(Box::new(mallory()));
    let pin = Setup::default().pin();
    let fingerprint = identity().fingerprint();
    let his = key_answer::<S>(mallory);
    for trust in [Trust::Pinned(&pin), Trust::Fingerprint(fingerprint, 0)] {
        let answer = check_key_answer::<S>(&his[8..], trust).unwrap_err();
        assert_eq!(answer, Error::Untrusted(Distrust::Root));
    }

    // The true root and statement, with his static key behind them.
    let mut mixed = key_answer::<S>(identity())[8..].to_vec();
    let his_key = S::key(mallory).unwrap().public();
    let at = mixed.len() - his_key.as_bytes().len();
    mixed[at..].copy_from_slice(his_key.as_bytes());
    for trust in [Trust::Pinned(&pin), Trust::Fingerprint(fingerprint, 0), Trust::FirstUse] {
        let answer = check_key_answer::<S>(&mixed, trust).unwrap_err();
        assert_eq!(answer, Error::Untrusted(Distrust::Key));
    }

    // He answers message 1 without the exponent of the pinned key.
    let mut memory = Memory::default();
    let mut client = lone_client::<S>(&mut memory, &Setup::default(), log_in());
    client.settle(NOW);
    let first = client.take(usize::MAX);
    let mut free = FreeServer::<S>::read_1(static_key::<S>(), &mallorys_secret::<S>(), &first);
    assert_eq!(free.payload_1, None);
    let value = Value::honest::<S>(&mallorys_secret::<S>(), &free.client_e);
    let payload = offer(16_384, SuiteList::new(&[S::ID]).unwrap().as_bytes(), 47);
    client.feed(&free.message_2(&value, &payload), NOW);
    assert_eq!(client.outcome, Some(Err(FAILED)));
    assert!(client.log.is_empty() && client.end.tx.is_empty(), "the device key was not sent");
}

/// Red if message 2 binds neither ee nor e: both sides leave e out of the transcript and ee out of the keys.
fn attack_04_between_both<S: ServedSuite>() {
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::new(&mut memory, &Setup::default(), [log_in(), admit_all()]);
    pair.client.settle(NOW);
    pair.server.feed(&pair.client.take(usize::MAX), NOW);
    // He leaves message 1 alone and puts an ephemeral key of his own into message 2.
    let mut second = pair.server.take(usize::MAX);
    let his = mallorys_secret::<S>().public();
    second[8..8 + his.as_bytes().len()].copy_from_slice(his.as_bytes());
    pair.client.feed(&second, NOW);
    assert_eq!(pair.client.outcome, Some(Err(FAILED)));
    assert!(pair.client.log.is_empty() && pair.client.end.tx.is_empty());
}

/// Red if es, ee or se is not mixed into the keys (by both sides): a client written from the document is then not
/// understood. Red if `Wait3` doesn't open payload 3, or doesn't compare the zeros behind the key.
fn attack_04_device_key_of_another<S: ServedSuite>() {
    let (secret, public) = device::<S>();
    let try_3 = |own: &SecretKey<S>, pad: &[u8; 15]| {
        let e = exponent::<S>(&[0x5a; 40][..SecretKey::<S>::LEN]);
        let (mut free, first) = FreeClient::<S>::start(static_key::<S>(), &e);
        let mut memory = Memory::default();
        let mut server = lone_server::<S>(&mut memory, &Setup::default(), admit_all());
        server.feed(&first, NOW);
        assert!(free.read_2(&server.take(usize::MAX)).is_some());
        let value = Value { bytes: public.as_bytes().into(), ..free.honest_device(own) };
        server.feed(&free.message_3(&value, pad), NOW);
        (server.log.len(), server.outcome)
    };
    assert_eq!(try_3(&secret, &[0; 15]), (2, None), "the owner of the key gets in");
    assert_eq!(try_3(&mallorys_secret::<S>(), &[0; 15]), (1, Some(Err(FAILED))));
    let mut pad = [0; 15];
    pad[14] = 1;
    assert_eq!(try_3(&secret, &pad), (1, Some(Err(FAILED))));
}

/// Red if `ServerKey::from_pin` doesn't compare the id that the pin lists for its suite, or if a key answer's header may
/// be of another suite.
fn attack_04_pin_of_another_suite<S: ServedSuite>() {
    let other = 3 - S::ID;
    let key = static_key::<S>();
    let statement = Statement::new(3, 1, &[(other, key_id::<S>(key))]).unwrap();
    let pin = Pin { root: *identity().root(), statement };
    assert_eq!(
        ServerKey::<S>::from_pin(&pin, key.clone()).unwrap_err(),
        Error::Untrusted(Distrust::Key),
        "the same bytes under the number of another suite"
    );
    let mut memory = Memory::default();
    let setup = Setup { key_request: true, ..Setup::default() };
    let mut client = lone_client::<S>(&mut memory, &setup, silent());
    let answer = if other == 1 { key_answer::<Suite1>(identity()) } else { key_answer::<Suite2>(identity()) };
    client.feed(&answer, NOW);
    assert_eq!(client.outcome, Some(Err(Error::Peer(PeerFault::Header))));

    // A server that has both suites does not let message 1 of one pass as that of the other.
    let [first, ..] = honest::<S>();
    let mut relabelled = first;
    relabelled[4] = other;
    let outcome = if other == 1 { first_to::<Suite1>(&relabelled) } else { first_to::<Suite2>(&relabelled) };
    assert_eq!(outcome, Some(Err(Error::Peer(PeerFault::Length))));
}

fn first_to<S: ServedSuite>(message: &[u8]) -> Option<Outcome> {
    let mut memory = Memory::default();
    let mut server = lone_server::<S>(&mut memory, &Setup::default(), admit_all());
    server.feed(message, NOW);
    server.outcome
}

/// What a server says to payload 1 with these suites.
fn server_takes<S: ServedSuite>(suites: &[u8; 8], setup: &Setup) -> Result<(), Error> {
    let e = exponent::<S>(&[0x5a; 40][..SecretKey::<S>::LEN]);
    let value = Value::honest::<S>(&e, static_key::<S>());
    let (_, first) = FreeClient::<S>::message_1(static_key::<S>(), &e, &value, &offer(1024, suites, 31));
    let mut memory = Memory::default();
    let mut server = lone_server::<S>(&mut memory, setup, admit_all());
    server.feed(&first, NOW);
    match server.outcome {
        None => Ok(()),
        Some(end) => {
            assert!(server.end.tx.is_empty(), "silently");
            Err(end.unwrap_err())
        }
    }
}

/// What a client with the suites `own` says to payload 2 with the suites `theirs`.
fn client_takes<S: ServedSuite>(own: &[u8], theirs: &[u8; 8]) -> Result<(), Error> {
    let setup = Setup { client_suites: SuiteList::new(own), ..Setup::default() };
    let mut memory = Memory::default();
    let mut client = lone_client::<S>(&mut memory, &setup, silent());
    client.settle(NOW);
    let mut free =
        FreeServer::<S>::read_1(static_key::<S>(), &static_secret::<S>(), &client.take(usize::MAX));
    let value = Value::honest::<S>(&mallorys_secret::<S>(), &free.client_e);
    client.feed(&free.message_2(&value, &offer(16_384, theirs, 47)), NOW);
    client.outcome.map_or(Ok(()), |end| end.map(|_| ()))
}

const ONLY_1: [u8; 8] = [1, 0, 0, 0, 0, 0, 0, 0];
const ONLY_2: [u8; 8] = [2, 0, 0, 0, 0, 0, 0, 0];
const BOTH: [u8; 8] = [1, 2, 0, 0, 0, 0, 0, 0];
const WITH_3: [u8; 8] = [1, 2, 3, 0, 0, 0, 0, 0];

/// Red if `check_suite` accepts any common suite, on the side where it does; the malformed lists if
/// `SuiteList::from_wire` doesn't look at order and zeros.
fn attack_05_suite_lists<S: ServedSuite>() {
    let one = S::ID == Suite1::ID;
    let only = if one { ONLY_1 } else { ONLY_2 };
    let other = if one { ONLY_2 } else { ONLY_1 };
    let best = if one { Err(DOWNGRADE) } else { Ok(()) };
    let both = Setup::default();

    assert_eq!(server_takes::<S>(&only, &both), Ok(()));
    assert_eq!(server_takes::<S>(&BOTH, &both), best, "the server knows better than suite 1");
    assert_eq!(server_takes::<S>(&WITH_3, &both), best, "a suite that the server lacks changes nothing");
    assert_eq!(server_takes::<S>(&other, &both), Err(DOWNGRADE), "the suite in use must be listed");
    if one {
        let setup = Setup { identity: suite_1_identity(), ..Setup::default() };
        assert_eq!(server_takes::<S>(&BOTH, &setup), Ok(()), "the server has nothing better");
    }

    assert_eq!(client_takes::<S>(&only[..1], &only), Ok(()));
    assert_eq!(client_takes::<S>(&only[..1], &WITH_3), Ok(()));
    assert_eq!(client_takes::<S>(&BOTH[..2], &BOTH), best);
    assert_eq!(client_takes::<S>(&BOTH[..2], &only), Ok(()));
    assert_eq!(client_takes::<S>(&BOTH[..2], &other), Err(DOWNGRADE));

    let malformed = [
        [0; 8],
        [2, 1, 0, 0, 0, 0, 0, 0],
        [1, 0, 2, 0, 0, 0, 0, 0],
        [0, 1, 2, 0, 0, 0, 0, 0],
        [1, 1, 2, 0, 0, 0, 0, 0],
        [1, 2, 3, 4, 5, 6, 8, 7],
    ];
    for list in malformed {
        assert_eq!(server_takes::<S>(&list, &both), Err(FAILED), "{list:?}");
        assert_eq!(client_takes::<S>(&only[..1], &list), Err(FAILED), "{list:?}");
    }
    for max_record in [0u16, 1023, 1025, 17_408, 65_535] {
        let e = exponent::<S>(&[0x5a; 40][..SecretKey::<S>::LEN]);
        let value = Value::honest::<S>(&e, static_key::<S>());
        let payload = offer(max_record, &only, 31);
        let (_, first) = FreeClient::<S>::message_1(static_key::<S>(), &e, &value, &payload);
        assert_eq!(first_to::<S>(&first), Some(Err(FAILED)), "{max_record}");
    }
}

/// Red if an unknown code passes as a known one, or if a client goes on after an ERROR: it ends with what was said, sends
/// nothing more, and offers no other suite. Also if it checks the suite of an ERROR, or not that of message 2.
fn attack_05_forged_unsupported<S: ServedSuite>() {
    let codes =
        [ErrorCode::UnsupportedSuite, ErrorCode::UnsupportedVersion, ErrorCode::UnknownKey, ErrorCode::Busy];
    for key_request in [false, true] {
        for code in 0..=255 {
            let mut memory = Memory::default();
            let setup = Setup { key_request, ..Setup::default() };
            let mut client = lone_client::<S>(&mut memory, &setup, log_in());
            client.settle(NOW);
            client.take(usize::MAX);
            let suite = if code % 2 == 0 { S::ID } else { 200 };
            client.feed(&framed(6, suite, &[code]), NOW);
            let outcome = client.outcome.unwrap();
            match codes.iter().find(|known| **known as u8 == code) {
                Some(known) => assert_eq!(outcome, Err(Error::Refused(*known))),
                None => assert!(matches!(outcome, Err(Error::Peer(_))), "{code}: {outcome:?}"),
            }
            assert!(client.log.is_empty() && client.end.tx.is_empty());
            if !key_request && code > 8 {
                // The rest of the codes costs two exponentiations each and shows nothing new.
                break;
            }
        }
    }
    for suite in [0, 3 - S::ID, 200] {
        let mut memory = Memory::default();
        let mut client = lone_client::<S>(&mut memory, &Setup::default(), log_in());
        client.settle(NOW);
        client.take(usize::MAX);
        // The header is enough: no exponentiation is spent on such a message.
        client.feed(&framed(4, suite, &honest::<S>()[1][8..])[..8], NOW);
        assert_eq!(client.outcome, Some(Err(Error::Peer(PeerFault::Header))), "suite {suite}");
    }
    // The honest answer of a server that lacks the suite, for message 1 and for a key request.
    let setup = Setup { identity: suite_1_identity(), ..Setup::default() };
    for message in [framed(1, 2, &[]), framed(MESSAGE_1, 2, &[]), framed(1, 200, &[])] {
        let mut memory = Memory::default();
        let mut server = lone_server::<S>(&mut memory, &setup, admit_all());
        server.feed(&message, NOW);
        assert_eq!(server.take(usize::MAX), framed(6, message[4], &[1]));
        assert_eq!(server.outcome, Some(Err(Error::Incompatible(Mismatch::Suite))));
    }
}

/// Red if `Header::read` doesn't compare the version, or if `check_version` accepts an older statement, or another
/// one under the same version.
fn attack_05_old_version_replayed<S: ServedSuite>() {
    for version in [0, 2, 255] {
        let [first, second, _] = honest::<S>();
        let mut memory = Memory::default();
        let mut server = lone_server::<S>(&mut memory, &Setup::default(), admit_all());
        let mut other = first.clone();
        other[2] = version;
        server.feed(&other, NOW);
        assert_eq!(server.outcome, Some(Err(Error::Incompatible(Mismatch::Version))));
        assert_eq!(server.take(usize::MAX), framed(6, S::ID, &[2]));

        let mut memory = Memory::default();
        let mut client = lone_client::<S>(&mut memory, &Setup::default(), silent());
        client.settle(NOW);
        client.take(usize::MAX);
        let mut other = second;
        other[2] = version;
        client.feed(&other, NOW);
        assert_eq!(client.outcome, Some(Err(Error::Incompatible(Mismatch::Version))));
        assert!(client.end.tx.is_empty());
    }

    let pinned = |version, keys: &[(u8, [u8; 32])]| Pin {
        root: *identity().root(),
        statement: Statement::new(version, 1, keys).unwrap(),
    };
    let keys = identity().statement().keys();
    let answer = key_answer::<S>(identity());
    fn version<S: ServedSuite>(answer: &[u8], trust: Trust<'_>) -> Result<u32, Error> {
        check_key_answer::<S>(&answer[8..], trust).map(|(pin, _)| pin.statement.version)
    }
    let told = |pin: &Pin| version::<S>(&answer, Trust::Pinned(pin));
    let floor = |floor| version::<S>(&answer, Trust::Fingerprint(identity().fingerprint(), floor));
    let stale = Err(Error::Untrusted(Distrust::Stale));
    assert_eq!(told(&pinned(2, &keys[..1])), Ok(3));
    assert_eq!(told(&pinned(3, keys)), Ok(3));
    assert_eq!(told(&pinned(3, &keys[..1])), stale, "a suite was stripped or added");
    assert_eq!(told(&pinned(4, keys)), stale);
    assert_eq!(floor(3), Ok(3));
    assert_eq!(floor(4), stale);
}

/// Red if nothing of message 2 is fresh, neither the ephemeral key nor the connection id: a recorded message 3 then fits.
/// The gate's part if the gate isn't compared.
fn attack_05_old_messages_replayed<S: ServedSuite>() {
    let [first, _, third] = honest::<S>();
    let setup = Setup { seeds: [1, 3], ..Setup::default() };
    let mut memory = Memory::default();
    let mut server = lone_server::<S>(&mut memory, &setup, admit_all());
    server.feed(&first, NOW);
    assert_eq!(server.log, [Seen::Admit], "message 1 costs work and no more");
    server.feed(&third, NOW);
    assert_eq!(server.outcome, Some(Err(FAILED)));

    // A gate made for another header is not even admitted.
    let e = exponent::<S>(&[0x5a; 40][..SecretKey::<S>::LEN]);
    let (_, mut other) = FreeClient::<S>::start(static_key::<S>(), &e);
    let forged = gate::<S>(static_key::<S>(), &[0; 8], &other[24..24 + static_key::<S>().as_bytes().len()]);
    other[8..24].copy_from_slice(&forged);
    assert_eq!(first_to::<S>(&other), Some(Err(Error::Peer(PeerFault::Gate))));
}

/// Red if the gate's key doesn't depend on the static key: message 1 under an old pin then reaches the application.
#[test]
fn attack_05_old_key_after_rotation() {
    let new = StaticKey::new(exponent::<Suite1>(&[0x11; 32]));
    let rotated = ServerIdentity::sign(&ROOT_SEED, 4, 1_790_000_001, Some(new), None).unwrap();
    let identity: &'static ServerIdentity = Box::leak(Box::new(rotated));
    let [first, ..] = honest::<Suite1>();
    let mut memory = Memory::default();
    let mut server = lone_server::<Suite1>(&mut memory, &Setup { identity, ..Setup::default() }, admit_all());
    server.feed(&first, NOW);
    assert_eq!(server.outcome, Some(Err(Error::Peer(PeerFault::Gate))));
    assert_eq!(server.take(usize::MAX), framed(6, 1, &[ErrorCode::UnknownKey as u8]));
}
