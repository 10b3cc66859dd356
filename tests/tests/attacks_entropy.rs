//! Attack 20, as far as the protocol goes: random numbers that fail or repeat, one byte at a time, oversized frames.

use std::collections::HashSet;

use sordino_core::entropy::Entropy;
use sordino_core::error::Error;
use sordino_core::event::{Answer, Event};
use sordino_core::identity::{ServedSuite, Trust, server_fingerprint};
use sordino_core::key_request::KeyRequest;
use sordino_core::suite::{SecretKey, dh_len};
use sordino_core::{Accept, Acceptor, ClientConfig, Conn, Io, RxBuf, ServerConfig, Step, TxBuf};
use sordino_tests::both_suites;
use sordino_tests::pair::script::{admit_all, log_in};
use sordino_tests::pair::{Memory, Outcome, Setup, lone_client, lone_server};

const NOW: u64 = 1_000;

both_suites! {
    attack_20_a_failing_source_ends_the_handshake
    attack_20_a_repeating_source_repeats_no_key
    attack_20_a_key_can_not_be_made_without_randomness
    attack_20_any_announced_length_in_single_bytes
}

/// Works so many times, then fails for ever.
struct Failing(usize);

impl Entropy for Failing {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        out.fill(0x5a);
        self.0 = self.0.checked_sub(1).ok_or(Error::Entropy)?;
        Ok(())
    }
}

/// The same bytes for ever.
struct Stuck;

impl Entropy for Stuck {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        out.fill(0x5a);
        Ok(())
    }
}

type Source<'a> = dyn Entropy + Send + 'a;

/// How a handshake ended with these sources and counters, and messages 1 and 2 as far as they came.
struct Shaken {
    client: Option<Error>,
    server: Option<Error>,
    first: Vec<u8>,
    second: Vec<u8>,
}

fn shake<S: ServedSuite>(near: &mut Source<'_>, far: &mut Source<'_>, counters: [u64; 2]) -> Shaken {
    let setup = Setup::default();
    let mut memory = vec![vec![0; 2048]; 4];
    let [a, b, c, d] = &mut memory[..] else { unreachable!() };
    let (mut rx, mut tx) = (RxBuf::new(a), TxBuf::new(b));
    let config = ClientConfig { counter: counters[0], ..setup.client::<S>(setup.server_key()) };
    let mut client = Conn::client(config, setup.limits[0], NOW).unwrap();
    let mut shaken = Shaken { client: None, server: None, first: Vec::new(), second: Vec::new() };
    shaken.client = client.step(&mut rx, &mut Io { now: NOW, tx: &mut tx, rng: near }).err();
    shaken.first = tx.pending().to_vec();

    let (mut rx, mut tx) = (RxBuf::new(c), TxBuf::new(d));
    rx.spare()[..shaken.first.len()].copy_from_slice(&shaken.first);
    rx.commit(shaken.first.len());
    let config = ServerConfig { counter: counters[1], ..setup.server() };
    let mut acceptor = Acceptor::new(config, setup.limits[1], NOW);
    let mut io = Io { now: NOW, tx: &mut tx, rng: far };
    if !matches!(acceptor.step(setup.identity, &mut rx, &mut io), Ok(Accept::Suite1 | Accept::Suite2)) {
        return shaken;
    }
    let mut server = acceptor.connection::<S>(setup.identity).unwrap();
    loop {
        match server.step(&mut rx, &mut io) {
            Ok(Step::Event(id)) => {
                let Ok(Event::Admit { ticket, .. }) = server.event(&rx, id) else { unreachable!() };
                server.answer(ticket, Answer::Admit, &mut io).unwrap();
            }
            Ok(Step::Progressed) => {}
            Ok(_) => break,
            Err(error) => {
                shaken.server = Some(error);
                break;
            }
        }
    }
    shaken.second = io.tx.pending().to_vec();
    shaken
}

/// Red if the result of a `fill` is dropped: the handshake goes on with what was in the buffer.
fn attack_20_a_failing_source_ends_the_handshake<S: ServedSuite>() {
    let (mut client_draws, mut server_draws) = (0, 0);
    for draws in 0..8 {
        let shaken = shake::<S>(&mut Failing(draws), &mut Stuck, [1, 2]);
        if shaken.client.is_some() {
            assert_eq!((shaken.client, shaken.first.len()), (Some(Error::Entropy), 0), "nothing is sent");
            client_draws += 1;
        }
        let shaken = shake::<S>(&mut Stuck, &mut Failing(draws), [1, 2]);
        if shaken.server.is_some() {
            assert_eq!((shaken.server, shaken.second.len()), (Some(Error::Entropy), 0), "nothing is sent");
            server_draws += 1;
        }
    }
    // e at the client; e and the connection id at the server.
    assert_eq!((client_draws, server_draws), (1, 2), "draws that the handshake can't do without");
}

/// The ephemeral keys of messages 1 and 2.
fn ephemerals<S: ServedSuite>(shaken: &Shaken) -> [Vec<u8>; 2] {
    let len = dh_len::<S>();
    [shaken.first[24..24 + len].to_vec(), shaken.second[8..8 + len].to_vec()]
}

/// Red if the counter, or the side's own secret, isn't mixed into the ephemeral exponent.
fn attack_20_a_repeating_source_repeats_no_key<S: ServedSuite>() {
    const TIMES: u64 = 16;
    let mut keys = HashSet::new();
    let mut sealed = HashSet::new();
    for counter in 0..TIMES {
        let shaken = shake::<S>(&mut Stuck, &mut Stuck, [counter, counter]);
        assert_eq!((shaken.client, shaken.server), (None, None));
        keys.extend(ephemerals::<S>(&shaken));
        let len = dh_len::<S>();
        sealed.extend([shaken.first[24 + len..].to_vec(), shaken.second[8 + len..].to_vec()]);
    }
    assert_eq!(keys.len() as u64, 2 * TIMES, "client and server under the same counter too");
    assert_eq!(sealed.len() as u64, 2 * TIMES, "equal payloads under equal keys would be equal");
}

/// Red if `SecretKey::generate` drops the error.
fn attack_20_a_key_can_not_be_made_without_randomness<S: ServedSuite>() {
    assert_eq!(SecretKey::<S>::generate(&mut Failing(0)).err(), Some(Error::Entropy));
}

/// How a server, and a client that asks for the key, end when a header announces a length and single bytes follow.
fn announced<S: ServedSuite>(kind: u8, length: u16, bytes: usize) -> [Option<Outcome>; 2] {
    let [high, low] = length.to_be_bytes();
    let header = [b'S', b'O', 1, kind, S::ID, 0, high, low];
    let stream: Vec<u8> = header.into_iter().chain(std::iter::repeat_n(0x5a, bytes)).collect();
    let mut memory = Memory::default();
    let mut server = lone_server::<S>(&mut memory, &Setup::default(), admit_all());
    stream.iter().for_each(|byte| server.feed(&[*byte], NOW));
    let setup = Setup { key_request: true, ..Setup::default() };
    let mut memory = Memory::default();
    let mut client = lone_client::<S>(&mut memory, &setup, log_in());
    stream.iter().for_each(|byte| client.feed(&[*byte], NOW));
    [server.outcome, client.outcome]
}

/// Red if a length is believed before it is compared with what the message may have: the connection then waits for bytes
/// that its buffer can't hold.
fn attack_20_any_announced_length_in_single_bytes<S: ServedSuite>() {
    for kind in [0, 1, 2, 3, 4, 5, 6, 7, 255] {
        for length in [0, 1, 15, 16, 1000, 1192, 1193, 2047, 2048, 16_384, u16::MAX] {
            // More than any message of the handshake has.
            for outcome in announced::<S>(kind, length, 2_100) {
                let refused = matches!(outcome, Some(Err(error)) if !matches!(error, Error::Misuse(_)));
                assert!(refused, "type {kind}, {length} bytes announced: {outcome:?}");
            }
        }
    }
    assert_eq!(announced::<S>(1, 0, 0)[0], None, "a key request of its own length is answered");
    let unknown = server_fingerprint(&[0; 32]);
    let mut memory = [0; 64];
    let (rx, _) = memory.split_at_mut(32);
    let request =
        KeyRequest::<S>::send(&mut Io { now: 0, tx: &mut TxBuf::new(&mut [0; 8]), rng: &mut Stuck });
    let mut rx = RxBuf::new(rx);
    rx.spare()[..8].copy_from_slice(&[b'S', b'O', 1, 2, S::ID, 0, 0xff, 0xff]);
    rx.commit(8);
    let refused = request.unwrap().receive(&mut rx, Trust::Fingerprint(unknown, 0));
    assert!(matches!(refused, Err(Error::Untrusted(_))), "{:?}", refused.err());
}
