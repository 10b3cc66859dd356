//! The operator at the server's terminal.

use std::process::Command;

use sordino_tests::e2e::{Client, Host, PATIENCE, Process};

use crate::PROGRAMS;

/// A server with its console, and where it listens.
struct Console {
    process: Process,
    host: Host,
    address: String,
}

/// The first `127.0.0.1:PORT` of a text, once something follows it.
fn address(text: &str) -> Option<String> {
    let rest = text.split_once("127.0.0.1:")?.1;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    Some(format!("127.0.0.1:{}", &rest[..end]))
}

impl Console {
    fn open() -> Self {
        let host = Host::new(PROGRAMS);
        let mut command = Command::new(PROGRAMS.server);
        command.arg("--data-dir").arg(host.data_dir());
        let process = Process::start(command.args(["--listen", "127.0.0.1:0", "--console"]));
        let found = process.stdout.wait_for(PATIENCE, address);
        let address = found.unwrap_or_else(|| panic!("{}{}", process.stdout.text(), process.stderr.text()));
        Self { process, host, address }
    }

    /// A client that trusts the server on first use.
    fn member(&self, name: &str) -> Client {
        let mut client = self.host.client(name);
        client.server = self.address.clone();
        let file = client.password_file(sordino_tests::e2e::PASSWORD);
        let email = format!("{name}@example.org");
        let who = ["--user", name, "--email", &email, "--password-file", &file];
        client.ok(&[&["register", "--server", &client.server][..], &who].concat());
        client
    }
}

#[test]
fn the_operator_talks_and_listens() {
    let mut console = Console::open();
    let (alice, bob) = (console.member("alice"), console.member("bob"));
    for person in [&alice, &bob] {
        person.ok(&["rooms", "join", "#lobby"]);
    }
    console.process.write("@alice hello from the operator\n#lobby maintenance at noon\n");
    let said: Vec<_> = alice.receive(2).into_iter().map(|l| (l.from, l.to, l.text)).collect();
    let from_server = |to: &str, text: &str| ("server".to_owned(), to.to_owned(), text.to_owned());
    assert_eq!(said[0], from_server("@alice", "hello from the operator"));
    assert_eq!(said[1], from_server("#lobby", "maintenance at noon"));
    assert_eq!(bob.receive(1)[0].text, "maintenance at noon");
    alice.send("@server", "thank you, operator");
    console.process.stdout.expect("thank you, operator");
    console.process.write("@nobody hello\n");
    console.process.stdout.expect("nobody");
}

#[test]
fn who_lists_the_connected_kick_disconnects_and_exit_stops_the_server() {
    let mut console = Console::open();
    let alice = console.member("alice");
    let following = alice.start(&["recv", "--json", "--follow"]);
    alice.send("@alice", "connected");
    following.stdout.expect("connected");
    console.process.write("who\n");
    console.process.stdout.expect("alice");
    console.process.write("rooms\nhelp\n");
    console.process.stdout.expect("kick");
    console.process.write("kick alice\n");
    let ended = following.finish(PATIENCE);
    assert!(!matches!(ended.code, Some(0) | None), "{ended:#?}");
    console.process.write("exit\n");
    console.process.finish(PATIENCE).exits(0);
}

/// A server under a service manager has no input: the console must not stop it.
#[test]
fn the_end_of_the_input_does_not_stop_the_server() {
    let mut console = Console::open();
    console.process.close_stdin();
    let alice = console.member("alice");
    alice.send("@alice", "still there");
    assert_eq!(alice.receive(1)[0].text, "still there");
    assert!(console.process.ended(std::time::Duration::ZERO).is_none());
}

#[test]
fn a_disabled_account_is_told_and_comes_back_when_it_is_enabled() {
    let mut console = Console::open();
    let alice = console.member("alice");
    let following = alice.start(&["recv", "--json", "--follow"]);
    alice.send("@alice", "connected");
    following.stdout.expect("connected");
    console.process.write("disable alice\n");
    console.process.stdout.expect("@alice is disabled");
    let ended = following.finish(PATIENCE).exits(6);
    assert!(ended.stderr.contains("operator"), "{}", ended.stderr);
    let refused = alice.run(&["send", "@alice", "again"]).exits(6);
    assert!(!refused.stderr.is_empty());
    let file = alice.password_file(sordino_tests::e2e::PASSWORD);
    alice.run(&["login", "--server", &alice.server, "--user", "alice", "--password-file", &file]).exits(6);
    console.process.write("enable nobody\nenable alice\n");
    console.process.stdout.expect("@nobody: no such user");
    console.process.stdout.expect("@alice is enabled");
    alice.send("@alice", "back");
    assert_eq!(alice.receive(1)[0].text, "back");
}
