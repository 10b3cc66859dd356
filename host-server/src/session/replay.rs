//! The clients' ephemeral keys of late: a message 1 that comes again is refused before it costs an exponentiation.
//!
//! The filter saves work and decides nothing else, so that forgetting is safe: a replayed message 1 never leads to
//! a connection.

use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Keys of each generation; two generations take about 1 MiB.
const GENERATION: usize = 16_384;

/// The front of a key. Two honest keys never share it.
pub(super) type Mark = [u8; 16];

/// See the module.
#[derive(Debug, Default)]
pub struct ReplayFilter(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<Mark>,
    old: HashSet<Mark>,
}

impl ReplayFilter {
    /// What is kept of an ephemeral key.
    pub(super) fn mark(ephemeral: &[u8]) -> Option<Mark> {
        ephemeral.first_chunk().copied()
    }

    /// Whether the key has begun a handshake already.
    pub(super) fn has(&self, mark: &Mark) -> bool {
        let generations = self.generations();
        generations.young.contains(mark) || generations.old.contains(mark)
    }

    /// Keeps a key whose owner has proven to hold it: garbage can't push the others out.
    pub(super) fn insert(&self, mark: Mark) {
        let mut generations = self.generations();
        if generations.young.len() >= GENERATION {
            generations.old = mem::take(&mut generations.young);
        }
        generations.young.insert(mark);
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_generation_is_remembered_for_sure_and_two_at_most() {
        let filter = ReplayFilter::default();
        let mark = |n: usize| (n as u128).to_be_bytes();
        for n in 0..3 * GENERATION {
            assert!(!filter.has(&mark(n)));
            filter.insert(mark(n));
            assert!(filter.has(&mark(n.saturating_sub(GENERATION))));
        }
        assert!(!filter.has(&mark(0)));
        let generations = filter.generations();
        assert!(generations.young.len() <= GENERATION && generations.old.len() <= GENERATION);
    }
}
