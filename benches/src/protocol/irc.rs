//! The little of IRC (RFC 2812) that a load needs.

use std::io::Write as _;

use anyhow::{Result, bail};

use super::{Goal, Protocol, Seen, Whom, number};

/// See the module.
#[derive(Debug)]
pub struct Irc {
    name: String,
    goal: Goal,
    rest: Vec<u8>,
}

impl Irc {
    /// A client that has said nothing yet.
    #[must_use]
    pub const fn new(name: String, goal: Goal) -> Self {
        Self { name, goal, rest: Vec::new() }
    }

    fn line(&self, line: &[u8], out: &mut Vec<u8>, seen: &mut Vec<Seen>) -> Result<()> {
        if let Some(token) = line.strip_prefix(b"PING ") {
            out.extend_from_slice(&[b"PONG ", token, b"\r\n"].concat());
            return Ok(());
        }
        let mut words = line.splitn(4, |byte| *byte == b' ');
        let (first, command, rest) = (words.next(), words.next(), words.nth(1));
        match command {
            _ if first == Some(b"ERROR") => bail!("{}", String::from_utf8_lossy(line)),
            // The message of the day, or that there is none: the last words of a welcome.
            Some(b"376" | b"422") => match &self.goal {
                Goal::Room(room) => write!(out, "JOIN #{room}\r\n")?,
                _ => seen.push(Seen::Ready),
            },
            Some(b"366") => seen.push(Seen::Ready),
            Some(b"PRIVMSG") => {
                seen.extend(rest.and_then(|r| number(r.strip_prefix(b":")?)).map(Seen::Message))
            }
            Some(code) if code.starts_with(b"4") => bail!("{}", String::from_utf8_lossy(line)),
            _ => {}
        }
        Ok(())
    }
}

impl Protocol for Irc {
    fn open(&mut self, out: &mut Vec<u8>) -> Result<()> {
        Ok(write!(out, "NICK {0}\r\nUSER {0} 0 * :{0}\r\n", self.name)?)
    }

    fn receive(&mut self, input: &[u8], out: &mut Vec<u8>, seen: &mut Vec<Seen>) -> Result<()> {
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(input);
        let mut used = 0;
        while let Some(len) = rest[used..].iter().position(|byte| *byte == b'\n') {
            self.line(rest[used..used + len].trim_ascii_end(), out, seen)?;
            used += len + 1;
        }
        rest.drain(..used);
        self.rest = rest;
        Ok(())
    }

    fn say(&mut self, to: Whom<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match to {
            Whom::Room(room) => write!(out, "PRIVMSG #{room} :")?,
            Whom::User(user) => write!(out, "PRIVMSG {user} :")?,
        }
        out.extend_from_slice(body);
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}
