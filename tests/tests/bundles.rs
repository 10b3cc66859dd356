//! Several messages in one record: each is seen by itself, in order, wherever the stream is cut.

use sordino_core::error::SendError;
use sordino_core::identity::ServedSuite;
use sordino_core::messages::{
    Accepted, AuthCode, AuthResult, Close, CloseReason, Code, Delivered, Message, Refused,
};
use sordino_core::record::bucket_for;
use sordino_core::suite::tag_len;
use sordino_core::wire::Overflow;
use sordino_core::{Encoded, Suite1};
use sordino_tests::both_suites;
use sordino_tests::pair::lane::frames;
use sordino_tests::pair::script::{deliver, send, silent};
use sordino_tests::pair::{Act, Machine, Memory, Pair, Party, Seen, Setup};

const NOW: u64 = 1_000;
static LONG: [u8; 1024] = [b'x'; 1024];

both_suites! {
    a_bundle_is_seen_message_by_message_at_every_split
    a_record_takes_what_fits_and_not_a_byte_more
    what_is_encoded_once_goes_out_like_the_message
}

fn setup() -> Setup {
    Setup { bundles: [true; 2], ..Setup::default() }
}

fn answers() -> Vec<Message<'static>> {
    vec![
        Message::Accepted(Accepted { id: [1; 16], number: 7, time: 8 }),
        deliver(9, b"first"),
        Message::Refused(Refused { id: [2; 16], code: Code::NotFound, retry_after: 0 }),
        deliver(10, &LONG[..300]),
        Message::Delivered(Delivered { id: [1; 16], time: 11 }),
    ]
}

/// How many of the messages went together, and the record.
fn bundle<M: Machine>(
    party: &mut Party<'_, M>,
    messages: &[Message<'_>],
) -> Result<(usize, Vec<u8>), SendError> {
    let (machine, end) = (&mut party.machine, &mut party.end);
    let sent = end.with(NOW, |_, io| machine.conn().send_bundle(messages.iter().copied(), io))?;
    Ok((sent, party.take(usize::MAX)))
}

fn encoded(message: &Message<'_>) -> Encoded<Vec<u8>> {
    Encoded::new(message, |len| vec![0; len]).unwrap()
}

fn seen(messages: &[Message<'_>]) -> Vec<Seen> {
    messages.iter().map(Seen::message).collect()
}

/// Red if a message is lost, shown twice or from a wrong place when bytes come late, when the rest of a bundle is moved
/// to other memory, or if a plaintext is left behind.
fn a_bundle_is_seen_message_by_message_at_every_split<S: ServedSuite>() {
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::ready(&mut memory, &setup());
    let messages = answers();
    let (sent, mut stream) = bundle(&mut pair.server, &messages).unwrap();
    assert_eq!((sent, frames(&stream, 0).len()), (5, 1));
    // Another record behind it.
    let last = deliver(12, b"last");
    pair.server.act(Act::Send(last), NOW);
    stream.extend(pair.server.take(usize::MAX));
    let expected = seen(&[&messages[..], &[last]].concat());
    for at in 0..=stream.len() {
        let mut other = Memory::default();
        let mut client = pair.client.fork(&mut other, silent());
        client.feed(&stream[..at], NOW);
        client.feed(&stream[at..], NOW);
        assert_eq!((&client.log, client.outcome), (&expected, None), "split at {at}");
        assert!(client.end.rx.unconsumed().is_empty());
        drop(client);
        assert!(
            other.buffers().all(|buffer| buffer.iter().all(|byte| *byte == 0)),
            "split at {at}: something is left"
        );
    }
    let mut memories: Vec<_> = (0..=expected.len()).map(|_| Memory::default()).collect();
    let mut memories = memories.iter_mut();
    let mut client = pair.client.fork(memories.next().unwrap(), silent());
    client.give(&stream);
    for (memory, seen) in memories.zip(&expected) {
        client.step_once(NOW).unwrap();
        assert_eq!(client.log.last(), Some(seen));
        client = client.fork(memory, silent());
    }
}

/// Red if the messages behind the one after which a side closes stay in its memory.
#[test]
fn what_is_left_of_a_bundle_at_the_end_is_erased() {
    let mut memory = Memory::default();
    let mut pair = Pair::<Suite1>::ready(&mut memory, &setup());
    let (_, record) = bundle(&mut pair.server, &answers()).unwrap();
    for shown in 1..=answers().len() {
        let mut other = Memory::default();
        let mut client = pair.client.fork(&mut other, silent());
        client.give(&record);
        for _ in 0..shown {
            client.step_once(NOW).unwrap();
        }
        client.act(Act::Close(CloseReason::Bye), NOW);
        client.step_once(NOW).unwrap();
        assert_eq!(client.log.len(), shown);
        assert!(client.end.rx.unconsumed().is_empty(), "after {shown}");
    }
}

/// Red if a bundle is larger than the peer's record, or leaves out what had room.
fn a_record_takes_what_fits_and_not_a_byte_more<S: ServedSuite>() {
    let mut memory = Memory::default();
    // The client receives 1 KiB.
    let mut pair = Pair::<S>::ready(&mut memory, &setup());
    let most = pair.server.machine.conn().max_body();
    let spare = |len: usize| most - 2 * (3 + head()) - len;
    let fits = [deliver(1, &LONG[..400]), deliver(2, &LONG[..spare(400)])];
    let (sent, record) = bundle(&mut pair.server, &fits).unwrap();
    assert_eq!((sent, record.len()), (2, 2 + 1024 + tag_len::<S>()));
    let long = [deliver(3, &LONG[..400]), deliver(4, &LONG[..spare(400) + 1])];
    let (sent, single) = bundle(&mut pair.server, &long).unwrap();
    assert_eq!((sent, single.len()), (1, 2 + 512 + tag_len::<S>()), "one is sent without a bundle around it");
    pair.client.feed(&[record, single].concat(), NOW);
    assert_eq!(pair.client.log.split_off(pair.client.log.len() - 3), seen(&[fits[0], fits[1], long[0]]));

    let too_long = [deliver(5, &LONG[..most]), deliver(6, b"x")];
    assert_eq!(bundle(&mut pair.server, &too_long).unwrap_err(), SendError::TooLarge);
    assert_eq!(bundle(&mut pair.server, &[]).unwrap(), (0, vec![]));
}

/// Body of a DELIVER with an empty part.
fn head() -> usize {
    let Seen::Message(_, body) = Seen::message(&deliver(1, b"x")) else { unreachable!() };
    body.len() - 1
}

#[test]
fn a_peer_that_does_not_announce_it_gets_each_message_by_itself() {
    for announced in [[false, false], [false, true]] {
        let mut memory = Memory::default();
        let mut pair = Pair::<Suite1>::ready(&mut memory, &Setup { bundles: announced, ..setup() });
        let messages = answers();
        let (sent, record) = bundle(&mut pair.server, &messages).unwrap();
        assert_eq!((sent, frames(&record, 0).len()), (1, 1));
        pair.client.feed(&record, NOW);
        assert_eq!(pair.client.log.last(), Some(&Seen::message(&messages[0])));
    }
}

#[test]
fn clients_bundle_too() {
    let mut memory = Memory::default();
    let mut pair = Pair::<Suite1>::ready(&mut memory, &setup());
    let messages = [send(b"one"), send(b"two"), send(b"three")];
    let (sent, record) = bundle(&mut pair.client, &messages).unwrap();
    assert_eq!(sent, 3);
    pair.server.feed(&record, NOW);
    assert!(pair.server.log.ends_with(&seen(&messages)));
}

#[test]
fn what_may_not_be_sent_is_in_no_bundle() {
    let mut memory = Memory::default();
    let mut pair = Pair::<Suite1>::ready(&mut memory, &setup());
    let close = Message::Close(Close { reason: CloseReason::Bye as u8, received: 0 });
    for forbidden in [close, send(b"only clients do that")] {
        let (sent, _) = bundle(&mut pair.server, &[answers()[0], answers()[1], forbidden]).unwrap();
        assert_eq!(sent, 2);
        assert_eq!(bundle(&mut pair.server, &[forbidden]).unwrap_err(), SendError::NotAllowed);
    }
}

#[test]
fn without_room_nothing_is_changed() {
    let messages = answers();
    let mut memory = Memory::default();
    let mut pair = Pair::<Suite1>::ready(&mut memory, &setup());
    let (sent, whole) = bundle(&mut pair.server, &messages).unwrap();
    assert_eq!(sent, messages.len());
    let mut memory = Memory::default();
    let mut pair = Pair::<Suite1>::ready(&mut memory, &setup());
    // Records that nobody takes fill the output up to a few hundred bytes.
    let filler = |body: usize| 2 + bucket_for(head() + body).unwrap() + tag_len::<Suite1>();
    for body in [900, 100] {
        while pair.server.end.tx.free() >= filler(body) + whole.len() / 2 {
            pair.server.act(Act::Send(deliver(1, &LONG[..body])), NOW);
        }
    }
    let before = pair.server.end.tx.pending().to_vec();
    assert!(matches!(bundle(&mut pair.server, &messages), Err(SendError::NoRoom(_))));
    assert_eq!(pair.server.end.tx.pending(), before);
    pair.server.end.tx.consume(before.len());
    pair.client.feed(&before, NOW);
    let (_, record) = bundle(&mut pair.server, &messages).unwrap();
    pair.client.feed(&record, NOW);
    assert!(pair.client.log.ends_with(&seen(&messages)), "the sequence went on without a gap");
}

/// Red if a receiver could tell, or a message is sent over a connection that may not carry it.
fn what_is_encoded_once_goes_out_like_the_message<S: ServedSuite>() {
    let (mut one, mut other) = (Memory::default(), Memory::default());
    let mut plain = Pair::<S>::ready(&mut one, &setup());
    let mut pair = Pair::<S>::ready(&mut other, &setup());
    let messages = answers();
    let once: Vec<_> = messages.iter().map(encoded).collect();
    assert!(once.iter().zip(&messages).all(|(encoded, message)| encoded.message() == Ok(*message)));
    let (machine, end) = (&mut pair.server.machine, &mut pair.server.end);
    let sent = end.with(NOW, |_, io| machine.conn().send_bundle(once.iter(), io)).unwrap();
    for message in &once {
        end.with(NOW, |_, io| machine.conn().send(message, io)).unwrap();
    }
    let (expected, mut record) = bundle(&mut plain.server, &messages).unwrap();
    for message in &messages {
        plain.server.act(Act::Send(*message), NOW);
    }
    record.extend(plain.server.take(usize::MAX));
    assert_eq!((sent, pair.server.take(usize::MAX)), (expected, record));
}

#[test]
fn what_is_encoded_once_is_sent_only_where_the_message_may_be() {
    let mut memory = Memory::default();
    let mut pair = Pair::<Suite1>::ready(&mut memory, &setup());
    let close = Message::Close(Close { reason: CloseReason::Bye as u8, received: 0 });
    let result = Message::AuthResult(AuthResult::refusal(AuthCode::Denied, 0));
    for forbidden in [close, result, send(b"only clients do that")] {
        let (allowed, forbidden) = (encoded(&answers()[0]), encoded(&forbidden));
        let (machine, end) = (&mut pair.server.machine, &mut pair.server.end);
        let refused = end.with(NOW, |_, io| machine.conn().send(&forbidden, io));
        assert_eq!(refused, Err(SendError::NotAllowed));
        let three = [&allowed, &allowed, &forbidden];
        assert_eq!(end.with(NOW, |_, io| machine.conn().send_bundle(three.into_iter(), io)), Ok(2));
    }
}

#[test]
fn a_message_is_encoded_into_memory_of_its_length() {
    let [ok, ..] = &answers()[..] else { unreachable!() };
    for off in [-1, 1] {
        let other = |len: usize| vec![0; len.checked_add_signed(off).unwrap()];
        assert_eq!(Encoded::new(ok, other), Err(Overflow), "{off}");
    }
    let malformed = Message::Refused(Refused { id: [2; 16], code: Code::Ok, retry_after: 0 });
    assert_eq!(Encoded::new(&malformed, |len| vec![0; len]), Err(Overflow));
}
