//! Doubles: flash whose power fails, a stream with short reads and pauses, and a server in memory.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may panic"
)]

pub mod flash;
pub mod server;
pub mod stream;

use core::convert::Infallible;
use sordino_embedded::rand_core::{TryCryptoRng, TryRng};

/// Not random: SplitMix64.
pub struct Splitmix(pub u64);

impl Splitmix {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// The worst generator: the 32 bytes for a handshake are always the same. Everything else differs.
pub struct StuckRng {
    pub same: u8,
    pub rest: Splitmix,
}

impl TryRng for StuckRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.rest.next() as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.rest.next())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        let stuck = out.len() == 32;
        for byte in out.iter_mut() {
            *byte = if stuck { self.same } else { self.rest.next() as u8 };
        }
        Ok(())
    }
}

impl TryCryptoRng for StuckRng {}

/// The code of the server in [`server`].
pub const SECRET: [u8; 16] = [0xc0; 16];
