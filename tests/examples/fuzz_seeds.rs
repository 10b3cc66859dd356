//! Writes the seeds of the fuzz corpora into `fuzz/corpus`, from honest conversations and the messages in them:
//! `cargo run -p sordino-tests --example fuzz_seeds`. Needed again when the bytes of the protocol change.

use std::fs;
use std::path::Path;

use sordino_core::messages::*;
use sordino_core::name::{RoomName, Target};
use sordino_core::wire::Writer;
use sordino_tests::fuzz_bodies::conversation::{SCRIPT, honest, replies};

const HEADER: usize = 8;

fn main() -> std::io::Result<()> {
    conversations()?;
    messages()?;
    identity()?;
    records()
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
            write(target, &format!("repeated-suite{suite}"), &[&[first], received, &received[cut..]])?;
        }
        write("server", &format!("message1-first-suite{suite}"), &[&[0], &server.received[HEADER..]])?;
        write(
            "server",
            &format!("key-requests-suite{suite}"),
            &[&[0], &server.received[..HEADER].repeat(3)],
        )?;
        for code in 0..=5 {
            let error = [b'S', b'O', 1, 6, suite, 0, 0, 1, code];
            write("client", &format!("error{code}-suite{suite}"), &[&[high], &error])?;
        }
    }
    write("server", "version2", &[&[0], b"SO", &[2, 1, 1, 0, 0, 0]])?;
    write("server", "suite3", &[&[0], b"SO", &[1, 1, 3, 0, 0, 0]])
}

fn messages() -> std::io::Result<()> {
    let answers = SCRIPT.iter().flat_map(replies);
    for message in SCRIPT.iter().copied().chain(answers).chain(others()) {
        let mut body = vec![0; 1024];
        let mut out = Writer::new(&mut body);
        message.encode(&mut out).expect("small messages");
        let len = out.written();
        write("messages", &format!("type{}", message.kind()), &[&[message.kind()], &body[..len]])?;
    }
    Ok(())
}

/// The types that don't occur in the conversations.
fn others() -> [Message<'static>; 11] {
    let (id, time, number, tag, code) = ([1; 16], 1_790_000_000_000, 5, 6, Code::RateLimited);
    let room = RoomName::new("lobby").expect("a room name");
    let in_room = RoomRequest { tag, room };
    [
        Message::Close(Close { reason: CloseReason::Bye, received: 3 }),
        Message::Pong(Ping { token: 4 }),
        Message::AuthResult(AuthResult::refusal(AuthCode::RateLimited, 30)),
        Message::Send(Send { id, target: Target::Room(room), format: 0, body: b"hello" }),
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
        write("identity", &format!("statement-signed-suite{suite}"), &[&[suite + 1], statement])?;
        write("identity", &format!("other-version-suite{suite}"), &[&[suite + 1, 0, 0, 0], &statement[3..]])?;
        write("identity", "pin", &[&[4], root, statement])?;
        write("identity", "statement", &[&[5], statement])?;
    }
    Ok(())
}

fn records() -> std::io::Result<()> {
    for suite in [0, 1] {
        for (body_len, bucket) in
            [(0u16, 64usize), (60, 64), (61, 128), (508, 512), (1020, 1024), (1021, 2048)]
        {
            let mut plain = vec![0; bucket - 1];
            plain[1..3].copy_from_slice(&body_len.to_be_bytes());
            write("records", &format!("body{body_len}-suite{}", suite + 1), &[&[suite], &plain])?;
        }
        let long = [0x5a; 2 + 64 + 32];
        write(
            "records",
            &format!("forged-suite{}", suite + 1),
            &[&[suite], &[0, 64 + 16 * (suite + 1)], &long],
        )?;
    }
    Ok(())
}
