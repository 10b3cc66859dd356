//! Record buffers, lent to connections while something is under way.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sordino_core::config::{RX_BUFFER, TX_BUFFER};

/// Several small records are read at once.
const RECEIVE: usize = 2 * RX_BUFFER;
/// Room for any answer is kept free while deliveries are collected (see [`DELIVERIES`]).
const SEND: usize = 4 * TX_BUFFER;
/// Deliveries stop when less than this is free: requests of a slow reader can still be answered.
pub(super) const DELIVERIES: usize = 2 * TX_BUFFER;
/// Pairs that are kept when nobody uses them.
const KEPT: usize = 32;

/// A receive and a send buffer.
type Pair = (Box<[u8]>, Box<[u8]>);

/// See the module.
#[derive(Debug, Default)]
pub struct Pool(Mutex<Vec<Pair>>);

impl Pool {
    /// A pair; what stands in it is without meaning.
    pub(super) fn take(&self) -> Pair {
        self.lock().pop().unwrap_or_else(|| (vec![0; RECEIVE].into(), vec![0; SEND].into()))
    }

    /// Takes a pair back. The receive buffer holds nothing readable any more; the other never did.
    pub(super) fn give_back(&self, rx: Box<[u8]>, tx: Box<[u8]>) {
        let mut pairs = self.lock();
        if pairs.len() < KEPT {
            pairs.push((rx, tx));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Pair>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
