//! Rooms and history from the command line.

use sordino_tests::e2e::{Client, Host, client::lines};

use crate::PROGRAMS;

fn three(host: &Host) -> [Client; 3] {
    ["alice", "bob", "carol"].map(|name| host.member(name))
}

fn members(client: &Client, room: &str) -> Vec<String> {
    let listed = client.ok(&["rooms", "members", room]);
    listed.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn join_makes_a_room_that_is_missing_and_list_shows_it() {
    let host = Host::start(PROGRAMS);
    let [alice, bob, _] = three(&host);
    assert_eq!(alice.ok(&["rooms", "list"]), "");
    alice.ok(&["rooms", "join", "#club"]);
    alice.ok(&["rooms", "join", "#club"]);
    bob.ok(&["rooms", "join", "#Club"]);
    bob.ok(&["rooms", "join", "#attic"]);
    let listed = alice.ok(&["rooms", "list"]);
    let rooms: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rooms, [vec!["#attic", "1"], vec!["#club", "2", "joined"]]);
    assert_eq!(members(&alice, "#club"), ["@alice", "@bob"]);
}

#[test]
fn leave_removes_the_member_and_the_last_one_the_room() {
    let host = Host::start(PROGRAMS);
    let [alice, bob, _] = three(&host);
    for person in [&alice, &bob] {
        person.ok(&["rooms", "join", "#club"]);
    }
    bob.ok(&["rooms", "leave", "#club"]);
    assert_eq!(members(&alice, "#club"), ["@alice"]);
    bob.run(&["rooms", "leave", "#club"]).exits(1);
    bob.run(&["rooms", "members", "#club"]).exits(1);
    alice.ok(&["rooms", "leave", "#club"]);
    assert_eq!(alice.ok(&["rooms", "list"]), "");
    alice.run(&["rooms", "members", "#club"]).exits(7);
}

#[test]
fn members_receive_from_the_moment_of_joining_until_they_leave() {
    let mut host = Host::start(PROGRAMS);
    let [alice, bob, carol] = three(&host);
    for person in [&alice, &bob] {
        person.ok(&["rooms", "join", "#club"]);
    }
    alice.send("#club", "one");
    carol.ok(&["rooms", "join", "#club"]);
    bob.send("#club", "two");
    host.kill();
    host.up();
    alice.send("#club", "three");
    bob.ok(&["rooms", "leave", "#club"]);
    alice.send("#club", "four");
    let texts =
        |client: &Client, count| client.receive(count).into_iter().map(|l| l.text).collect::<Vec<_>>();
    assert_eq!(texts(&alice, 1), ["two"]);
    assert_eq!(texts(&carol, 3), ["two", "three", "four"]);
    let kept = lines(&bob.ok(&["recv", "--json", "--timeout", "1"]));
    assert!(kept.iter().all(|l| l.text != "four"), "{kept:#?}");
    for person in [&alice, &carol] {
        person.receive_nothing();
    }
}

#[test]
fn history_holds_what_was_sent_and_received() {
    let host = Host::start(PROGRAMS);
    let [alice, bob, _] = three(&host);
    for person in [&alice, &bob] {
        person.ok(&["rooms", "join", "#club"]);
    }
    alice.send("@bob", "question");
    alice.send("#club", "hello all");
    bob.receive(2);
    bob.send("@alice", "answer");
    alice.receive(1);
    let texts = |client: &Client, with: &str| {
        let read = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
        let history = client.ok(&["history", with, "--json"]);
        history
            .lines()
            .map(|line| read(line)["text"].as_str().expect("a text").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(texts(&alice, "@bob"), ["question", "answer"]);
    assert_eq!(texts(&bob, "@alice"), ["question", "answer"]);
    assert_eq!(texts(&alice, "#club"), ["hello all"]);
    assert_eq!(texts(&bob, "#club"), ["hello all"]);
    assert_eq!(texts(&bob, "#attic"), [""; 0]);
    let people = alice.ok(&["history", "@bob"]);
    assert!(people.contains("question") && people.contains("answer"), "{people}");
}

#[test]
fn history_needs_no_server() {
    let mut host = Host::start(PROGRAMS);
    let [alice, ..] = three(&host);
    alice.send("@bob", "kept here");
    host.kill();
    assert!(alice.ok(&["history", "@bob"]).contains("kept here"));
}

#[test]
fn text_of_others_is_harmless_for_the_terminal() {
    let host = Host::start(PROGRAMS);
    let [alice, bob, _] = three(&host);
    alice.send("@bob", "\u{1b}]0;owned\u{7}\u{1b}[2Jhi\n12:00 @carol: forged");
    let shown = bob.ok(&["recv", "--timeout", "10", "--count", "1"]);
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{7}'), "{shown:?}");
    let forged = shown.lines().nth(1).expect("a second line");
    assert!(forged.starts_with("    "), "{shown:?}");
}
