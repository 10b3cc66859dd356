//! Attack 7: key answers that are forged, stale, cut, or another's; and the rotations that a client follows.

use sordino_core::error::{Distrust, Error};
use sordino_core::identity::{
    Fingerprint, Pin, ServedSuite, Statement, Trust, check_key_answer, key_id, server_fingerprint,
};
use sordino_core::key_request::KeyRequest;
use sordino_core::suite::SecretKey;
use sordino_core::{Io, RxBuf, TxBuf};
use sordino_tests::both_suites;
use sordino_tests::pair::answer::{Answer, forgeries};
use sordino_tests::pair::forge::exponent;
use sordino_tests::pair::identity;
use sordino_tests::pair::setup::{ROOT_SEED, Seeded, static_key};

both_suites! {
    attack_07_forged_answers_are_refused
    attack_07_every_bit_of_an_answer
    attack_07_rotations_are_followed_and_never_back
    attack_07_cut_and_lengthened_answers
}

fn pin() -> Pin {
    Pin { root: *identity().root(), statement: identity().statement().clone() }
}

fn known() -> Trust<'static> {
    Trust::Fingerprint(server_fingerprint(identity().root()), 0)
}

fn right<S: ServedSuite>() -> Answer {
    let statement = identity().statement();
    Answer::signed(&ROOT_SEED, statement.version, statement.keys(), static_key::<S>().as_bytes())
}

/// What a client makes of an answer, and how many bytes it wrote after its request.
fn asked<S: ServedSuite>(answer: &Answer, trust: Trust<'_>) -> (Result<Pin, Error>, usize) {
    let (mut rx, mut tx) = (vec![0; 2048], vec![0; 2048]);
    let (mut rx, mut tx) = (RxBuf::new(&mut rx), TxBuf::new(&mut tx));
    let request = KeyRequest::<S>::send(&mut Io { now: 0, tx: &mut tx, rng: &mut Seeded(1) }).unwrap();
    tx.consume(tx.pending().len());
    let message = answer.message::<S>();
    rx.spare()[..message.len()].copy_from_slice(&message);
    rx.commit(message.len());
    let received = request.receive(&mut rx, trust).map(|answer| answer.expect("a whole answer").0);
    (received, tx.pending().len())
}

/// Red if one of the checks of `check_key_answer` is left out: root, signature, version (with or without the comparison
/// under one version), key.
fn attack_07_forged_answers_are_refused<S: ServedSuite>() {
    let pin = pin();
    assert_eq!(asked::<S>(&right::<S>(), Trust::Pinned(&pin)), (Ok(pin.clone()), 0));
    for forgery in forgeries::<S>(&ROOT_SEED, &pin.statement, static_key::<S>()) {
        let refused = (Err(Error::Untrusted(forgery.refused)), 0);
        assert_eq!(asked::<S>(&forgery.answer, Trust::Pinned(&pin)), refused, "{}, pinned", forgery.name);
        if !forgery.needs_pin {
            assert_eq!(asked::<S>(&forgery.answer, known()), refused, "{}, by fingerprint", forgery.name);
        }
        let floor = Trust::Fingerprint(server_fingerprint(&forgery.answer.root), pin.statement.version);
        if forgery.name.contains("old") {
            assert_eq!(asked::<S>(&forgery.answer, floor), refused, "{}, with a floor", forgery.name);
        }
    }
}

/// Red if some part of the answer is under no check at all. A flip in the static key may not even look like a key.
fn attack_07_every_bit_of_an_answer<S: ServedSuite>() {
    let (body, pin) = (right::<S>().body(), pin());
    for at in 0..body.len() {
        let mut altered = body.clone();
        altered[at] ^= 1 << (at % 8);
        let refused = check_key_answer::<S>(&altered, Trust::Pinned(&pin)).map(drop);
        assert!(matches!(refused, Err(Error::Untrusted(_))), "byte {at}: {refused:?}");
    }
}

/// Red if a client keeps to the pinned keys, follows only the very next version, or takes an older statement back.
fn attack_07_rotations_are_followed_and_never_back<S: ServedSuite>() {
    let key = |n: u8| exponent::<S>(&[n | 1; 64][..SecretKey::<S>::LEN]).public();
    let rotated = |version: u32| {
        let key = key(version as u8);
        let listed: Vec<(u8, Fingerprint)> = identity()
            .statement()
            .keys()
            .iter()
            .map(|l| if l.0 == S::ID { (S::ID, key_id::<S>(&key)) } else { *l })
            .collect();
        Answer::signed(&ROOT_SEED, version, &listed, key.as_bytes())
    };
    for slept in [1, 2, 1000] {
        let before = pin();
        let version = before.statement.version + slept;
        let (followed, written) = asked::<S>(&rotated(version), Trust::Pinned(&before));
        let followed = followed.unwrap_or_else(|e| panic!("{slept} rotations: {e}"));
        assert_eq!((followed.statement.version, written), (version, 0));
        for old in [right::<S>(), rotated(version - 1)] {
            let refused = asked::<S>(&old, Trust::Pinned(&followed)).0;
            assert_eq!(refused, Err(Error::Untrusted(Distrust::Stale)), "{slept} rotations");
        }
    }
    let last = Statement::new(u32::MAX, 1, identity().statement().keys()).unwrap();
    let last = Pin { root: *identity().root(), statement: last };
    assert_eq!(asked::<S>(&right::<S>(), Trust::Pinned(&last)).0, Err(Error::Untrusted(Distrust::Stale)));
}

/// Red if the body's end isn't checked: a longer or shorter key would be read as the listed one, or with other bytes.
fn attack_07_cut_and_lengthened_answers<S: ServedSuite>() {
    let (body, pin) = (right::<S>().body(), pin());
    let malformed = Err(Error::Untrusted(Distrust::Malformed));
    let taken = |body: &[u8]| check_key_answer::<S>(body, Trust::Pinned(&pin)).map(drop);
    assert_eq!(taken(&body), Ok(()));
    for length in 0..body.len() {
        assert_eq!(taken(&body[..length]), malformed, "{length} bytes");
    }
    for more in [&[0][..], &[0; 128], &body] {
        assert_eq!(taken(&[&body[..], more].concat()), malformed);
    }
    // What the root itself has signed with something behind it, or without its end.
    let (statement, key) = (right::<S>().statement, static_key::<S>().as_bytes());
    let signed = |statement: &[u8]| taken(&Answer::over(&ROOT_SEED, statement.to_vec(), key).body());
    assert_eq!(signed(&statement), Ok(()));
    assert_eq!(signed(&[&statement[..], &[0]].concat()), malformed);
    assert_eq!(signed(&statement[..statement.len() - 1]), malformed);
    // Lists that aren't strictly ascending from 1 on, or longer or shorter than they say.
    const COUNT: usize = 4 + 8;
    for (at, byte) in [(COUNT + 1, 0), (COUNT + 1, 2), (COUNT + 1, 3), (COUNT, 0), (COUNT, 1), (COUNT, 3)] {
        let mut other = statement.clone();
        other[at] = byte;
        assert_eq!(signed(&other), malformed, "{byte} at {at}");
    }
    // A statement of another length than its own.
    for length in 0..=u16::from(u8::MAX) {
        let mut other = body.clone();
        other[32..34].copy_from_slice(&length.to_be_bytes());
        if other != body {
            assert_eq!(taken(&other), malformed, "a statement of {length} bytes");
        }
    }
}
