//! The chat under a terminal, as a person uses it.

use sordino_tests::e2e::{Host, PASSWORD, terminal::Terminal};

use crate::PROGRAMS;

#[test]
fn a_person_registers_chats_and_leaves() {
    let host = Host::start(PROGRAMS);
    let bob = host.member("bob");
    let alice = host.client("alice");
    let mut terminal = Terminal::start(alice.command(&[host.address()]));
    let before = terminal.expect("[r]egister");
    assert!(before.replace(char::is_whitespace, "").contains(host.fingerprint()), "{before}");
    assert!(before.contains("rules"), "{before}");
    terminal.type_line("r");
    terminal.answer("email:", "alice@example.org");
    terminal.answer("username:", "alice");
    terminal.answer("password:", PASSWORD);
    terminal.answer("again:", PASSWORD);
    terminal.expect("You are @alice");
    terminal.type_line("/help");
    terminal.expect("/history");
    terminal.type_line("@bob hello from a terminal");
    terminal.expect("accepted");
    assert_eq!(bob.receive(1)[0].text, "hello from a terminal");
    terminal.expect("delivered");
    bob.send("@alice", "hello back");
    terminal.expect("hello back");
    terminal.type_line("exit");
    let (code, _) = terminal.end();
    assert_eq!(code, 0);

    let mut terminal = Terminal::start(alice.command(&[]));
    let greeting = terminal.expect("/help");
    assert!(!greeting.replace(char::is_whitespace, "").contains(host.fingerprint()), "{greeting}");
    terminal.type_line("exit");
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn a_person_may_correct_a_mistake_and_no_password_is_echoed() {
    let host = Host::start(PROGRAMS);
    host.member("alice");
    let tablet = host.client("tablet");
    let mut terminal = Terminal::start(tablet.command(&[host.address()]));
    terminal.answer("[r]egister", "l");
    terminal.answer("username:", "alice");
    terminal.answer("password:", "not the password");
    let told = terminal.expect("[r]egister");
    assert!(told.contains("denied"), "{told}");
    assert!(!told.contains("not the password"), "{told}");
    terminal.type_line("l");
    terminal.answer("username:", "alice");
    terminal.answer("password:", PASSWORD);
    let told = terminal.expect("You are @alice");
    assert!(!told.contains(PASSWORD), "{told}");
    terminal.type_line("/quit");
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn three_terminals_see_each_other() {
    let host = Host::start(PROGRAMS);
    let people = ["alice", "bob", "carol"].map(|name| host.member(name));
    let mut terminals = people.each_ref().map(|person| {
        let mut terminal = Terminal::start(person.command(&[]));
        terminal.expect("/help");
        terminal.type_line("/join #club");
        terminal.expect("you are in #club");
        terminal
    });
    for speaker in 0..3 {
        terminals[speaker].type_line(&format!("greetings from number {speaker}"));
        for listener in (0..3).filter(|at| *at != speaker) {
            terminals[listener].expect(&format!("greetings from number {speaker}"));
        }
    }
    for mut terminal in terminals {
        terminal.type_line("exit");
        assert_eq!(terminal.end().0, 0);
    }
}
