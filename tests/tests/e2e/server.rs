//! The server as its operator sees it: starting, stopping, dying, configuration, console.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use rustix::process::Signal;
use sordino_core::{Closed, Suite1, messages::CloseReason};
use sordino_tests::e2e::{
    Finished, Host, PASSWORD, PATIENCE, Process,
    probe::{Device, Ended, Memory, Probe},
};

use crate::PROGRAMS;

fn server(arguments: &[&str]) -> Finished {
    let mut command = Command::new(PROGRAMS.server);
    Process::start(command.args(arguments)).finish(PATIENCE)
}

#[test]
fn a_restart_keeps_identity_accounts_rooms_and_messages() {
    let mut host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    for person in [&alice, &bob] {
        person.ok(&["rooms", "join", "#club"]);
    }
    alice.send("@bob", "direct");
    alice.send("#club", "to all");
    let fingerprint = host.fingerprint().to_owned();
    host.terminate().exits(0);
    host.up();
    assert_eq!(host.fingerprint(), fingerprint);
    let texts: Vec<String> = bob.receive(2).into_iter().map(|l| l.text).collect();
    assert_eq!(texts, ["direct", "to all"]);
    assert!(alice.ok(&["rooms", "list"]).contains("#club\t2"));
}

#[test]
fn kill_9_at_once_after_accepted_loses_nothing_and_leaves_no_stale_lock() {
    let mut host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    for round in 0..5 {
        alice.send("@bob", &format!("round {round}"));
        host.kill();
        host.up();
    }
    let texts: Vec<String> = bob.receive(5).into_iter().map(|l| l.text).collect();
    assert_eq!(texts, (0..5).map(|round| format!("round {round}")).collect::<Vec<_>>());
    bob.receive_nothing();
}

#[test]
fn kill_9_during_the_first_start_is_survived() {
    for pause in [0, 2, 5, 10, 20, 40] {
        let mut host = Host::new(PROGRAMS);
        let first = Process::start(&mut host.command());
        std::thread::sleep(std::time::Duration::from_millis(pause));
        first.signal(Signal::KILL);
        drop(first);
        host.up();
        host.member("alice").send("@alice", "the server is well");
    }
}

#[test]
fn sigterm_says_goodbye_and_exits_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut host = Host::start(PROGRAMS);
        let alice = host.member("alice");
        let mut memory = Memory::new();
        let mut probe = Probe::connect(&mut memory, &host, Device::<Suite1>::new()).expect("a connection");
        let mut following = alice.start(&["recv", "--json", "--follow"]);
        alice.send("@alice", "connected");
        following.stdout.expect("connected");
        host.server().signal(signal);
        assert_eq!(probe.hear(), Err(Ended::Closed(Closed::ByPeer(CloseReason::ShuttingDown))));
        following.stderr.expect("shutting down");
        assert!(following.ended(std::time::Duration::ZERO).is_none(), "it waits for the server");
        host.terminate().exits(0);
    }
}

#[test]
fn two_servers_do_not_share_a_data_directory() {
    let host = Host::start(PROGRAMS);
    let alice = host.member("alice");
    let data = host.data_dir().display().to_string();
    let second = server(&["--data-dir", &data, "--listen", "127.0.0.1:0", "--json"]);
    assert_ne!(second.code, Some(0), "{second:#?}");
    assert!(second.stdout.is_empty() && second.stderr.contains(&data), "{second:#?}");
    alice.send("@alice", "the first one is well");
}

#[test]
fn a_data_directory_that_others_may_read_is_closed_to_them() {
    let mut host = Host::start(PROGRAMS);
    host.terminate().exits(0);
    let data = host.data_dir();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).expect("the mode is set");
    host.up();
    assert_eq!(Host::mode(&data), 0o700);
}

#[test]
fn an_address_in_use_is_told() {
    let host = Host::start(PROGRAMS);
    let data = host.path("other").display().to_string();
    let second = server(&["--data-dir", &data, "--listen", host.address(), "--json"]);
    assert_ne!(second.code, Some(0), "{second:#?}");
    assert!(second.stdout.is_empty() && second.stderr.contains(host.address()), "{second:#?}");
}

#[test]
fn the_first_start_prints_address_fingerprint_and_the_command_to_type() {
    let host = Host::new(PROGRAMS);
    let mut command = Command::new(PROGRAMS.server);
    command.arg("--data-dir").arg(host.data_dir()).args(["--listen", "127.0.0.1:0"]);
    let server = Process::start(&mut command);
    let grouped = |text: &str| text.replace(char::is_whitespace, "");
    let printed = server.stdout.wait_for(PATIENCE, |text| text.contains("sordino ").then(|| text.to_owned()));
    let printed = printed.unwrap_or_else(|| panic!("{}\n{}", server.stdout.text(), server.stderr.text()));
    assert!(printed.contains("127.0.0.1:"), "{printed}");
    let digits = grouped(&printed);
    let hexadecimal = digits.as_bytes().windows(64).any(|w| w.iter().all(u8::is_ascii_hexdigit));
    assert!(hexadecimal, "no fingerprint in {printed}");
    server.signal(Signal::TERM);
    server.finish(PATIENCE).exits(0);
}

#[test]
fn the_default_configuration_is_printed_and_passes_its_check() {
    let host = Host::new(PROGRAMS);
    let printed = server(&["config", "default"]).exits(0).stdout;
    assert!(printed.lines().any(|line| line.starts_with('#')), "it is commented");
    let file = host.path("default.toml");
    fs::write(&file, printed).expect("a file");
    let file = file.display().to_string();
    server(&["config", "check", &file]).exits(0);
    let mut host = host;
    host.argument("--config");
    host.argument(&file);
    host.up();
    host.member("alice").send("@alice", "the defaults work");
}

#[test]
fn unknown_keys_and_impossible_values_are_errors() {
    let host = Host::new(PROGRAMS);
    let file = host.path("wrong.toml").display().to_string();
    let data = host.data_dir().display().to_string();
    for (text, hint) in [
        ("lisen = 'localhost:1'\n", "lisen"),
        ("[limits]\nmailboxes = 3\n", "mailboxes"),
        ("[limits]\nmailbox = 0\n", "mailbox"),
        ("[timeouts]\nlifetime = 86401\n", "lifetime"),
        ("name = \n", "wrong.toml"),
    ] {
        fs::write(&file, text).expect("a file");
        let checked = server(&["config", "check", &file]);
        let started = server(&["--data-dir", &data, "--listen", "127.0.0.1:0", "--json", "--config", &file]);
        for refused in [checked, started] {
            assert!(!matches!(refused.code, Some(0) | None), "{text}: {refused:#?}");
            assert!(refused.stderr.contains(hint) && refused.stdout.is_empty(), "{text}: {refused:#?}");
        }
    }
    server(&["config", "check", "/nowhere/at/all.toml"]).exits(1);
}

#[test]
fn a_malformed_command_line_exits_with_2_and_help_with_0() {
    for wrong in [&["--dance"][..], &["dance"], &["--listen"]] {
        server(wrong).exits(2);
    }
    for help in [&["--help"][..], &["config", "--help"], &["config", "check", "--help"], &["--version"]] {
        assert!(!server(help).exits(0).stdout.is_empty());
    }
}

#[test]
fn the_environment_stands_for_flags_and_json_logs_are_json() {
    let host = Host::new(PROGRAMS);
    let policy = host.path("policy.toml");
    fs::write(&policy, "name = 'By the environment'\n").expect("a file");
    let mut command = Command::new(PROGRAMS.server);
    command.env("SORDINO_SERVER_DATA_DIR", host.data_dir()).env("SORDINO_SERVER_LISTEN", "nowhere:at-all");
    command.env("SORDINO_SERVER_CONFIG", &policy).env("SORDINO_SERVER_LOG_FORMAT", "json");
    let server = Process::start(command.args(["--json", "--listen", "127.0.0.1:0"]));
    server.stdout.expect("\"ready\"");
    assert!(host.data_dir().join("sordino.db").exists());
    server.signal(Signal::TERM);
    let ended = server.finish(PATIENCE).exits(0);
    assert!(!ended.stderr.is_empty());
    for line in ended.stderr.lines() {
        let logged: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(logged.is_ok_and(|value| value.is_object()), "{line}");
    }
}

#[test]
fn no_log_holds_a_secret_or_a_body() {
    let mut host = Host::new(PROGRAMS);
    host.environment("RUST_LOG", "trace");
    host.up();
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    alice.send("@bob", "a body with zebra stripes");
    bob.receive(1);
    host.client("x").enter("login", "alice", "a wrong password with zebra stripes").exits(6);
    let logged = host.terminate().exits(0).stderr;
    assert!(logged.contains("alice"), "the log says who came: {logged}");
    for secret in ["zebra stripes", PASSWORD] {
        assert!(!logged.contains(secret), "{secret:?} is in the log");
    }
}

#[test]
fn accounts_are_disabled_while_the_server_is_stopped() {
    let mut host = Host::start(PROGRAMS);
    let alice = host.member("alice");
    let data = host.data_dir().display().to_string();
    let accounts = |order: &str, name: &str| server(&["--data-dir", &data, "accounts", order, name]);
    let running = accounts("disable", "alice").exits(1);
    assert!(running.stderr.contains("running"), "{}", running.stderr);
    host.terminate().exits(0);
    assert!(accounts("disable", "alice").exits(0).stdout.contains("@alice is disabled"));
    assert!(accounts("disable", "nobody").exits(1).stderr.contains("no such user"));
    host.up();
    alice.run(&["send", "@alice", "hello"]).exits(6);
    host.terminate().exits(0);
    accounts("enable", "alice").exits(0);
    host.up();
    alice.send("@alice", "hello");

    let nowhere = host.path("nowhere").display().to_string();
    server(&["--data-dir", &nowhere, "accounts", "disable", "alice"]).exits(1);
    assert!(!std::path::Path::new(&nowhere).exists());
}
