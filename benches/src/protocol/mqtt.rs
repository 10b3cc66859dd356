//! The little of MQTT 3.1.1 that a load needs, at quality of service 0.

use anyhow::{Result, bail};

use super::{Goal, Protocol, Seen, Whom, number};

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;

/// See the module.
#[derive(Debug)]
pub struct Mqtt {
    name: String,
    goal: Goal,
    rest: Vec<u8>,
}

fn topic(to: Whom<'_>) -> String {
    match to {
        Whom::Room(room) => format!("room/{room}"),
        Whom::User(user) => format!("user/{user}"),
    }
}

/// A packet whose body is these parts. Below 2 MiB.
fn packet(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    out.push(kind);
    let mut left: usize = parts.iter().map(|part| part.len()).sum();
    while left > 127 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn length(text: &str) -> [u8; 2] {
    (text.len() as u16).to_be_bytes()
}

/// Kind and body of the first packet, and how long it is.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (kind, rest) = bytes.split_first()?;
    let mut len = 0;
    for (place, byte) in rest.iter().take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let head = 2 + place;
            return Some((*kind, bytes.get(head..head + len)?, head + len));
        }
    }
    None
}

impl Mqtt {
    /// A client that has said nothing yet.
    #[must_use]
    pub const fn new(name: String, goal: Goal) -> Self {
        Self { name, goal, rest: Vec::new() }
    }

    fn packet(&self, kind: u8, body: &[u8], out: &mut Vec<u8>, seen: &mut Vec<Seen>) -> Result<()> {
        match (kind, body) {
            (CONNACK, [_, 0]) => self.connected(out, seen),
            (SUBACK, [_, _, 0]) => seen.push(Seen::Ready),
            (PUBLISH, [high, low, rest @ ..]) => {
                let topic = usize::from(u16::from_be_bytes([*high, *low]));
                seen.extend(rest.get(topic..).and_then(number).map(Seen::Message));
            }
            _ => bail!("packet {kind:#x}: {body:x?}"),
        }
        Ok(())
    }

    fn connected(&self, out: &mut Vec<u8>, seen: &mut Vec<Seen>) {
        let topic = match &self.goal {
            Goal::Handshake | Goal::Login => return seen.push(Seen::Ready),
            Goal::Direct => topic(Whom::User(&self.name)),
            Goal::Room(room) => topic(Whom::Room(room)),
        };
        packet(out, SUBSCRIBE, &[&[0, 1], &length(&topic), topic.as_bytes(), &[0]]);
    }
}

impl Protocol for Mqtt {
    fn open(&mut self, out: &mut Vec<u8>) -> Result<()> {
        // Level 4, clean session, no keep-alive.
        let head = [0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0];
        packet(out, CONNECT, &[&head, &length(&self.name), self.name.as_bytes()]);
        Ok(())
    }

    fn receive(&mut self, input: &[u8], out: &mut Vec<u8>, seen: &mut Vec<Seen>) -> Result<()> {
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(input);
        let mut used = 0;
        while let Some((kind, body, len)) = split(&rest[used..]) {
            self.packet(kind, body, out, seen)?;
            used += len;
        }
        rest.drain(..used);
        self.rest = rest;
        Ok(())
    }

    fn say(&mut self, to: Whom<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let topic = topic(to);
        packet(out, PUBLISH, &[&length(&topic), topic.as_bytes(), body]);
        Ok(())
    }
}
