//! Writes the seeds of the fuzz corpora into `fuzz/corpus`, from honest conversations and the messages in them:
//! `cargo run -p sordino-tests --example fuzz_seeds`. Needed again when the bytes of the protocol change.

use std::fs;
use std::path::Path;

use sordino_core::messages::*;
use sordino_core::name::{RoomName, Target};
use sordino_core::record::Direction;
use sordino_core::wire::{Opaque, Writer};
use sordino_tests::fuzz_bodies::connection::samples;
use sordino_tests::fuzz_bodies::conversation::{LOGGED_IN, SCRIPT, honest, replies};

const HEADER: usize = 8;

fn main() -> std::io::Result<()> {
    conversations()?;
    messages()?;
    identity()?;
    records()?;
    transcript()?;
    connection()
}

fn write(target: &str, name: &str, parts: &[&[u8]]) -> std::io::Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join(name), parts.concat())
}

fn conversations() -> std::io::Result<()> {
    for suite in [1, 2] {
        let (server, client) = honest(suite);
        let high = if suite == 1 { 0 } else { 0x80 };
        let messages = [("server", 0, &server.received), ("client", high, &client.received)];
        for (target, first, received) in messages {
            let cut = received.len() - received.len() / 4;
            write(target, &format!("honest-suite{suite}"), &[&[first], received])?;
            write(target, &format!("chunks-of-7-suite{suite}"), &[&[first | 7], received])?;
            write(target, &format!("truncated-suite{suite}"), &[&[first], &received[..cut]])?;
            let mut altered = received.clone();
            altered[cut] ^= 1;
            write(target, &format!("altered-suite{suite}"), &[&[first], &altered])?;
            let mut tag = received.clone();
            *tag.last_mut().expect("not empty") ^= 1;
            write(target, &format!("altered-tag-suite{suite}"), &[&[first], &tag])?;
            write(target, &format!("repeated-suite{suite}"), &[&[first], received, &received[cut..]])?;
        }
        write("server", &format!("message1-first-suite{suite}"), &[&[0], &server.received[HEADER..]])?;
        write(
            "server",
            &format!("key-requests-suite{suite}"),
            &[&[0], &server.received[..HEADER].repeat(3)],
        )?;
        let mut gate = server.received.clone();
        gate[2 * HEADER] ^= 1;
        write("server", &format!("gate-suite{suite}"), &[&[0], &gate])?;
        for code in 0..=5 {
            let error = [b'S', b'O', 1, 6, suite, 0, 0, 1, code];
            write("client", &format!("error{code}-suite{suite}"), &[&[high], &error])?;
        }
    }
    write("server", "version2", &[&[0], b"SO", &[2, 1, 1, 0, 0, 0]])?;
    write("server", "suite3", &[&[0], b"SO", &[1, 1, 3, 0, 0, 0]])
}

fn messages() -> std::io::Result<()> {
    let answers = || SCRIPT.iter().flat_map(replies);
    let to_server: Vec<u8> =
        SCRIPT.iter().copied().chain(others()).flat_map(|message| framed(&message)).collect();
    let after_login = |result: AuthResult<'static>| -> Vec<u8> {
        let lines = answers().take(1).chain([Message::AuthResult(result)]).chain(answers().skip(1));
        lines.flat_map(|message| framed(&message)).collect()
    };
    let to_client = after_login(LOGGED_IN);
    let refused = after_login(AuthResult::refusal(AuthCode::Denied, 0));
    write("session", "chat-after-a-refused-login", &[&[2], &refused])?;
    write("session", "login-not-asked-for", &[&[2], &framed(&Message::AuthResult(LOGGED_IN))])?;
    for flags in 0..4 {
        let script = if flags < 2 { &to_server } else { &to_client };
        write("session", &format!("all-{flags}"), &[&[flags], script])?;
        write("session", &format!("twice-{flags}"), &[&[flags], script, script])?;
        write("session", &format!("wrong-way-{flags}"), &[&[flags ^ 2], script])?;
        write("session", &format!("close-{flags}"), &[&[flags], &[1, 0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0]])?;
        write("session", &format!("unknown-{flags}"), &[&[flags], &[99, 0, 0]])?;
        write("session", &format!("malformed-close-{flags}"), &[&[flags], &[1, 0, 1, 1]])?;
        write("session", &format!("malformed-{flags}"), &[&[flags], &[2, 0, 1, 0]])?;
        // The login by itself, all that follows it in one record, and once more with a byte behind it.
        let login = lines_of(script).take_while(|line| line[0] < 32).map(<[u8]>::len).sum();
        let (before, together) = script.split_at(login);
        write("session", &format!("bundle-{flags}"), &[&[flags], before, &bundled(together)])?;
        let cut_off = bundled(&[together, &[2]].concat());
        write("session", &format!("bundle-cut-off-{flags}"), &[&[flags], before, &cut_off])?;
        write("session", &format!("bundle-early-{flags}"), &[&[flags], &bundled(together)])?;
    }
    for message in SCRIPT.iter().copied().chain(answers()).chain(others()) {
        write("messages", &format!("type{}", message.kind()), &[&[message.kind()], &encoded(&message)])?;
    }
    Ok(())
}

/// The lines of a session's script.
fn lines_of(mut script: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let [_, high, low, ..] = script else { return None };
        let (line, rest) = script.split_at(3 + usize::from(u16::from_be_bytes([*high, *low])));
        script = rest;
        Some(line)
    })
}

/// A line that is a bundle of lines, as many as a record takes.
fn bundled(lines: &[u8]) -> Vec<u8> {
    let len = u16::try_from(lines.len()).expect("few lines");
    [&[BUNDLE][..], &len.to_be_bytes(), lines].concat()
}

fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut body = vec![0; 1024];
    let mut out = Writer::new(&mut body);
    message.encode(&mut out).expect("small messages");
    let len = out.written();
    body.truncate(len);
    body
}

/// A line of a session's script: type (1) ‖ length (2) ‖ body.
fn framed(message: &Message<'_>) -> Vec<u8> {
    let body = encoded(message);
    let len = u16::try_from(body.len()).expect("small messages");
    [&[message.kind()][..], &len.to_be_bytes(), &body].concat()
}

/// The types that don't occur in the conversations.
fn others() -> [Message<'static>; 11] {
    let (id, time, number, tag, code) = ([1; 16], 1_790_000_000_000, 5, 6, Code::RateLimited);
    let room = RoomName::new("lobby").expect("a room name");
    let in_room = RoomRequest { tag, room };
    [
        Message::Close(Close { reason: CloseReason::Bye as u8, received: 3 }),
        Message::Ping(Ping { token: 4 }),
        Message::AuthResult(AuthResult::refusal(AuthCode::RateLimited, 30)),
        Message::Send(Send { id, target: Target::Room(room), format: 0, body: Opaque(b"hello") }),
        Message::Accepted(Accepted { id, number, time }),
        Message::Refused(Refused { id, code, retry_after: 7 }),
        Message::Delivered(Delivered { id, time }),
        Message::Join(in_room),
        Message::Leave(in_room),
        Message::Done(Done { tag, code, retry_after: 7 }),
        Message::ListMembers(ListMembers { tag, room, after: "ab" }),
    ]
}

/// Offsets by the table of the key answer in PROTOCOL.md, section 4.
fn identity() -> std::io::Result<()> {
    for suite in [1, 2] {
        let answer = &honest(suite).1.received[HEADER..];
        let statement_len = usize::from(u16::from_be_bytes([answer[32], answer[33]]));
        let (root, statement) = (&answer[..32], &answer[34..34 + statement_len]);
        let key_len = if suite == 1 { 256 } else { 384 };
        let body = &answer[..34 + statement_len + 64 + key_len];
        write("identity", &format!("answer-suite{suite}"), &[&[suite - 1], body])?;
        let mut forged = body.to_vec();
        forged[34 + 11] ^= 1;
        write("identity", &format!("forged-date-suite{suite}"), &[&[suite - 1], &forged])?;
        statements(suite, statement)?;
        write("identity", "pin", &[&[4], root, statement])?;
        write("identity", "statement", &[&[5], statement])?;
    }
    Ok(())
}

/// Statements that the root signs: version (4) ‖ date (8) ‖ count (1) ‖ two entries of 33 bytes.
fn statements(suite: u8, statement: &[u8]) -> std::io::Result<()> {
    let (head, keys) = statement.split_at(13);
    let (one, two) = keys.split_at(33);
    let (own, other) = if suite == 1 { (one, two) } else { (two, one) };
    let version = |number: u8| [&[0, 0, 0, number], &statement[4..]].concat();
    let listing = |count: u8, keys: &[&[u8]]| [&head[..12], &[count], &keys.concat()].concat();
    let cases = [
        ("current", statement.to_vec()),
        ("older", version(4)),
        ("newer", version(6)),
        ("same-version-fewer-keys", listing(1, &[own])),
        ("other-suite-only", listing(1, &[other])),
        ("descending", listing(2, &[two, one])),
        ("repeated", listing(2, &[own, own])),
        ("count-too-low", listing(1, &[one, two])),
        ("none", listing(0, &[])),
    ];
    for (name, bytes) in cases {
        write("identity", &format!("signed-{name}-suite{suite}"), &[&[suite + 1], &bytes])?;
    }
    Ok(())
}

fn records() -> std::io::Result<()> {
    for suite in [0, 1] {
        for (body, bucket) in [(0, 64), (60, 64), (61, 128), (508, 512), (1020, 1024), (1021, 2048)] {
            write(
                "records",
                &format!("body{body}-suite{}", suite + 1),
                &[&[suite], &inner(body, bucket - 1)],
            )?;
        }
        let mut padded = inner(10, 63);
        padded[62] = 1;
        let cases = [
            ("padding-not-zero", padded),
            ("bucket-too-large", inner(10, 127)),
            ("no-bucket", inner(61, 79)),
            ("body-too-long", inner(61, 63)),
            ("whole-block-of-padding", inner(10, 48)),
            ("too-short", vec![1, 0]),
            ("forged", [&[0, 64 + 16 * (suite + 1)], &[0x5a; 64 + 32][..]].concat()),
        ];
        for (name, bytes) in cases {
            write("records", &format!("{name}-suite{}", suite + 1), &[&[suite], &bytes])?;
        }
    }
    Ok(())
}

/// A record's plaintext of `len` bytes that claims a body of `body` bytes.
fn inner(body: u16, len: usize) -> Vec<u8> {
    let mut plain = vec![0; len];
    plain[1..3].copy_from_slice(&body.to_be_bytes());
    plain
}

/// Statements of every kind, and the notations of bytes.
fn transcript() -> std::io::Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    for name in ["close", "errors", "gate", "key-request", "login", "rotation", "suites", "time"] {
        let text = fs::read_to_string(dir.join(name).with_extension("txt"))?;
        write("transcript", name, &[text.as_bytes()])?;
    }
    let lines: [(&str, &[&str]); 10] = [
        ("words-go-on", &["real client", "+ server", "at 5 # later", "+6"]),
        (
            "comment-between",
            &["client send PING", "  # token", "", "  token  00*7 # zeros", "+  01", "# end"],
        ),
        ("quotes", &["client sees \"a # \\\" \\\\\" 00", "  text  05 \"he\\\"lo\"", "  (shown)  \"x\""]),
        ("long-run", &["c->s", "  zeros 00*16384", "  more 00*16385"]),
        ("scenes", &["scene a", "at 1", "done", "again a", "repeat 2", "at 2", "done", "  c->s  00"]),
        ("scene-without-end", &["scene a", "at 1", "again b"]),
        ("tab-before-plus", &["\t+at 5"]),
        ("quote-in-name", &["at 5", " a\" \"\\\"\""]),
        ("quote-over-two-lines", &["at \"5", "+ \"#x\""]),
        ("signs", &["at +5", "  a 00*+3", "  b +1", "  c 00*18446744073709551615"]),
    ];
    for (name, lines) in lines {
        let text = ["sordino transcript 1"].iter().chain(lines).copied().collect::<Vec<_>>().join("\n");
        write("transcript", name, &[text.as_bytes()])?;
    }
    Ok(())
}

/// Decisions of a connection's script.
const SAY: u8 = 1;
const ADD: u8 = 3;
const ALTER: u8 = 4;
const CUT: u8 = 5;
const DELIVER: u8 = 6;
const STEP: u8 = 8;
const SETTLE: u8 = 9;
const SEND: u8 = 10;
const SEND_BUNDLE: u8 = 11;
const ANSWER: u8 = 12;
const FORGET: u8 = 13;
const WAIT: u8 = 14;
const WRITE: [u8; 3] = [15, 255, 255];
/// Newest ticket; the answers.
const ADMIT: [u8; 3] = [ANSWER, 0, 0];
const BUSY: [u8; 3] = [ANSWER, 0, 1];
const LOG_IN: [u8; 3] = [ANSWER, 0, 2];
const DENY: [u8; 3] = [ANSWER, 0, 5];
/// Any decoded bytes, and fields of any content, in the place of a sample.
const DECODED: u8 = 0xff;
const UNSOUND: u8 = 0xfe;

/// Scripts for both sides and suites, at the stages where they say something.
fn connection() -> std::io::Result<()> {
    let [start, amid, login, ready, epoch] = [0, 1, 2, 4, 7];
    for side in 0..4 {
        let seed = |name: &str, stage: u8, room: u16, parts: &[&[u8]]| {
            let head = [&[side | stage << 2][..], &room.to_be_bytes()].concat();
            write("connection", &format!("{name}-{side}"), &[&[&head[..]], parts].concat())
        };
        let way = if side & 2 == 0 { Direction::ToClient } else { Direction::ToServer };
        let (auth, policy) = (sample(16), sample(18));
        seed("handshake", start, 900, &[&[SETTLE], &ADMIT, &WRITE, &[SETTLE], &WRITE, &[SEND, auth]])?;
        seed("handshake-no-room", start, 0, &[&[SETTLE], &ADMIT, &[SETTLE, SETTLE], &WRITE, &[SETTLE]])?;
        seed("busy", start, 0, &[&[SETTLE], &BUSY])?;
        seed("dropped-ticket", start, 0, &[&[SETTLE, FORGET, 0, STEP]])?;
        seed("handshake-altered", amid, 0, &[&[ALTER, 0, 99, 1, SETTLE]])?;
        seed("handshake-late", amid, 0, &[&[DELIVER, 200, STEP, WAIT, 255, 255, 1, STEP]])?;
        seed("handshake-cut", amid, 0, &[&[DELIVER, 40, STEP, CUT, ADD, 3, 1, 2, 3, SETTLE]])?;
        let log_in = [SEND, auth, SAY, sample(17), SAY, auth, SETTLE];
        seed("login", login, 50, &[&log_in, &WRITE, &LOG_IN, &log_in, &LOG_IN, &[SEND, policy]])?;
        let again = [&[SAY, auth, SETTLE][..], &DENY].concat();
        seed("denied", login, 0, &[&again.repeat(4)])?;
        seed("stale-ticket", login, 0, &[&again, &[FORGET, 2], &LOG_IN, &again, &BUSY, &ADMIT])?;
        seed("late", login, 0, &[&[WAIT, 255, 255, 0, SETTLE], &[WAIT, 255, 255, 1], &[WAIT, 255, 255, 11]])?;
        seed("talk", ready, 900, &[&talk(way, &WRITE)])?;
        seed("talk-no-room", ready, 0, &[&talk(way, &[])])?;
        seed("rekey", epoch, 100, &[&[SEND, sample(3), SAY, sample(3), SETTLE].repeat(4)])?;
        seed("altered", ready, 0, &[&[SAY, sample(3), SAY, sample(3), ALTER, 0, 120, 1, SETTLE]])?;
        seed("garbage", ready, 0, &[&[SAY, sample(3), ADD, 2, 0, 80, SETTLE]])?;
        seed("truncated", ready, 0, &[&[SAY, sample(3), DELIVER, 30, STEP, FORGET, 1, STEP]])?;
        seed("closed", ready, 0, &[&[SAY, sample(1), SETTLE]])?;
        seed("close", ready, 0, &[&[SEND, sample(3), FORGET, 3]])?;
        let (ping, note) = (sample(2), sample(20));
        seed("bundle", ready, 900, &[&[SEND_BUNDLE, 3, ping, sample(32), sample(33), ping], &WRITE])?;
        seed("bundle-heard", ready, 0, &[&[0, BUNDLE, 11, 2, 0, 8], &[7; 8], &[SETTLE, SAY, note, SETTLE]])?;
        seed("bundle-of-a-close", ready, 0, &[&[0, BUNDLE, 12, 1, 0, 9], &[0; 9], &[SETTLE]])?;
        seed("malformed", ready, 0, &[&[0, 20, 1, 0, SETTLE]])?;
        seed("malformed-close", ready, 0, &[&[0, 1, 1, 0, SETTLE]])?;
        seed(
            "unsound",
            ready,
            99,
            &[&(0..8).flat_map(|n| [SEND, UNSOUND, n, 1, 1, 2, 97, 98]).collect::<Vec<_>>()],
        )?;
        seed(
            "decoded",
            ready,
            9,
            &[&[SEND, DECODED, 36, 2, 0, 9, SEND, DECODED, 20, 5, 0, 0, 2, 104, 105, SETTLE]],
        )?;
    }
    Ok(())
}

/// The number of the sample of a type.
fn sample(kind: u8) -> u8 {
    let at = samples().iter().position(|sample| sample.kind() == kind).expect("every type has one");
    u8::try_from(at).expect("few samples")
}

/// Says all that may be said in a direction, and sends all that may be sent in the other.
fn talk(heard: Direction, behind: &[u8]) -> Vec<u8> {
    let mut script = Vec::new();
    for (at, sample) in (0..).zip(samples()) {
        if allowed(sample.kind(), heard, Phase::Ready) && !matches!(sample, Message::Close(_)) {
            script.extend([SAY, at, SETTLE]);
        }
        script.extend([SEND, at]);
        script.extend(behind);
    }
    script
}
