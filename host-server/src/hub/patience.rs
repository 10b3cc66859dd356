//! How long a batch waits for more requests, which costs each of them little and saves the disk much.

use std::time::Duration;

/// From this batch size on, many are sending: the next batches wait a little for more of them.
const BUSY: usize = 4;
const WAIT: Duration = Duration::from_millis(1);
/// A batch of this size is worth its sync. A smaller one waits again, at most so many times, as long as each time brings
/// several: who sends one in a millisecond wants an answer.
const WORTH: usize = 32;
const WAITS: usize = 8;
const SEVERAL: usize = 2;
/// In a crowd, so many that came together are mostly all, and whether more follow shows sooner.
const BURST: usize = 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Patience {
    /// Size of the batches lately.
    lately: usize,
    /// What goes out goes to so many that a single message in each wait is worth the next.
    crowded: bool,
    waits: usize,
}

impl Patience {
    /// At the beginning of a batch.
    pub const fn new(lately: usize, crowded: bool) -> Self {
        Self { lately, crowded, waits: 0 }
    }

    /// How long to wait for more when the batch has `size` requests, of which `came` since the last wait. `None`: it is
    /// time.
    pub fn wait(&mut self, came: usize, size: usize) -> Option<Duration> {
        let several = if self.crowded { 1 } else { SEVERAL };
        let goes_on = match self.waits {
            0 => self.crowded || self.lately >= BUSY,
            waits => waits < WAITS && came >= several && size < WORTH,
        };
        self.waits += 1;
        let burst = self.crowded && self.lately < WORTH && came >= BURST;
        goes_on.then_some(if burst { WAIT / 4 } else { WAIT })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Size of a batch that begins with one request, of which so many more come in each wait, and how long it waited, in
    /// quarters of a wait.
    fn batch(mut patience: Patience, mut comes: impl FnMut(Duration) -> usize) -> (usize, u32) {
        let (mut came, mut size, mut waited) = (1, 1, 0);
        while let Some(wait) = patience.wait(came, size) {
            came = comes(wait);
            size += came;
            waited += if wait == WAIT { 4 } else { 1 };
        }
        (size, waited)
    }

    #[test]
    fn who_sends_alone_does_not_wait() {
        assert_eq!(batch(Patience::new(BUSY - 1, false), |_| 9), (1, 0));
    }

    #[test]
    fn several_are_worth_the_next_wait() {
        assert_eq!(batch(Patience::new(BUSY, false), |_| 0), (1, 4));
        assert_eq!(batch(Patience::new(BUSY, false), |_| 1), (2, 4));
        assert_eq!(batch(Patience::new(BUSY, false), |_| 2), (17, 32), "and not for ever");
        assert_eq!(batch(Patience::new(BUSY, false), |_| 20), (41, 8), "a large batch is worth its sync");
    }

    #[test]
    fn in_a_crowd_one_is_worth_the_next_wait() {
        assert_eq!(batch(Patience::new(0, true), |_| 0), (1, 4));
        assert_eq!(batch(Patience::new(0, true), |_| 1), (9, 32));
    }

    #[test]
    fn behind_a_burst_the_wait_is_short() {
        let burst = |comes: usize| {
            let mut comes = [comes].into_iter();
            move |_| comes.next().unwrap_or(0)
        };
        assert_eq!(batch(Patience::new(16, true), burst(15)), (16, 5));
        assert_eq!(batch(Patience::new(16, true), burst(3)), (4, 8), "no burst");
        assert_eq!(batch(Patience::new(16, false), burst(15)), (16, 8), "no crowd");
        assert_eq!(
            batch(Patience::new(WORTH, true), burst(15)),
            (16, 8),
            "large batches are worth waiting for"
        );
    }
}
