//! Attacks 8 to 10: records that are altered, cut, or not where they belong. That a failure also takes the same time
//! is not measured here.

use aes::cipher::BlockCipherEncrypt;
use sordino_core::Message;
use sordino_core::aead::{KeyBlock, Opener};
use sordino_core::bytes::{Bytes, Secret};
use sordino_core::error::{Error, PeerFault};
use sordino_core::identity::ServedSuite;
use sordino_core::kdf;
use sordino_core::messages::{CloseReason, Ping};
use sordino_core::record::{Direction, Inbound, Outbound, bucket_for};
use sordino_core::suite::{Suite, tag_len};
use sordino_tests::both_suites;
use sordino_tests::pair::forge::{Keys, aad, inner, next_epoch, record};
use sordino_tests::pair::lane::frames;
use sordino_tests::pair::party::ServerSide;
use sordino_tests::pair::script::{Act, send, silent};
use sordino_tests::pair::{Machine, Memory, Pair, Party, Setup};

const NOW: u64 = 1_000;
const FAILED: Error = Error::Peer(PeerFault::Record);
/// Records that each side of a pair that has logged in has sent.
const SENT: u64 = 1;

both_suites! {
    attack_08_every_bit_of_a_record
    attack_08_every_length
    attack_08_authentic_but_malformed_plaintext
    attack_09_tags_of_every_length
    attack_10_replayed_reordered_dropped
    attack_10_reflected
    attack_10_spliced_across_connections
    attack_10_spliced_across_epochs
}

/// Gives `bytes` to a twin of `party`, which must end by the one error of records and say nothing.
fn refuse<M: Machine>(party: &Party<'_, M>, bytes: &[u8], memory: &mut Memory, what: &str) {
    let mut twin = party.fork(memory, silent());
    twin.feed(bytes, NOW);
    assert_eq!(twin.outcome, Some(Err(FAILED)), "{what}");
    assert!(twin.log.is_empty() && twin.end.tx.is_empty(), "{what}: not a byte, not an event");
    // It is over: nothing more is read, and there is nothing left to say goodbye with.
    twin.act(Act::Close(CloseReason::Bye), NOW);
    let again = twin.machine.step(&mut twin.end, NOW);
    assert_eq!(again, Err(FAILED), "{what}");
    assert!(twin.end.tx.is_empty(), "{what}");
}

fn take_one<M: Machine>(party: &mut Party<'_, M>, message: Message<'static>) -> Vec<u8> {
    party.act(Act::Send(message), NOW);
    party.take(usize::MAX)
}

fn ping(token: u64) -> Message<'static> {
    Message::Ping(Ping { token })
}

fn secret<S: Suite>(bytes: &[u8]) -> Secret<S::Hash> {
    Secret::new(S::Hash::copy_of(bytes).unwrap())
}

/// Red if the tag isn't compared whole, or if IV, ciphertext or length are left out of the MAC.
fn attack_08_every_bit_of_a_record<S: ServedSuite>() {
    let (mut memory, mut spare) = (Memory::default(), Memory::default());
    let mut pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let up = take_one(&mut pair.client, send(b"pay bob 10"));
    let down = take_one(&mut pair.server, ping(1));
    for (at, bit) in (2..up.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut altered = up.clone();
        altered[at] ^= 1 << bit;
        refuse(&pair.server, &altered, &mut spare, &format!("to server, byte {at}, bit {bit}"));
    }
    for (at, bit) in (2..down.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut altered = down.clone();
        altered[at] ^= 1 << bit;
        refuse(&pair.client, &altered, &mut spare, &format!("to client, byte {at}, bit {bit}"));
    }
    pair.server.feed(&up, NOW);
    assert_eq!(pair.server.log.len(), 4, "unaltered, it arrives");
}

/// Red if `frame` doesn't compare with the list of buckets and max record; the second part if the length is left out
/// of the MAC.
fn attack_08_every_length<S: ServedSuite>() {
    let (mut memory, mut spare) = (Memory::default(), Memory::default());
    let mut pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let known = pair.known();
    let buckets: Vec<usize> = (0..=16_380).filter_map(bucket_for).collect();
    let small = Inbound::<S>::new(Direction::ToServer, &secret::<S>(&known.epoch_0[0]), 0, 1024);
    let large = Inbound::<S>::new(Direction::ToServer, &secret::<S>(&known.epoch_0[0]), 0, 16_384);
    for length in 0..=u16::MAX {
        let bucket = usize::from(length).wrapping_sub(tag_len::<S>());
        let legal = buckets.binary_search(&bucket).is_ok();
        for (inbound, legal) in [(&small, legal && bucket <= 1024), (&large, legal)] {
            let framed = inbound.frame(&length.to_be_bytes());
            let expected = legal.then(|| Some(usize::from(length) + 2)).ok_or(FAILED);
            assert_eq!(framed, expected, "length {length}");
        }
    }

    let up = take_one(&mut pair.client, send(b"hello"));
    for bucket in [64, 128, 256, 512, 1024, 2048, 16_384] {
        let length = u16::try_from(bucket + tag_len::<S>()).unwrap().to_be_bytes();
        if length == up[..2] {
            continue;
        }
        let mut longer = [&length[..], &up[2..]].concat();
        longer.resize(bucket + tag_len::<S>() + 2, 0);
        refuse(&pair.server, &longer, &mut spare, &format!("as a bucket of {bucket}"));
    }
    // No length of the list: two bytes are enough.
    for length in [0, 1, 15, 63, 65, 97, u16::MAX] {
        refuse(&pair.server, &length.to_be_bytes(), &mut spare, &format!("length {length}"));
    }
}

/// Red if `open` leaves out any of its checks behind the tag. All of them end like a wrong tag.
fn attack_08_authentic_but_malformed_plaintext<S: ServedSuite>() {
    let (mut memory, mut spare) = (Memory::default(), Memory::default());
    let mut pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let known = pair.known();
    let sealed = |inner: &[u8]| record::<S>(&known.epoch_0[0], Direction::ToServer, SENT, inner);
    let ping = inner(2, &[7; 8], 64);
    let altered = |at: usize, byte: u8| {
        let mut plain = ping.clone();
        plain[at] = byte;
        plain
    };
    let mut twice = altered(20, 0x40);
    twice[40] = 0x40;
    let cases: [(&str, Vec<u8>); 8] = [
        ("padding isn't zero, first byte", altered(11, 1)),
        ("padding isn't zero, last byte", altered(62, 0x80)),
        ("padding isn't zero, two bytes whose sum by XOR is", twice),
        ("a larger bucket than needed", inner(2, &[7; 8], 128)),
        ("body longer than the bucket", altered(2, 61)),
        ("body of 64 KiB", altered(1, 0xff)),
        ("PKCS#7 padding of two bytes", ping[..62].to_vec()),
        ("PKCS#7 padding of a block", ping[..48].to_vec()),
    ];
    for (what, plain) in &cases {
        refuse(&pair.server, &sealed(plain), &mut spare, what);
    }
    pair.server.feed(&sealed(&ping), NOW);
    assert_eq!((pair.server.outcome, pair.server.take(1).len()), (None, 1), "well formed, it is answered");
}

/// The whole HMAC, of which the tag is the front.
fn full_tag<S: Suite>(keys: &Keys, n: u64, aad: &[u8], ciphertext: &[u8]) -> Vec<u8> {
    let mut iv = u128::from(n).to_be_bytes().into();
    S::enc(&S::Key::copy_of(&keys.iv).unwrap()).encrypt_block(&mut iv);
    let bits = (aad.len() as u64 * 8).to_be_bytes();
    kdf::hmac::<S>(&keys.mac, &[aad, &iv, ciphertext, &bits]).expose().to_vec()
}

/// Red if `frame` takes `length` without the tag's own, or if `Opener` compares as many bytes as there are. The last part
/// if the IV isn't that of n, on both sides.
fn attack_09_tags_of_every_length<S: ServedSuite>() {
    let (mut memory, mut spare) = (Memory::default(), Memory::default());
    let mut pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let known = pair.known();
    let whole = take_one(&mut pair.client, ping(1));
    let ciphertext = &whole[2..66];
    // The longest tag is the whole HMAC, and more.
    let keys = Keys::of_epoch::<S>(&known.epoch_0[0]);
    for tag in (0..=80).filter(|tag| *tag != tag_len::<S>()) {
        let length = 64 + tag;
        let data = aad(Direction::ToServer, SENT, length);
        let full = full_tag::<S>(&keys, SENT, &data, ciphertext);
        let tag_bytes: Vec<u8> = full.iter().copied().chain(std::iter::repeat(0)).take(tag).collect();
        let prefix = u16::try_from(length).unwrap().to_be_bytes();
        let bytes = [&prefix[..], ciphertext, &tag_bytes].concat();
        refuse(&pair.server, &bytes, &mut spare, &format!("a tag of {tag} bytes"));

        let mut inbound = Inbound::<S>::new(Direction::ToServer, &secret::<S>(&known.epoch_0[0]), 0, 16_384);
        let first = record::<S>(&known.epoch_0[0], Direction::ToServer, 0, &inner(2, &[0; 8], 64));
        assert!(inbound.open(&mut first.clone()).is_ok());
        assert_eq!(inbound.open(&mut bytes.clone()), Err(FAILED), "without `frame`: {tag} bytes");
        let block = KeyBlock::<S>::from_parts(&keys.mac, &keys.encryption, &keys.iv).unwrap();
        let mut sealed = bytes[2..].to_vec();
        assert!(Opener::new(&block).open(SENT, &data, &mut sealed).is_err(), "{tag} bytes");
    }
    pair.server.feed(&whole, NOW);
    assert_eq!(pair.server.outcome, None);
    let data = aad(Direction::ToServer, SENT, whole.len() - 2);
    assert_eq!(whole[66..], full_tag::<S>(&keys, SENT, &data, ciphertext)[..tag_len::<S>()]);
}

/// Red if the sequence doesn't grow, or neither enters the IV nor the AAD.
fn attack_10_replayed_reordered_dropped<S: ServedSuite>() {
    let (mut memory, mut spare) = (Memory::default(), Memory::default());
    let mut pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let login = frames(&pair.up.sent, 2)[2].to_vec();
    let [a, b, c] = [1, 2, 3].map(|token| take_one(&mut pair.client, ping(token)));
    refuse(&pair.server, &login, &mut spare, "the login replayed");
    refuse(&pair.server, &b, &mut spare, "dropped or overtaken");
    for record in [&a, &b] {
        pair.server.feed(record, NOW);
        pair.server.take(usize::MAX);
        refuse(&pair.server, record, &mut spare, "replayed at once");
    }
    refuse(&pair.server, &a, &mut spare, "replayed later");
    pair.server.feed(&c, NOW);
    assert_eq!(pair.server.outcome, None, "in order, all arrive");
}

/// Red if both directions have one secret **and** the AAD has no direction: each of the two is enough to refuse.
fn attack_10_reflected<S: ServedSuite>() {
    let (mut memory, mut spare) = (Memory::default(), Memory::default());
    let mut pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let known = pair.known();
    let (up, down) = (take_one(&mut pair.client, ping(1)), take_one(&mut pair.server, ping(1)));
    refuse(&pair.client, &up, &mut spare, "to its own sender, a client");
    refuse(&pair.server, &down, &mut spare, "to its own sender, a server");
    // Each of the two defences by itself.
    let plain = inner(2, &[7; 8], 64);
    let wrong_direction = record::<S>(&known.epoch_0[0], Direction::ToClient, SENT, &plain);
    refuse(&pair.server, &wrong_direction, &mut spare, "the right keys, the other direction");
    let wrong_keys = record::<S>(&known.epoch_0[1], Direction::ToServer, SENT, &plain);
    refuse(&pair.server, &wrong_keys, &mut spare, "the right direction, the other keys");
}

/// Red if the epoch secrets don't depend on this handshake's ephemeral keys.
fn attack_10_spliced_across_connections<S: ServedSuite>() {
    let (mut one, mut two, mut spare) = (Memory::default(), Memory::default(), Memory::default());
    let mut pair = Pair::<S>::ready(&mut one, &Setup::default());
    let mut other = Pair::<S>::ready(&mut two, &Setup { seeds: [5, 6], ..Setup::default() });
    let (up, down) = (take_one(&mut other.client, ping(1)), take_one(&mut other.server, ping(1)));
    refuse(&pair.server, &up, &mut spare, "same client, same server, same place, another connection");
    refuse(&pair.client, &down, &mut spare, "the other direction");
    let repeated = [1, 6];
    let mut three = Memory::default();
    let mut third = Pair::<S>::ready(&mut three, &Setup { seeds: repeated, ..Setup::default() });
    refuse(&pair.server, &take_one(&mut third.client, ping(1)), &mut spare, "the client's e repeated");
    let whole = take_one(&mut pair.client, ping(1));
    pair.server.feed(&whole, NOW);
    assert_eq!(pair.server.outcome, None);
}

/// Red if the key changes only every 8,192 records, or if epoch and sequence both leave the AAD.
fn attack_10_spliced_across_epochs<S: ServedSuite>() {
    let (mut memory, mut spare) = (Memory::default(), Memory::default());
    let mut pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let known = pair.known();
    let plain = inner(2, &[7; 8], 64);
    let old = record::<S>(&known.epoch_0[0], Direction::ToServer, SENT, &plain);
    let early = record::<S>(&next_epoch::<S>(&known.epoch_0[0]), Direction::ToServer, SENT, &plain);
    refuse(&pair.server, &early, &mut spare, "the next epoch's keys too early");
    run_to(&mut pair.server, &known.epoch_0[0], SENT, 4096 + SENT);
    refuse(&pair.server, &old, &mut spare, "a record of epoch 0 in the same place of epoch 1");
    let renumbered = record::<S>(&known.epoch_0[0], Direction::ToServer, 4096 + SENT, &plain);
    refuse(&pair.server, &renumbered, &mut spare, "keys of epoch 0 with the counters of epoch 1");
}

/// Lets the server receive the PINGs with sequence numbers `from..to`.
fn run_to<S: ServedSuite>(server: &mut Party<'_, ServerSide<S>>, epoch_0: &[u8], from: u64, to: u64) {
    let mut out = Outbound::<S>::new(Direction::ToServer, &secret::<S>(epoch_0), 0);
    let mut region = vec![0; 64 + 2 + tag_len::<S>()];
    for sequence in 0..to {
        let len = out.seal(&mut region, 2, 8).unwrap();
        if sequence >= from {
            server.feed(&region[..len], NOW);
            server.take(usize::MAX);
        }
    }
    assert_eq!(server.outcome, None);
}
