//! Attack 7 against the programs: the server's key as a man in the middle would answer for it, and rotations.
//!
//! Red when a check of the key answer is left out, when a client goes on with what it has after ERROR 3, when `rotate`
//! keeps the version or makes a new root, and when a client doesn't ask again for the key after ERROR 3.

use std::{fs, path::Path};

use sordino_core::{
    Suite, Suite1, Suite2,
    error::Distrust,
    identity::{Statement, key_id},
    suite::{PublicKey, SecretKey},
};
use sordino_tests::{
    e2e::{Client, Finished, Host, PASSWORD, PATIENCE, Process, impostor::Impostor},
    pair::{
        answer::{Forgery, forgeries},
        forge::framed,
    },
};

use crate::PROGRAMS;

fn rotate(host: &Host, more: &[&str]) -> Finished {
    let data = host.data_dir().display().to_string();
    let mut command = std::process::Command::new(PROGRAMS.server);
    Process::start(command.args(["--data-dir", &data, "rotate"]).args(more)).finish(PATIENCE)
}

/// The server's keys change while nobody is there.
fn rotated(host: &mut Host, times: usize) {
    host.terminate().exits(0);
    let fingerprint = host.fingerprint().to_owned();
    (0..times).for_each(|_| drop(rotate(host, &[]).exits(0)));
    host.up();
    assert_eq!(host.fingerprint(), fingerprint);
}

/// Silently: what is said about keys or fingerprints would frighten people without need.
fn is_silent(client: &Client, suite: &str) {
    let sent = client.run(&["--suite", suite, "send", "@alice", "hi"]).exits(0);
    assert!(sent.stderr.is_empty(), "{sent:#?}");
}

/// A user with a device key of each suite.
fn member_of_both(host: &Host, name: &str) -> Client {
    let client = host.member(name);
    let file = client.password_file(PASSWORD);
    let who = ["login", "--user", name, "--password-file", &file];
    client.run(&[&["--suite", "1"][..], &who].concat()).exits(0);
    client
}

fn is_loud(refused: Finished, what: &str) {
    let refused = refused.exits(4);
    assert!(refused.stderr.contains("***") && refused.stdout.is_empty(), "{what}: {refused:#?}");
}

fn bytes(host: &Host, file: &str) -> Vec<u8> {
    let text = fs::read_to_string(host.data_dir().join(file)).expect("a key file");
    hex::decode(text.trim()).expect("hexadecimal")
}

fn public<S: Suite>(host: &Host) -> PublicKey<S> {
    SecretKey::<S>::from_bytes(&bytes(host, &format!("suite{}.key", S::ID))).expect("an exponent").public()
}

/// What whoever has stolen the root could say, and who hasn't: the answers that a client must not take.
fn answers<S: Suite>(host: &Host, version: u32) -> Vec<Forgery> {
    let root = bytes(host, "root.key").try_into().expect("a seed");
    let listed =
        [(1, key_id::<Suite1>(&public::<Suite1>(host))), (2, key_id::<Suite2>(&public::<Suite2>(host)))];
    let statement = Statement::new(version, 1, &listed).expect("a statement");
    forgeries::<S>(&root, &statement, &public::<S>(host))
}

fn refused_by_the_client<S: Suite>() {
    let mut host = Host::start(PROGRAMS);
    let alice = member_of_both(&host, "alice");
    host.terminate().exits(0);
    rotate(&host, &["--version", "5"]).exits(0);
    host.up();
    let suite = S::ID.to_string();
    is_silent(&alice, &suite);
    let request = framed(1, S::ID, &[]);
    for (at, forgery) in answers::<S>(&host, 5).into_iter().enumerate() {
        let impostor = Impostor::answering(forgery.answer.message::<S>());
        let there = ["--suite", &suite, "--server", impostor.address()];
        let sent = alice.run(&[&there[..], &["send", "@alice", "a secret"]].concat());
        is_loud(sent, forgery.name);
        let heard = impostor.heard(2);
        assert_eq!(heard.len(), 2, "{}: message 1 under the stored key, then the key request", forgery.name);
        assert_eq!(heard[1], request, "{}: nothing is sent to who can't answer", forgery.name);

        if forgery.needs_pin {
            continue;
        }
        let mut stranger = host.client(&format!("stranger{at}"));
        stranger.server = impostor.address().into();
        let file = stranger.password_file(PASSWORD);
        let who = ["register", "--user", "mallory", "--email", "m@example.org", "--password-file", &file];
        let given = ["--fingerprint", &stranger.fingerprint];
        is_loud(stranger.run(&[&there[..], &given, &who].concat()), forgery.name);
        assert_eq!(impostor.heard(3).get(2), Some(&request), "{}: no credentials", forgery.name);
        assert_eq!(forgery.refused == Distrust::Root, forgery.name.contains("root"));
    }
    is_silent(&alice, &suite);
}

#[test]
fn attack_07_a_forged_key_answer_exits_with_4_in_suite_1() {
    refused_by_the_client::<Suite1>();
}

#[test]
fn attack_07_a_forged_key_answer_exits_with_4_in_suite_2() {
    refused_by_the_client::<Suite2>();
}

#[test]
fn clients_that_slept_through_one_and_two_rotations_follow_silently() {
    let mut host = Host::start(PROGRAMS);
    let (alice, bob) = (member_of_both(&host, "alice"), host.member("bob"));
    is_silent(&alice, "1");
    // It has met the server, and nobody has logged in there.
    let newcomer = host.client("newcomer");
    newcomer.enter("login", "alice", "not the password").exits(6);
    let mut following = bob.start(&["recv", "--json", "--follow"]);
    alice.send("@bob", "before");
    following.stdout.expect("before");

    rotated(&mut host, 1);
    is_silent(&alice, "2");
    alice.send("@bob", "while following");
    following.stdout.expect("while following");
    assert!(following.ended(std::time::Duration::ZERO).is_none());
    following.signal(rustix::process::Signal::TERM);
    assert!(!following.stderr.text().to_lowercase().contains("fingerprint"), "{}", following.stderr.text());
    let slept = member_of_both(&host, "slept");

    rotated(&mut host, 2);
    for suite in ["2", "1"] {
        is_silent(&alice, suite);
        is_silent(&slept, suite);
    }
    newcomer.register("newcomer");
    rotated(&mut host, 1);
    newcomer.log_in("newcomer");
}

#[test]
fn a_rotation_needs_keys_and_a_stopped_server_and_a_higher_version() {
    let mut host = Host::new(PROGRAMS);
    assert!(rotate(&host, &[]).exits(1).stderr.contains("no keys"));
    host.up();
    assert!(rotate(&host, &[]).exits(1).stderr.contains("another server is running"));
    host.terminate().exits(0);
    assert!(rotate(&host, &["--version", "1"]).exits(1).stderr.contains("higher"));
    let said = rotate(&host, &["--version", "7"]).exits(0).stdout;
    assert!(said.contains("version 7"), "{said}");
    assert!(said.replace([' ', '\n'], "").contains(host.fingerprint()), "{said}");
    rotate(&host, &["--version", "x"]).exits(2);
}

fn copy_keys(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for file in ["root.key", "suite1.key", "suite2.key", "statement"] {
        fs::copy(from.join(file), to.join(file)).expect("a key file");
    }
}

/// Whoever has an old static key and its old statement is refused by all who know the new one.
#[test]
fn attack_07_an_old_statement_is_refused_after_a_rotation() {
    let mut host = Host::start(PROGRAMS);
    let alice = member_of_both(&host, "alice");
    let old = host.path("old");
    copy_keys(&host.data_dir(), &old);
    rotated(&mut host, 1);
    is_silent(&alice, "2");
    is_silent(&alice, "1");

    let mut thief = Host::new(PROGRAMS);
    copy_keys(&old, &thief.data_dir());
    thief.up();
    assert_eq!(thief.fingerprint(), host.fingerprint(), "the same root");
    for suite in ["2", "1"] {
        let there = ["--suite", suite, "--server", thief.address(), "send", "@alice", "hi"];
        let refused = alice.run(&there);
        assert!(refused.stderr.contains("older"), "{refused:#?}");
        is_loud(refused, "an old statement");
    }
    is_silent(&alice, "2");

    // The way back that the operator's guide names, after an old backup had to be restored.
    thief.terminate().exits(0);
    rotate(&thief, &["--version", "9"]).exits(0);
    thief.up();
    let there = ["--server", thief.address(), "send", "@alice", "hi"];
    alice.run(&there).exits(6);
}
