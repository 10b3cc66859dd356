//! A hardware generator, as the library wants it.

use core::convert::Infallible;
use sordino_embedded::rand_core::{TryCryptoRng, TryRng};

/// Fills buffers from a chip's **hardware** random number generator, which waits until it has enough.
pub struct HardwareRng<F>(pub F);

impl<F: FnMut(&mut [u8])> TryRng for HardwareRng<F> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        (self.0)(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        (self.0)(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        (self.0)(out);
        Ok(())
    }
}

impl<F: FnMut(&mut [u8])> TryCryptoRng for HardwareRng<F> {}
