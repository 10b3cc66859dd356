//! Attack 14, as far as the protocol goes: a login tells the wire nothing by its size, and can't be tried for ever. That
//! unknown user and wrong password cost the same work is for the tests of the server.

use sordino_core::error::SendError;
use sordino_core::event::{Answer, Closed};
use sordino_core::identity::ServedSuite;
use sordino_core::messages::{Auth, AuthCode, AuthMethod, AuthResult, CloseReason, Message};
use sordino_core::record::{Direction, Outbound};
use sordino_core::suite::tag_len;
use sordino_tests::both_suites;
use sordino_tests::pair::forge::{inner, record};
use sordino_tests::pair::lane::frames;
use sordino_tests::pair::script::{Act, PASSWORD_AUTH, WELCOME, silent};
use sordino_tests::pair::{Machine, Memory, Pair, Seen, Setup};

both_suites! {
    attack_14_one_size_for_every_login
    attack_14_one_size_for_every_result
    attack_14_three_refusals_and_no_more
    attack_14_logins_are_answered_one_by_one
    a_result_answers_a_login_and_is_no_message
}

const LONGEST: Auth<'static> = Auth {
    method: AuthMethod::Register,
    username: "an-username-of-thirty-two-chars.",
    email: concat!(
        "an.address.of.two.hundred.and.fifty.four.bytes.........................................",
        "......................................................................................@",
        "................................................................................"
    ),
    password: concat!(
        "a password of one hundred and twenty-eight bytes................",
        "................................................................"
    ),
    invite: "an-invite-of-thirty-two-letters.",
    code: "12345678",
    label: "a label of thirty-two bytes.....",
};

const DENIED: AuthResult<'static> = AuthResult::refusal(AuthCode::Denied, 0);

/// A pair whose handshake is over and whose server leaves its tickets unanswered.
fn undecided<'m, S: ServedSuite>(memory: &'m mut Memory, auth: Auth<'static>) -> Pair<'m, S> {
    let mut pair = Pair::<S>::new(memory, &Setup::default(), [silent(), silent()]);
    pair.run();
    pair.server.act(Act::Answer(Answer::Admit), pair.now);
    pair.run();
    pair.client.act(Act::Send(Message::Auth(auth)), pair.now);
    pair.run();
    pair
}

/// Red if AUTH isn't filled up to 508 bytes, for instance for a method with fewer fields.
fn attack_14_one_size_for_every_login<S: ServedSuite>() {
    assert_eq!((LONGEST.username.len(), LONGEST.email.len(), LONGEST.password.len()), (32, 254, 128));
    let empty = Auth { method: AuthMethod::Password, ..Auth::DEVICE };
    for auth in [Auth::DEVICE, empty, PASSWORD_AUTH, LONGEST, Auth { method: AuthMethod::Register, ..empty }]
    {
        let mut memory = Memory::default();
        let pair = undecided::<S>(&mut memory, auth);
        let record = frames(&pair.up.sent, 2)[2].len();
        assert_eq!(record, 2 + 512 + tag_len::<S>(), "{:?}", auth.method);
        let seen = Seen::Auth(auth.method, auth.username.into(), auth.password.into());
        assert_eq!(pair.server.log.last(), Some(&seen));
    }
}

/// Red if AUTH_RESULT isn't filled up to 124 bytes.
fn attack_14_one_size_for_every_result<S: ServedSuite>() {
    let codes = (0..=u8::MAX).map_while(AuthCode::from_u8);
    let refusals = codes.filter(|code| *code != AuthCode::Ok).map(|code| AuthResult::refusal(code, 0));
    let wait = AuthResult::refusal(AuthCode::RateLimited, u32::MAX);
    let welcome = AuthResult { username: LONGEST.username, device: u64::MAX, pending: u32::MAX, ..WELCOME };
    let mut count = 0;
    for result in refusals.chain([wait, WELCOME, welcome]) {
        let mut memory = Memory::default();
        let mut pair = undecided::<S>(&mut memory, PASSWORD_AUTH);
        pair.server.act(Act::Answer(Answer::Auth(result)), pair.now);
        pair.run();
        let record = frames(&pair.down.sent, 1)[1].len();
        assert_eq!(record, 2 + 128 + tag_len::<S>(), "{:?}", result.code);
        assert_eq!(pair.client.log.last(), Some(&Seen::message(&Message::AuthResult(result))));
        assert_eq!(pair.client.machine.conn().is_ready(), result.code == AuthCode::Ok);
        count += 1;
    }
    assert_eq!(count, 13, "ten refusals, a wait, two successes");
}

/// Red if a log of an event has what somebody typed: people type passwords into the wrong field.
#[test]
fn attack_14_no_credentials_in_a_log() {
    let ours =
        Auth { username: "alice", email: "a@b.example", password: "hunter2", invite: "party", ..LONGEST };
    let ours = Auth { code: "424242", label: "laptop", ..ours };
    assert_eq!(format!("{ours:?}"), "Auth { method: Register, .. }");
}

/// Red if refusals aren't counted, or the count starts again.
fn attack_14_three_refusals_and_no_more<S: ServedSuite>() {
    let mut memory = Memory::default();
    let mut pair = undecided::<S>(&mut memory, PASSWORD_AUTH);
    let others = [AuthCode::RateLimited, AuthCode::UsernameTaken, AuthCode::Denied];
    for (number, code) in others.into_iter().enumerate() {
        assert_eq!(pair.client.outcome, None, "after {number} refusals");
        pair.server.act(Act::Answer(Answer::Auth(AuthResult::refusal(code, 0))), pair.now);
        pair.run();
        if number < 2 {
            pair.client.act(Act::Send(Message::Auth(PASSWORD_AUTH)), pair.now);
            pair.run();
        }
    }
    assert_eq!(pair.server.outcome, Some(Ok(Closed::Here(CloseReason::AuthFailed))));
    assert!(pair.client.was_closed(CloseReason::AuthFailed));
    let results = pair.client.log.iter().filter(|seen| matches!(seen, Seen::Message(17, _))).count();
    assert_eq!(results, 3, "the third refusal arrives before the CLOSE");

    let mut memory = Memory::default();
    let mut pair = undecided::<S>(&mut memory, PASSWORD_AUTH);
    for _ in 0..2 {
        pair.server.act(Act::Answer(Answer::Auth(DENIED)), pair.now);
        pair.run();
        pair.client.act(Act::Send(Message::Auth(PASSWORD_AUTH)), pair.now);
        pair.run();
    }
    pair.server.act(Act::Answer(Answer::Auth(WELCOME)), pair.now);
    pair.run();
    assert!(pair.client.machine.conn().is_ready() && pair.server.machine.conn().is_ready());
}

/// Red if a second AUTH is shown before the first was answered: guesses would then be free.
fn attack_14_logins_are_answered_one_by_one<S: ServedSuite>() {
    let mut memory = Memory::default();
    let mut pair = undecided::<S>(&mut memory, PASSWORD_AUTH);
    let refused = pair
        .client
        .end
        .with(pair.now, |_, io| pair.client.machine.conn().send(&Message::Auth(PASSWORD_AUTH), io));
    assert!(refused.is_err(), "an honest client waits for its answer");

    // Ten guesses at once from a client that doesn't wait.
    let known = pair.known();
    let Seen::Message(_, body) = Seen::message(&Message::Auth(PASSWORD_AUTH)) else { unreachable!() };
    for sequence in 1..11 {
        let guess = record::<S>(&known.epoch_0[0], Direction::ToServer, sequence, &inner(16, &body, 512));
        assert_eq!(guess.len(), Outbound::<S>::wire_len(body.len()).unwrap());
        pair.server.feed(&guess, pair.now);
    }
    let logins = |seen: &[Seen]| seen.iter().filter(|seen| matches!(seen, Seen::Auth(..))).count();
    for answered in 0..3 {
        assert_eq!(logins(&pair.server.log), answered + 1, "the next is read after the answer");
        pair.server.act(Act::Answer(Answer::Auth(DENIED)), pair.now);
        pair.server.settle(pair.now);
    }
    assert_eq!(logins(&pair.server.log), 3);
    assert_eq!(pair.server.outcome, Some(Ok(Closed::Here(CloseReason::AuthFailed))));
}

/// Red if a server could send the result of a login by the way that counts no refusals.
fn a_result_answers_a_login_and_is_no_message<S: ServedSuite>() {
    let mut memory = Memory::default();
    let mut pair = undecided::<S>(&mut memory, PASSWORD_AUTH);
    for result in [DENIED, WELCOME] {
        let (machine, end) = (&mut pair.server.machine, &mut pair.server.end);
        let sent = end.with(pair.now, |_, io| machine.conn().send(&Message::AuthResult(result), io));
        assert_eq!(sent, Err(SendError::NotAllowed));
        assert!(end.tx.pending().is_empty());
    }
}
