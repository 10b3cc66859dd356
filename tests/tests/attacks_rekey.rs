//! Attack 12: the borders of an epoch, of the sequence and of a connection's life.

use sordino_core::bytes::{Bytes, Secret};
use sordino_core::config::{MAX_LIFETIME, SEQUENCE_LIMIT, Timeouts};
use sordino_core::error::{Error, Misuse, PeerFault};
use sordino_core::event::Closed;
use sordino_core::identity::ServedSuite;
use sordino_core::messages::{CloseReason, Ping};
use sordino_core::record::{Direction, Inbound, Outbound};
use sordino_core::suite::{Suite, tag_len};
use sordino_core::{Client, Conn, Message};
use sordino_tests::both_suites;
use sordino_tests::pair::forge::{Keys, aad, inner, next_epoch};
use sordino_tests::pair::lane::frames;
use sordino_tests::pair::script::Act;
use sordino_tests::pair::{Memory, Pair, Setup};

both_suites! {
    attack_12_rekey_at_the_exact_record
    attack_12_rekey_in_both_directions_at_once
    attack_12_sequence_overflow
    attack_12_lifetime
}

const EPOCH: usize = 4096;

fn ping(token: u64) -> Act {
    Act::Send(Message::Ping(Ping { token }))
}

/// Opens a record as the document says, under the keys of `epoch`.
fn open<S: Suite>(
    epoch_0: &[u8],
    epoch: usize,
    direction: Direction,
    sequence: usize,
    record: &[u8],
) -> Option<Vec<u8>> {
    let secret = (0..epoch).fold(epoch_0.to_vec(), |secret, _| next_epoch::<S>(&secret));
    let sequence = sequence as u64;
    let data = aad(direction, sequence, record.len() - 2);
    Keys::of_epoch::<S>(&secret).open::<S>(sequence % EPOCH as u64, &data, &record[2..])
}

/// Red if the epoch changes one record early or late, if n or the sequence restarts wrongly, or if the next secret
/// is derived otherwise: the records are opened by the document's formulas.
fn attack_12_rekey_at_the_exact_record<S: ServedSuite>() {
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let known = pair.known();
    // Each PING makes a record in both directions; the login was the first of each.
    for token in 1..2 * EPOCH as u64 + 2 {
        pair.client.act(ping(token), pair.now);
        pair.run();
    }
    assert_eq!((pair.client.outcome, pair.server.outcome), (None, None));
    let (up, down) = (frames(&pair.up.sent, 2), frames(&pair.down.sent, 1));
    let lanes = [(Direction::ToServer, &up[2..], 2), (Direction::ToClient, &down[1..], 3)];
    for ((direction, records, kind), epoch_0) in lanes.into_iter().zip(&known.epoch_0) {
        for sequence in [1, EPOCH - 1, EPOCH, EPOCH + 1, 2 * EPOCH - 1, 2 * EPOCH] {
            let opened = |epoch| open::<S>(epoch_0, epoch, direction, sequence, records[sequence]);
            let epoch = sequence / EPOCH;
            let plain = inner(kind, &(sequence as u64).to_be_bytes(), 64);
            assert_eq!(opened(epoch), Some(plain), "{direction:?}, record {sequence}");
            assert_eq!(opened(epoch + 1), None);
            assert!(epoch == 0 || opened(epoch - 1).is_none());
        }
    }
}

/// Red if one direction's rekey touches the other one, or waits for it.
fn attack_12_rekey_in_both_directions_at_once<S: ServedSuite>() {
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::ready(&mut memory, &Setup::default());
    for token in 0..EPOCH as u64 - 3 {
        pair.client.act(ping(token), pair.now);
        pair.run();
    }
    // Both stand at 4,094. Six records of each side cross on the wire, over the border.
    for token in 0..6 {
        pair.client.act(ping(token), pair.now);
        pair.server.act(ping(token), pair.now);
    }
    pair.run();
    assert_eq!((pair.client.outcome, pair.server.outcome), (None, None));
    let count = |lane: &[u8], handshake| frames(lane, handshake).len() - handshake;
    assert_eq!([count(&pair.up.sent, 2), count(&pair.down.sent, 1)], [EPOCH + 10; 2], "6 PINGs, 6 PONGs");
    // One side far ahead of the other.
    for token in 0..EPOCH as u64 {
        pair.server.act(ping(token), pair.now);
        pair.run();
    }
    pair.client.act(Act::Close(CloseReason::Bye), pair.now);
    pair.run();
    assert!(pair.server.was_closed(CloseReason::Bye));
}

/// Red if `seal`, `frame` or `open` go on at 2^44, where the epoch no longer fits the AAD.
fn attack_12_sequence_overflow<S: ServedSuite>() {
    let secret = Secret::<S::Hash>::new(S::Hash::copy_of(&[7; 64][..S::Hash::LEN]).unwrap());
    let start = SEQUENCE_LIMIT - EPOCH as u64;
    let mut out = Outbound::<S>::new(Direction::ToServer, &secret, start);
    let mut inbound = Inbound::<S>::new(Direction::ToServer, &secret, start, 1024);
    let mut region = vec![0; 2 + 64 + tag_len::<S>()];
    for sequence in start..SEQUENCE_LIMIT {
        assert_eq!(out.sequence(), sequence);
        let len = out.seal(&mut region, 2, 8).unwrap();
        if sequence == SEQUENCE_LIMIT - 1 {
            let data = aad(Direction::ToServer, sequence, len - 2);
            assert_eq!(data[1..5], u32::MAX.to_be_bytes(), "the last epoch");
            let keys = Keys::of_epoch::<S>(secret.expose());
            assert!(keys.open::<S>(EPOCH as u64 - 1, &data, &region[2..len]).is_some());
        }
        assert_eq!(inbound.frame(&region), Ok(Some(len)));
        assert!(inbound.open(&mut region[..len]).is_ok());
    }
    let before = region.clone();
    for _ in 0..2 {
        assert_eq!(out.seal(&mut region, 2, 8), None);
        assert_eq!((out.sequence(), &region), (SEQUENCE_LIMIT, &before), "nothing counted, nothing written");
        assert_eq!(inbound.frame(&region), Err(Error::Peer(PeerFault::Sequence)));
        assert!(inbound.open(&mut region.clone()).is_err());
        assert_eq!(inbound.sequence(), SEQUENCE_LIMIT);
    }
}

/// Red if the lifetime is counted from the last record, or not at all: keep-alives go on all the time.
fn attack_12_lifetime<S: ServedSuite>() {
    let expired = CloseReason::Expired;
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let end = pair.now + u64::from(MAX_LIFETIME);
    pair.advance(end - 1);
    assert_eq!((pair.client.outcome, pair.server.outcome), (None, None));
    assert!(frames(&pair.up.sent, 2).len() > 2_000, "it was alive");
    pair.advance(end);
    assert_eq!(pair.client.outcome, Some(Ok(Closed::Here(expired))));
    assert_eq!(pair.server.outcome, Some(Ok(Closed::Here(expired))));

    // Whoever is first tells the other.
    let short = Timeouts { lifetime: MAX_LIFETIME - 5_000, ..Timeouts::SERVER };
    let setup = Setup { limits: [Timeouts::CLIENT, short], ..Setup::default() };
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::ready(&mut memory, &setup);
    pair.advance(pair.now + u64::from(MAX_LIFETIME));
    assert_eq!(pair.server.outcome, Some(Ok(Closed::Here(expired))));
    assert!(pair.client.was_closed(expired));

    let longer = Timeouts { lifetime: MAX_LIFETIME + 1, ..Timeouts::CLIENT };
    let config = setup.client::<S>(setup.server_key());
    let refused = Conn::<Client, S>::client(config, longer, 0).err();
    assert_eq!(refused, Some(Error::Misuse(Misuse::Parameter)), "nobody may live longer");
}
