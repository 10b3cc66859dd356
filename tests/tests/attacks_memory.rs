//! Attack 13: what a thief finds in the memory of a connection.
//!
//! Searched are the bytes of the `Conn` itself and of its receive buffer: for secrets as they are, and for the expanded
//! forms in which ciphers and HMAC hold keys. Copies that moves leave on the stack are not searched.

use sordino_core::bytes::Bytes;
use sordino_core::config::Timeouts;
use sordino_core::conn::{Conn, Role};
use sordino_core::error::{Deadline, Error, PeerFault};
use sordino_core::event::{Answer, Closed};
use sordino_core::identity::ServedSuite;
use sordino_core::messages::{CloseReason, Message, Ping};
use sordino_core::record::Direction;
use sordino_core::suite::Suite;
use sordino_tests::both_suites;
use sordino_tests::pair::forge::{Keys, Known, inner, next_epoch, record};
use sordino_tests::pair::script::{Act, PASSWORD_AUTH, WELCOME, admit_all, log_in, silent};
use sordino_tests::pair::setup::static_secret;
use sordino_tests::pair::{Machine, Memory, Outcome, Pair, Party, Setup, device};
use std::mem::MaybeUninit;

both_suites! {
    attack_13_handshake_secrets_after_the_handshake
    attack_13_old_keys_after_rekey
    attack_13_keys_after_the_end
    attack_13_secrets_after_a_refused_handshake
    attack_13_opened_records
}

const WINDOW: usize = 16;

/// The bytes of a value, padding and unused parts of enums included.
fn raw<T>(value: &T) -> Vec<u8> {
    let start = (&raw const *value).cast::<MaybeUninit<u8>>();
    // SAFETY: the bytes lie within a live value. Those that no field owns may be uninitialised as far as the compiler
    // knows; a volatile read takes what stands there.
    let byte = |at| unsafe { start.add(at).read_volatile().assume_init() };
    (0..size_of::<T>()).map(byte).collect()
}

/// Whether `memory` holds a part of `secret`.
fn holds(memory: &[u8], secret: &[u8]) -> bool {
    let mut parts = secret.windows(WINDOW).step_by(4).filter(|part| is_telling(part));
    parts.any(|part| memory.windows(WINDOW).any(|there| there == part))
}

fn is_telling(part: &[u8]) -> bool {
    let mut distinct = part.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.len() > WINDOW / 2
}

/// A key as an expanded cipher or HMAC holds it: only bytes that are the same when it is made twice and others for
/// another key. Those between the fields, and of a buffer that holds nothing yet, are not its own.
fn expanded<T>(key: &[u8], make: impl Fn(&[u8]) -> T) -> Vec<u8> {
    let other: Vec<u8> = key.iter().map(|byte| !byte).collect();
    let [mut one, two, of_other] = [(0x55, key), (0xaa, key), (0x55, &*other)].map(|(dirt, key)| {
        let mut place = Box::new(MaybeUninit::<T>::uninit());
        // SAFETY: any byte may stand in memory that is not initialised.
        unsafe { place.as_mut_ptr().write_bytes(dirt, 1) };
        place.write(make(key));
        // SAFETY: just written.
        (raw(&*place), unsafe { place.assume_init_drop() }).0
    });
    let own = two.iter().zip(&of_other).map(|(two, of_other)| (two, two != of_other));
    one.iter_mut().zip(own).filter(|(a, (b, differs))| *a != *b || !differs).for_each(|(a, _)| *a = 0);
    one
}

/// Everything that stands for the keys of one epoch in one direction, by name.
fn forms<S: Suite>(name: &str, keys: &Keys) -> Vec<(String, Vec<u8>)> {
    let key = |bytes: &[u8]| S::Key::copy_of(bytes).unwrap();
    let named = |what: &str, bytes: Vec<u8>| (format!("{what} of {name}"), bytes);
    vec![
        named("MAC key", keys.mac.clone()),
        named("encryption key", keys.encryption.clone()),
        named("IV key", keys.iv.clone()),
        named("MAC midstates", expanded(&keys.mac, S::mac)),
        named("encryption schedule", expanded(&keys.encryption, |bytes| S::enc(&key(bytes)))),
        named("decryption schedule", expanded(&keys.encryption, |bytes| S::dec(&key(bytes)))),
        named("IV schedule", expanded(&keys.iv, |bytes| S::enc(&key(bytes)))),
    ]
}

/// Secret and keys of an epoch, in both directions.
fn epoch<S: Suite>(known: &Known<S>, number: usize) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for (secret, direction) in known.epoch_0.iter().zip(["up", "down"]) {
        let name = format!("epoch {number} {direction}");
        let secret = (0..number).fold(secret.clone(), |secret, _| next_epoch::<S>(&secret));
        all.extend(forms::<S>(&name, &Keys::of_epoch::<S>(&secret)));
        all.push((format!("secret of {name}"), secret));
    }
    all
}

/// Secrets of a handshake of which nothing may be left behind it.
fn handshake<S: Suite>(known: &Known<S>) -> Vec<(String, Vec<u8>)> {
    let mut all = vec![
        ("client's ephemeral exponent".into(), known.client_e.expose().to_vec()),
        ("server's ephemeral exponent".into(), known.server_e.expose().to_vec()),
        ("device exponent".into(), device::<S>().0.expose().to_vec()),
        ("static exponent".into(), static_secret::<S>().expose().to_vec()),
    ];
    for ((ck, keys), stage) in known.stages.iter().zip(["es", "ee", "se"]) {
        all.push((format!("chaining key after {stage}"), ck.clone()));
        all.extend(forms::<S>(stage, keys));
    }
    all
}

fn found<R: Role, S: Suite>(conn: &Conn<R, S>, secrets: &[(String, Vec<u8>)]) -> Vec<String> {
    let memory = raw(conn);
    secrets.iter().filter(|(_, secret)| holds(&memory, secret)).map(|(name, _)| name.clone()).collect()
}

fn assert_clean<M: Machine>(party: &mut Party<'_, M>, secrets: &[(String, Vec<u8>)], when: &str) {
    assert_eq!(found(party.machine.conn(), secrets), [""; 0], "{when}");
}

/// Red if the state of the handshake isn't erased when the connection opens, for instance if `Open` keeps ck.
fn attack_13_handshake_secrets_after_the_handshake<S: ServedSuite>() {
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let secrets = handshake(&pair.known());
    assert_clean(&mut pair.client, &secrets, "client");
    assert_clean(&mut pair.server, &secrets, "server");

    // The search finds what is there: both exponents before the handshake is over.
    let mut memory = Memory::default();
    let mut fresh = Pair::<S>::new(&mut memory, &Setup::default(), [silent(), silent()]);
    fresh.client.settle(fresh.now);
    let held = found(fresh.client.machine.conn(), &secrets);
    assert!(held.contains(&"device exponent".into()), "{held:?}");
    assert!(held.contains(&"client's ephemeral exponent".into()), "{held:?}");
    fresh.server.feed(&fresh.client.take(usize::MAX), fresh.now);
    assert!(found(fresh.server.machine.conn(), &secrets).contains(&"static exponent".into()));
}

/// Red if the secret of an epoch is kept beside the next one, or if `advance` leaves the old cipher in place.
fn attack_13_old_keys_after_rekey<S: ServedSuite>() {
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let known = pair.known();
    let epochs = [0, 1, 2].map(|number| epoch(&known, number));
    // What each side holds of an epoch: MAC and IV schedule of both directions, one cipher for each direction.
    let in_use = |number: usize, client: bool| -> Vec<String> {
        let mut names = Vec::new();
        for (direction, sends) in [("up", client), ("down", !client)] {
            let cipher = if sends { "encryption" } else { "decryption" };
            names.extend(
                ["MAC midstates".to_owned(), format!("{cipher} schedule"), "IV schedule".into()]
                    .map(|what| format!("{what} of epoch {number} {direction}")),
            );
        }
        names
    };
    for number in 0..2 {
        for is_client in [true, false] {
            let held = |epoch: &Vec<(String, Vec<u8>)>| match is_client {
                true => found(pair.client.machine.look().unwrap(), epoch),
                false => found(pair.server.machine.look().unwrap(), epoch),
            };
            let now = held(&epochs[number]);
            assert!(in_use(number, is_client).iter().all(|name| now.contains(name)), "{now:?}");
            assert!(now.iter().all(|name| !name.contains("secret")), "{now:?}");
            let next = held(&epochs[number + 1]);
            assert_eq!(next.len(), 2, "the secrets of the next epoch and none of its keys: {next:?}");
            if number > 0 {
                assert_eq!(held(&epochs[number - 1]), [""; 0]);
            }
        }
        for token in 0..4096 {
            pair.client.act(Act::Send(Message::Ping(Ping { token })), pair.now);
            pair.run();
        }
    }
}

/// Red if `end` keeps the stage, or doesn't write over every byte of it: keys and copies of them stay in a smaller variant.
fn attack_13_keys_after_the_end<S: ServedSuite>() {
    type Ending<S> = (&'static str, fn(&mut Pair<'_, S>), [Option<Outcome>; 2]);
    let endings: [Ending<S>; 5] = [
        (
            "goodbye",
            |pair| pair.client.act(Act::Close(CloseReason::Bye), pair.now),
            [Some(Ok(Closed::Here(CloseReason::Bye))), Some(Ok(Closed::ByPeer(CloseReason::Bye)))],
        ),
        (
            "records that fail",
            |pair| {
                pair.client.give(&[0; 2]);
                pair.server.give(&[0; 2]);
            },
            [Some(Err(Error::Peer(PeerFault::Record))); 2],
        ),
        (
            "cut",
            |pair| {
                pair.client.end.rx.end();
                pair.server.end.rx.end();
            },
            [Some(Err(Error::Truncated)); 2],
        ),
        (
            "silence",
            |pair| {
                pair.now += u64::from(Timeouts::SERVER.idle);
                pair.client.handle_timeout(pair.now);
                pair.server.handle_timeout(pair.now);
            },
            [Some(Err(Error::Timeout(Deadline::Idle))); 2],
        ),
        (
            "a message in the wrong direction",
            |pair| {
                let secret = &pair.known().epoch_0[0];
                let policy = record::<S>(secret, Direction::ToServer, 1, &inner(19, &[], 64));
                pair.server.give(&policy);
            },
            [
                Some(Ok(Closed::ByPeer(CloseReason::Protocol))),
                Some(Err(Error::Peer(PeerFault::UnexpectedMessage))),
            ],
        ),
    ];
    for (what, ending, outcomes) in endings {
        let mut memory = Memory::default();
        let mut pair = Pair::<S>::ready(&mut memory, &Setup::default());
        let known = pair.known();
        let secrets: Vec<_> =
            [handshake(&known), epoch(&known, 0), epoch(&known, 1)].into_iter().flatten().collect();
        assert!(!found(pair.server.machine.conn(), &secrets).is_empty());
        ending(&mut pair);
        pair.run();
        assert_eq!([pair.client.outcome, pair.server.outcome], outcomes, "{what}");
        assert_clean(&mut pair.client, &secrets, what);
        assert_clean(&mut pair.server, &secrets, what);
    }
}

/// Red if `end` doesn't write over every byte of the stage: moves leave copies of exponents there.
fn attack_13_secrets_after_a_refused_handshake<S: ServedSuite>() {
    let mut memory = Memory::default();
    let known = Pair::<S>::ready(&mut memory, &Setup::default()).known();
    let secrets: Vec<_> = [handshake(&known), epoch(&known, 0)].into_iter().flatten().collect();
    for failing in 0..4 {
        let mut memory = Memory::default();
        let mut pair = Pair::<S>::new(&mut memory, &Setup::default(), [log_in(), admit_all()]);
        let late = pair.now + 20_000;
        if failing == 3 {
            pair.client.settle(pair.now);
            pair.server.give(&pair.client.take(usize::MAX)[..100]);
            pair.server.settle(pair.now);
            pair.client.handle_timeout(late);
            pair.server.handle_timeout(late);
            assert_clean(&mut pair.client, &secrets, "the client's handshake took too long");
            assert_clean(&mut pair.server, &secrets, "the server's handshake took too long");
            continue;
        }
        let lane = if failing == 1 { &mut pair.down } else { &mut pair.up };
        let message_1 = 8 + 16 + 256 * usize::from(S::ID);
        let at = [10, 300, message_1 + 400][failing];
        lane.tamper = Some(Box::new(move |offset, byte| vec![if offset == at { byte ^ 1 } else { byte }]));
        pair.run();
        assert!(matches!(pair.server.outcome, Some(Err(_))), "{failing}: {:?}", pair.server.outcome);
        assert_clean(&mut pair.server, &secrets, &format!("server, message {} was altered", failing + 1));
        if failing < 2 {
            assert!(matches!(pair.client.outcome, Some(Err(_))));
            assert_clean(&mut pair.client, &secrets, &format!("client, message {} was altered", failing + 1));
        }
    }
}

/// Red if consumed plaintext isn't erased, or if moving the rest of the buffer to its front leaves a copy.
fn attack_13_opened_records<S: ServedSuite>() {
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::new(&mut memory, &Setup::default(), [silent(), admit_all()]);
    pair.run();
    // PINGs and then a login, which fill the buffer to its last byte.
    for token in 0..8 {
        pair.client.act(Act::Send(Message::Ping(Ping { token })), pair.now);
    }
    pair.client.act(Act::Send(Message::Auth(PASSWORD_AUTH)), pair.now);
    let records = pair.client.take(usize::MAX);
    let password = PASSWORD_AUTH.password.as_bytes();
    for (moved, answered) in [(false, false), (false, true), (true, true)] {
        let mut small = Memory::sized(records.len(), 2048);
        let mut server = pair.server.fork(&mut small, silent());
        assert_eq!(server.give(&records), records.len());
        server.settle(pair.now);
        assert!(server.ticket.is_some(), "the login is shown");
        if moved {
            assert!(server.end.rx.spare().len() > records.len() / 3, "it was moved to the front");
        }
        if answered {
            server.act(Act::Answer(Answer::Auth(WELCOME)), pair.now);
            server.settle(pair.now);
        }
        drop(server);
        let left = small.buffers().any(|buffer| holds(buffer, password));
        assert_eq!(left, !answered, "moved: {moved}");
    }
}
