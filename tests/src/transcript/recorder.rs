//! Records a transcript: settings, comments and what applications and network do stay; the rest is written anew.

use super::player::block_end;
use super::side::{Occurrence, SideName};
use super::{Chunk, Failure, Field, Player, Statement, format_file, parse};
use std::collections::HashMap;

/// Plays the actions of a transcript, or of a script that has nothing else, and returns the whole transcript.
///
/// # Errors
/// [`Failure`] if an action can't be done.
pub fn record(text: &str) -> Result<String, Failure> {
    let statements = parse(text)?;
    let mut recorder = Recorder {
        player: Player::new(&SideName::BOTH, Chunk::Whole),
        known: statements.iter().filter(|s| !s.fields.is_empty()).cloned().collect(),
        records: HashMap::new(),
        sent: String::new(),
        unasked: HashMap::new(),
    };
    let out = recorder.record(&statements)?;
    Ok(format_file(&out))
}

struct Recorder {
    player: Player,
    /// Statements with named fields, whose names serve again where the bytes are the same.
    known: Vec<Statement>,
    /// Records so far by direction.
    records: HashMap<&'static str, u64>,
    /// The message of the latest `send`.
    sent: String,
    /// Bytes that each side had to send before it received any.
    unasked: HashMap<&'static str, usize>,
}

impl Recorder {
    fn record(&mut self, statements: &[Statement]) -> Result<Vec<Statement>, Failure> {
        let mut out = vec![];
        let mut scenes: HashMap<String, (Vec<Statement>, Vec<Statement>)> = HashMap::new();
        let mut at = 0;
        while at < statements.len() {
            let head = &statements[at];
            let is_block = ["scene", "repeat"].contains(&head.word(0));
            let end = if is_block { block_end(statements, at)? } else { at };
            let body = if is_block { &statements[at + 1..end] } else { &[] };
            match head.word(0) {
                "repeat" => out.extend(self.record_repeat(head, body)?),
                "scene" => {
                    let made = self.record_all(body)?;
                    out.push(head.clone());
                    out.extend(made.clone());
                    out.push(statements[end].clone());
                    scenes.insert(head.word(1).into(), (body.to_vec(), made));
                }
                "again" => {
                    let unknown = || Failure::new(format!("no scene {}", head.word(1)));
                    let (body, made) = scenes.get(head.word(1)).ok_or_else(unknown)?;
                    same(head, &self.record_all(body)?, made)?;
                    out.push(head.clone());
                }
                _ => out.extend(self.record_one(head)?),
            }
            at = end + 1;
        }
        self.player.finish()?;
        Ok(out)
    }

    fn record_all(&mut self, script: &[Statement]) -> Result<Vec<Statement>, Failure> {
        let mut out = vec![];
        for statement in script {
            out.extend(self.record_one(statement)?);
        }
        Ok(out)
    }

    fn record_repeat(&mut self, head: &Statement, script: &[Statement]) -> Result<Vec<Statement>, Failure> {
        self.player.start_digests();
        let first = self.record_all(script)?;
        for _ in 1..head.number::<u32>(1)? {
            same(head, &self.record_all(script)?, &first)?;
        }
        let digests = self.player.take_digests();
        let fields = digests.iter().map(|(wire, digest)| Field::new(wire, digest)).collect();
        let mut out = vec![head.clone()];
        out.extend(first);
        out.push(Statement::made("done", fields));
        Ok(out)
    }

    fn record_one(&mut self, statement: &Statement) -> Result<Vec<Statement>, Failure> {
        if statement.words.is_empty() {
            return Ok(vec![statement.clone()]);
        }
        if self.follows(statement) {
            return Ok(vec![]);
        }
        let failed = |f: Failure| f.at(statement.line, &statement.head());
        self.sent = if statement.word(1) == "send" { statement.word(2).into() } else { String::new() };
        if statement.word(0) == "connection" {
            self.records.clear();
        }
        if !self.player.set(statement).map_err(failed)? && !self.player.act(statement).map_err(failed)? {
            // The bytes of a side that isn't real.
            let sender =
                SideName::sending(statement.word(0)).ok_or_else(|| failed(Failure::new("unknown")))?;
            self.player.deliver(sender, &statement.data()).map_err(failed)?;
        }
        let mut out = vec![statement.clone()];
        out.extend(self.pump()?);
        Ok(out)
    }

    /// Whether a statement says what a real side does.
    fn follows(&self, statement: &Statement) -> bool {
        let real = |side: Option<SideName>| side.is_some_and(|side| self.player.real().contains(&side));
        match statement.word(1) {
            "event" | "ends" => real(SideName::parse(statement.word(0))),
            "end" | "altered" => false,
            _ => real(SideName::sending(statement.word(0))),
        }
    }

    /// Carries all that the sides have to say until they are quiet.
    fn pump(&mut self) -> Result<Vec<Statement>, Failure> {
        for side in SideName::BOTH {
            let waiting = self.player.side(side).map_or(0, |side| side.wire().output().len());
            self.unasked.insert(side.wire(), waiting);
        }
        let mut out = self.observe();
        let mut busy = true;
        while busy {
            busy = false;
            for sender in SideName::BOTH {
                while let Some(data) = self.next_block(sender) {
                    busy = true;
                    out.push(self.block(sender, &data));
                    self.player.deliver(sender, &data)?;
                    out.extend(self.observe());
                }
            }
        }
        Ok(out)
    }

    /// The next handshake message or record of a side's output.
    fn next_block(&mut self, sender: SideName) -> Option<Vec<u8>> {
        let wire = self.player.side(sender)?.wire();
        let len = match *wire.output() {
            [] => return None,
            [b'S', b'O', _, _, _, _, high, low, ..] => 8 + usize::from(u16::from_be_bytes([high, low])),
            [high, low, ..] => 2 + usize::from(u16::from_be_bytes([high, low])),
            [_] => 1,
        };
        Some(wire.take_output(len))
    }

    fn block(&mut self, sender: SideName, data: &[u8]) -> Statement {
        let wire = sender.wire();
        let is_record = !data.starts_with(b"SO");
        let sequence = self.records.entry(wire).or_default();
        let here = *sequence;
        *sequence += u64::from(is_record);
        if self.player.is_repeating() {
            return Statement::made(&format!("{wire} *"), vec![]);
        }
        let head = if is_record {
            format!("{wire} record {here} {}", self.record_name(sender, data.len()))
        } else {
            format!("{wire} {}", HANDSHAKE[usize::from(data[3] - 1)].0)
        };
        // What stands encrypted in a block only the independent implementation shows.
        match self.known.iter().find(|s| s.head() == head && s.data() == data) {
            Some(known) => Statement::made(&head, known.fields.clone()),
            None => Statement::made(&head, split(data)),
        }
    }

    /// What a record holds: the message of a `send`, or one that the state machine sends by itself.
    fn record_name(&mut self, sender: SideName, len: usize) -> String {
        let sent = std::mem::take(&mut self.sent);
        if !sent.is_empty() {
            return sent;
        }
        let ended = self.player.side(sender).and_then(|side| side.wire().ended.clone());
        let unasked = self.unasked.entry(sender.wire()).or_default();
        let is_answer = *unasked < len;
        *unasked = unasked.saturating_sub(len);
        let closing = ended.is_some_and(|why| why.starts_with("closing"));
        if closing {
            "CLOSE"
        } else if is_answer {
            "PONG"
        } else {
            "PING"
        }
        .into()
    }

    /// Events and ends that came up.
    fn observe(&mut self) -> Vec<Statement> {
        let mut out = vec![];
        for name in SideName::BOTH {
            let Some(side) = self.player.side(name) else { continue };
            let events: Vec<Occurrence> = side.wire().events.drain(..).collect();
            let ended = side.wire().ended.clone();
            out.extend(events.into_iter().map(|event| self.event(name, event)));
            if let Some(why) = ended
                && !self.player.tell(name)
            {
                out.push(Statement::made(&format!("{name} ends {why}"), vec![]));
            }
        }
        out
    }

    fn event(&self, side: SideName, event: Occurrence) -> Statement {
        let head = format!("{side} event {}", event.name);
        let data = event.data();
        let sent = format!("{} send {}", side.peer(), event.name);
        let known = self.known.iter().find(|s| s.head() == head && s.data() == data);
        let script = || self.known.iter().find(|s| s.head() == sent && data.starts_with(&s.data()));
        let fields = match known {
            Some(known) => known.fields.clone(),
            None => script().map_or_else(|| named(&event), |s| with_zeros(s, &data)),
        };
        Statement::made(&head, fields)
    }
}

fn named(event: &Occurrence) -> Vec<Field> {
    let shown = event.fields.iter().filter(|(_, value)| !value.is_empty());
    shown.map(|(name, value)| Field::new(name, value)).collect()
}

/// The fields of a script, whose message is filled with zeros to its size.
fn with_zeros(script: &Statement, data: &[u8]) -> Vec<Field> {
    let mut fields = script.fields.clone();
    let rest = &data[script.data().len()..];
    if !rest.is_empty() {
        fields.push(Field::new("zeros", rest));
    }
    fields
}

fn same(head: &Statement, now: &[Statement], first: &[Statement]) -> Result<(), Failure> {
    if now == first {
        return Ok(());
    }
    Err(Failure::new("not the same steps as the first time").at(head.line, &head.head()))
}

/// Names of fields with their lengths in suites 1 and 2; 0: the rest.
type Layout = &'static [(&'static str, usize, usize)];

/// Names of the handshake messages by type, and their fields.
const HANDSHAKE: [(&str, Layout); 6] = [
    ("key request", &[]),
    (
        "key answer",
        &[("root", 32, 32), ("size", 2, 2), ("statement", 0, 0), ("signature", 64, 64), ("static", 256, 384)],
    ),
    ("message 1", &[("gate", 16, 16), ("e", 256, 384), ("c1", 48, 64)]),
    ("message 2", &[("e", 256, 384), ("c2", 64, 80)]),
    ("message 3", &[("cs", 288, 432), ("c3", 48, 64)]),
    ("error", &[("code", 1, 1)]),
];

/// Cuts a block into its fields.
fn split(data: &[u8]) -> Vec<Field> {
    let mut fields = vec![];
    let mut rest = data;
    let mut take = |name: &str, len: usize| {
        let (head, tail) = rest.split_at(len.min(rest.len()));
        fields.push(Field::new(name, head));
        rest = tail;
    };
    if !data.starts_with(b"SO") {
        // The bucket is a multiple of 64 up to 512, then of 1,024; the tag of suite 1 has 16 bytes, that of suite 2 has 32.
        let tag = (data.len() - 2) % 64;
        take("length", 2);
        take("ciphertext", data.len() - 2 - tag);
        take("tag", tag);
        return fields;
    }
    take("header", 8);
    let layout = HANDSHAKE[usize::from(data[3] - 1)].1;
    let second = data[4] == 2;
    let fixed: usize = layout.iter().map(|&(_, one, two)| if second { two } else { one }).sum();
    for &(name, one, two) in layout {
        let len = if second { two } else { one };
        take(name, if name == "statement" { data.len() - 8 - fixed } else { len });
    }
    fields
}
