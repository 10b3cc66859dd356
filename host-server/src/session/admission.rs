//! How many handshakes compute at the same time, and how many may wait for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use smol::lock::{Semaphore, SemaphoreGuard};

/// See the module.
#[derive(Debug)]
pub struct Admission {
    jobs: Semaphore,
    inside: AtomicUsize,
    most: usize,
}

/// A handshake's turn to compute.
pub(super) struct Turn<'a> {
    _job: SemaphoreGuard<'a>,
    _place: Place<'a>,
}

/// Given back also when the connection that waited is gone.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    /// `jobs` compute, `waiting` wait.
    #[must_use]
    pub const fn new(jobs: u32, waiting: u32) -> Self {
        let (jobs, waiting) = (jobs as usize, waiting as usize);
        Self { jobs: Semaphore::new(jobs), inside: AtomicUsize::new(0), most: jobs + waiting }
    }

    /// Whether another handshake may wait for its turn.
    pub(super) fn has_room(&self) -> bool {
        self.inside.load(Ordering::Relaxed) < self.most
    }

    /// Waits for a turn.
    pub(super) async fn enter(&self) -> Turn<'_> {
        self.inside.fetch_add(1, Ordering::Relaxed);
        let place = Place(&self.inside);
        Turn { _job: self.jobs.acquire().await, _place: place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_those_who_work_and_those_who_wait() {
        smol::block_on(async {
            let admission = Admission::new(1, 1);
            let first = admission.enter().await;
            assert!(admission.has_room());
            let second = admission.enter();
            let mut second = std::pin::pin!(second);
            assert!(smol::future::poll_once(&mut second).await.is_none());
            assert!(!admission.has_room());
            drop(first);
            drop(second.await);
            assert_eq!(admission.inside.load(Ordering::Relaxed), 0);
        });
    }
}
