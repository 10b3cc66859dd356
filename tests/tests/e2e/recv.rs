//! `recv`: when it ends, what it prints, and that every message is shown once and acknowledged only then.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::process::Signal;
use sordino_tests::e2e::{Client, Host, PATIENCE, Process, client::lines, host::WIDE_LIMITS};

use crate::PROGRAMS;

fn texts(client: &Client, count: usize) -> Vec<String> {
    client.receive(count).into_iter().map(|line| line.text).collect()
}

/// A command whose standard output is where the caller put it. It doesn't outlive the test.
struct Writer(Child);

impl Writer {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("the client starts"))
    }

    fn exit_code(mut self) -> Option<i32> {
        let waiting = Instant::now();
        while waiting.elapsed() < PATIENCE {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status.code();
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("no end after {PATIENCE:?}");
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_line_says_who_to_whom_when_and_what() {
    let host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    for person in [&alice, &bob] {
        person.ok(&["rooms", "join", "#club"]);
    }
    alice.send("@bob", "hello");
    alice.send("#club", "hello all");
    let received = bob.receive(2);
    let said: Vec<_> = received.iter().map(|l| (&*l.from, &*l.to, &*l.text)).collect();
    assert_eq!(said, [("alice", "@bob", "hello"), ("alice", "#club", "hello all")]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    assert!(received.iter().all(|l| now.abs_diff(l.time) < 60_000), "{received:#?}");
    assert_ne!(received[0].id, received[1].id);
}

#[test]
fn nothing_to_receive_is_no_failure() {
    let host = Host::start(PROGRAMS);
    let alice = host.member("alice");
    let empty = alice.run(&["recv", "--json", "--timeout", "1"]).exits(0);
    assert_eq!(empty.stdout, "");
    assert!((1.0..6.0).contains(&empty.took.as_secs_f64()), "{empty:#?}");
}

#[test]
fn count_leaves_the_rest_and_nothing_is_shown_twice() {
    let host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    for text in ["one", "two", "three", "four"] {
        alice.send("@bob", text);
    }
    assert_eq!(texts(&bob, 1), ["one"]);
    assert_eq!(texts(&bob, 2), ["two", "three"]);
    let rest = lines(&bob.ok(&["recv", "--json", "--timeout", "1"]));
    assert_eq!(rest.len(), 1, "{rest:#?}");
    bob.receive_nothing();
}

#[test]
fn the_time_counts_from_the_last_message() {
    let host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    let receiving = bob.start(&["recv", "--json", "--timeout", "6"]);
    alice.send("@bob", "one");
    receiving.stdout.expect("one");
    alice.send("@bob", "two");
    receiving.stdout.expect("two");
    let ended = receiving.finish(PATIENCE).exits(0);
    assert!(ended.took > Duration::from_secs(6), "{ended:#?}");
    assert_eq!(lines(&ended.stdout).len(), 2);
}

#[test]
fn follow_shows_messages_as_they_come_and_survives_a_restart() {
    let mut host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    let mut following = bob.start(&["recv", "--json", "--follow"]);
    alice.send("@bob", "before");
    following.stdout.expect("before");
    host.kill();
    host.up();
    alice.ok(&["send", "@bob", "after", "--wait", "delivered", "--timeout", "30"]);
    following.stdout.expect("after");
    assert!(following.ended(Duration::ZERO).is_none(), "it goes on");
    following.signal(Signal::TERM);
    let shown = lines(&following.finish(PATIENCE).stdout);
    assert_eq!(shown.iter().map(|l| &*l.text).collect::<Vec<_>>(), ["before", "after"]);
    bob.receive_nothing();
}

#[test]
fn follow_ends_with_its_count() {
    let host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    let following = bob.start(&["recv", "--json", "--follow", "--count", "2"]);
    alice.send("@bob", "one");
    alice.send("@bob", "two");
    alice.send("@bob", "three");
    assert_eq!(lines(&following.finish(PATIENCE).exits(0).stdout).len(), 2);
    assert_eq!(texts(&bob, 1), ["three"]);
}

/// Red when a message is acknowledged before its line is flushed.
#[test]
fn what_could_not_be_written_is_not_acknowledged() {
    let host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    alice.send("@bob", "one");
    alice.send("@bob", "two");
    let mut command = bob.command(&["recv", "--json", "--timeout", "5"]);
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    command.stdout(full);
    assert_eq!(Writer::start(command).exit_code(), Some(1));
    assert_eq!(texts(&bob, 2), ["one", "two"]);
}

#[test]
fn a_reader_that_has_gone_is_no_error_and_takes_no_message_with_it() {
    let host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    alice.send("@bob", "one");
    let mut command = bob.command(&["recv", "--json", "--timeout", "5"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    command.stdout(writer);
    assert_eq!(Writer::start(command).exit_code(), Some(0));
    assert_eq!(texts(&bob, 1), ["one"]);
}

/// `recv --follow | head -1`.
#[test]
fn head_may_close_the_pipe() {
    let host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = bob.command(&["recv", "--json", "--follow"]);
    command.stdout(writer);
    let following = Writer::start(command);
    alice.send("@bob", "one");
    let mut first = String::new();
    BufReader::new(reader).read_line(&mut first).expect("a line");
    assert_eq!(lines(&first)[0].text, "one");
    alice.send("@bob", "two");
    assert_eq!(following.exit_code(), Some(0));
    assert_eq!(texts(&bob, 1), ["two"]);
}

#[test]
fn other_output_may_lose_its_reader_too() {
    let host = Host::start(PROGRAMS);
    let alice = host.member("alice");
    alice.ok(&["rooms", "join", "#club"]);
    for arguments in [&["rooms", "list"][..], &["history", "@alice"], &["--help"], &["who"]] {
        let mut command = alice.command(arguments);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        command.stdout(writer);
        assert_eq!(Writer::start(command).exit_code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn every_device_of_a_user_receives_and_learns_what_the_others_sent() {
    let host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    alice.send("@bob", "before the tablet");
    let tablet = host.client("tablet");
    tablet.log_in("bob");
    alice.send("@bob", "to both");
    assert_eq!(texts(&bob, 2), ["before the tablet", "to both"]);
    assert_eq!(texts(&tablet, 1), ["to both"]);
    bob.send("@alice", "from the desk");
    let copy = &tablet.receive(1)[0];
    assert_eq!((&*copy.from, &*copy.to, &*copy.text), ("bob", "@alice", "from the desk"));
    assert_eq!(texts(&alice, 1), ["from the desk"]);
    bob.receive_nothing();
}

#[test]
fn one_home_receives_in_one_place() {
    let host = Host::start(PROGRAMS);
    let alice = host.member("alice");
    let following: Process = alice.start(&["recv", "--json", "--follow"]);
    alice.send("@alice", "running");
    following.stdout.expect("running");
    let refused = alice.run(&["recv", "--json", "--timeout", "1"]).exits(1);
    assert!(refused.stderr.contains("receives"), "{}", refused.stderr);
}

#[test]
fn a_long_absence_is_caught_up_with_in_one_go() {
    let host = Host::start_with(PROGRAMS, WIDE_LIMITS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    let said: String = (0..600).map(|at| format!("@bob number {at}\n")).collect();
    alice.run_with_input(&[], &said).exits(0);
    let caught: Vec<String> =
        lines(&bob.ok(&["recv", "--json", "--timeout", "3"])).into_iter().map(|line| line.text).collect();
    assert_eq!(caught.len(), 600);
    assert_eq!(caught, (0..600).map(|at| format!("number {at}")).collect::<Vec<_>>());
}

/// The delivery may be recorded before the receipt of the same message is.
#[test]
fn a_note_to_oneself_is_sent_and_received_at_the_same_time() {
    let host = Host::start(PROGRAMS);
    let alice = host.member("alice");
    let following = alice.start(&["recv", "--json", "--follow", "--count", "10"]);
    for at in 0..10 {
        alice.ok(&["send", "@alice", &format!("note {at}"), "--wait", "delivered"]);
    }
    let noted: Vec<String> =
        lines(&following.finish(PATIENCE).exits(0).stdout).into_iter().map(|l| l.text).collect();
    assert_eq!(noted, (0..10).map(|at| format!("note {at}")).collect::<Vec<_>>());
}
