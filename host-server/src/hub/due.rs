//! Something that must be done at a time.

use std::{future::pending, time::Instant};

use smol::Timer;

/// When, if ever, and what wakes then: kept, so that whoever waits again and again sets it once.
#[derive(Debug, Default)]
pub struct Due(Option<(Instant, Timer)>);

impl Due {
    /// At this time, or when it is due already.
    pub fn by(&mut self, time: Instant) {
        if self.0.is_none() {
            self.at(Some(time));
        }
    }

    /// At this time, whatever was before.
    pub fn at(&mut self, time: Option<Instant>) {
        if self.0.as_ref().map(|(time, _)| *time) != time {
            self.0 = time.map(|time| (time, Timer::at(time)));
        }
    }

    /// Whether the time has come.
    pub fn is_late(&self) -> bool {
        self.0.as_ref().is_some_and(|(time, _)| *time <= Instant::now())
    }

    /// Waits for it.
    pub async fn wait(&mut self) {
        match &mut self.0 {
            Some((_, timer)) => drop(timer.await),
            None => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use smol::{block_on, future::FutureExt as _};

    use super::*;

    const MOMENT: Duration = Duration::from_millis(20);
    const HOUR: Duration = Duration::from_secs(3600);

    /// Whether it rings before a time.
    fn rings_before(due: &mut Due, time: Instant) -> bool {
        let rings = async {
            due.wait().await;
            true
        };
        let ends = async {
            Timer::at(time).await;
            false
        };
        block_on(rings.or(ends))
    }

    #[test]
    fn the_first_time_stays_until_it_is_set_anew() {
        let start = Instant::now();
        let mut due = Due::default();
        assert!(!rings_before(&mut due, start + MOMENT) && !due.is_late());
        due.by(start + HOUR);
        due.by(start);
        assert!(!rings_before(&mut due, start + 2 * MOMENT) && !due.is_late());
        due.at(Some(start));
        assert!(rings_before(&mut due, start + HOUR) && due.is_late());
        due.at(None);
        assert!(!due.is_late());
        due.by(start + 3 * MOMENT);
        assert!(rings_before(&mut due, start + HOUR) && due.is_late());
        assert!(Instant::now() >= start + 3 * MOMENT);
    }
}
