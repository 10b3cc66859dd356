//! What the caller lends to each call.

use crate::buf::TxBuf;
use crate::config::Millis;
use crate::entropy::Entropy;
use crate::error::{Error, ErrorCode, Misuse, NoRoom};
use crate::handshake::{Header, Kind, sealed_len};
use crate::suite::Suite;
use crate::wire::{Overflow, Writer};

/// Time, output and randomness, lent to each call of a state machine.
pub struct Io<'x, 't> {
    /// The present on a monotonic clock, in milliseconds; never earlier than in the call before.
    pub now: Millis,
    /// Where bytes for the peer go.
    pub tx: &'x mut TxBuf<'t>,
    /// Randomness; used in the handshake only.
    pub rng: &'x mut (dyn Entropy + Send),
}

const TOO_SMALL: Error = Error::Misuse(Misuse::BufferTooSmall);

impl Io<'_, '_> {
    /// Whether `needed` bytes have to wait for room; makes them contiguous if not.
    ///
    /// # Errors
    /// [`Misuse::BufferTooSmall`] if even an empty output would not hold them.
    pub(crate) fn no_room(&mut self, needed: usize) -> Result<Option<NoRoom>, Error> {
        if needed > self.tx.capacity() {
            return Err(TOO_SMALL);
        }
        Ok(self.tx.room(needed).err())
    }

    /// The free part of the output, for use until something is put there. It is not to be written, and holds nothing.
    pub(crate) fn scratch(&mut self) -> &mut [u8] {
        self.tx.room(0).unwrap_or_default()
    }

    /// Appends what `write` writes to the output. [`Self::no_room`] has seen to the room.
    pub(crate) fn put(
        &mut self,
        write: impl FnOnce(&mut Writer<'_>) -> Result<(), Overflow>,
    ) -> Result<(), Error> {
        let mut out = Writer::new(self.tx.room(0).map_err(|_| TOO_SMALL)?);
        write(&mut out).map_err(|Overflow| TOO_SMALL)?;
        let written = out.written();
        self.tx.commit(written);
        Ok(())
    }

    /// Appends a handshake ciphertext: `fill` writes into `plain` zeros, `seal` encrypts in place.
    pub(crate) fn put_sealed<S: Suite>(
        &mut self,
        plain: usize,
        fill: impl FnOnce(&mut [u8]),
        seal: impl FnOnce(&mut [u8]) -> Option<()>,
    ) -> Result<(), Error> {
        let len = sealed_len::<S>(plain);
        let buf = self.tx.room(len).map_err(|_| TOO_SMALL)?.get_mut(..len).ok_or(TOO_SMALL)?;
        buf.fill(0);
        fill(buf.get_mut(..plain).ok_or(TOO_SMALL)?);
        seal(buf).ok_or(TOO_SMALL)?;
        self.tx.commit(len);
        Ok(())
    }

    /// Appends an ERROR message.
    pub(crate) fn put_error(&mut self, suite: u8, code: ErrorCode) -> Result<(), Error> {
        let header = Header::new(Kind::Error, suite, 1).encode();
        self.put(|out| {
            out.put(&header)?;
            out.put(&[code as u8])
        })
    }
}
