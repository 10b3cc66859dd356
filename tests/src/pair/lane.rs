//! One direction of the wire, and what happens to bytes on it.

use super::party::{Machine, Party};
use std::collections::VecDeque;

/// What arrives in the place of a byte: offset in the stream and the byte, to any number of bytes.
pub type Tamper = Box<dyn FnMut(usize, u8) -> Vec<u8>>;

/// One direction of the wire.
pub struct Lane {
    /// Bytes that arrive at once.
    pub chunk: usize,
    /// The stream ends after so many bytes have arrived.
    pub cut: Option<usize>,
    /// Alters the stream.
    pub tamper: Option<Tamper>,
    /// Every byte that the sender has written.
    pub sent: Vec<u8>,
    flight: VecDeque<u8>,
    arrived: usize,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            chunk: usize::MAX,
            cut: None,
            tamper: None,
            sent: Vec::new(),
            flight: VecDeque::new(),
            arrived: 0,
        }
    }
}

impl Lane {
    /// Takes the sender's output and lets a chunk of it arrive. Whether a byte moved or the stream ended just now.
    pub fn carry<M: Machine, N: Machine>(&mut self, from: &mut Party<'_, M>, to: &mut Party<'_, N>) -> bool {
        let loaded = self.load(&from.take(usize::MAX));
        let mut moved = self.deliver(to);
        let over = self.cut.is_some_and(|cut| self.arrived >= cut)
            || (from.outcome.is_some() && self.flight.is_empty() && from.end.tx.is_empty());
        if over && !to.end.rx.ended() {
            to.end.rx.end();
            moved = true;
        }
        loaded | moved
    }

    fn load(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            let offset = self.sent.len();
            self.sent.push(byte);
            match &mut self.tamper {
                Some(tamper) => self.flight.extend(tamper(offset, byte)),
                None => self.flight.push_back(byte),
            }
        }
        !bytes.is_empty()
    }

    fn deliver<N: Machine>(&mut self, to: &mut Party<'_, N>) -> bool {
        let left = self.cut.map_or(usize::MAX, |cut| cut.saturating_sub(self.arrived));
        let most = self.flight.len().min(self.chunk).min(left);
        let chunk: Vec<u8> = self.flight.iter().copied().take(most).collect();
        let taken = to.give(&chunk);
        self.flight.drain(..taken);
        self.arrived += taken;
        taken > 0
    }
}

/// Cuts a stream into its messages: so many with a handshake header, then records.
pub fn frames(stream: &[u8], handshake: usize) -> Vec<&[u8]> {
    let mut rest = stream;
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (prefix, at) = if frames.len() < handshake { (8, 6) } else { (2, 0) };
        let length = u16::from_be_bytes([rest[at], rest[at + 1]]);
        let (frame, behind) = rest.split_at(prefix + usize::from(length));
        frames.push(frame);
        rest = behind;
    }
    frames
}
