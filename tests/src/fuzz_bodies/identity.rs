//! Key answers, statements and pins: mode (1) ‖ bytes.

use ed25519_dalek::{Signer, SigningKey};
use sordino_core::identity::{
    Pin, ServedSuite, Statement, Trust, check_key_answer, key_id, server_fingerprint,
};
use sordino_core::suite::{Suite1, Suite2};
use sordino_core::wire::{Field, Reader, Writer};

use super::peers::{ROOT_SEED, STATEMENT_VERSION, served, static_key};

/// Takes the bytes as a key answer, as a statement that the root really signed, and as a stored pin.
pub fn identity(data: &[u8]) {
    match data.split_first() {
        Some((0, bytes)) => forged::<Suite1>(bytes),
        Some((1, bytes)) => forged::<Suite2>(bytes),
        Some((2, bytes)) => signed::<Suite1>(bytes),
        Some((3, bytes)) => signed::<Suite2>(bytes),
        Some((4, bytes)) => one_form::<Pin>(bytes),
        Some((_, bytes)) => one_form::<Statement>(bytes),
        None => {}
    }
}

/// Without the root's secret, only the server's own answer is accepted: by its pin, and on first use too.
fn forged<S: ServedSuite>(body: &[u8]) {
    let pin = &served().1;
    for trust in [Trust::Pinned(pin), Trust::Fingerprint(pin.fingerprint(), 0), Trust::FirstUse] {
        if let Ok((seen, key)) = check_key_answer::<S>(body, trust) {
            assert_eq!(seen, *pin);
            assert_eq!(Some(*key.id()), pin.statement.key_id(S::ID));
            assert_eq!(key.public(), &static_key::<S>());
        }
    }
}

/// Signs any bytes; accepted is what PROTOCOL.md section 4 says, and nothing else.
fn signed<S: ServedSuite>(bytes: &[u8]) {
    let Ok(length) = u16::try_from(bytes.len()) else { return };
    let root = SigningKey::from_bytes(&ROOT_SEED);
    let signature = root.sign(&[b"sordino/1 key statement", bytes].concat());
    let key = static_key::<S>();
    let public = root.verifying_key().to_bytes();
    let parts: [&[u8]; 5] = [&public, &length.to_be_bytes(), bytes, &signature.to_bytes(), key.as_bytes()];
    let body = parts.concat();

    let expected = statement(bytes).filter(|(_, keys)| keys.contains(&(S::ID, key_id::<S>(&key))));
    let floor = STATEMENT_VERSION;
    let trust = Trust::Fingerprint(server_fingerprint(&public), floor);
    let accepted = check_key_answer::<S>(&body, trust);
    assert_eq!(accepted.is_ok(), expected.as_ref().is_some_and(|(version, _)| *version >= floor));
    if let Ok((pin, _)) = accepted {
        assert_eq!(Some((pin.statement.version, pin.statement.keys().to_vec())), expected);
    }
    pinned::<S>(&body, expected);
}

/// The same under a pin: a version that equals the pinned one must list the same keys.
fn pinned<S: ServedSuite>(body: &[u8], expected: Option<Signed>) {
    let pin = &served().1;
    let current = expected.is_some_and(|(version, keys)| {
        version > STATEMENT_VERSION || (version == STATEMENT_VERSION && keys == pin.statement.keys())
    });
    assert_eq!(check_key_answer::<S>(body, Trust::Pinned(pin)).is_ok(), current);
}

/// Version, and the listed suites with their key ids.
type Signed = (u32, Vec<(u8, [u8; 32])>);

/// A statement read by the table in section 4; `None` if it is malformed.
fn statement(bytes: &[u8]) -> Option<Signed> {
    let (version, rest) = bytes.split_first_chunk::<4>()?;
    let (_date, rest) = rest.split_first_chunk::<8>()?;
    let (&count, rest) = rest.split_first()?;
    let keys: Vec<(u8, [u8; 32])> =
        rest.chunks(33).map(|key| Some((key[0], key.get(1..33)?.try_into().ok()?))).collect::<Option<_>>()?;
    let ascending =
        keys.windows(2).all(|pair| pair[0].0 < pair[1].0) && keys.first().is_some_and(|key| key.0 > 0);
    let counted = keys.len() == usize::from(count) && (1..=8).contains(&count);
    (ascending && counted).then_some((u32::from_be_bytes(*version), keys))
}

fn one_form<T: for<'a> Field<'a>>(bytes: &[u8]) {
    let mut input = Reader::new(bytes);
    let Ok(value) = T::decode(&mut input) else { return };
    let used = bytes.len() - input.rest().len();
    let mut buf = vec![0; used];
    value.encode(&mut Writer::new(&mut buf)).expect("room for what was decoded");
    assert_eq!(buf, bytes[..used]);
}
