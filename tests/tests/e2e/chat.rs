//! The chat in line mode, without a terminal: what a script, or a person behind a pipe, sees.

use sordino_tests::e2e::{Client, Host, PASSWORD, PATIENCE, Process};

use crate::PROGRAMS;

/// Opens the chat of a member and waits until it is connected.
fn open(client: &Client) -> Process {
    let chat = client.start(&[]);
    chat.stdout.expect("/help");
    chat
}

fn leave(mut chat: Process) -> String {
    chat.write("exit\n");
    chat.finish(PATIENCE).exits(0).stdout
}

/// How often the whole fingerprint stands in a text, however grouped.
fn fingerprints(text: &str, fingerprint: &str) -> usize {
    text.replace([' ', '\n'], "").matches(fingerprint).count()
}

#[test]
fn first_contact_shows_fingerprint_and_rules_then_registers_and_chats() {
    let host = Host::start_with(PROGRAMS, "rules = 'No parrots.'\n");
    let bob = host.member("bob");
    let alice = host.client("alice");
    let (name, port) = host.address().split_once(':').expect("a port");
    let mut chat = alice.start(&[name, port]);
    chat.write(&format!("r\nalice@example.org\nalice\n{PASSWORD}\n{PASSWORD}\n@bob hello from the pipe\n"));
    chat.stdout.expect("accepted");
    let shown = leave(chat);
    assert_eq!(fingerprints(&shown, host.fingerprint()), 1, "{shown}");
    assert!(
        shown.contains("No parrots.") && shown.contains("username") && shown.contains("@alice"),
        "{shown}"
    );
    assert_eq!(bob.receive(1)[0].text, "hello from the pipe");
    let again = leave(open(&alice));
    assert_eq!(fingerprints(&again, host.fingerprint()), 0, "{again}");
    assert!(!again.contains("No parrots."), "{again}");
}

#[test]
fn an_existing_account_logs_in() {
    let host = Host::start(PROGRAMS);
    let alice = host.member("alice");
    let tablet = host.client("tablet");
    let mut chat = tablet.start(&[host.address()]);
    chat.write(&format!("l\nalice\n{PASSWORD}\n"));
    chat.stdout.expect("/help");
    alice.send("@alice", "to my tablet");
    chat.stdout.expect("to my tablet");
    leave(chat);
}

#[test]
fn wrong_answers_end_a_script_with_a_reason() {
    let host = Host::start(PROGRAMS);
    host.member("alice");
    for (answers, code) in [
        ("l\nalice\nnot the password\n".to_owned(), 6),
        (format!("r\nb@example.org\nalice\n{PASSWORD}\n{PASSWORD}\n"), 1),
        (format!("r\nb@example.org\nbob\n{PASSWORD}\nanother\n"), 2),
        (String::new(), 2),
        ("exit\n".to_owned(), 0),
    ] {
        let ended = host.client("new").run_with_input(&[host.address()], &answers).exits(code);
        assert!(code == 0 || !ended.stderr.is_empty(), "{answers:?}");
    }
}

#[test]
fn three_people_talk_in_a_room_in_real_time() {
    let host = Host::start(PROGRAMS);
    let people = ["alice", "bob", "carol"].map(|name| host.member(name));
    let mut chats = people.each_ref().map(open);
    for chat in &mut chats {
        chat.write("/join #club\n");
        chat.stdout.expect("you are in #club");
    }
    chats[0].stdout.expect("@carol joined #club");
    for speaker in 0..chats.len() {
        chats[speaker].write(&format!("word of number {speaker}\n"));
        for listener in (0..chats.len()).filter(|at| *at != speaker) {
            chats[listener].stdout.expect(&format!("word of number {speaker}"));
        }
        chats[speaker].stdout.expect("delivered");
    }
    chats[1].write("@alice a word between us\n");
    chats[0].stdout.expect("a word between us");
    chats[2].write("/who\n");
    chats[2].stdout.expect("@bob");
    chats[2].write("/members\n");
    chats[2].stdout.expect("@alice");
    let shown = chats.map(leave);
    assert!(!shown[2].contains("a word between us"), "{}", shown[2]);
    assert_eq!(shown[0].matches("word of number 1").count(), 1, "{}", shown[0]);
}

#[test]
fn what_came_while_away_is_announced_and_shown_once() {
    let host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    alice.send("@bob", "alpha");
    alice.send("@bob", "omega");
    let chat = open(&bob);
    chat.stdout.expect("2 messages");
    chat.stdout.expect("omega");
    leave(chat);
    let mut chat = open(&bob);
    chat.write("/history @alice\n");
    chat.stdout.expect("omega");
    let shown = leave(chat);
    assert_eq!(shown.matches("alpha").count(), 1, "{shown}");
    bob.receive_nothing();
}

#[test]
fn help_names_every_command_and_mistakes_are_told() {
    let host = Host::start(PROGRAMS);
    let alice = host.member("alice");
    let mut chat = open(&alice);
    chat.write("/help\n");
    for command in ["/join", "/leave", "/rooms", "/members", "/who", "/history", "/msg", "exit"] {
        chat.stdout.expect(command);
    }
    for (line, hint) in [
        ("/dance\n", "/dance"),
        ("hello\n", "to whom"),
        ("@nobody hello\n", "no such user"),
        ("#nowhere hello\n", "no such"),
        ("/members #nowhere\n", "no such"),
    ] {
        chat.write(line);
        chat.stdout.expect(hint);
    }
    leave(chat);
}

#[test]
fn the_end_of_the_input_leaves_after_everything_is_accepted() {
    let host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    let said: String = (0..20).map(|at| format!("@bob line {at}\n")).collect();
    alice.run_with_input(&[], &said).exits(0);
    let texts: Vec<String> = bob.receive(20).into_iter().map(|l| l.text).collect();
    assert_eq!(texts, (0..20).map(|at| format!("line {at}")).collect::<Vec<_>>());
}

#[test]
fn the_chat_reconnects_and_sends_what_waited() {
    let mut host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    let mut chat = open(&alice);
    host.kill();
    chat.stdout.expect("not connected");
    chat.write("@bob when you can\n");
    chat.stdout.expect("queued");
    host.up();
    chat.stdout.expect("connected again");
    chat.stdout.expect("accepted");
    leave(chat);
    assert_eq!(bob.receive(1)[0].text, "when you can");
    bob.receive_nothing();
}

#[test]
fn nobody_there_exits_with_3() {
    let mut host = Host::start(PROGRAMS);
    let (alice, new) = (host.member("alice"), host.client("new"));
    host.kill();
    alice.run(&[]).exits(3);
    let failed = new.run(&[host.address()]).exits(3);
    assert!(failed.stderr.contains(host.address()), "{}", failed.stderr);
}
