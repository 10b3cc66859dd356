//! Which server a client trusts: given fingerprints, the pin, and what happens when another server answers.

use sordino_tests::e2e::{Client, Finished, Host, PASSWORD};

use crate::PROGRAMS;

fn is_loud(refused: &Finished) {
    assert!(
        refused.stderr.contains("***") && refused.stderr.to_lowercase().contains("fingerprint"),
        "{refused:#?}"
    );
}

fn enter(client: &Client, fingerprint: &str) -> Finished {
    let mut client = client.clone();
    client.fingerprint = fingerprint.into();
    client.enter("register", "alice", PASSWORD)
}

#[test]
fn a_malformed_fingerprint_exits_with_2() {
    let host = Host::start(PROGRAMS);
    let client = host.client("alice");
    let good = host.fingerprint().to_owned();
    for wrong in ["", "abc", &good[1..], &format!("{good}0"), &good.replace(&good[..1], "g")] {
        enter(&client, wrong).exits(2);
    }
}

#[test]
fn a_fingerprint_may_be_written_for_people() {
    let host = Host::start(PROGRAMS);
    let client = host.client("alice");
    let groups: Vec<String> =
        host.fingerprint().as_bytes().chunks(8).map(|g| String::from_utf8_lossy(g).to_uppercase()).collect();
    enter(&client, &groups.join(" - ")).exits(0);
}

#[test]
fn a_well_formed_wrong_fingerprint_exits_with_4_and_pins_nothing() {
    let host = Host::start(PROGRAMS);
    let client = host.client("alice");
    let refused = enter(&client, &"5".repeat(64)).exits(4);
    is_loud(&refused);
    enter(&client, host.fingerprint()).exits(0);
}

#[test]
fn a_fingerprint_other_than_the_pinned_one_exits_with_4() {
    let host = Host::start(PROGRAMS);
    let alice = host.member("alice");
    let wrong = "5".repeat(64);
    is_loud(&alice.run(&["--fingerprint", &wrong, "send", "@alice", "hi"]).exits(4));
    alice.send("@alice", "the pin is as it was");
}

#[test]
fn another_server_under_a_pinned_home_exits_with_4() {
    let (host, other) = (Host::start(PROGRAMS), Host::start(PROGRAMS));
    let alice = host.member("alice");
    for suite in ["2", "1"] {
        let refused =
            alice.run(&["--suite", suite, "--server", other.address(), "send", "@alice", "hi"]).exits(4);
        is_loud(&refused);
    }
    alice.send("@alice", "the pin is as it was");
}

#[test]
fn a_server_that_lost_its_keys_exits_with_4() {
    let mut host = Host::start(PROGRAMS);
    let alice = host.member("alice");
    host.kill();
    std::fs::remove_dir_all(host.data_dir()).expect("the data directory was there");
    host.up();
    for arguments in [&["send", "@alice", "hi"][..], &["recv", "--timeout", "1"], &["rooms", "list"], &[]] {
        is_loud(&alice.run(arguments).exits(4));
    }
}

#[test]
fn the_first_server_met_is_shown_once_and_pinned() {
    let host = Host::start(PROGRAMS);
    let alice = host.client("alice");
    let file = alice.password_file(PASSWORD);
    let who = ["--user", "alice", "--email", "a@example.org", "--password-file", &file];
    let first = alice.run(&[&["register", "--server", host.address()][..], &who].concat()).exits(0);
    let grouped = |text: &str| text.replace([' ', '\n'], "").contains(host.fingerprint());
    assert!(grouped(&first.stderr), "{}", first.stderr);
    let second = alice.run(&["send", "@alice", "hi"]).exits(0);
    assert!(!grouped(&second.stderr), "{}", second.stderr);
    let other = Host::start(PROGRAMS);
    is_loud(&alice.run(&["--server", other.address(), "recv"]).exits(4));
}
