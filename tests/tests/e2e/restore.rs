//! Attack 20 against the programs: a home and a data directory that were restored from old copies.

use std::{collections::HashSet, fs, path::Path, process::Command};

use sordino::session::{Event, Identity, Session};
use sordino::text::target::Target;
use sordino_core::suite::{Suite1, Suite2, dh_len};
use sordino_tests::e2e::{
    Client, Host,
    crowd::{new_id, options, register},
    tap::Tap,
};

use crate::PROGRAMS;

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().expect("cp");
    assert!(copied.success());
}

/// Puts the copy in the place of the directory.
fn restore(copied: &Path, dir: &Path) {
    fs::remove_dir_all(dir).expect("the directory was there");
    copy(copied, dir);
}

fn texts(client: &Client, count: usize) -> Vec<String> {
    client.receive(count).into_iter().map(|line| line.text).collect()
}

/// The ephemeral key of message 1, which may come behind a key request.
fn ephemeral(said: &[u8]) -> Option<Vec<u8>> {
    const KEY_REQUEST: u8 = 1;
    let message = if said.get(3) == Some(&KEY_REQUEST) { said.get(8..)? } else { said };
    let len = if message.get(4)? == &1 { dh_len::<Suite1>() } else { dh_len::<Suite2>() };
    message.get(24..24 + len).map(<[u8]>::to_vec)
}

/// Red if neither random numbers nor the counter, which begins with the time, enter the ephemeral key: either keeps it
/// from being used again, and nothing of both comes from the restored home.
#[test]
fn attack_20_a_restored_home_uses_no_key_twice_and_loses_nothing() {
    let host = Host::start(PROGRAMS);
    let bob = host.member("bob");
    let tap = Tap::before(host.address());
    let mut alice = host.client("alice");
    alice.server = tap.address().into();
    alice.register("alice");
    let old = host.path("old");
    copy(alice.home(), &old);
    for text in ["one", "two", "three"] {
        alice.send("@bob", text);
    }
    bob.send("@alice", "hello");
    assert_eq!(texts(&alice, 1), ["hello"]);
    restore(&old, alice.home());
    for text in ["four", "five", "six"] {
        alice.send("@bob", text);
    }
    alice.receive_nothing();
    bob.send("@alice", "again");
    assert_eq!(texts(&alice, 1), ["again"], "what was acknowledged before the restore isn't sent again");
    assert_eq!(texts(&bob, 6), ["one", "two", "three", "four", "five", "six"]);

    let said = tap.heard();
    let keys: Vec<_> = said.iter().filter_map(|said| ephemeral(said)).collect();
    assert!(keys.len() >= 9, "each command makes a connection: {}", keys.len());
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len(), "an ephemeral key was used twice");
}

/// Red if ids aren't kept with the messages: a client that sends again what it sent before its restore is heard twice.
#[test]
fn attack_20_a_message_sent_again_from_restored_state_is_one_message() {
    let mut host = Host::start(PROGRAMS);
    let bob = host.member("bob");
    let (identity, options) = (Identity::in_memory(), options(&host, 2));
    let id = new_id();
    let numbers: Vec<u64> = (0..3)
        .map(|round| {
            smol::block_on(async {
                let mut session = if round == 0 {
                    register(&identity, &options, "alice").await.expect("alice registers")
                } else {
                    let mut session = Session::connect(&identity, &options).await.expect("a connection");
                    session.log_in(sordino::session::Credentials::Device).await.expect("alice logs in");
                    session
                };
                let to = Target::User("bob".into());
                session.send(&id, &to, b"once").await.expect("it is sent");
                let number = loop {
                    if let Event::Accepted(accepted) = session.next().await.expect("an answer") {
                        break accepted.number;
                    }
                };
                session.close().await;
                number
            })
        })
        .collect();
    assert!(numbers.iter().all(|number| *number == numbers[0]), "{numbers:?}");
    host.kill();
    host.up();
    assert_eq!(texts(&bob, 1), ["once"]);
    bob.receive_nothing();
}

/// Red if a client passes a message by because its number was there before, or the server panics over what it doesn't
/// know any more.
#[test]
fn attack_20_a_restored_server_goes_on_with_those_whom_it_knows() {
    let mut host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    for person in [&alice, &bob] {
        person.ok(&["rooms", "join", "#club"]);
    }
    alice.send("@bob", "one");
    assert_eq!(texts(&bob, 1), ["one"]);
    host.terminate().exits(0);
    let old = host.path("old");
    copy(&host.data_dir(), &old);
    host.up();
    let carol = host.member("carol");
    for text in ["two", "three", "four"] {
        alice.send("@bob", text);
    }
    carol.ok(&["rooms", "join", "#club"]);
    carol.send("#club", "from carol");
    assert_eq!(bob.receive(4).len(), 4);
    let following = bob.start(&["recv", "--json", "--follow"]);
    alice.send("@bob", "five");
    following.stdout.expect("five");

    host.kill();
    restore(&old, &host.data_dir());
    host.up();
    let unknown = carol.run(&["send", "@bob", "who am I?"]).exits(6);
    assert!(unknown.stderr.contains("this device isn't known"), "{unknown:#?}");
    // More than were forgotten, so that every number of theirs comes again.
    for at in 0..8 {
        alice.send(if at % 2 == 0 { "@bob" } else { "#club" }, &format!("after {at}"));
    }
    following.stdout.expect("after 7");
    let shown: Vec<String> = sordino_tests::e2e::client::lines(&following.stdout.text())
        .into_iter()
        .map(|line| line.text)
        .collect();
    let expected: Vec<String> = (0..8).map(|at| format!("after {at}")).collect();
    assert_eq!(shown[1..], expected);
    carol.register("carol");
    carol.send("@bob", "I am back");
    following.stdout.expect("I am back");
    drop(following);
    let stopped = host.terminate().exits(0);
    assert!(!stopped.stderr.contains("panicked"), "{}", stopped.stderr);
}
