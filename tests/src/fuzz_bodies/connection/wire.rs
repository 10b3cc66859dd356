//! The peer and the wire between: what it says, what happens to that on the way, and what it hears.

use std::collections::VecDeque;

use sordino_core::Suite;
use sordino_core::dh::Group;
use sordino_core::messages::{BUNDLE, CloseReason, Message};
use sordino_core::record::{Inbound, Outbound, max_body};

use super::stages::Side;
use crate::pair::forge::framed;

const CLOSE: u8 = 1;
const PING: u8 = 2;
const PONG: u8 = 3;

/// A part of the stream to the side under test that is handled as a whole.
pub struct Unit {
    /// Where it ends in the stream.
    end: usize,
    /// Type and body of a record, or of each message of a bundle; nothing for a message of the handshake.
    said: VecDeque<(u8, Vec<u8>)>,
    bundled: bool,
}

impl Unit {
    fn record(end: usize, kind: u8, body: &[u8]) -> Self {
        let bundled = kind == BUNDLE;
        let said = if bundled { unbundle(body).collect() } else { [(kind, body.to_vec())].into() };
        Self { end, said, bundled }
    }
}

/// The messages of a bundle. What is none comes last, as if it were a bundle in the bundle, which is as wrong.
fn unbundle(body: &[u8]) -> impl Iterator<Item = (u8, Vec<u8>)> {
    let (mut rest, mut first) = (body, true);
    std::iter::from_fn(move || {
        if rest.is_empty() && !std::mem::take(&mut first) {
            return None;
        }
        first = false;
        if let [kind, high, low, behind @ ..] = rest
            && let Some((message, behind)) = behind.split_at_checked(u16::from_be_bytes([*high, *low]).into())
        {
            rest = behind;
            return Some((*kind, message.to_vec()));
        }
        Some((BUNDLE, std::mem::take(&mut rest).to_vec()))
    })
}

/// The peer's ends and the two streams.
pub struct Wire<S: Suite> {
    to_side: Outbound<S>,
    from_side: Inbound<S>,
    /// Everything on its way to the side under test.
    stream: Vec<u8>,
    pub delivered: usize,
    /// The first byte that is not the peer's.
    broken: usize,
    units: VecDeque<Unit>,
    /// Where the units end that the side has shown, or that stand before such a one.
    shown: usize,
    /// What the side still says in the handshake.
    says: Vec<u8>,
    /// Messages that the side's application has sent, and their bodies.
    pub sent: VecDeque<(u8, Vec<u8>)>,
    /// The side's CLOSE: reason and records that it says it has opened.
    pub goodbye: Option<(u8, u64)>,
    opened_before: u64,
}

impl<S: Suite> Wire<S> {
    pub fn new(hears: &[u8], says: &[u8], to_side: Outbound<S>, from_side: Inbound<S>) -> Self {
        let mut units = VecDeque::new();
        let mut end = 0;
        while let Some([high, low]) = hears.get(end + 6..end + 8) {
            end += 8 + usize::from(u16::from_be_bytes([*high, *low]));
            units.push_back(Unit { end, said: VecDeque::new(), bundled: false });
        }
        Self {
            opened_before: to_side.sequence(),
            to_side,
            from_side,
            stream: hears.to_vec(),
            delivered: 0,
            broken: usize::MAX,
            units,
            shown: 0,
            says: says.to_vec(),
            sent: VecDeque::new(),
            goodbye: None,
        }
    }

    /// The peer seals a record of any type and body.
    pub fn say<R: Side>(&mut self, kind: u8, body: &[u8]) {
        let body = &body[..body.len().min(max_body(R::MAX_RECORD))];
        let mut record = vec![0; Outbound::<S>::wire_len(body.len()).expect("below the largest body")];
        record[Outbound::<S>::BODY..][..body.len()].copy_from_slice(body);
        self.to_side.seal(&mut record, kind, body.len()).expect("room for the record");
        self.stream.extend(record);
        self.units.push_back(Unit::record(self.stream.len(), kind, body));
    }

    /// Somebody on the way adds bytes behind what was said so far.
    pub fn add(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.broken = self.broken.min(self.stream.len());
            self.stream.extend_from_slice(bytes);
        }
    }

    /// Somebody on the way alters a byte that has not arrived, and no byte back.
    pub fn alter(&mut self, at: usize, by: u8) {
        let at = self.delivered + at;
        if let Some(byte) = self.stream.get_mut(at).filter(|_| by != 0 && at != self.broken) {
            *byte ^= by;
            self.broken = self.broken.min(at);
        }
    }

    /// Somebody on the way keeps all that has not arrived. If nothing of that was the peer's, nothing happened.
    pub fn cut(&mut self) {
        self.stream.truncate(self.delivered);
        if self.broken >= self.delivered {
            let lost = self.units.back().is_some_and(|unit| unit.end > self.delivered);
            self.broken = if lost { self.delivered } else { usize::MAX };
        }
    }

    /// What has not arrived.
    pub fn waiting(&self) -> &[u8] {
        &self.stream[self.delivered..]
    }

    /// Whether the side has received a byte that the peer has not said.
    pub fn is_broken(&self) -> bool {
        self.broken < self.delivered
    }

    /// Bytes of whole units that have arrived.
    pub fn whole(&self) -> usize {
        let ends = self.units.iter().map(|unit| unit.end).filter(|end| *end <= self.delivered);
        ends.max().unwrap_or(0).max(self.shown)
    }

    /// The next record for the application must be this one; answers to PINGs have come in between.
    pub fn shown(&mut self, kind: u8, body: &[u8]) {
        let (at, said, _) = self.next_said();
        assert!(at <= self.broken, "a record out of altered bytes");
        assert_eq!((kind, body), (said.0, &said.1[..]));
    }

    /// The peer has said goodbye.
    pub fn closed_by_peer(&mut self, reason: CloseReason) {
        let (at, (kind, body), bundled) = self.next_said();
        assert!(at <= self.broken && kind == CLOSE && !bundled, "the peer said {kind}");
        assert_eq!(CloseReason::from_u8(body[0]).unwrap_or(CloseReason::Other), reason);
    }

    /// The peer has broken the rules in an authentic record. Whether the answer is a CLOSE. `ready`: somebody was logged
    /// in. Nothing of a bundle that comes before is looked at.
    pub fn fault(&mut self, ready: bool) -> bool {
        for unit in self.units.iter_mut().filter(|unit| unit.bundled && !ready) {
            unit.said = [(BUNDLE, Vec::new())].into();
        }
        let (at, said, bundled) = self.next_said();
        assert!(at <= self.broken, "a fault out of altered bytes");
        said.0 != CLOSE || bundled
    }

    /// Where its record ends, the message, and whether it stood in a bundle.
    fn next_said(&mut self) -> (usize, (u8, Vec<u8>), bool) {
        loop {
            let unit = self.units.front_mut().expect("nothing more was said");
            assert!(unit.end <= self.delivered, "shown before it came");
            self.shown = unit.end;
            let (end, bundled, said) = (unit.end, unit.bundled, unit.said.pop_front());
            if unit.said.is_empty() {
                self.units.pop_front();
            }
            match said {
                Some((kind, body)) if !is_answered_below(kind, &body) => return (end, (kind, body), bundled),
                _ => {}
            }
        }
    }

    /// Takes what the side has written in its handshake: the next bytes of the honest one, or an ERROR.
    pub fn hear_handshake(&mut self, bytes: &[u8]) {
        if let Some(rest) = self.says.strip_prefix(bytes) {
            self.says = rest.to_vec();
            return;
        }
        let error = framed(6, S::ID, &[0]);
        assert!(bytes.len() == error.len() && bytes[..8] == error[..8], "another handshake: {bytes:02x?}");
    }

    /// Takes whole records that the side has written: all authentic, and in the order in which they were sent.
    pub fn hear_records(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            assert!(self.goodbye.is_none(), "a record behind CLOSE");
            let total = self.from_side.frame(bytes).expect("a record").expect("all of its length");
            let (record, rest) = bytes.split_at(total);
            bytes = rest;
            let mut record = record.to_vec();
            let opened = self.from_side.open(&mut record).expect("an authentic record");
            for (kind, body) in Unit::record(total, opened.kind, &record[opened.body]).said {
                self.hear(kind, &body);
            }
        }
    }

    fn hear(&mut self, kind: u8, body: &[u8]) {
        match Message::decode(kind, body).expect("a well-formed message") {
            Message::Close(close) => {
                let most = self.opened_before + self.records_said();
                assert!(close.received <= most, "{} records opened out of {most}", close.received);
                self.goodbye = Some((close.reason, close.received));
            }
            Message::Ping(_) | Message::Pong(_) => {}
            _ => assert_eq!(self.sent.pop_front(), Some((kind, body.to_vec()))),
        }
    }

    fn records_said(&self) -> u64 {
        self.to_side.sequence() - self.opened_before
    }
}

/// PING and PONG, which the application never sees.
fn is_answered_below(kind: u8, body: &[u8]) -> bool {
    matches!(kind, PING | PONG) && Message::decode(kind, body).is_ok()
}

/// Room that every step of a suite's handshake finds.
pub fn smallest_output<S: Suite>() -> usize {
    <S::Group as Group>::LEAST_SCRATCH
}
