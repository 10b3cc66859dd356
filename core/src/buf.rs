//! Cursors over the caller's receive and send buffers.

use crate::error::NoRoom;
use core::cell::Cell;
use core::fmt;
use core::ops::Range;
use zeroize::Zeroize;

/// Received bytes that were not consumed yet, in the caller's slice.
///
/// The driver reads from its socket into [`spare`](Self::spare) and calls [`commit`](Self::commit);
/// the connection consumes from the front. Consumed plaintext is erased.
pub struct RxBuf<'b> {
    buf: &'b mut [u8],
    head: usize,
    tail: usize,
    eof: bool,
}

impl<'b> RxBuf<'b> {
    /// An empty buffer over `buf`. [`crate::config::RX_BUFFER`] bytes hold any record.
    pub const fn new(buf: &'b mut [u8]) -> Self {
        Self { buf, head: 0, tail: 0, eof: false }
    }

    /// Takes up a buffer in which `len` received bytes already stand at the front
    /// (what [`unconsumed`](Self::unconsumed) returned, moved to another slice). If the peer has ended its
    /// direction, say so again.
    pub fn resume(buf: &'b mut [u8], len: usize) -> Self {
        let tail = len.min(buf.len());
        Self { buf, head: 0, tail, eof: false }
    }

    /// Where the next received bytes go. Empty only when the buffer is full.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.head == self.tail {
            self.head = 0;
            self.tail = 0;
        } else if self.tail == self.buf.len() && self.head > 0 {
            let kept = self.tail.saturating_sub(self.head);
            move_to_front(self.buf, self.head..self.tail);
            // An opened record may stand here: one copy of it is enough.
            self.buf.get_mut(kept..self.tail).unwrap_or_default().zeroize();
            self.tail = kept;
            self.head = 0;
        }
        self.buf.get_mut(self.tail..).unwrap_or_default()
    }

    /// `n` bytes of [`spare`](Self::spare) were filled.
    pub fn commit(&mut self, n: usize) {
        self.tail = self.tail.saturating_add(n).min(self.buf.len());
    }

    /// The peer has ended its direction: nothing more will come.
    pub const fn end(&mut self) {
        self.eof = true;
    }

    /// Whether [`end`](Self::end) was called.
    pub const fn ended(&self) -> bool {
        self.eof
    }

    /// Received bytes that were not consumed.
    pub fn unconsumed(&self) -> &[u8] {
        self.buf.get(self.head..self.tail).unwrap_or_default()
    }

    /// Erases what was received and not consumed, for memory that is used again. What was consumed is erased
    /// already: no received byte is left, and the cost is that of what came, not of the memory's size.
    pub fn wipe(&mut self) {
        self.consume(usize::MAX);
        self.head = 0;
        self.tail = 0;
    }

    /// Size of the underlying slice, in bytes.
    pub const fn capacity(&self) -> usize {
        self.buf.len()
    }

    pub(crate) fn filled_mut(&mut self) -> &mut [u8] {
        self.buf.get_mut(self.head..self.tail).unwrap_or_default()
    }

    /// Drops `n` bytes from the front and erases them.
    pub(crate) fn consume(&mut self, n: usize) {
        let end = self.head.saturating_add(n).min(self.tail);
        if let Some(old) = self.buf.get_mut(self.head..end) {
            old.zeroize();
        }
        self.head = end;
    }
}

/// `copy_within` without its panic.
fn move_to_front(buf: &mut [u8], from: Range<usize>) {
    let cells = Cell::from_mut(buf).as_slice_of_cells();
    for (to, from) in cells.iter().zip(cells.get(from).unwrap_or_default()) {
        to.set(from.get());
    }
}

/// Bytes that wait to be written to the peer, in the caller's slice.
pub struct TxBuf<'b> {
    buf: &'b mut [u8],
    head: usize,
    tail: usize,
}

impl<'b> TxBuf<'b> {
    /// An empty buffer over `buf`. [`crate::config::TX_BUFFER`] bytes take any record.
    pub const fn new(buf: &'b mut [u8]) -> Self {
        Self { buf, head: 0, tail: 0 }
    }

    /// Takes up a buffer in which `len` bytes to be written already stand at the front.
    pub fn resume(buf: &'b mut [u8], len: usize) -> Self {
        let tail = len.min(buf.len());
        Self { buf, head: 0, tail }
    }

    /// What is to be written.
    pub fn pending(&self) -> &[u8] {
        self.buf.get(self.head..self.tail).unwrap_or_default()
    }

    /// The first `n` bytes of [`pending`](Self::pending) were written.
    pub fn consume(&mut self, n: usize) {
        self.head = self.head.saturating_add(n).min(self.tail);
        if self.head == self.tail {
            self.head = 0;
            self.tail = 0;
        }
    }

    /// Whether nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Free bytes.
    pub const fn free(&self) -> usize {
        self.buf.len().saturating_sub(self.tail.saturating_sub(self.head))
    }

    /// Size of the underlying slice, in bytes.
    pub const fn capacity(&self) -> usize {
        self.buf.len()
    }

    /// The free part, if it has at least `needed` bytes.
    pub(crate) fn room(&mut self, needed: usize) -> Result<&mut [u8], NoRoom> {
        if self.free() < needed {
            return Err(NoRoom { needed: u32::try_from(needed).unwrap_or(u32::MAX) });
        }
        if self.buf.len().saturating_sub(self.tail) < needed {
            move_to_front(self.buf, self.head..self.tail);
            self.tail = self.tail.saturating_sub(self.head);
            self.head = 0;
        }
        Ok(self.buf.get_mut(self.tail..).unwrap_or_default())
    }

    /// `n` bytes of [`room`](Self::room) are now to be written.
    pub(crate) fn commit(&mut self, n: usize) {
        self.tail = self.tail.saturating_add(n).min(self.buf.len());
    }
}

/// Shows no bytes: they may be a password.
impl fmt::Debug for RxBuf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RxBuf({} bytes, ended: {})", self.unconsumed().len(), self.eof)
    }
}

impl fmt::Debug for TxBuf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TxBuf({} bytes)", self.pending().len())
    }
}
