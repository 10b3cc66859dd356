//! When acknowledgements leave: at once, unless one has left just before. Then one for all, a little later: under load
//! a server would otherwise take about as many of them as of messages.

use std::time::{Duration, Instant};

use super::WINDOW;

/// From one to the next, unless many deliveries wait.
const PAUSE: Duration = Duration::from_millis(200);
/// So many deliveries wait for nothing: the server goes on with the other half of the window meanwhile.
const MANY: usize = WINDOW as usize / 2;

/// See the module.
#[derive(Debug, Default)]
pub struct Acks {
    /// A number, and when it leaves.
    waiting: Option<(u64, Instant)>,
    /// Deliveries that wait.
    count: usize,
    last: Option<Instant>,
}

impl Acks {
    /// Takes note that so many more deliveries, up to this number, are to be acknowledged.
    pub fn add(&mut self, number: u64, deliveries: usize, now: Instant) {
        self.count += deliveries;
        let pause = self.last.filter(|_| self.count < MANY).map(|last| last + PAUSE);
        self.waiting = Some((number, pause.unwrap_or(now)));
    }

    /// When [`take`](Self::take) has something; `None` while nothing waits.
    pub fn due(&self) -> Option<Instant> {
        self.waiting.map(|(_, due)| due)
    }

    /// The number to acknowledge at this time.
    pub fn take(&mut self, now: Instant) -> Option<u64> {
        if self.due()? > now {
            return None;
        }
        self.last = Some(now);
        self.flush()
    }

    /// What waits, whatever the time.
    pub fn flush(&mut self) -> Option<u64> {
        self.count = 0;
        self.waiting.take().map(|(number, _)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_once_then_one_for_all() {
        let (mut acks, start) = (Acks::default(), Instant::now());
        assert_eq!((acks.due(), acks.take(start)), (None, None));
        acks.add(3, 1, start);
        assert_eq!(acks.take(start), Some(3));
        acks.add(5, 2, start);
        acks.add(7, 1, start + PAUSE / 2);
        assert_eq!((acks.due(), acks.take(start + PAUSE / 2)), (Some(start + PAUSE), None));
        assert_eq!(acks.take(start + PAUSE), Some(7));
        assert_eq!(acks.due(), None, "nothing waits any more");
        acks.add(8, 1, start + 3 * PAUSE);
        assert_eq!(acks.take(start + 3 * PAUSE), Some(8), "the pause is over");
    }

    #[test]
    fn many_do_not_wait() {
        let (mut acks, start) = (Acks::default(), Instant::now());
        acks.add(1, 1, start);
        assert_eq!(acks.take(start), Some(1));
        acks.add(128, MANY - 1, start);
        assert_eq!(acks.take(start), None);
        acks.add(129, 1, start);
        assert_eq!(acks.take(start), Some(129));
    }

    #[test]
    fn a_goodbye_waits_for_nothing() {
        let (mut acks, start) = (Acks::default(), Instant::now());
        acks.add(1, 1, start);
        acks.take(start);
        acks.add(2, 1, start);
        assert_eq!((acks.flush(), acks.flush()), (Some(2), None));
    }
}
