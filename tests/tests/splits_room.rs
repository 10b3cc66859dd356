//! Output that is full, tickets that are lost or late, events that are over.

use sordino_core::config::{CONTROL_RECORD, MAX_HANDSHAKE_LEN};
use sordino_core::error::{Error, ErrorCode, Misuse, NoRoom, SendError};
use sordino_core::event::{Answer, AnswerError, Closed, Event, EventId, Step, Ticket};
use sordino_core::identity::ServedSuite;
use sordino_core::messages::{AuthCode, AuthResult, CloseReason, Message, Ping};
use sordino_core::record::Direction;
use sordino_core::{Suite1, TxBuf};
use sordino_tests::both_suites;
use sordino_tests::pair::forge::{Keys, aad, framed, inner, record};
use sordino_tests::pair::lane::frames;
use sordino_tests::pair::party::ServerSide;
use sordino_tests::pair::script::{
    Act, PASSWORD_AUTH, WELCOME, admit_all, log_in, send, silent, talkative_client, talkative_server,
};
use sordino_tests::pair::{Machine, Memory, Pair, Party, Recording, Seen, Setup, lone_client, lone_server};

const NOW: u64 = 1_000;

both_suites! {
    full_output_changes_nothing
    output_that_can_never_hold_a_message
    input_that_can_never_hold_a_message
    room_for_close_is_always_kept
    room_for_close_at_the_end_of_the_handshake
    only_the_last_ping_is_answered
    dropped_tickets_refuse
    tickets_are_for_one_answer
    events_are_over_with_the_next_step
}

/// Red if a step consumes input, draws randomness or writes before it knows that its output fits.
fn full_output_changes_nothing<S: ServedSuite>() {
    let whole = Recording::of_suite::<S>();
    let setup = Recording::setup();
    let mut memory = Memory::default();
    let mut server = lone_server::<S>(&mut memory, &setup, talkative_server());
    let handshake = frames(&whole.up, 3);
    for message in &handshake[..3] {
        crowded_steps(&mut server, message, 1);
    }
    let mut memory = Memory::default();
    let mut client = lone_client::<S>(&mut memory, &setup, talkative_client());
    assert_eq!(client.take(usize::MAX), handshake[0]);
    let answers = frames(&whole.down, 2);
    // The key answer only makes a connection; message 1 is its first step's, by itself.
    crowded_steps(&mut client, answers[0], 1);
    crowded_steps(&mut client, answers[1], 1);
    server.feed(&whole.up[handshake[..3].concat().len()..], NOW);
    client.feed(&whole.down[answers[..2].concat().len()..], NOW);
    assert_eq!((server.log, server.outcome), whole.server);
    assert_eq!((client.log, client.outcome), whole.client);
}

/// Gives a message to a party and takes each step that it leads to with every amount of room that is too small.
/// At least so many of the steps must have needed room.
fn crowded_steps<M: Machine>(party: &mut Party<'_, M>, message: &[u8], least: usize) {
    party.give(message);
    let mut crowded = 0;
    let mut memory = Memory::default();
    loop {
        let mut buffer = vec![0; 4096];
        let mut twin = party.fork(&mut memory, silent());
        twin.end.tx = TxBuf::resume(&mut buffer, 4096);
        if let Ok(Some(Step::NeedOutput(NoRoom { needed }))) = twin.machine.step(&mut twin.end, NOW) {
            let needed = usize::try_from(needed).unwrap();
            // The message of the step before is gone by now; the one of this step must stay.
            let (received, random) = (twin.end.rx.unconsumed().to_vec(), twin.end.rng.0);
            for free in [1, needed / 2, needed - 1] {
                twin.end.tx.consume(free - (4096 - twin.end.tx.pending().len()));
                let again = twin.machine.step(&mut twin.end, NOW);
                assert!(matches!(again, Ok(Some(Step::NeedOutput(_)))), "{free} of {needed}: {again:?}");
                assert_eq!(twin.end.rx.unconsumed(), received);
                assert_eq!(twin.end.rng.0, random);
                assert_eq!(twin.end.tx.pending().len(), 4096 - free);
            }
            twin.end.tx.consume(1);
            let enough = twin.machine.step(&mut twin.end, NOW);
            assert!(!matches!(enough, Ok(Some(Step::NeedOutput(_))) | Err(_)), "{enough:?}");
            crowded += usize::from(enough != Ok(Some(Step::NeedInput)));
        }
        match party.step_once(NOW) {
            Ok(Some(Step::NeedInput)) => break,
            Ok(_) => {}
            other => panic!("{other:?}"),
        }
        party.take(usize::MAX);
    }
    assert!(crowded >= least, "{crowded} steps needed room");
}

/// Red if a connection waits for room that its buffer can never have.
fn output_that_can_never_hold_a_message<S: ServedSuite>() {
    let too_small = Some(Err(Error::Misuse(Misuse::BufferTooSmall)));
    let mut memory = Memory::sized(2048, 300);
    let mut client = lone_client::<S>(&mut memory, &Setup::default(), log_in());
    client.settle(NOW);
    assert_eq!(client.outcome, too_small);
    let mut memory = Memory::sized(2048, 300);
    let mut server = lone_server::<S>(&mut memory, &Setup::default(), admit_all());
    server.feed(&framed(1, S::ID, &[]), NOW);
    assert_eq!(server.outcome, too_small);
}

/// Red if a connection waits for bytes that its buffer can never hold, or gives up where there is just enough room.
fn input_that_can_never_hold_a_message<S: ServedSuite>() {
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let message1 = frames(&pair.up.sent, 2)[0].to_vec();
    pair.client.act(Act::Send(send(&[b'x'; 600])), NOW);
    let record = pair.client.take(usize::MAX);
    let server = &pair.server;
    for missing in [0, 1] {
        let outcome = (missing == 1).then_some(Err(Error::Misuse(Misuse::BufferTooSmall)));
        let mut memory = Memory::sized(message1.len() - missing, 4096);
        let mut stranger = lone_server::<S>(&mut memory, &Setup::default(), silent());
        in_two(&mut stranger, &message1);
        assert_eq!((stranger.outcome, stranger.log.len()), (outcome, 1 - missing));
        let mut memory = Memory::sized(record.len() - missing, 4096);
        let mut known = server.fork(&mut memory, silent());
        in_two(&mut known, &record);
        assert_eq!((known.outcome, known.log.len()), (outcome, 1 - missing));
    }
}

/// Gives bytes of which the last one comes late.
fn in_two<M: Machine>(party: &mut Party<'_, M>, bytes: &[u8]) {
    let (front, last) = bytes.split_at(bytes.len() - 1);
    party.feed(front, NOW);
    party.feed(last, NOW);
}

/// Red if `send` doesn't leave the reserve: the CLOSE then gets lost in some of these sizes.
fn room_for_close_is_always_kept<S: ServedSuite>() {
    let mut memory = Memory::default();
    let pair = Pair::<S>::ready(&mut memory, &Setup::default());
    for size in (MAX_HANDSHAKE_LEN..MAX_HANDSHAKE_LEN + 700).step_by(13) {
        let (mut ours, mut theirs) = (Memory::sized(2048, size), Memory::default());
        let mut client = pair.client.fork(&mut ours, silent());
        let mut server = pair.server.fork(&mut theirs, silent());
        let mut sent = 0;
        for message in [send(&[b'x'; 600]), send(&[b'x'; 100]), send(b"x")] {
            loop {
                match client.end.with(NOW, |_, io| client.machine.conn().send(&message, io)) {
                    Ok(()) => sent += 1,
                    Err(SendError::NoRoom(NoRoom { needed })) => {
                        assert!(usize::try_from(needed).unwrap() > client.end.tx.free());
                        break;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
        // Nothing fits any more, a PING neither.
        let ping = Message::Ping(Ping { token: 1 });
        let crowded = client.end.with(NOW, |_, io| client.machine.conn().send(&ping, io));
        assert!(matches!(crowded, Err(SendError::NoRoom(_))));
        client.act(Act::Close(CloseReason::Bye), NOW);
        server.feed(&client.take(usize::MAX), NOW);
        assert_eq!(server.log.len(), sent, "{size} bytes");
        assert!(server.was_closed(CloseReason::Bye), "{size} bytes: {:?}", server.outcome);
    }
}

/// Red if a step of the handshake begins with less free output than its tables and its CLOSE need, or an AUTH_RESULT does when it is the third refusal.
fn room_for_close_at_the_end_of_the_handshake<S: ServedSuite>() {
    let mut sizes = 0;
    for size in 300..1300 {
        let mut memory = Memory::sized(2048, size);
        let setup = Setup::default();
        let mut client = lone_client::<S>(&mut memory, &setup, silent());
        client.settle(NOW);
        if client.outcome.is_some() {
            continue;
        }
        sizes += 1;
        let mut theirs = Memory::default();
        let mut server = lone_server::<S>(&mut theirs, &setup, admit_all());
        server.feed(&client.take(usize::MAX), NOW);
        client.feed(&server.take(usize::MAX), NOW);
        if client.outcome == Some(Err(Error::Misuse(Misuse::BufferTooSmall))) {
            continue;
        }
        client.act(Act::Close(CloseReason::Bye), NOW);
        server.feed(&client.take(usize::MAX), NOW);
        assert!(server.was_closed(CloseReason::Bye), "{size} bytes: {:?}", server.outcome);
        break;
    }
    assert!(sizes > 0);

    let mut memory = Memory::default();
    let mut pair = Pair::<S>::new(&mut memory, &Setup::default(), [silent(), admit_all()]);
    pair.run();
    let known = pair.known();
    let denied = Answer::Auth(AuthResult::refusal(AuthCode::Denied, 0));
    for free in [127, 128 + 34, 128 + 34 + CONTROL_RECORD - 1, 128 + 34 + CONTROL_RECORD] {
        let mut buffer = vec![0; 1024];
        let mut spare = Memory::default();
        let mut server = pair.server.fork(&mut spare, silent());
        for sequence in 0..3 {
            let login = record::<S>(&known.epoch_0[0], Direction::ToServer, sequence, &auth_inner());
            server.feed(&login, NOW);
            if sequence == 2 {
                server.end.tx = TxBuf::resume(&mut buffer, 1024 - free);
                break;
            }
            server.act(Act::Answer(denied), NOW);
        }
        server.act(Act::Answer(denied), NOW);
        if server.ticket.is_some() {
            // It found no room, and the ticket came back.
            assert!(free < 128 + 34 + CONTROL_RECORD);
            assert_eq!(server.end.tx.pending().len(), 1024 - free);
            server.take(1024 - free);
        }
        server.settle(NOW);
        assert_eq!(server.outcome, Some(Ok(Closed::Here(CloseReason::AuthFailed))), "{free} bytes free");
        let pending = server.take(usize::MAX);
        let records = if pending.len() > 1024 - free { &pending[1024 - free..] } else { &pending };
        assert_eq!(frames(records, 0).len(), 2, "AUTH_RESULT and CLOSE, {free} bytes free");
    }
}

fn auth_inner() -> Vec<u8> {
    let Seen::Message(kind, body) = Seen::message(&Message::Auth(PASSWORD_AUTH)) else { unreachable!() };
    inner(kind, &body, 512)
}

/// Red if input is held behind output (a peer that doesn't read would stop us from reading), or if every PING is
/// kept.
fn only_the_last_ping_is_answered<S: ServedSuite>() {
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let known = pair.known();
    let mut buffer = vec![0; 1024];
    let mut spare = Memory::default();
    let mut server = pair.server.fork(&mut spare, silent());
    server.end.tx = TxBuf::resume(&mut buffer, 1024);
    for token in 1..=100 {
        pair.client.act(Act::Send(Message::Ping(Ping { token })), NOW);
        server.feed(&pair.client.take(usize::MAX), NOW);
    }
    pair.client.act(Act::Send(send(b"read me")), NOW);
    server.feed(&pair.client.take(usize::MAX), NOW);
    assert_eq!(server.log.len(), 1, "a message behind the PINGs arrives");
    assert!(server.end.rx.unconsumed().len() < 200);
    server.take(1024);
    server.settle(NOW);
    let answer = server.take(usize::MAX);
    let data = aad(Direction::ToClient, 1, answer.len() - 2);
    let keys = Keys::of_epoch::<S>(&known.epoch_0[1]);
    let plain = keys.open::<S>(1, &data, &answer[2..]).expect("one PONG");
    assert_eq!(plain, inner(3, &100u64.to_be_bytes(), 64));
}

/// Red if a step goes on although nobody has decided.
fn dropped_tickets_refuse<S: ServedSuite>() {
    let unanswered = Err(Error::Misuse(Misuse::Unanswered));
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::new(&mut memory, &Setup::default(), [log_in(), silent()]);
    pair.run();
    pair.server.ticket = None;
    pair.run();
    assert_eq!(pair.server.outcome, Some(unanswered));
    assert_eq!(pair.down.sent, framed(6, S::ID, &[ErrorCode::Busy as u8]));
    assert_eq!(pair.client.outcome, Some(Err(Error::Refused(ErrorCode::Busy))));

    let mut memory = Memory::default();
    let mut pair = Pair::<S>::new(&mut memory, &Setup::default(), [log_in(), silent()]);
    pair.run();
    pair.server.act(Act::Answer(Answer::Admit), NOW);
    pair.run();
    pair.server.ticket = None;
    pair.run();
    assert_eq!(pair.server.outcome, Some(unanswered));
    assert!(pair.client.was_closed(CloseReason::Overloaded));
    assert!(!pair.client.machine.conn().is_ready());

    // Busy, said aloud.
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::new(&mut memory, &Setup::default(), [log_in(), silent()]);
    pair.run();
    pair.server.act(Act::Answer(Answer::Busy), NOW);
    pair.run();
    assert_eq!(pair.server.outcome, Some(Ok(Closed::Here(CloseReason::Overloaded))));
    assert_eq!(pair.client.outcome, Some(Err(Error::Refused(ErrorCode::Busy))));
}

fn answer<S: ServedSuite>(
    server: &mut Party<'_, ServerSide<S>>,
    ticket: Ticket,
    answer: Answer<'_>,
) -> Result<(), AnswerError> {
    server.end.with(NOW, |_, io| server.machine.conn().answer(ticket, answer, io))
}

/// The next event of a server that has all its input.
fn next_event<S: ServedSuite>(server: &mut Party<'_, ServerSide<S>>) -> EventId {
    loop {
        match server.machine.step(&mut server.end, NOW) {
            Ok(Some(Step::Event(id))) => return id,
            Ok(Some(Step::Progressed) | None) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn ticket<S: ServedSuite>(server: &mut Party<'_, ServerSide<S>>, id: EventId) -> Ticket {
    match server.machine.conn().event(&server.end.rx, id).unwrap() {
        Event::Admit { ticket, .. } | Event::Auth { ticket, .. } => ticket,
        other => panic!("{other:?}"),
    }
}

/// Red if a ticket serves twice, for another event, or for another kind of answer.
fn tickets_are_for_one_answer<S: ServedSuite>() {
    let stale = |result| matches!(result, Err(AnswerError::Failed(Error::Misuse(Misuse::Stale))));
    let wrong = |result| matches!(result, Err(AnswerError::Failed(Error::Misuse(Misuse::WrongAnswer))));
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::new(&mut memory, &Setup::default(), [log_in(), silent()]);
    let server = &mut pair.server;
    pair.client.settle(NOW);
    server.give(&pair.client.take(usize::MAX));
    let admit = next_event(server);
    let [one, two, three, old] = [0; 4].map(|_| ticket(server, admit));
    assert!(wrong(answer(server, one, Answer::Auth(WELCOME))));
    assert!(answer(server, two, Answer::Admit).is_ok());
    assert!(stale(answer(server, three, Answer::Busy)), "decided is decided");
    assert!(server.end.tx.is_empty());
    let stale_event = server.machine.conn().event(&server.end.rx, admit).err();
    assert_eq!(stale_event, Some(Error::Misuse(Misuse::Stale)), "answered");

    server.settle(NOW);
    pair.client.feed(&server.take(usize::MAX), NOW);
    server.give(&pair.client.take(usize::MAX));
    next_event(server);
    let login = next_event(server);
    assert!(stale(answer(server, old, Answer::Auth(WELCOME))), "the ticket of another event");
    let [one, two] = [0; 2].map(|_| ticket(server, login));
    assert!(wrong(answer(server, one, Answer::Admit)));
    assert!(answer(server, two, Answer::Auth(WELCOME)).is_ok());
    assert!(server.machine.conn().is_ready());
}

/// Red if an event can be looked at after the step that erased it.
fn events_are_over_with_the_next_step<S: ServedSuite>() {
    let stale = Some(Error::Misuse(Misuse::Stale));
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let server = &mut pair.server;
    for body in [b"one", b"two"] {
        pair.client.act(Act::Send(send(body)), NOW);
    }
    server.give(&pair.client.take(usize::MAX));
    pair.client.act(Act::Send(send(b"three")), NOW);
    let third = pair.client.take(usize::MAX);
    let first = next_event(server);
    let looked = |server: &mut Party<'_, ServerSide<S>>, id| {
        server.machine.conn().event(&server.end.rx, id).map(|event| format!("{event:?}"))
    };
    assert_eq!(looked(server, first), looked(server, first), "as often as one likes");
    // Between step and step the driver may receive more and send.
    server.give(&third[..40]);
    server.end.rx.spare();
    server.act(Act::Send(Message::Ping(Ping { token: 1 })), NOW);
    assert!(looked(server, first).is_ok());
    let second = next_event(server);
    assert_ne!(first, second);
    assert_eq!(looked(server, first).err(), stale);
    assert!(looked(server, second).is_ok());
    assert_eq!(server.machine.step(&mut server.end, NOW), Ok(Some(Step::NeedInput)));
    assert_eq!(looked(server, second).err(), stale);
}

/// A send buffer that takes no SEND has told so before anything was changed.
#[test]
fn messages_larger_than_the_peers_records() {
    let mut memory = Memory::default();
    let setup = Setup { max_record: [1024, 1024], ..Setup::default() };
    let mut pair = Pair::<Suite1>::ready(&mut memory, &setup);
    let overhead = 16 + 1 + 1 + 3 + 1 + 2;
    let conns = [pair.client.machine.conn().max_body(), pair.server.machine.conn().max_body()];
    assert_eq!(conns, [1020; 2], "what the application may fill");
    for (len, fits) in [(1020 - overhead, true), (1021 - overhead, false), (15_360, false)] {
        let body: &'static [u8] = Box::leak(vec![b'x'; len].into_boxed_slice());
        let sent = pair.client.end.with(NOW, |_, io| pair.client.machine.conn().send(&send(body), io));
        assert_eq!(sent, if fits { Ok(()) } else { Err(SendError::TooLarge) }, "{len} bytes");
    }
    pair.run();
    assert_eq!(pair.server.log.len(), 4, "the one that fits has arrived");
}
