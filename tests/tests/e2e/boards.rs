//! A board without a board: the embedded library's example of its blocking client, against the real server.

use std::process::Command;

use sordino_tests::e2e::{Client, Host, PATIENCE, Process};

use crate::PROGRAMS;

fn board(host: &Host, code: Option<&str>) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_board-under-test"));
    command.arg(host.path("board.flash"));
    command.args(code);
    Process::start(&mut command)
}

/// Retries are the board's own.
fn hears(board: &Process, line: &str) {
    let heard = board.stdout.wait_for(4 * PATIENCE, |text| text.contains(line).then_some(()));
    assert!(heard.is_some(), "no {line:?} in\n{}\n{}", board.stdout.text(), board.stderr.text());
}

fn enrol(alice: &Client) -> String {
    alice.ok(&["boards", "enrol", "greenhouse", "--no-qr"]).trim().to_owned()
}

#[test]
fn a_board_talks_through_a_restart_until_it_is_revoked() {
    let mut host = Host::start(PROGRAMS);
    let alice = host.member("alice");
    let mut first = board(&host, Some(&enrol(&alice)));
    hears(&first, "enrolled by @alice");
    for number in 0..5 {
        first.write(&format!("@alice report {number}\n"));
        alice.send("@greenhouse", &format!("order {number}"));
        hears(&first, &format!("alice → @greenhouse: order {number}\n"));
    }
    let said: Vec<_> = alice.receive(5).into_iter().map(|line| (line.from, line.text)).collect();
    let report = |number| ("greenhouse".to_owned(), format!("report {number}"));
    assert_eq!(said, (0..5).map(report).collect::<Vec<_>>());

    host.kill();
    hears(&first, "offline: ");
    first.write("@alice from the time without a server\n");
    hears(&first, "message 5 waits");
    host.up();
    hears(&first, "message 5 accepted");
    assert_eq!(alice.receive(1)[0].text, "from the time without a server");

    first.signal(rustix::process::Signal::KILL);
    assert_eq!(first.finish(PATIENCE).code, None);
    let mut second = board(&host, None);
    hears(&second, "online as @greenhouse");
    second.write("@alice after the power cut\n");
    assert_eq!(alice.receive(1)[0].text, "after the power cut");

    alice.ok(&["boards", "revoke", "greenhouse"]);
    hears(&second, "offline: the server refuses this board: revoked");
    alice.receive_nothing();
}

#[test]
fn a_code_is_good_for_one_board() {
    let host = Host::start(PROGRAMS);
    let alice = host.member("alice");
    let code = enrol(&alice);
    let first = board(&host, Some(&code));
    hears(&first, "enrolled by @alice");
    std::fs::rename(host.path("board.flash"), host.path("first.flash")).expect("the flash is there");
    let second = board(&host, Some(&code));
    hears(&second, "its code is used up");
}
