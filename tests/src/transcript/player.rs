//! Plays a transcript: does what applications and network do in it, and compares everything else.

use super::format::parse_bytes;
use super::server::ServerSide;
use super::settings::Settings;
use super::side::{Side, SideName};
use super::{Failure, Statement, client};
use sha2::{Digest, Sha256};
use sordino_core::config::{AUTH_LEN, AUTH_RESULT_LEN, Millis};
use sordino_core::identity::Pin;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// How the bytes of a block are handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// All at once.
    Whole,
    /// One at a time.
    Byte,
}

/// A transcript being played.
pub struct Player {
    only: Vec<SideName>,
    chunk: Chunk,
    settings: Settings,
    real: Vec<SideName>,
    now: Millis,
    sides: HashMap<&'static str, Box<dyn Side>>,
    told: Vec<SideName>,
    altered: HashMap<&'static str, Vec<Statement>>,
    learned: Rc<RefCell<Option<Pin>>>,
    /// Of the bytes that went in each direction within a repetition.
    digests: Option<HashMap<&'static str, Sha256>>,
    /// Every block as it went over the wire, for [`expand_repeats`].
    expanded: Option<Vec<Statement>>,
}

const fn key(side: SideName) -> &'static str {
    side.wire()
}

/// The sides whose behaviour a file states.
///
/// # Errors
/// [`Failure`] if it names none.
pub fn real_sides(statements: &[Statement]) -> Result<Vec<SideName>, Failure> {
    let real = statements.iter().find(|s| s.word(0) == "real");
    let real: Vec<SideName> =
        real.map(|s| s.words[1..].iter().filter_map(|w| SideName::parse(w)).collect()).unwrap_or_default();
    if real.is_empty() { Err(Failure::new("no side is real")) } else { Ok(real) }
}

/// Where the `done` of a scene or repetition stands.
pub(crate) fn block_end(statements: &[Statement], at: usize) -> Result<usize, Failure> {
    let behind = statements[at..].iter().position(|s| s.word(0) == "done");
    behind.map(|n| at + n).ok_or_else(|| Failure::new(format!("line {}: no done", statements[at].line)))
}

/// Puts the steps of scenes in place of `scene` and `again`.
///
/// # Errors
/// [`Failure`] for a scene without an end, or that doesn't exist.
pub fn expand_scenes(statements: &[Statement]) -> Result<Vec<Statement>, Failure> {
    let (mut out, mut scenes, mut at) = (vec![], HashMap::new(), 0);
    while at < statements.len() {
        let statement = &statements[at];
        match statement.word(0) {
            "scene" => {
                let end = block_end(statements, at)?;
                let body = &statements[at + 1..end];
                scenes.insert(statement.word(1), body);
                out.extend_from_slice(body);
                at = end;
            }
            "again" => {
                let body = scenes.get(statement.word(1));
                out.extend_from_slice(
                    body.ok_or_else(|| Failure::new(format!("no scene {}", statement.word(1))))?,
                );
            }
            _ => out.push(statement.clone()),
        }
        at += 1;
    }
    Ok(out)
}

/// The transcript with all scenes and repetitions written out, bytes included: it can be played against one side.
///
/// # Errors
/// [`Failure`] if it can't be played, which is needed to know the bytes.
pub fn expand_repeats(statements: &[Statement]) -> Result<Vec<Statement>, Failure> {
    if statements.iter().all(|s| s.word(0) != "repeat") {
        return expand_scenes(statements);
    }
    let mut player = Player::new(&SideName::BOTH, Chunk::Whole);
    player.expanded = Some(vec![]);
    player.play(statements)?;
    Ok(player.expanded.unwrap_or_default())
}

impl Player {
    /// Will play the given sides, as far as the transcript has them as real ones.
    pub fn new(only: &[SideName], chunk: Chunk) -> Self {
        Self {
            only: only.to_vec(),
            chunk,
            settings: Settings::default(),
            real: vec![],
            now: 0,
            sides: HashMap::new(),
            told: vec![],
            altered: HashMap::new(),
            learned: Rc::default(),
            digests: None,
            expanded: None,
        }
    }

    /// Plays a whole transcript.
    ///
    /// # Errors
    /// The first difference, with its line.
    pub fn play(&mut self, statements: &[Statement]) -> Result<(), Failure> {
        let statements = expand_scenes(statements)?;
        let mut at = 0;
        while at < statements.len() {
            let statement = &statements[at];
            if statement.word(0) == "repeat" {
                let end = block_end(&statements, at)?;
                self.play_repeat(statement, &statements[at + 1..end], &statements[end])?;
                at = end;
            } else {
                self.play_one(statement)?;
            }
            at += 1;
        }
        self.finish()
    }

    fn play_one(&mut self, statement: &Statement) -> Result<(), Failure> {
        if statement.words.is_empty() {
            return Ok(());
        }
        let known = self.play_known(statement).map_err(|f| f.at(statement.line, &statement.head()))?;
        if known {
            Ok(())
        } else {
            Err(Failure::new("no such statement").at(statement.line, &statement.head()))
        }
    }

    fn play_known(&mut self, statement: &Statement) -> Result<bool, Failure> {
        if self.set(statement)? || self.act(statement)? {
            if let Some(expanded) = &mut self.expanded {
                expanded.push(statement.clone());
            }
            return Ok(true);
        }
        self.expect(statement)
    }

    fn play_repeat(&mut self, head: &Statement, body: &[Statement], done: &Statement) -> Result<(), Failure> {
        self.digests = Some(new_digests());
        for _ in 0..head.number::<u32>(1)? {
            for statement in body {
                self.play_one(statement)?;
            }
        }
        for (wire, digest) in self.take_digests() {
            if done.field(wire) != Some(digest.as_slice()) {
                return Err(Failure::new(format!("other bytes {wire} than recorded")).at(done.line, "done"));
            }
        }
        Ok(())
    }

    /// Begins to digest what goes over the wire.
    pub(crate) fn start_digests(&mut self) {
        self.digests = Some(new_digests());
    }

    /// The digests since [`Self::start_digests`], by direction.
    pub(crate) fn take_digests(&mut self) -> Vec<(&'static str, Vec<u8>)> {
        let mut digests = self.digests.take().unwrap_or_default();
        SideName::BOTH
            .into_iter()
            .filter_map(|side| Some((key(side), digests.remove(key(side))?.finalize().to_vec())))
            .collect()
    }

    pub(crate) fn is_repeating(&self) -> bool {
        self.digests.is_some()
    }

    pub(crate) fn real(&self) -> &[SideName] {
        &self.real
    }

    pub(crate) fn side(&mut self, side: SideName) -> Option<&mut Box<dyn Side>> {
        self.sides.get_mut(key(side))
    }

    /// Applies a setting; false if the statement is none.
    pub(crate) fn set(&mut self, statement: &Statement) -> Result<bool, Failure> {
        if statement.word(0) == "real" {
            let real = real_sides(std::slice::from_ref(statement))?;
            self.real = real.into_iter().filter(|side| self.only.contains(side)).collect();
            return Ok(true);
        }
        self.settings.set(statement)
    }

    /// Does what an application or the network does; false if the statement is nothing of the kind.
    pub(crate) fn act(&mut self, statement: &Statement) -> Result<bool, Failure> {
        let (first, second) = (statement.word(0), statement.word(1));
        if let Some(sender) = SideName::sending(first) {
            match second {
                "altered" => self.altered.entry(key(sender)).or_default().push(statement.clone()),
                "end" => self.end_stream(sender.peer()),
                _ => return Ok(false),
            }
            return Ok(true);
        }
        match first {
            "connection" => self.connect()?,
            "at" => self.advance(statement.number(1)?),
            _ => return self.application(statement),
        }
        Ok(true)
    }

    fn application(&mut self, statement: &Statement) -> Result<bool, Failure> {
        let verb = statement.word(1);
        let Some(side) = SideName::parse(statement.word(0)) else { return Ok(false) };
        if !["ask", "start", "admit", "refuse", "send", "close"].contains(&verb) {
            return Ok(false);
        }
        if let Some(side) = self.side(side) {
            side.act(verb, statement.word(2), &filled(statement.word(2), statement.data()))?;
            side.run();
        }
        Ok(true)
    }

    fn connect(&mut self) -> Result<(), Failure> {
        self.finish()?;
        if let Some(pin) = self.learned.borrow_mut().take() {
            self.settings.client.pin = Some(pin);
        }
        self.sides.clear();
        for &side in &self.real {
            let config = self.settings.of(side);
            config.connection();
            let made = match side {
                SideName::Client => client::new(config, self.now, self.learned.clone())?,
                SideName::Server => Box::new(ServerSide::new(config, self.now)?),
            };
            self.sides.insert(key(side), made);
        }
        self.told.clear();
        self.altered.clear();
        Ok(())
    }

    fn advance(&mut self, now: Millis) {
        self.now = now;
        for side in SideName::BOTH {
            let Some(side) = self.sides.get_mut(key(side)) else { continue };
            side.wire().now = now;
            if side.wire().ended.is_none() {
                side.tick();
                side.run();
            }
        }
    }

    fn end_stream(&mut self, receiver: SideName) {
        if let Some(side) = self.side(receiver) {
            side.wire().end_of_stream();
            side.run();
        }
    }

    /// Carries a block to its receiver, altered on the way if the transcript says so.
    pub(crate) fn deliver(&mut self, sender: SideName, data: &[u8]) -> Result<(), Failure> {
        if let Some(digest) = self.digests.as_mut().and_then(|d| d.get_mut(key(sender))) {
            digest.update(data);
        }
        let alterations = self.altered.remove(key(sender)).unwrap_or_default();
        let data = alter(data.to_vec(), &alterations)?;
        let chunk = self.chunk;
        let Some(side) = self.side(sender.peer()) else { return Ok(()) };
        let size = if chunk == Chunk::Byte { 1 } else { data.len().max(1) };
        for part in data.chunks(size) {
            if side.wire().ended.is_none() {
                side.wire().receive(part);
                side.run();
            }
        }
        Ok(())
    }

    fn expect(&mut self, statement: &Statement) -> Result<bool, Failure> {
        if let Some(sender) = SideName::sending(statement.word(0)) {
            return self.expect_block(sender, statement).map(|()| true);
        }
        let Some(side) = SideName::parse(statement.word(0)) else { return Ok(false) };
        match statement.word(1) {
            "event" => self.expect_event(side, statement)?,
            "ends" => self.expect_end(side, statement)?,
            _ => return Ok(false),
        }
        if let Some(expanded) = &mut self.expanded {
            expanded.push(statement.clone());
        }
        Ok(true)
    }

    fn expect_block(&mut self, sender: SideName, statement: &Statement) -> Result<(), Failure> {
        let mut data = statement.data();
        let any = statement.word(1) == "*" && self.is_repeating();
        if let Some(side) = self.side(sender) {
            let output = side.wire().output();
            let len = if any { first_record(output) } else { data.len() };
            if output.is_empty() || output.len() < len || (!any && output[..len] != data) {
                return Err(Failure::new(format!("sent instead: {}", super::format::digits(output))));
            }
            data = side.wire().take_output(len);
        }
        if let Some(expanded) = &mut self.expanded {
            expanded.push(Statement::made(&statement.head(), vec![super::Field::new("bytes", &data)]));
        }
        self.deliver(sender, &data)
    }

    fn expect_event(&mut self, side: SideName, statement: &Statement) -> Result<(), Failure> {
        let Some(side) = self.side(side) else { return Ok(()) };
        let wire = side.wire();
        let Some(event) = wire.events.pop_front() else {
            return Err(Failure::new(format!("no event; ended: {:?}", wire.ended)));
        };
        if event.name == statement.word(2) && event.data() == statement.data() {
            return Ok(());
        }
        Err(Failure::new(format!("event instead: {} {}", event.name, super::format::digits(&event.data()))))
    }

    fn expect_end(&mut self, name: SideName, statement: &Statement) -> Result<(), Failure> {
        let Some(side) = self.side(name) else { return Ok(()) };
        let ended = side.wire().ended.clone();
        if ended.as_deref() != Some(&statement.rest(2)) {
            return Err(Failure::new(format!("ended instead: {ended:?}")));
        }
        self.told.push(name);
        Ok(())
    }

    /// Whether the end of a side was noticed before; it is from now on.
    pub(crate) fn tell(&mut self, side: SideName) -> bool {
        let told = self.told.contains(&side);
        self.told.push(side);
        told
    }

    /// At the end of a connection nothing may be left over.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        for side in SideName::BOTH {
            let told = self.told.contains(&side);
            let Some(played) = self.side(side) else { continue };
            let wire = played.wire();
            let ended = wire.ended.as_deref().filter(|_| !told);
            if !wire.output().is_empty() || !wire.events.is_empty() || ended.is_some() {
                let sent = super::format::digits(wire.output());
                let left = format!("left over at the {side}: {sent:?}, {:?}, {ended:?}", wire.events);
                return Err(Failure::new(left));
            }
        }
        Ok(())
    }
}

/// The body of a message that has one size, filled with zeros.
fn filled(name: &str, mut body: Vec<u8>) -> Vec<u8> {
    let size = match name {
        "AUTH" => AUTH_LEN,
        "AUTH_RESULT" => AUTH_RESULT_LEN,
        _ => 0,
    };
    body.resize(body.len().max(size), 0);
    body
}

fn new_digests() -> HashMap<&'static str, Sha256> {
    SideName::BOTH.into_iter().map(|side| (key(side), Sha256::new())).collect()
}

/// Length of the record at the front of the output.
fn first_record(output: &[u8]) -> usize {
    output.first_chunk().map_or(0, |&len| 2 + usize::from(u16::from_be_bytes(len)))
}

/// What happens to a block on the way.
fn alter(mut data: Vec<u8>, alterations: &[Statement]) -> Result<Vec<u8>, Failure> {
    for statement in alterations {
        match statement.word(2) {
            how @ ("xor" | "set") => {
                let at: usize = statement.number(3)?;
                let bytes = parse_bytes(&statement.rest(4))?;
                let target = data.get_mut(at..at + bytes.len());
                let target = target.ok_or_else(|| Failure::new("beyond the block's end"))?;
                for (byte, new) in target.iter_mut().zip(bytes) {
                    *byte = if how == "xor" { *byte ^ new } else { new };
                }
            }
            "keep" => data.truncate(statement.number(3)?),
            "drop" => data.clear(),
            "twice" => data.extend_from_within(..),
            other => return Err(Failure::new(format!("no alteration {other}"))),
        }
    }
    Ok(data)
}
