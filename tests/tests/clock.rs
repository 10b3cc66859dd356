//! Time limits, on the virtual clock and to the millisecond.

use sordino_core::config::Timeouts;
use sordino_core::error::{Deadline, Error, Misuse};
use sordino_core::event::{Answer, AnswerError};
use sordino_core::identity::ServedSuite;
use sordino_core::messages::{CloseReason, Message, Ping};
use sordino_core::{Client, Conn, Suite1};
use sordino_tests::both_suites;
use sordino_tests::pair::lane::frames;
use sordino_tests::pair::script::{Act, WELCOME, admit_all, log_in, send, silent};
use sordino_tests::pair::{Machine, Memory, Pair, Party, Script, Setup};

both_suites! {
    handshake_ends_after_its_limit
    handshake_may_take_until_its_limit
    login_ends_after_its_limit
    quiet_connection_is_kept_alive
    silent_peer_is_asked_once_and_given_up
}

const TOO_LONG: Error = Error::Timeout(Deadline::Handshake);

/// Lets time pass at one end alone, deadline by deadline; none of them may leave another one due at once for ever.
fn pass<M: Machine>(party: &mut Party<'_, M>, then: u64) {
    let mut handled = 0;
    while let Some(due) = party.poll_timeout().filter(|due| *due <= then) {
        party.handle_timeout(due);
        party.settle(due);
        handled += 1;
        assert!(handled < 100, "the deadline does not move");
    }
}

fn handshake_ends_after_its_limit<S: ServedSuite>() {
    for (key_request, given) in [(false, 0), (true, 0), (false, 1), (false, 8), (false, 9), (false, 327)] {
        let mut memory = Memory::default();
        let setup = Setup { key_request, ..Setup::default() };
        let mut pair = Pair::<S>::new(&mut memory, &setup, [log_in(), admit_all()]);
        let end = setup.start + u64::from(Timeouts::CLIENT.handshake);
        pair.client.settle(setup.start);
        let first = pair.client.take(usize::MAX);
        pair.server.feed(&first[..given.min(first.len() - 1)], setup.start);
        pass(&mut pair.client, end - 1);
        pass(&mut pair.server, end - 1);
        pair.client.handle_timeout(end - 1);
        pair.server.handle_timeout(end - 1);
        assert_eq!(
            (pair.client.outcome, pair.server.outcome),
            (None, None),
            "{given} bytes, and asked early"
        );
        pass(&mut pair.client, end);
        pass(&mut pair.server, end);
        assert_eq!(pair.client.outcome, Some(Err(TOO_LONG)));
        assert_eq!(pair.server.outcome, Some(Err(TOO_LONG)), "{given} bytes");
        assert!(pair.client.end.tx.is_empty() && pair.server.end.tx.is_empty(), "silently");
        assert_eq!((pair.client.poll_timeout(), pair.server.poll_timeout()), (None, None));
    }
}

fn handshake_may_take_until_its_limit<S: ServedSuite>() {
    let setup = Setup::default();
    let last = setup.start + u64::from(Timeouts::CLIENT.handshake) - 1;
    let mut memory = Memory::default();
    let pair = slow_handshake::<S>(&mut memory, log_in(), last);
    assert!(pair.client.machine.look().unwrap().is_ready());

    // The other limits run from here, not from the connection's start.
    let mut memory = Memory::default();
    let mut pair = slow_handshake::<S>(&mut memory, silent(), last);
    let due = [&Timeouts::CLIENT, &Timeouts::SERVER].map(|limits| Some(last + u64::from(limits.ping)));
    assert_eq!([pair.client.poll_timeout(), pair.server.poll_timeout()], due, "PINGs");
    let end = last + u64::from(Timeouts::SERVER.login);
    pair.advance(end - 1);
    assert_eq!((pair.client.outcome, pair.server.outcome), (None, None));
    pair.advance(end);
    assert_eq!(pair.server.outcome, Some(Err(Error::Timeout(Deadline::Login))));
}

/// A pair whose handshake takes until `last`; before its end a step may still cost exponentiations, and nothing can be
/// sent.
fn slow_handshake<'m, S: ServedSuite>(memory: &'m mut Memory, script: Script<'m>, last: u64) -> Pair<'m, S> {
    let mut pair = Pair::<S>::new(memory, &Setup::default(), [script, admit_all()]);
    pair.client.settle(pair.now);
    pass(&mut pair.client, last);
    pass(&mut pair.server, last);
    let conn = pair.client.machine.conn();
    assert!(conn.is_handshaking() && conn.max_body() == 0);
    pair.now = last;
    pair.run();
    let [client, server] =
        [pair.client.machine.conn().is_handshaking(), pair.server.machine.conn().is_handshaking()];
    assert!(!client && !server);
    pair
}

fn login_ends_after_its_limit<S: ServedSuite>() {
    let login = u64::from(Timeouts::SERVER.login);
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::new(&mut memory, &Setup::default(), [silent(), admit_all()]);
    pair.run();
    let end = pair.now + login;
    pair.advance(end - 1);
    assert_eq!(pair.server.outcome, None, "PINGs are no login, but no reason to close either");
    pair.advance(end);
    assert_eq!(pair.server.outcome, Some(Err(Error::Timeout(Deadline::Login))));
    assert!(pair.client.was_closed(CloseReason::Timeout));

    // The password is still being checked when the time is over: the late answer changes nothing.
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::new(&mut memory, &Setup::default(), [log_in(), silent()]);
    pair.run();
    pair.server.act(Act::Answer(Answer::Admit), pair.now);
    pair.run();
    let ticket = pair.server.ticket.take().expect("an AUTH waits");
    let then = pair.now + login;
    pair.server.handle_timeout(then);
    let ended = Some(Err(Error::Timeout(Deadline::Login)));
    assert_eq!(pair.server.outcome, ended);
    let written = pair.server.end.tx.pending().len();
    let late = pair
        .server
        .end
        .with(then, |_, io| pair.server.machine.conn().answer(ticket, Answer::Auth(WELCOME), io));
    assert!(matches!(late, Err(AnswerError::Ended)), "{late:?}");
    assert_eq!(pair.server.end.tx.pending().len(), written);
    let step = pair.server.machine.step(&mut pair.server.end, then);
    assert_eq!(step, Err(Error::Timeout(Deadline::Login)), "how it ended stays");
}

fn quiet_connection_is_kept_alive<S: ServedSuite>() {
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let (start, ping) = (pair.now, u64::from(Timeouts::CLIENT.ping));
    let count =
        |pair: &Pair<'_, S>| [frames(&pair.up.sent, 2).len() - 2, frames(&pair.down.sent, 1).len() - 1];
    for number in 0..10usize {
        let due = start + (number as u64 + 1) * ping;
        pair.advance(due - 1);
        assert_eq!(count(&pair), [1 + number; 2], "not before its time");
        pair.advance(due);
        assert_eq!(count(&pair), [2 + number; 2], "one PING, one PONG; the server need not ask");
    }
    // What is received in between puts the next PING off.
    pair.advance(pair.now + ping / 2);
    pair.server.act(Act::Send(Message::Ping(Ping { token: 1 })), pair.now);
    pair.run();
    let before = count(&pair);
    pair.advance(pair.now + ping - 1);
    assert_eq!(count(&pair), before);
    pair.advance(pair.now + 1);
    assert_eq!(count(&pair), before.map(|records| records + 1));
}

fn silent_peer_is_asked_once_and_given_up<S: ServedSuite>() {
    let mut memory = Memory::default();
    let pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let start = pair.now;
    let control = 2 + 64 + sordino_core::suite::tag_len::<S>();
    for is_client in [true, false] {
        let limits = if is_client { Timeouts::CLIENT } else { Timeouts::SERVER };
        let [ping, idle] = [limits.ping, limits.idle].map(|span| start + u64::from(span));
        let mut other = Memory::default();
        if is_client {
            alone(&mut pair.client.fork(&mut other, silent()), [start, ping, idle], control);
        } else {
            alone(&mut pair.server.fork(&mut other, silent()), [start, ping, idle], control);
        }
    }
}

/// An end that hears nothing but the beginning of a record, which is no sign of life.
fn alone<M: Machine>(party: &mut Party<'_, M>, [start, ping, idle]: [u64; 3], control: usize) {
    pass(party, ping - 1);
    assert!(party.end.tx.is_empty());
    pass(party, ping);
    assert_eq!(party.take(usize::MAX).len(), control, "a PING");
    party.feed(&u16::try_from(control - 2).unwrap().to_be_bytes(), ping + 1);
    for early in (start..idle).step_by(777) {
        party.handle_timeout(early);
    }
    pass(party, idle - 1);
    assert!(party.end.tx.is_empty() && party.outcome.is_none(), "asked once");
    pass(party, idle);
    assert_eq!(party.outcome, Some(Err(Error::Timeout(Deadline::Idle))));
    assert_eq!(party.take(usize::MAX).len(), control, "a CLOSE, in case the other direction works");
    assert_eq!(party.machine.conn().poll_timeout(), None);
}

/// A PING that finds no room leaves as soon as there is some.
#[test]
fn ping_waits_for_room() {
    let mut memory = Memory::sized(2048, 2048);
    let mut pair = Pair::<Suite1>::ready(&mut memory, &Setup::default());
    let due = pair.now + u64::from(Timeouts::CLIENT.ping);
    let mut queued = 0;
    while pair.client.end.with(due, |_, io| pair.client.machine.conn().send(&send(b"x"), io)).is_ok() {
        queued += 1;
    }
    assert!(queued > 10);
    let full = pair.client.end.tx.pending().len();
    pair.client.handle_timeout(due);
    assert_eq!(pair.client.end.tx.pending().len(), full, "no room");
    pair.now = due;
    pair.run();
    let records = frames(&pair.up.sent, 2).len() - 2;
    assert_eq!(records, 1 + queued + 1, "login, messages, PING");
    assert!(pair.client.poll_timeout().unwrap() > due);
}

/// After a long sleep (a closed lid) the connection is over, and no PING is sent first.
#[test]
fn clock_may_jump() {
    for (jump, reason) in [(90_000, CloseReason::Timeout), (u64::from(u32::MAX), CloseReason::Expired)] {
        let mut memory = Memory::default();
        let mut pair = Pair::<Suite1>::ready(&mut memory, &Setup::default());
        let then = pair.now + jump;
        pair.client.handle_timeout(then);
        pair.client.settle(then);
        assert!(pair.client.outcome.is_some(), "{reason:?}");
        pair.now = then;
        pair.run();
        assert!(pair.server.was_closed(reason), "{:?}", pair.server.outcome);
    }
    let mut memory = Memory::default();
    let mut pair = Pair::<Suite1>::ready(&mut memory, &Setup { start: u64::MAX - 5, ..Setup::default() });
    pair.client.handle_timeout(u64::MAX);
    assert_ne!(pair.client.poll_timeout(), Some(0), "the clock's end does not wrap");
}

/// Limits that would never end a connection, or ping without pause, are refused.
#[test]
fn unsound_limits_are_refused() {
    let sound = Timeouts::CLIENT;
    for unsound in [
        Timeouts { handshake: 0, ..sound },
        Timeouts { ping: 0, ..sound },
        Timeouts { ping: sound.idle, ..sound },
        Timeouts { lifetime: 0, ..sound },
        Timeouts { lifetime: sound.lifetime + 1, ..sound },
    ] {
        let setup = Setup::default();
        let config = setup.client::<Suite1>(setup.server_key());
        let refused = Conn::<Client, _>::client(config, unsound, 0).err();
        assert_eq!(refused, Some(Error::Misuse(Misuse::Parameter)), "{unsound:?}");
    }
}
