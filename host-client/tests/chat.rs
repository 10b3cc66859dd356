//! The chat in line mode: what lines mean, what is on its way, and a whole conversation through pipes.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sordino::chat::line::{Line, parse};
use sordino::chat::outbox::Outbox;
use sordino::text::target::Target;
use support::{Client, Running, TestServer, identity};

fn user(name: &str) -> Target {
    Target::User(name.into())
}

fn room(name: &str) -> Target {
    Target::Room(name.into())
}

#[test]
fn lines() {
    let say = |to, text: &str| Line::Say(to, text.into());
    let cases = [
        ("", Line::Nothing),
        ("  ", Line::Nothing),
        ("exit", Line::Quit),
        ("/quit", Line::Quit),
        ("exit now", say(None, "exit now")),
        ("hello  there", say(None, "hello  there")),
        ("@Bob hi", say(Some(user("bob")), "hi")),
        ("@bob", Line::To(user("bob"))),
        ("#lobby  hi all ", say(Some(room("lobby")), "hi all")),
        ("//etc", say(None, "/etc")),
        ("/help", Line::Help),
        ("/msg @bob hi", say(Some(user("bob")), "hi")),
        ("/to #x", Line::To(room("x"))),
        ("/join Lobby", Line::Join("lobby".into())),
        ("/join #lobby", Line::Join("lobby".into())),
        ("/leave", Line::Leave(None)),
        ("/leave #a", Line::Leave(Some("a".into()))),
        ("/members", Line::Members(None)),
        ("/rooms", Line::Rooms),
        ("/who", Line::Who),
        ("/history", Line::History(None, 20)),
        ("/history 5", Line::History(None, 5)),
        ("/history @bob 5", Line::History(Some(user("bob")), 5)),
    ];
    for (typed, meant) in cases {
        assert_eq!(parse(typed), meant, "{typed:?}");
    }
    for wrong in [
        "/nonsense",
        "/msg @bob",
        "/msg",
        "/to bob",
        "/join",
        "/join #a b",
        "@b hi",
        "/history x",
        "/history 1 2",
    ] {
        assert!(matches!(parse(wrong), Line::Wrong(_)), "{wrong:?} is {:?}", parse(wrong));
    }
}

#[test]
fn the_outbox_sends_in_order_and_again_after_a_break() {
    let now = Instant::now();
    let mut outbox = Outbox::default();
    for n in 0..40u8 {
        outbox.push([n; 16], user("bob"), n.to_string());
    }
    let sent = |outbox: &mut Outbox, now| -> Vec<u8> {
        std::iter::from_fn(|| outbox.next_to_send(now)).map(|pending| pending.id[0]).collect()
    };
    assert_eq!(sent(&mut outbox, now), (0..32).collect::<Vec<_>>(), "32 may be unanswered");
    assert!(outbox.settle(&[0; 16]).is_some() && outbox.settle(&[0; 16]).is_none());
    assert_eq!(sent(&mut outbox, now), [32]);
    outbox.unsend();
    assert_eq!(sent(&mut outbox, now), (1..33).collect::<Vec<_>>());
    outbox.hold(&[5; 16], Duration::from_secs(2), now);
    assert_eq!(sent(&mut outbox, now), [0u8; 0]);
    assert_eq!(sent(&mut outbox, now + Duration::from_secs(2)), [5]);
}

/// A chat behind pipes.
struct Chat {
    child: Running,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Chat {
    fn open(client: &Client, arguments: &[&str]) -> Self {
        let mut command = client.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child: Running(child), input, output }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Reads until a line holds this text.
    fn expect(&mut self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "{text:?} never came after:\n{seen}");
            if line.contains(text) {
                return line;
            }
            seen += &line;
        }
    }

    fn end(mut self) -> Option<i32> {
        drop(self.input.take());
        self.child.0.wait().unwrap().code()
    }
}

fn host_and_port(server: &TestServer) -> (String, String) {
    let (host, port) = server.address.rsplit_once(':').unwrap();
    (host.to_owned(), port.to_owned())
}

#[test]
fn first_contact_register_and_talk() {
    let server = TestServer::start(identity(1, 1));
    let (host, port) = host_and_port(&server);
    let alice = Client::new(&server);
    let mut chat = Chat::open(&alice, &[&host, &port]);
    let shown = chat.expect("  ");
    assert_eq!(shown.split_whitespace().collect::<String>(), server.fingerprint());
    chat.expect("Be kind.");
    for answer in ["r", "alice@example.org", "Alice", "correct horse battery", "correct horse battery"] {
        chat.say(answer);
    }
    chat.expect("You are @alice");
    server.state().passwords.insert("bob".into(), String::new());
    chat.say("hi");
    chat.expect("to whom?");
    chat.say("@bob hi");
    chat.expect("✓ accepted   @bob: hi");
    chat.say("there");
    chat.expect("✓ accepted   @bob: there");
    server.deliver("bob", "@alice", "\x1b[31mhello");
    let message = chat.expect("bob → @alice: ");
    assert!(message.contains("hello") && !message.contains('\x1b'));
    chat.say("/join #lobby");
    chat.expect("you are in #lobby");
    chat.say("/members");
    chat.expect("@alice");
    chat.say("@nobody hi");
    chat.expect("no such user");
    chat.say("/history @bob");
    chat.expect("alice → @bob: there");
    server.state().acked.insert("bob".into(), 100);
    chat.expect("✓✓ delivered @bob: hi");
    chat.say("exit");
    assert_eq!(chat.end(), Some(0));
    assert_eq!(server.state().acked["alice"], 7);

    let mut again = Chat::open(&alice, &[]);
    again.expect("You are @alice");
    again.expect("as on first contact");
    assert_eq!(again.end(), Some(0));
}

#[test]
fn a_broken_connection_is_made_again_and_nothing_is_lost_or_doubled() {
    let server = TestServer::start(identity(1, 1));
    let alice = Client::registered(&server, "alice");
    server.state().passwords.insert("bob".into(), String::new());
    let mut chat = Chat::open(&alice, &[]);
    chat.expect("You are");
    server.shared.faults.cut_after_send.store(1, Ordering::SeqCst);
    chat.say("@bob one");
    chat.expect("not connected");
    chat.say("@bob two");
    chat.expect("… queued     @bob");
    chat.expect("connected again");
    chat.expect("✓ accepted   @bob: one");
    chat.expect("✓ accepted   @bob: two");
    assert_eq!(chat.end(), Some(0));
    let bodies: Vec<_> = server.state().messages.iter().map(|m| m.body.clone()).collect();
    assert_eq!(bodies, [b"one", b"two"]);
}

#[test]
fn the_end_of_the_input_waits_for_what_is_on_its_way() {
    let server = TestServer::start(identity(1, 1));
    let alice = Client::registered(&server, "alice");
    server.state().passwords.insert("bob".into(), String::new());
    let mut chat = Chat::open(&alice, &[]);
    for n in 0..50 {
        chat.say(&format!("@bob {n}"));
    }
    assert_eq!(chat.end(), Some(0));
    assert_eq!(server.state().messages.len(), 50);
}

#[test]
fn a_script_that_gives_a_taken_name_fails() {
    let server = TestServer::start(identity(1, 1));
    Client::registered(&server, "alice");
    let other = Client::new(&server);
    let (host, port) = host_and_port(&server);
    let mut chat = Chat::open(&other, &[&host, &port]);
    for answer in ["r", "a@example.org", "alice", "correct horse battery", "correct horse battery"] {
        chat.say(answer);
    }
    assert_eq!(chat.end(), Some(1));
    let mut chat = Chat::open(&other, &[&host, &port]);
    for answer in ["l", "alice", "wrong password"] {
        chat.say(answer);
    }
    assert_eq!(chat.end(), Some(6));
}
