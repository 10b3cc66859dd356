//! When to connect again (`docs/PROTOCOL.md`, section 10): 1 s, doubling to 60 s, with jitter.

use sordino_core::config::Millis;

const FIRST: u32 = 1_000;
const LONGEST: u32 = 60_000;
/// A server that does not know the board, or is not the right one, is asked again this much later.
const REFUSED: u32 = 600_000;

/// Waiting times, in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u8,
}

impl Backoff {
    /// A connection has succeeded.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after a failure: between half of the present step and the whole.
    pub fn next(&mut self, random: u32) -> u32 {
        let step = FIRST.checked_shl(u32::from(self.failures)).map_or(LONGEST, |s| s.min(LONGEST));
        self.failures = self.failures.saturating_add(1).min(6);
        spread(step, random)
    }

    /// The wait after a refusal that only people can resolve.
    pub fn refused(random: u32) -> u32 {
        spread(REFUSED, random)
    }

    /// The wait that the server has asked for, never before it.
    pub fn told(seconds: u32, random: u32) -> u32 {
        let told = seconds.min(3600).saturating_mul(1000);
        told.saturating_add(spread(FIRST, random))
    }
}

fn spread(step: u32, random: u32) -> u32 {
    let half = step >> 1;
    half.saturating_add(random.checked_rem(half.saturating_add(1)).unwrap_or_default())
}

/// `span` milliseconds later.
pub(crate) fn after(now: Millis, span: u32) -> Millis {
    now.saturating_add(Millis::from(span))
}
