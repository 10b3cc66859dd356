//! Randomness, supplied by the caller.

use crate::error::Error;
use rand_core::TryCryptoRng;

/// A source of cryptographically strong random bytes. Implemented for every [`TryCryptoRng`].
pub trait Entropy {
    /// Fills `out` entirely.
    ///
    /// # Errors
    /// [`Error::Entropy`] if the source fails; the connection then ends rather than use weak keys.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error>;
}

impl<R: TryCryptoRng> Entropy for R {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        self.try_fill_bytes(out).map_err(|_| Error::Entropy)
    }
}
