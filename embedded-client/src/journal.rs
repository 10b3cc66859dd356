//! An append-only log of checksummed records in two erase blocks.
//!
//! ```text
//! block    header (32): "SJ" | version (1) | 0 | sequence (4) | CRC-32 (4)      records      FF…
//! record   kind (1) | 0 | length (2) | CRC-32 of kind, length and body (4) | body | zeros to the write size
//! ```
//! The block with the higher sequence is in use. When it is full, what is still needed is copied into the other
//! one, whose header is written last: until then a power cut leaves the old block in use.

use crate::storage::{Block, Storage};
use crc::{CRC_32_ISO_HDLC, Crc, Digest, NoTable};
use sordino_core::bytes::Secret;

static CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

const MAGIC: [u8; 4] = [b'S', b'J', 1, 0];
/// Bytes of a block before its first record: a multiple of every write size.
const BLOCK_HEADER: usize = 32;
/// Bytes of a record before its body.
pub(crate) const RECORD_HEADER: usize = 8;
/// Largest body, in bytes.
pub(crate) const MAX_BODY: usize = 704;
/// How much is read or copied at once: a multiple of every write size.
const CHUNK: usize = 32;
/// What a visitor sees of a body.
pub(crate) const PREVIEW: usize = CHUNK;

/// Where a record's header stands in the block in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    offset: u16,
    /// Of the body, in bytes.
    pub len: u16,
}

impl Place {
    /// Bytes that the record takes.
    fn total<F: Storage>(self) -> usize {
        padded::<F>(RECORD_HEADER.saturating_add(usize::from(self.len)))
    }

    fn at(self, from: usize) -> usize {
        usize::from(self.offset).saturating_add(from)
    }
}

/// Why a record was not written.
#[derive(Debug)]
pub(crate) enum AppendError<E> {
    /// The block is full or its end damaged: compact.
    Full,
    /// The flash failed.
    Flash(E),
}

/// The log.
pub(crate) struct Journal<F> {
    flash: F,
    active: Block,
    sequence: u32,
    end: usize,
    /// Something stands behind the last whole record: only compaction makes room.
    damaged: bool,
}

fn padded<F: Storage>(len: usize) -> usize {
    len.checked_next_multiple_of(F::WRITE_SIZE).unwrap_or(usize::MAX)
}

fn is_erased(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0xff)
}

fn block_header(sequence: u32) -> [u8; BLOCK_HEADER] {
    let mut header = [0xff; BLOCK_HEADER];
    let [a, b, c, d] = sequence.to_be_bytes();
    let [m0, m1, m2, m3] = MAGIC;
    let head = [m0, m1, m2, m3, a, b, c, d];
    let parts = head.into_iter().chain(CRC.checksum(&head).to_be_bytes());
    header.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    header
}

impl<F: Storage> Journal<F> {
    /// Finds the block in use and shows every whole record in order: kind, place, front of the body.
    ///
    /// A flash without a valid block is formatted.
    pub fn mount(flash: F, visit: impl FnMut(u8, Place, &[u8])) -> Result<Self, F::Error> {
        let mut journal = Self { flash, active: Block::A, sequence: 0, end: BLOCK_HEADER, damaged: false };
        let (a, b) = (journal.sequence_of(Block::A)?, journal.sequence_of(Block::B)?);
        let Some(sequence) = a.max(b) else {
            journal.format()?;
            return Ok(journal);
        };
        journal.sequence = sequence;
        journal.active = if a == Some(sequence) { Block::A } else { Block::B };
        journal.scan(visit)?;
        Ok(journal)
    }

    /// Erases both blocks and begins anew.
    pub fn format(&mut self) -> Result<(), F::Error> {
        self.damaged = true;
        self.flash.erase(self.active)?;
        self.flash.erase(self.active.other())?;
        let sequence = self.sequence.saturating_add(1);
        self.flash.write(self.active, 0, &block_header(sequence))?;
        self.sequence = sequence;
        self.end = BLOCK_HEADER;
        self.damaged = false;
        Ok(())
    }

    /// Bytes for records in a block.
    pub fn capacity(&self) -> usize {
        self.size().saturating_sub(BLOCK_HEADER)
    }

    /// Bytes that a record with this body takes.
    pub fn cost(body: usize) -> usize {
        padded::<F>(RECORD_HEADER.saturating_add(body))
    }

    fn size(&self) -> usize {
        self.flash.block_size().min(usize::from(u16::MAX) & !(CHUNK.saturating_sub(1)))
    }

    fn sequence_of(&mut self, block: Block) -> Result<Option<u32>, F::Error> {
        let mut header = [0; BLOCK_HEADER];
        self.flash.read(block, 0, &mut header)?;
        let [_, _, _, _, a, b, c, d, ..] = header;
        let sequence = u32::from_be_bytes([a, b, c, d]);
        Ok((header == block_header(sequence)).then_some(sequence))
    }

    fn scan(&mut self, mut visit: impl FnMut(u8, Place, &[u8])) -> Result<(), F::Error> {
        while self.end.saturating_add(RECORD_HEADER) <= self.size() {
            let mut head = [0; RECORD_HEADER];
            self.flash.read(self.active, self.end, &mut head)?;
            if is_erased(&head) {
                break;
            }
            let [kind, flags, high, low, crc @ ..] = head;
            let Ok(offset) = u16::try_from(self.end) else { break };
            let place = Place { offset, len: u16::from_be_bytes([high, low]) };
            let next = self.end.saturating_add(place.total::<F>());
            let mut preview = Secret::<[u8; PREVIEW]>::zeroed();
            let whole = flags == 0
                && usize::from(place.len) <= MAX_BODY
                && next <= self.size()
                && self.checksum(kind, place, preview.expose_mut())? == u32::from_be_bytes(crc);
            if !whole {
                self.damaged = true;
                return Ok(());
            }
            let shown = usize::from(place.len).min(PREVIEW);
            visit(kind, place, preview.expose().get(..shown).unwrap_or_default());
            self.end = next;
        }
        self.damaged = !self.rest_is_erased()?;
        Ok(())
    }

    /// CRC of the record as it stands in flash; the front of its body goes to `preview`.
    fn checksum(&mut self, kind: u8, place: Place, preview: &mut [u8]) -> Result<u32, F::Error> {
        let mut digest = record_digest(kind, place.len);
        let mut chunk = Secret::<[u8; CHUNK]>::zeroed();
        let mut from = RECORD_HEADER;
        let mut left = usize::from(place.len);
        while left > 0 {
            let part = chunk.expose_mut().get_mut(..left.min(CHUNK)).unwrap_or_default();
            self.flash.read(self.active, place.at(from), part)?;
            if from == RECORD_HEADER {
                preview.iter_mut().zip(part.iter()).for_each(|(to, from)| *to = *from);
            }
            digest.update(part);
            from = from.saturating_add(part.len());
            left = left.saturating_sub(part.len());
        }
        Ok(digest.finalize())
    }

    fn rest_is_erased(&mut self) -> Result<bool, F::Error> {
        let mut at = self.end;
        let mut chunk = [0; CHUNK];
        while at < self.size() {
            let part = chunk.get_mut(..self.size().saturating_sub(at).min(CHUNK)).unwrap_or_default();
            self.flash.read(self.active, at, part)?;
            if !is_erased(part) {
                return Ok(false);
            }
            at = at.saturating_add(part.len());
        }
        Ok(true)
    }

    /// Writes a record; when this returns it is durable.
    pub fn append(&mut self, kind: u8, body: &[u8]) -> Result<Place, AppendError<F::Error>> {
        let mut record = Secret::<[u8; RECORD_HEADER + MAX_BODY + CHUNK]>::zeroed();
        let len = u16::try_from(body.len()).map_err(|_| AppendError::Full)?;
        let total = Self::cost(body.len());
        let bytes = record.expose_mut().get_mut(..total).ok_or(AppendError::Full)?;
        if self.damaged || self.size().saturating_sub(self.end) < total {
            return Err(AppendError::Full);
        }
        let offset = u16::try_from(self.end).map_err(|_| AppendError::Full)?;
        let [high, low] = len.to_be_bytes();
        let mut digest = record_digest(kind, len);
        digest.update(body);
        let head = [kind, 0, high, low].into_iter().chain(digest.finalize().to_be_bytes());
        bytes.iter_mut().zip(head.chain(body.iter().copied())).for_each(|(to, from)| *to = from);
        self.damaged = true;
        self.flash.write(self.active, self.end, bytes).map_err(AppendError::Flash)?;
        self.damaged = false;
        self.end = self.end.saturating_add(total);
        Ok(Place { offset, len })
    }

    /// Reads a record's body, or as much of it as `out` holds.
    pub fn read<'o>(&mut self, place: Place, out: &'o mut [u8]) -> Result<&'o [u8], F::Error> {
        let len = usize::from(place.len).min(out.len());
        let body = out.get_mut(..len).unwrap_or_default();
        self.flash.read(self.active, place.at(RECORD_HEADER), body)?;
        Ok(body)
    }

    /// Moves the given records to the other block and goes on there; each place is updated.
    ///
    /// The places are undefined after an error.
    pub fn compact<'p>(&mut self, live: impl Iterator<Item = &'p mut Place>) -> Result<(), F::Error> {
        let target = self.active.other();
        self.flash.erase(target)?;
        let mut end = BLOCK_HEADER;
        for place in live {
            let total = place.total::<F>();
            self.copy(*place, target, end, total)?;
            place.offset = u16::try_from(end).unwrap_or(u16::MAX);
            end = end.saturating_add(total);
        }
        let sequence = self.sequence.saturating_add(1);
        self.flash.write(target, 0, &block_header(sequence))?;
        (self.active, self.sequence, self.end, self.damaged) = (target, sequence, end, false);
        Ok(())
    }

    fn copy(&mut self, place: Place, target: Block, to: usize, total: usize) -> Result<(), F::Error> {
        let mut chunk = Secret::<[u8; CHUNK]>::zeroed();
        let mut done = 0;
        while done < total {
            let part =
                chunk.expose_mut().get_mut(..total.saturating_sub(done).min(CHUNK)).unwrap_or_default();
            self.flash.read(self.active, place.at(done), part)?;
            self.flash.write(target, to.saturating_add(done), part)?;
            done = done.saturating_add(part.len());
        }
        Ok(())
    }
}

fn record_digest(kind: u8, len: u16) -> Digest<'static, u32, NoTable> {
    let [high, low] = len.to_be_bytes();
    let mut digest = CRC.digest();
    digest.update(&[kind, high, low]);
    digest
}
