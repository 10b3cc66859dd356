//! A whole connection, network and application together: how it begins (3) ‖ any number of decisions.
//!
//! The peer holds the keys and keeps no rules; somebody on the way alters, adds and cuts; the application sends,
//! answers, forgets, closes, waits and writes as it likes. A decision is a byte and what it asks for.

mod samples;
mod side;
mod stages;
mod wire;

use sordino_core::config::{RECORD_OVERHEAD, TX_BUFFER};
use sordino_core::messages::{AuthCode, AuthResult, CloseReason, Message};
use sordino_core::{Answer, Client, Server, Suite1, Suite2};

use super::conversation::LOGGED_IN;
use crate::pair::Setup;
pub use samples::samples;
use samples::unsound;
use side::Tested;
use stages::{Recorded, Side};
use wire::smallest_output;

/// Bit 0 of the first byte chooses suite 2, bit 1 the server as the side under test, the next three the stage.
const SUITE_2: u8 = 1;
const SERVER: u8 = 2;
/// Handshakes cost a thousand times what records do: two beginnings of eight.
const STAGES: [usize; 8] = [0, 1, 2, 2, 3, 3, 3, 4];

/// Plays a script.
pub fn connection(data: &[u8]) {
    let mut script = Script(data);
    let flags = script.byte();
    match (flags & SUITE_2 != 0, flags & SERVER != 0) {
        (false, false) => run::<Client, Suite1>(flags, script),
        (false, true) => run::<Server, Suite1>(flags, script),
        (true, false) => run::<Client, Suite2>(flags, script),
        (true, true) => run::<Server, Suite2>(flags, script),
    }
}

/// What is left of the input. Behind its end stand zeros.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// At most so many bytes.
    fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        front
    }

    /// A length (1) and as many bytes.
    fn piece(&mut self) -> &'a [u8] {
        let len = self.byte();
        self.bytes(len.into())
    }

    /// One of the samples, or any bytes that decode.
    fn message(&mut self) -> Option<Message<'a>> {
        match self.byte() {
            0xff => {
                let kind = self.byte();
                Message::decode(kind, self.piece()).ok()
            }
            0xfe => {
                let (which, number) = (self.byte(), self.word());
                Some(unsound(which, std::str::from_utf8(self.piece()).unwrap_or("text"), number))
            }
            which => Some(samples()[usize::from(which) % samples().len()]),
        }
    }

    fn answer(&mut self) -> Answer<'a> {
        match self.byte() {
            0 => Answer::Admit,
            1 => Answer::Busy,
            2 => Answer::Auth(LOGGED_IN),
            3 => Answer::Auth(AuthResult { retry_after: 1, ..LOGGED_IN }),
            code => {
                let code = AuthCode::from_u8(code % 16).unwrap_or(AuthCode::Denied);
                Answer::Auth(AuthResult::refusal(code, 0))
            }
        }
    }
}

fn run<R: Side, S: Recorded>(flags: u8, mut script: Script<'_>) {
    let stage = &R::stages::<S>()[STAGES[usize::from(flags >> 2) % STAGES.len()]];
    let room = (smallest_output::<S>() + 8 * usize::from(script.word())).min(TX_BUFFER);
    let mut rx = vec![0; usize::from(R::MAX_RECORD) + RECORD_OVERHEAD];
    let mut tx = vec![0; room];
    let mut side = Tested::<R, S>::new(stage, &mut rx, &mut tx, Setup::default().start);
    while !script.0.is_empty() && side.outcome.is_none() {
        decide(&mut side, &mut script);
    }
    finish(&mut side);
}

/// Does one thing.
fn decide<R: Side, S: Recorded>(side: &mut Tested<'_, R, S>, script: &mut Script<'_>) {
    match script.byte() % 16 {
        0 => {
            let kind = script.byte();
            side.wire.say::<R>(kind, script.piece());
        }
        1 | 2 => say(side, script.message()),
        3 => side.wire.add(script.piece()),
        4 => side.wire.alter(script.word().into(), script.byte()),
        5 => side.wire.cut(),
        6 => drop(side.deliver(script.byte().into())),
        7 => drop(side.deliver(script.word().into())),
        8 => drop(side.step()),
        9 => settle(side),
        10 => {
            if let Some(message) = script.message() {
                side.send(&message);
            }
        }
        11 => send_bundle(side, script),
        12 => answer(side, script),
        13 => forget(side, script.byte()),
        14 => {
            let span = u64::from(script.word()) << (script.byte() % 64);
            side.wait(span);
        }
        _ => write(side, script.word().into()),
    }
}

/// The peer says a well-formed message, in whichever direction and phase it is allowed.
fn say<R: Side, S: Recorded>(side: &mut Tested<'_, R, S>, message: Option<Message<'_>>) {
    let mut body = [0; 4096];
    let mut out = sordino_core::wire::Writer::new(&mut body);
    if let Some(message) = message
        && message.encode(&mut out).is_ok()
    {
        let len = out.written();
        side.wire.say::<R>(message.kind(), &body[..len]);
    }
}

/// The application sends up to four messages together.
fn send_bundle<R: Side, S: Recorded>(side: &mut Tested<'_, R, S>, script: &mut Script<'_>) {
    let count = 1 + script.byte() % 4;
    let messages: Vec<_> = (0..count).map_while(|_| script.message()).collect();
    if !messages.is_empty() {
        side.send_bundle(&messages);
    }
}

/// Answers with the newest ticket or an old one.
fn answer<R: Side, S: Recorded>(side: &mut Tested<'_, R, S>, script: &mut Script<'_>) {
    let (which, answer) = (script.byte(), script.answer());
    let newest = side.tickets.len().checked_sub(1);
    if let Some(at) = newest.map(|newest| newest.saturating_sub(which.into())) {
        let ticket = side.tickets.remove(at);
        side.answer(ticket, answer);
    }
}

/// What ends something: a ticket, the stream, the connection; or a look back.
fn forget<R: Side, S: Recorded>(side: &mut Tested<'_, R, S>, which: u8) {
    match which {
        0 => side.tickets.clear(),
        1 => side.end.rx.end(),
        2 => {
            if let Some(id) = side.last {
                side.look(id);
            }
        }
        reason => side.close(CloseReason::from_u8(reason % 16).unwrap_or(CloseReason::Other)),
    }
}

/// Writes so many bytes of the output to the peer.
fn write<R: Side, S: Recorded>(side: &mut Tested<'_, R, S>, most: usize) {
    let pending = side.end.tx.pending().len();
    side.end.tx.consume(pending.min(most));
}

/// Steps for as long as that leads on.
fn settle<R: Side, S: Recorded>(side: &mut Tested<'_, R, S>) {
    side.deliver(usize::MAX);
    while side.outcome.is_none() && side.step() {
        side.deliver(usize::MAX);
    }
}

/// Lets everything arrive and leave, then the stream end, behind which no connection goes on.
fn finish<R: Side, S: Recorded>(side: &mut Tested<'_, R, S>) {
    while side.outcome.is_none() {
        let goes_on = side.step() || !side.end.tx.is_empty();
        write(side, usize::MAX);
        if !goes_on && side.deliver(usize::MAX) == 0 {
            assert!(
                side.outcome.is_some() || !side.end.rx.ended(),
                "it goes on behind the end of the stream"
            );
            side.end.rx.end();
        }
    }
    side.check_over();
}
