//! `send`: what it waits for, what it takes, and how it fails.

use std::time::Duration;

use sordino_tests::e2e::{Finished, Host, PASSWORD, PATIENCE, Process};

use crate::PROGRAMS;

#[test]
fn a_message_to_someone_offline_arrives_at_the_next_connection() {
    let mut host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    alice.send("@bob", "while you were away");
    host.kill();
    host.up();
    let line = &bob.receive(1)[0];
    assert_eq!((&*line.from, &*line.to, &*line.text), ("alice", "@bob", "while you were away"));
}

#[test]
fn an_unknown_recipient_or_room_exits_with_7() {
    let host = Host::start(PROGRAMS);
    let alice = host.member("alice");
    for target in ["@nobody", "#nowhere"] {
        let refused = alice.run(&["send", target, "hi"]).exits(7);
        assert!(refused.stderr.contains(target), "{}", refused.stderr);
    }
}

#[test]
fn a_room_of_others_is_refused() {
    let host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    alice.ok(&["rooms", "join", "#club"]);
    let refused = bob.run(&["send", "#club", "hi"]).exits(1);
    assert!(refused.stderr.contains("join"), "{}", refused.stderr);
}

#[test]
fn unreachable_exits_with_3_and_nothing_remains_queued() {
    let mut host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    host.kill();
    let failed = alice.run(&["send", "@bob", "lost", "--timeout", "2"]).exits(3);
    assert!(failed.took < Duration::from_secs(6), "{failed:#?}");
    host.up();
    alice.send("@bob", "found");
    assert_eq!(bob.receive(1)[0].text, "found");
    bob.receive_nothing();
}

#[test]
fn send_gives_up_after_15_seconds_by_default() {
    let mut host = Host::start(PROGRAMS);
    let alice = host.member("alice");
    host.kill();
    let failed = alice.run(&["send", "@alice", "lost"]).exits(3);
    assert!((14.0..20.0).contains(&failed.took.as_secs_f64()), "{failed:#?}");
}

#[test]
fn a_server_that_comes_back_in_time_gets_the_message_once() {
    let mut host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    host.kill();
    let sending = alice.start(&["send", "@bob", "patience", "--timeout", "30"]);
    host.up();
    sending.finish(PATIENCE).exits(0);
    assert_eq!(bob.receive(1)[0].text, "patience");
    bob.receive_nothing();
}

#[test]
fn delivered_waits_for_a_device_of_the_user() {
    let host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    let mut sending =
        alice.start(&["send", "@bob", "are you there?", "--wait", "delivered", "--timeout", "30"]);
    assert!(sending.ended(Duration::from_millis(700)).is_none(), "bob has not received anything yet");
    assert_eq!(bob.receive(1)[0].text, "are you there?");
    sending.finish(PATIENCE).exits(0);
}

#[test]
fn delivered_in_a_room_waits_for_one_other_member() {
    let host = Host::start(PROGRAMS);
    let people = ["alice", "bob", "carol"].map(|name| host.member(name));
    for person in &people {
        person.ok(&["rooms", "join", "#club"]);
    }
    let mut sending =
        people[0].start(&["send", "#club", "anyone?", "--wait", "delivered", "--timeout", "30"]);
    assert!(sending.ended(Duration::from_millis(700)).is_none());
    people[2].receive(1);
    sending.finish(PATIENCE).exits(0);
    people[1].receive(1);
}

#[test]
fn not_delivered_in_time_fails_and_the_message_still_arrives() {
    let host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    let failed = alice.run(&["send", "@bob", "later", "--wait", "delivered", "--timeout", "1"]).exits(1);
    assert!(failed.stderr.contains("not delivered"), "{}", failed.stderr);
    assert_eq!(bob.receive(1)[0].text, "later");
}

#[test]
fn a_dash_is_standard_input() {
    let host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    let text = "two lines,\nsecond: \"quotes\", \\, \t tab, \u{1b}[31mred, Grüße, 🎻";
    alice.run_with_input(&["send", "@bob", "-"], &format!("{text}\n")).exits(0);
    assert_eq!(bob.receive(1)[0].text, text);
}

#[test]
fn the_largest_message_arrives_whole_in_both_suites() {
    let host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.client("bob"));
    let file = bob.password_file(PASSWORD);
    let register = ["--suite", "1", "register", "--server", &bob.server, "--user", "bob"];
    bob.ok(&[&register[..], &["--email", "b@example.org", "--password-file", &file]].concat());
    let text: String = ('a'..='z').cycle().take(15_360).collect();
    for (from, to, name) in [(&alice, &bob, "@bob"), (&bob, &alice, "@alice")] {
        from.run_with_input(&["send", name, "-"], &text).exits(0);
        assert!(to.receive(1)[0].text == text);
    }
    for input in [format!("{text}z"), String::new()] {
        alice.run_with_input(&["send", "@bob", "-"], &input).exits(1);
    }
    bob.receive_nothing();
}

#[test]
fn too_many_messages_exit_with_5() {
    let host = Host::start_with(PROGRAMS, "[limits]\nmessage_burst = 2\nmessages_per_second = 1\n");
    let alice = host.member("alice");
    let sending: Vec<Process> = (0..12).map(|_| alice.start(&["send", "@alice", "hi"])).collect();
    let codes: Vec<Option<i32>> = sending.into_iter().map(|p| p.finish(PATIENCE).code).collect();
    let count = |code| codes.iter().filter(|c| **c == Some(code)).count();
    assert!(count(0) >= 2 && count(5) >= 1 && count(0) + count(5) == 12, "{codes:?}");
}

#[test]
fn a_full_mailbox_is_told() {
    let host = Host::start_with(PROGRAMS, "[limits]\nmailbox = 2\n");
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    alice.send("@bob", "one");
    alice.send("@bob", "two");
    let refused: Finished = alice.run(&["send", "@bob", "three"]).exits(1);
    assert!(refused.stderr.contains("full"), "{}", refused.stderr);
    bob.receive(2);
    alice.send("@bob", "four");
}
