//! What the running server does with single records: answers to repeated ids, windows, replaced connections, time
//! limits. The probe shows every record.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use sordino_core::{
    Closed, Message, Suite1,
    messages::{Ack, Auth, AuthMethod, CloseReason, ListRequest, MessageId, Receive, Send},
    name::{Target, Username},
    wire::Opaque,
};
use sordino_tests::e2e::{
    Host, PASSWORD, PATIENCE,
    host::WIDE_LIMITS,
    probe::{Device, Ended, Heard, Memory, Probe},
};

use crate::PROGRAMS;

const ACCEPTED: u8 = 33;
const DELIVER: u8 = 37;
const USERS: u8 = 55;

type Alice<'b> = Probe<'b, Suite1>;

fn connect<'b>(memory: &'b mut Memory, host: &Host, device: &Device<Suite1>) -> Alice<'b> {
    Probe::connect(memory, host, device.clone()).expect("a connection")
}

fn register(alice: &mut Alice<'_>) {
    let auth = Auth {
        method: AuthMethod::Register,
        username: "alice",
        email: "alice@example.org",
        password: PASSWORD,
        ..Auth::DEVICE
    };
    alice.send(&Message::Auth(auth)).expect("it is sent");
    assert_eq!(alice.hear().expect("an answer").body[0], 0);
}

fn log_in(alice: &mut Alice<'_>) {
    alice.send(&Message::Auth(Auth::DEVICE)).expect("it is sent");
    assert_eq!(alice.hear().expect("an answer").body[0], 0);
}

/// A message to alice herself, and the answer to it.
fn say(alice: &mut Alice<'_>, id: u8) -> Heard {
    let target = Target::User(Username::new("alice").expect("a name"));
    let id: MessageId = [id; 16];
    alice
        .send(&Message::Send(Send { id, target, format: 0, body: Opaque(b"to myself") }))
        .expect("it is sent");
    alice.hear().expect("an answer")
}

fn number(delivered: &Heard) -> u64 {
    assert_eq!(delivered.kind, DELIVER);
    u64::from_be_bytes(delivered.body[..8].try_into().expect("8 bytes"))
}

/// Asks twice who is here: a record that is on its way comes before the second answer.
fn is_quiet(alice: &mut Alice<'_>) {
    for tag in 0..2 {
        alice.send(&Message::Who(ListRequest { tag, after: "" })).expect("it is sent");
        assert_eq!(alice.hear().expect("an answer").kind, USERS, "nothing else comes");
    }
}

fn close(ended: Result<Heard, Ended>) -> CloseReason {
    match ended {
        Err(Ended::Closed(Closed::ByPeer(reason))) => reason,
        other => panic!("no CLOSE but {other:?}"),
    }
}

#[test]
fn a_repeated_id_gets_the_first_answer_also_after_kill_9() {
    let mut host = Host::start(PROGRAMS);
    let device = Device::new();
    let mut memory = Memory::new();
    let mut alice = connect(&mut memory, &host, &device);
    register(&mut alice);
    let first = say(&mut alice, 1);
    assert_eq!(first.kind, ACCEPTED);
    assert_eq!(say(&mut alice, 1), first);
    host.kill();
    host.up();
    let mut memory = Memory::new();
    let mut alice = connect(&mut memory, &host, &device);
    log_in(&mut alice);
    assert_eq!(say(&mut alice, 1), first);
    assert_ne!(say(&mut alice, 2), first);
    alice.send(&Message::Receive(Receive { window: 16 })).expect("it is sent");
    let numbers = [(); 2].map(|()| number(&alice.hear().expect("a message")));
    assert!(numbers[0] < numbers[1]);
    is_quiet(&mut alice);
}

#[test]
fn the_window_bounds_what_is_not_acknowledged() {
    let host = Host::start(PROGRAMS);
    let mut memory = Memory::new();
    let mut alice = connect(&mut memory, &host, &Device::new());
    register(&mut alice);
    for id in 1..=10 {
        assert_eq!(say(&mut alice, id).kind, ACCEPTED);
    }
    is_quiet(&mut alice);
    alice.send(&Message::Receive(Receive { window: 4 })).expect("it is sent");
    let numbers = [(); 4].map(|()| number(&alice.hear().expect("a message")));
    is_quiet(&mut alice);
    alice.send(&Message::Ack(Ack { number: numbers[2] })).expect("it is sent");
    let more: Vec<Heard> = (0..6).map(|_| alice.hear().expect("a message")).collect();
    let delivered = more.iter().filter(|heard| heard.kind == DELIVER).count();
    // The first acknowledgement of an own message is also its DELIVERED, once for each of the three.
    assert_eq!((delivered, more.len() - delivered), (3, 3), "{more:?}");
    is_quiet(&mut alice);
}

#[test]
fn an_acknowledgement_of_what_was_not_delivered_ends_the_connection() {
    let host = Host::start(PROGRAMS);
    let mut memory = Memory::new();
    let mut alice = connect(&mut memory, &host, &Device::new());
    register(&mut alice);
    say(&mut alice, 1);
    alice.send(&Message::Ack(Ack { number: 1 })).expect("it is sent");
    assert_eq!(close(alice.hear()), CloseReason::Protocol);
}

#[test]
fn a_newer_connection_of_the_device_replaces_the_one_that_receives() {
    let host = Host::start(PROGRAMS);
    let device = Device::new();
    let (mut one, mut two) = (Memory::new(), Memory::new());
    let mut older = connect(&mut one, &host, &device);
    register(&mut older);
    older.send(&Message::Receive(Receive { window: 1 })).expect("it is sent");
    let mut newer = connect(&mut two, &host, &device);
    log_in(&mut newer);
    newer.send(&Message::Receive(Receive { window: 1 })).expect("it is sent");
    assert_eq!(close(older.hear()), CloseReason::Replaced);
    is_quiet(&mut newer);
}

#[test]
fn who_says_nothing_is_disconnected_in_time() {
    let config = "[timeouts]\nhandshake = 1\nlogin = 2\nping = 1\nidle = 3\n";
    let host = Host::start_with(PROGRAMS, config);
    let start = Instant::now();
    let mut silent = TcpStream::connect(host.address()).expect("a connection");
    silent.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let (mut one, mut two) = (Memory::new(), Memory::new());
    let mut stranger = connect(&mut one, &host, &Device::new());
    let mut alice = connect(&mut two, &host, &Device::new());
    register(&mut alice);
    assert_eq!(silent.read(&mut [0; 64]).expect("an end"), 0, "not a byte before the handshake");
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    assert_eq!(last(&mut stranger), CloseReason::Timeout);
    // Who doesn't listen answers no PING.
    thread::sleep(Duration::from_secs(4).saturating_sub(start.elapsed()));
    assert_eq!(last(&mut alice), CloseReason::Timeout);
}

/// The CLOSE that ends a connection, after whatever else.
fn last(probe: &mut Alice<'_>) -> CloseReason {
    loop {
        match probe.hear() {
            Ok(_) => {}
            ended => return close(ended),
        }
    }
}

#[test]
fn a_slow_reader_falls_back_to_its_mailbox_and_loses_nothing() {
    let host = Host::start_with(PROGRAMS, WIDE_LIMITS);
    let (alice, bob) = (host.member("alice"), host.client("bob"));
    bob.register("bob");
    // A reader that stops: its output is a pipe that nobody empties.
    let text = "x".repeat(10_000);
    let lines: String = (0..300).map(|at| format!("@bob {at} {text}\n")).collect();
    let mut command = bob.command(&["recv", "--json", "--follow"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    command.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::null()).stdout(writer);
    let mut stuck = command.spawn().expect("the client starts");
    drop(command);
    alice.run_with_input(&[], &lines).exits(0);
    let _ = stuck.kill();
    let _ = stuck.wait();
    let mut shown = String::new();
    let mut reader = reader;
    reader.read_to_string(&mut shown).expect("what was shown");
    let rest = bob.ok(&["recv", "--json", "--timeout", "3"]);
    // What stood in the pipe may have been shown without being recorded so: the reader was killed.
    let again: Vec<usize> = rest.lines().filter_map(position).collect();
    assert!(again.is_sorted_by(|a, b| a < b), "{again:?}");
    let seen: BTreeSet<usize> = shown.lines().filter_map(position).chain(again).collect();
    assert_eq!(seen, (0..300).collect());
}

/// The number at the start of a whole line's text.
fn position(line: &str) -> Option<usize> {
    let line: sordino_tests::e2e::Line = serde_json::from_str(line).ok()?;
    line.text.split(' ').next()?.parse().ok()
}

/// A socket that has sent these bytes, and the header of the answer; nothing if the server just closes.
fn offer(host: &Host, message: &[u8]) -> (TcpStream, Option<[u8; 8]>) {
    let mut socket = TcpStream::connect(host.address()).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.write_all(message).expect("it is sent");
    let mut header = [0; 8];
    let answer = socket.read_exact(&mut header);
    (socket, answer.is_ok().then_some(header))
}

fn message_1(host: &Host) -> Vec<u8> {
    Probe::<Suite1>::message_1(&mut Memory::new(), host, Device::new()).expect("a message")
}

/// Red if the filter doesn't look, looks at something else than e, or takes in what was not verified.
#[test]
fn a_repeated_message_1_is_refused_without_an_exponentiation() {
    const MESSAGE_2: u8 = 4;
    const ERROR: u8 = 6;
    let host = Host::start(PROGRAMS);
    let first = message_1(&host);
    let mut garbage = first.clone();
    *garbage.last_mut().expect("a byte") ^= 1;
    assert_eq!(offer(&host, &garbage).1, None, "a wrong tag ends the connection silently");
    let (_waiting, header) = offer(&host, &first);
    assert_eq!(header.map(|h| h[3]), Some(MESSAGE_2), "the garbage before it did not count");
    for _ in 0..3 {
        let (mut socket, header) = offer(&host, &first);
        assert_eq!(header.map(|h| h[3]), Some(ERROR));
        let mut code = Vec::new();
        socket.read_to_end(&mut code).expect("its code, and the end");
        assert_eq!(code, [4]);
    }
    let (_, header) = offer(&host, &message_1(&host));
    assert_eq!(header.map(|h| h[3]), Some(MESSAGE_2), "another client is served");
}
