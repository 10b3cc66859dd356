//! How much there was lately.

use std::time::{Duration, Instant};

/// After so long, half counts.
const HALF_LIFE: Duration = Duration::from_millis(5);

/// A sum of which half is forgotten in each half-life: at a steady rate some seven times what a millisecond brings.
#[derive(Debug, Default)]
pub(super) struct Decaying {
    sum: usize,
    /// Up to when half-lives are counted in.
    since: Option<Instant>,
}

impl Decaying {
    /// Adds what there is now.
    pub fn add(&mut self, count: usize, now: Instant) {
        self.sum = self.at(now).saturating_add(count);
        let since = self.since.unwrap_or(now);
        // Not the whole way to now: else what comes often would never fade.
        let whole = HALF_LIFE * half_lives(since, now);
        self.since = Some(since + whole);
    }

    /// What is left of the sum.
    pub fn at(&self, now: Instant) -> usize {
        self.since.map_or(0, |since| self.sum.checked_shr(half_lives(since, now)).unwrap_or(0))
    }
}

fn half_lives(since: Instant, now: Instant) -> u32 {
    let whole = now.saturating_duration_since(since).as_nanos() / HALF_LIFE.as_nanos();
    u32::try_from(whole).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_fades_by_halves() {
        let (mut sum, start) = (Decaying::default(), Instant::now());
        assert_eq!(sum.at(start), 0);
        sum.add(200, start);
        let after = |count| sum.at(start + HALF_LIFE * count);
        assert_eq!([0, 1, 2, 7, 8, 64, 1000].map(after), [200, 100, 50, 1, 0, 0, 0]);
    }

    #[test]
    fn a_steady_rate_stays_at_its_height() {
        let (mut sum, start) = (Decaying::default(), Instant::now());
        for millisecond in 0..1000 {
            sum.add(50, start + MILLISECOND * millisecond);
        }
        let height = sum.at(start + MILLISECOND * 1000);
        assert!((200..=500).contains(&height), "{height}");
    }
}
