//! The monotonic clock of all connections, and an alarm on it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use smol::Timer;

/// Milliseconds since the server's start.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts at 0.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Wakes at a deadline that mostly moves away: the timer is set again only when it fires or must fire earlier.
pub(crate) struct Alarm {
    clock: Clock,
    timer: Timer,
    set_to: Option<u64>,
}

impl Alarm {
    pub fn new(clock: Clock) -> Self {
        Self { clock, timer: Timer::never(), set_to: None }
    }

    /// Ready once `deadline` has come.
    pub fn poll(&mut self, deadline: Option<u64>, context: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        loop {
            if self.set_to.is_none_or(|set| set > deadline) {
                self.timer.set_at(self.clock.0 + Duration::from_millis(deadline));
                self.set_to = Some(deadline);
            }
            if smol::future::Future::poll(Pin::new(&mut self.timer), context).is_pending() {
                return Poll::Pending;
            }
            self.set_to = None;
            if self.clock.now() >= deadline {
                return Poll::Ready(());
            }
        }
    }
}
