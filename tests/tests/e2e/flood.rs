//! Attacks 6, 11 and 16 against the real server: replayed first messages and garbage, resets at every byte, and logins
//! that cost much memory; each while people go on talking.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use sordino_core::{
    Message, Suite, Suite1, Suite2,
    messages::{Auth, AuthCode, AuthMethod},
};
use sordino_tests::e2e::{
    Client, Host, PASSWORD, PATIENCE, Process,
    host::WIDE_LIMITS,
    probe::{Device, Ended, Memory, Probe},
};

use crate::PROGRAMS;

/// Two people: what one says arrives at the other, who stays connected.
struct Talk {
    alice: Client,
    following: Process,
    said: usize,
}

impl Talk {
    fn begin(host: &Host) -> Self {
        let (alice, bob) = (host.member("alice"), host.member("bob"));
        let mut talk = Self { alice, following: bob.start(&["recv", "--json", "--follow"]), said: 0 };
        talk.go_on();
        talk
    }

    /// A client connects, says something, and it is shown.
    fn go_on(&mut self) {
        self.said += 1;
        let text = format!("word number {};", self.said);
        self.alice.send("@bob", &text);
        self.following.stdout.expect(&text);
    }

    /// Goes on for as long as the others are at work; how often something was said meanwhile.
    fn during(&mut self, work: impl FnOnce() + Send) -> usize {
        let before = self.said;
        thread::scope(|scope| {
            let others = scope.spawn(work);
            while !others.is_finished() {
                self.go_on();
            }
            others.join().expect("the flood comes to its end");
        });
        self.said - before
    }
}

/// Waits until the server has given back what its connections took.
fn closes_its_files(host: &mut Host, most: usize) {
    let deadline = Instant::now() + PATIENCE;
    while host.server().open_files() > most {
        assert!(Instant::now() < deadline, "{} files are open, before: {most}", host.server().open_files());
        thread::sleep(Duration::from_millis(50));
    }
}

fn in_threads(count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        return;
                    }
                    work(at);
                }
            });
        }
    });
}

/// Says this and hears the answer to its end; the type of its message, if there is one.
fn offer(host: &Host, bytes: &[u8]) -> Option<u8> {
    let mut socket = TcpStream::connect(host.address()).expect("the server listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // A server that has heard enough may leave before the rest.
    let _ = socket.write_all(bytes).and_then(|()| socket.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    answer.get(3).copied()
}

fn recorded<S: Suite>(host: &Host) -> Vec<u8> {
    Probe::<S>::message_1(&mut Memory::new(), host, Device::new()).expect("a message 1")
}

/// Red if the server computes for each replay and for garbage as it does for clients (by message 2 for each), keeps
/// something of them, or has no room for others meanwhile.
#[test]
fn attack_06_five_thousand_replays_and_garbage_stop_nobody() {
    const COUNT: usize = 5_000;
    const MESSAGE_2: u8 = 4;
    const ERROR: u8 = 6;
    /// KiB that the filter, the allocator and a few connections at once may add.
    const GROWTH: u64 = 32 * 1024;
    let mut host = Host::start_with(PROGRAMS, WIDE_LIMITS);
    let mut talk = Talk::begin(&host);
    let (files, memory) = (host.server().open_files(), host.server().peak_memory());
    let first = [recorded::<Suite1>(&host), recorded::<Suite2>(&host)];
    let answers = [(); 3].map(|()| AtomicUsize::new(0));
    let words = talk.during(|| {
        in_threads(COUNT, |at| {
            let message = &first[at % 2];
            let answer = match at % 5 {
                0..3 => offer(&host, message),
                3 => offer(&host, &message[..at % message.len()]),
                _ => offer(&host, &vec![at as u8; at % 2_000]),
            };
            let place = [Some(MESSAGE_2), Some(ERROR)].iter().position(|kind| *kind == answer).unwrap_or(2);
            answers[place].fetch_add(1, Ordering::Relaxed);
        });
    });
    let [computed, refused, silent] = answers.map(AtomicUsize::into_inner);
    let grown = host.server().peak_memory().saturating_sub(memory);
    println!("{COUNT}: {computed} computed, {refused} told, {silent} cut; {words} words; {grown} KiB more");
    // The first of each suite, and those that come before it was verified.
    assert!((1..=16).contains(&computed), "{computed} of {COUNT} cost exponentiations");
    assert!(refused >= COUNT / 2, "only {refused} were told that they are refused");
    assert!(words > 0 && grown < GROWTH, "{words} words, {grown} KiB more");
    closes_its_files(&mut host, files + 4);
    talk.go_on();
}

/// Red if the end of the stream behind message 1 is noticed only when the handshake's time is over.
#[test]
fn attack_11_an_end_behind_message_1_ends_the_connection() {
    let host = Host::start_with(PROGRAMS, "[timeouts]\nhandshake = 60\n");
    let message = recorded::<Suite1>(&host);
    let mut socket = TcpStream::connect(host.address()).expect("the server listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.write_all(&message).and_then(|()| socket.shutdown(Shutdown::Write)).expect("it is sent");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("the server ends the connection too");
}

/// What the answers to logins and registrations were, by their code.
fn logins(host: &Host, count: usize) -> BTreeMap<u8, usize> {
    let codes = std::sync::Mutex::new(BTreeMap::new());
    let device = Device::<Suite1>::new();
    thread::scope(|scope| {
        for at in 0..count {
            let (codes, device) = (&codes, device.clone());
            scope.spawn(move || {
                let mut memory = Memory::new();
                let mut probe = Probe::connect(&mut memory, host, device).expect("a connection");
                let username = format!("stranger{at}");
                let method = if at % 2 == 0 { AuthMethod::Register } else { AuthMethod::Password };
                let email = if at % 2 == 0 { "s@example.org" } else { "" };
                let auth = Auth { method, username: &username, email, password: PASSWORD, ..Auth::DEVICE };
                probe.send(&Message::Auth(auth)).expect("it is sent");
                let heard = probe.hear().expect("an answer");
                let retry = u32::from_be_bytes([heard.body[1], heard.body[2], heard.body[3], heard.body[4]]);
                let busy = heard.body[0] == AuthCode::Unavailable as u8;
                assert_eq!(busy, retry > 0, "who is refused is told how long to wait: {heard:?}");
                *codes.lock().expect("no panic").entry(heard.body[0]).or_default() += 1;
            });
        }
    });
    codes.into_inner().expect("no panic")
}

/// Red if password checks run without a limit (by the memory), if all who come may wait (nobody is busy then), or if they
/// run on the threads that carry messages.
#[test]
fn attack_16_a_flood_of_passwords_has_bounded_memory_and_chat_goes_on() {
    const JOBS: u64 = 2;
    const EACH: u64 = 64 * 1024;
    /// KiB for a hundred connections, their threads' stacks and the allocator.
    const SLACK: u64 = 64 * 1024;
    const ROUNDS: usize = 3;
    const AT_ONCE: usize = 60;
    let policy = format!(
        "[limits]\nnew_connections_per_second = 5000\nregistrations_per_minute = 5000\n\
         login_failures_account = 5000\nlogin_failures_address = 5000\nlogin_failures_server = 5000\n\
         password_jobs = {JOBS}\npassword_queue = 6\n[argon2]\nmemory = {EACH}\npasses = 2\n"
    );
    let mut host = Host::start_with(PROGRAMS, &policy);
    let mut talk = Talk::begin(&host);
    let before = host.server().peak_memory();
    let codes = std::sync::Mutex::new(BTreeMap::<u8, usize>::new());
    let words = talk.during(|| {
        for _ in 0..ROUNDS {
            for (code, count) in logins(&host, AT_ONCE) {
                *codes.lock().expect("no panic").entry(code).or_default() += count;
            }
        }
    });
    let codes = codes.into_inner().expect("no panic");
    let grown = host.server().peak_memory().saturating_sub(before);
    println!("answers by code {codes:?}; {words} words meanwhile; {grown} KiB more");
    let of = |code: AuthCode| codes.get(&(code as u8)).copied().unwrap_or(0);
    assert!(of(AuthCode::Unavailable) >= AT_ONCE / 2, "few are told that the server is busy: {codes:?}");
    assert!(of(AuthCode::Denied) > 0, "some are checked: {codes:?}");
    assert!(words > 0);
    // One check has run before: its memory is in both figures.
    assert!(grown < (JOBS - 1) * EACH + SLACK, "{grown} KiB more than {before}");
    host.client("late").register("late");
}

/// A reset after every number of bytes, from the key request to the first records.
fn reset_everywhere<S: Suite>(step: usize) {
    let mut host = Host::start_with(PROGRAMS, &format!("{WIDE_LIMITS}[timeouts]\nhandshake = 5\n").replace(
        "[limits]\n",
        "[limits]\nconnections = 40\nconnections_per_address = 40\nlogin_failures_server = 5000\nlogin_failures_address = 5000\n",
    ));
    let mut talk = Talk::begin(&host);
    let files = host.server().open_files();
    let device = Device::<S>::new();
    let mut memory = Memory::new();
    let mut total = 0;
    for bytes in (0..).step_by(step) {
        match Probe::reset_after(&mut memory, &host, device.clone(), bytes) {
            Err(Ended::Tcp) => total = bytes,
            Ok(()) => break,
            Err(other) => panic!("after {bytes} bytes: {other:?}"),
        }
        if bytes % 200 < step {
            talk.go_on();
        }
    }
    assert!(total > 1_000, "{total} bytes are less than a handshake and two records");
    talk.go_on();
    closes_its_files(&mut host, files + 2);
    let stopped = host.terminate().exits(0);
    assert!(!stopped.stderr.contains("panicked"), "{}", stopped.stderr);
}

/// Red if a connection that ends by a reset keeps its place among `connections`, its socket or its task.
#[test]
fn attack_11_a_reset_at_every_byte_leaves_nothing_behind_in_suite_1() {
    reset_everywhere::<Suite1>(1);
}

#[test]
fn attack_11_a_reset_at_many_bytes_leaves_nothing_behind_in_suite_2() {
    reset_everywhere::<Suite2>(7);
}
