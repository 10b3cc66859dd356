//! Time limits, and the pauses between attempts to reconnect.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use smol::Timer;
use smol::future::{FutureExt, or};

/// First pause of PROTOCOL.md section 10; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// The future's output, or `None` at the deadline. A deadline that has passed still polls once.
pub async fn until<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    let timer = async {
        Timer::at(deadline).await;
        None
    };
    or(async { Some(future.await) }, timer).await
}

/// The future's output, or `None` after a time.
pub async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    until(Instant::now() + limit, future).await
}

/// What the future yields at once, or `None`. The future must be safe to drop.
pub async fn at_once<F: Future>(future: F) -> Option<F::Output> {
    async { Some(future.await) }.or(async { None }).await
}

/// This machine's clock in Unix milliseconds.
pub fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// Pauses of 1 s doubling to 60 s, each shortened at random by up to a half, so that the clients of a server that
/// comes back don't all come at once.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next pause.
    pub fn next_pause(&mut self) -> Duration {
        let full = SHORTEST.saturating_mul(1 << self.attempts.min(6)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        let mut random = [0; 2];
        // Without randomness there is just no jitter.
        let _ = getrandom::fill(&mut random);
        let fraction = f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX);
        full.mul_f64(1.0 - fraction / 2.0)
    }

    /// The connection works: start anew.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}
