//! The command itself: exit codes, what it prints, and what it does to the server.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use support::{Client, Running, TestServer, closed_port, identity};

fn server() -> TestServer {
    TestServer::start(identity(1, 1))
}

fn texts(out: &str) -> Vec<String> {
    let text = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap().to_owned()
    };
    out.lines().map(text).collect()
}

#[test]
fn registers_and_needs_no_password_again() {
    let server = server();
    let client = Client::new(&server);
    let fingerprint = server.fingerprint();
    let ended = client.register("Alice", &["--fingerprint", &fingerprint.to_uppercase()]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(client.run(&["rooms", "join", "#Lobby"]).code, 0);
    assert_eq!(client.run(&["rooms", "list"]).out, "#lobby\t1\tjoined\n");
    assert_eq!(
        client.run(&["rooms", "members", "#lobby", "--json"]).out,
        "{\"user\":\"@alice\",\"online\":true}\n"
    );
    assert_eq!(client.run(&["who"]).out, "@alice\tonline\n");
    assert_eq!(client.run(&["rooms", "leave", "#lobby"]).code, 0);
    let again = client.run(&["rooms", "leave", "#lobby"]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.err.contains("join it first"), "{again:?}");
}

#[test]
fn both_suites_and_the_bound_key_is_used_again() {
    let server = server();
    let client = Client::new(&server);
    assert_eq!(client.register("alice", &["--suite", "1"]).code, 0);
    assert_eq!(client.run(&["who"]).out, "@alice\tonline\n");
    assert_eq!(client.run(&["who", "--suite", "2"]).code, 6, "the key of suite 2 is not bound");
}

#[test]
fn usage_errors_exit_2() {
    let client = Client { dir: tempfile::tempdir().unwrap(), server: closed_port() };
    let cases: [&[&str]; 10] = [
        &["send"],
        &["send", "bob", "hi"],
        &["send", "@bob", "hi", "--wait", "never"],
        &["recv", "--count", "0"],
        &["recv", "--timeout", "-1"],
        &["who", "--fingerprint", "abc"],
        &["who", "--suite", "3"],
        &["rooms", "join", "#a b"],
        &["localhost", "notaport"],
        &["localhost", "1", "who"],
    ];
    for case in cases {
        let ended = client.run(case);
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{case:?}: {ended:?}");
        assert!(!ended.err.is_empty());
    }
    let malformed = client.register("alice", &["--fingerprint", &"g".repeat(64)]);
    assert_eq!(malformed.code, 2, "{malformed:?}");
}

#[test]
fn every_command_has_help() {
    let client = Client { dir: tempfile::tempdir().unwrap(), server: closed_port() };
    let commands: [&[&str]; 12] = [
        &[],
        &["register"],
        &["login"],
        &["send"],
        &["recv"],
        &["rooms"],
        &["rooms", "list"],
        &["rooms", "join"],
        &["rooms", "leave"],
        &["rooms", "members"],
        &["who"],
        &["history"],
    ];
    for command in commands {
        let ended = client.run(&[command, &["--help"]].concat());
        assert_eq!(ended.code, 0, "{command:?}");
        assert!(ended.out.contains("Usage:") && ended.out.contains("--home"), "{command:?}: {}", ended.out);
    }
}

#[test]
fn a_closed_reader_is_no_error() {
    let client = Client { dir: tempfile::tempdir().unwrap(), server: closed_port() };
    let mut child = client.command(&["--help"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());

    let server = server();
    let bob = Client::registered(&server, "bob");
    server.deliver("alice", "@bob", "unread");
    let mut child = bob.command(&["recv", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    let again = bob.run(&["recv", "--json", "--timeout", "0.3"]);
    assert_eq!(texts(&again.out), ["unread"], "what nobody read is not acknowledged");
}

#[test]
fn an_unreachable_server_exits_3_and_nothing_remains_queued() {
    let server = server();
    let client = Client::registered(&server, "alice");
    let ended = client.run(&["send", "@bob", "hi", "--server", &closed_port(), "--timeout", "1"]);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.err.contains("not sent"), "{ended:?}");
    let history = client.run(&["history", "@bob", "--json"]);
    assert!(history.out.contains("\"state\":\"failed\""), "{history:?}");
    assert_eq!(client.run(&["recv", "--timeout", "0.2"]).code, 0);
    assert!(server.state().sends.is_empty());
    assert_eq!(client.run(&["who", "--server", &closed_port()]).code, 3);
}

#[test]
fn another_root_exits_4_loudly() {
    let (server, other) = (server(), TestServer::start(identity(2, 1)));
    let wrong = Client::new(&server);
    let ended = wrong.register("alice", &["--fingerprint", &other.fingerprint()]);
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.err.contains("***") && ended.err.lines().count() >= 5, "{ended:?}");
    assert!(server.state().passwords.is_empty(), "nothing was sent to it");

    let pinned = Client::registered(&server, "alice");
    assert_eq!(pinned.run(&["who", "--server", &other.address]).code, 4);
    assert_eq!(pinned.run(&["who", "--fingerprint", &other.fingerprint()]).code, 4);
    assert_eq!(pinned.run(&["who"]).code, 0, "the pin is as it was");
}

#[test]
fn a_rotated_key_is_followed_and_a_rollback_is_not() {
    let server = server();
    let client = Client::registered(&server, "alice");
    let before = server.shared.connections.load(Ordering::SeqCst);
    assert_eq!(client.run(&["who"]).code, 0);
    assert_eq!(
        server.shared.connections.load(Ordering::SeqCst) - before,
        1,
        "the stored key saves a round trip"
    );
    server.rotate(1, 2);
    assert_eq!(client.run(&["who"]).code, 0);
    assert_eq!(
        server.shared.connections.load(Ordering::SeqCst) - before,
        3,
        "the new key on a new connection"
    );
    assert_eq!(client.run(&["who"]).code, 0);
    server.rotate(1, 1);
    assert_eq!(client.run(&["who"]).code, 4);
    server.rotate(3, 9);
    assert_eq!(client.run(&["who"]).code, 4);
}

#[test]
fn denied_exits_6_and_rate_limited_5() {
    let server = server();
    let client = Client::registered(&server, "alice");
    let file = client.password_file("wrong");
    let login = |user: &str, file: &str| {
        client.run(&["login", "--server", &client.server, "--user", user, "--password-file", file])
    };
    assert_eq!(login("alice", &file).code, 6);
    assert_eq!(login("nobody", &file).code, 6);
    let file = client.password_file("correct horse battery staple");
    server.shared.faults.rate_limit_login.store(1, Ordering::SeqCst);
    let limited = login("alice", &file);
    assert_eq!(limited.code, 5, "{limited:?}");
    assert!(limited.err.contains("in 7 s"), "{limited:?}");
    assert_eq!(login("alice", &file).code, 0);
    assert_eq!(Client::new(&server).register("alice", &[]).code, 1, "taken");
    let stranger = Client::new(&server);
    assert_eq!(stranger.run(&["recv", "--timeout", "0"]).code, 6, "no account here");
}

#[test]
fn sends_from_argument_and_standard_input() {
    let server = server();
    let alice = Client::registered(&server, "alice");
    let bob = Client::registered(&server, "bob");
    assert_eq!(alice.run(&["send", "@Bob", "hello"]).code, 0);
    let mut child = alice.command(&["send", "@bob", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"two\nlines\n\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(alice.run(&["send", "@bob", "-dash"]).code, 0);
    let nobody = alice.run(&["send", "@nobody", "hi"]);
    assert_eq!(nobody.code, 7, "{nobody:?}");
    let long = "x".repeat(15_361);
    let too_large = alice.run(&["send", "@bob", &long]);
    assert_eq!(too_large.code, 1);
    assert!(too_large.err.contains("15360"), "{}", too_large.err);
    assert_eq!(alice.run(&["send", "@bob", &long[1..]]).code, 0);

    let received = bob.run(&["recv", "--json", "--timeout", "0.3"]);
    assert_eq!(texts(&received.out), ["hello", "two\nlines\n", "-dash", &long[1..]]);
    let line: serde_json::Value = serde_json::from_str(received.out.lines().next().unwrap()).unwrap();
    assert_eq!(
        (line["from"].as_str(), line["to"].as_str(), line["time"].as_u64()),
        (Some("alice"), Some("@bob"), Some(3_000))
    );
    assert_eq!(line["id"].as_str().map(str::len), Some(32));
    assert_eq!(line.as_object().unwrap().len(), 5);
    let history = alice.run(&["history", "@bob", "--json", "--limit", "1"]);
    assert!(history.out.contains("\"state\":\"accepted\""));
}

#[test]
fn delivered_means_acknowledged() {
    let server = server();
    let alice = Client::registered(&server, "alice");
    let bob = Client::registered(&server, "bob");
    let waiting = alice.run(&["send", "@bob", "one", "--wait", "delivered", "--timeout", "0.5"]);
    assert_eq!(waiting.code, 1, "{waiting:?}");
    assert!(waiting.err.contains("accepted, but not delivered"));
    let mut child = alice.command(&["send", "@bob", "two", "--wait", "delivered"]).spawn().unwrap();
    assert_eq!(bob.run(&["recv", "--count", "2"]).out.lines().count(), 2);
    assert!(child.wait().unwrap().success());
    let states = alice.run(&["history", "@bob", "--json"]).out;
    assert!(states.lines().nth(1).unwrap().contains("\"state\":\"delivered\""), "{states}");
}

#[test]
fn a_lost_answer_is_asked_for_again_under_the_same_id() {
    let server = server();
    let alice = Client::registered(&server, "alice");
    Client::registered(&server, "bob");
    server.shared.faults.cut_after_send.store(1, Ordering::SeqCst);
    assert_eq!(alice.run(&["send", "@bob", "once"]).code, 0);
    let state = server.state();
    assert_eq!(state.sends.len(), 2);
    assert_eq!(state.sends[0], state.sends[1]);
    assert_eq!(state.messages.len(), 1);
}

#[test]
fn recv_acknowledges_what_it_printed_and_no_more() {
    let server = server();
    let bob = Client::registered(&server, "bob");
    for n in 1..=5 {
        server.deliver("alice", "@bob", &n.to_string());
    }
    let two = bob.run(&["recv", "--json", "--count", "2"]);
    assert_eq!(texts(&two.out), ["1", "2"]);
    assert_eq!(server.state().acked["bob"], 4, "the second message's number");
    let rest = bob.run(&["recv", "--json", "--timeout", "0.3"]);
    assert_eq!(texts(&rest.out), ["3", "4", "5"]);
    let empty = bob.run(&["recv", "--json", "--timeout", "0.2"]);
    assert_eq!((empty.code, empty.out.as_str()), (0, ""));
}

#[test]
fn what_was_shown_is_not_shown_again_when_the_acknowledgement_was_lost() {
    let server = server();
    let bob = Client::registered(&server, "bob");
    server.deliver("alice", "@bob", "once");
    server.shared.faults.cut_before_ack.store(1, Ordering::SeqCst);
    let first = bob.run(&["recv", "--json", "--timeout", "0.5"]);
    assert_eq!(texts(&first.out), ["once"]);
    assert!(!server.state().acked.contains_key("bob"));
    let again = bob.run(&["recv", "--json", "--timeout", "0.3"]);
    assert_eq!((again.code, again.out.as_str()), (0, ""));
    assert_eq!(server.state().acked["bob"], 1, "acknowledged again");
}

#[test]
fn follow_and_send_share_a_home() {
    let server = server();
    let bob = Client::registered(&server, "bob");
    let follow = bob.command(&["recv", "--json", "--follow"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut follow = Running(follow);
    let mut lines = BufReader::new(follow.0.stdout.take().unwrap()).lines();
    assert_eq!(bob.run(&["send", "@bob", "note to myself"]).code, 0);
    assert_eq!(texts(&lines.next().unwrap().unwrap()), ["note to myself"]);
    let second = bob.run(&["recv", "--timeout", "0"]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.err.contains("already receives"));
    server.deliver("alice", "@bob", "later");
    assert_eq!(texts(&lines.next().unwrap().unwrap()), ["later"]);
    drop(follow);
    let history = bob.run(&["history", "@bob", "--json"]);
    assert_eq!(texts(&history.out), ["note to myself"]);
}

#[test]
fn following_goes_on_after_a_break_and_shows_nothing_twice() {
    let server = server();
    let bob = Client::registered(&server, "bob");
    server.shared.faults.cut_before_ack.store(1, Ordering::SeqCst);
    let mut follow = bob.command(&["recv", "--json", "--follow", "--count", "2"]);
    let mut follow = Running(follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(follow.0.stderr.take().unwrap()).lines();
    let mut lines = BufReader::new(follow.0.stdout.take().unwrap()).lines();
    server.deliver("alice", "@bob", "one");
    assert!(said.next().unwrap().unwrap().contains("reconnecting"));
    server.deliver("alice", "@bob", "two");
    let shown: Vec<String> = lines.by_ref().map(|line| line.unwrap()).collect();
    assert_eq!(texts(&shown.join("\n")), ["one", "two"]);
    assert_eq!(server.state().acked["bob"], 4);
}

#[test]
fn terminal_escapes_do_not_pass_through_plain_output() {
    let server = server();
    let bob = Client::registered(&server, "bob");
    server.deliver("alice", "@bob", "\x1b]0;owned\x07hi");
    let plain = bob.run(&["recv", "--timeout", "0.3"]);
    assert!(plain.out.contains("hi") && !plain.out.contains('\x1b'), "{plain:?}");
    let json = bob.run(&["history", "@alice", "--json"]);
    assert_eq!(texts(&json.out), ["\x1b]0;owned\x07hi"]);
}

#[test]
fn flags_stand_above_the_environment_and_that_above_the_file() {
    let server = server();
    let alice = Client::registered(&server, "alice");
    let config = alice.dir.path().join("home/config.toml");
    std::fs::write(&config, format!("server = {:?}\n", closed_port())).unwrap();
    assert_eq!(alice.run(&["who"]).code, 3, "the file stands above the last login");
    let by_environment = alice.command(&["who"]).env("SORDINO_SERVER", &server.address).output().unwrap();
    assert_eq!(by_environment.status.code(), Some(0));
    let by_flag = alice
        .command(&["who", "--server", &server.address])
        .env("SORDINO_SERVER", closed_port())
        .output()
        .unwrap();
    assert_eq!(by_flag.status.code(), Some(0));
    std::fs::write(&config, "sever = \"x\"\n").unwrap();
    let unknown = alice.run(&["who"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
}

#[test]
fn a_loose_password_file_is_warned_of() {
    let server = server();
    let client = Client::new(&server);
    let file = client.password_file("correct horse battery staple");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let ended = client.run(&[
        "register",
        "--server",
        &client.server,
        "--user",
        "alice",
        "--email",
        "a@b.org",
        "--password-file",
        &file,
    ]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("0644"), "{ended:?}");
}

#[test]
fn the_timeout_of_recv_begins_anew_with_each_message() {
    let server = server();
    let bob = Client::registered(&server, "bob");
    let begun = Instant::now();
    let child = bob.command(&["recv", "--json", "--timeout", "1"]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    server.deliver("alice", "@bob", "late");
    let ended = child.wait_with_output().unwrap();
    assert!(begun.elapsed() > Duration::from_millis(1_600));
    assert_eq!(texts(str::from_utf8(&ended.stdout).unwrap()), ["late"]);
}
