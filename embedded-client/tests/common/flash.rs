//! Two blocks of flash that check how they are used, and whose power may fail in the middle of a write or erasure.

use super::Splitmix;
use sordino_embedded::{Block, Storage};
use std::cell::RefCell;
use std::rc::Rc;

pub const BLOCK: usize = 4096;

/// What outlives a power cut.
pub struct Cells {
    blocks: [Vec<u8>; 2],
    /// Writes and erasures until the power fails; `None`: it doesn't.
    pub budget: Option<usize>,
    noise: Splitmix,
    pub erasures: usize,
    dark: bool,
}

/// The driver of one boot.
#[derive(Clone)]
pub struct Flash(pub Rc<RefCell<Cells>>);

/// The power is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dark;

impl Flash {
    pub fn new(seed: u64) -> Self {
        let blocks = [vec![0xff; BLOCK], vec![0xff; BLOCK]];
        Self(Rc::new(RefCell::new(Cells {
            blocks,
            budget: None,
            noise: Splitmix(seed),
            erasures: 0,
            dark: false,
        })))
    }

    /// Power comes back, for so many writes and erasures.
    pub fn power_on(&self, budget: Option<usize>) {
        let mut cells = self.0.borrow_mut();
        cells.dark = false;
        cells.budget = budget;
    }
}

impl Cells {
    /// Whether the power fails in this operation.
    fn fails_now(&mut self) -> bool {
        match &mut self.budget {
            Some(0) => {
                self.dark = true;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}

impl Storage for Flash {
    type Error = Dark;

    const WRITE_SIZE: usize = 8;

    fn block_size(&self) -> usize {
        BLOCK
    }

    fn read(&mut self, block: Block, offset: usize, out: &mut [u8]) -> Result<(), Dark> {
        let cells = self.0.borrow();
        if cells.dark {
            return Err(Dark);
        }
        out.copy_from_slice(&cells.blocks[block as usize][offset..offset + out.len()]);
        Ok(())
    }

    fn write(&mut self, block: Block, offset: usize, bytes: &[u8]) -> Result<(), Dark> {
        assert!(offset.is_multiple_of(8) && bytes.len().is_multiple_of(8), "unaligned write");
        let cells = &mut *self.0.borrow_mut();
        if cells.dark {
            return Err(Dark);
        }
        let torn = cells.fails_now();
        let place = &mut cells.blocks[block as usize][offset..offset + bytes.len()];
        assert!(place.iter().all(|&b| b == 0xff), "written twice without erasure");
        for (cell, byte) in place.iter_mut().zip(bytes) {
            // Torn: some bytes are whole, some have a part of their bits, some nothing.
            *cell = if torn { byte | cells.noise.next() as u8 } else { *byte };
        }
        if torn {
            let whole = cells.noise.below(bytes.len() + 1);
            place[..whole].copy_from_slice(&bytes[..whole]);
            return Err(Dark);
        }
        Ok(())
    }

    fn erase(&mut self, block: Block) -> Result<(), Dark> {
        let cells = &mut *self.0.borrow_mut();
        if cells.dark {
            return Err(Dark);
        }
        cells.erasures += 1;
        if cells.fails_now() {
            let from = cells.noise.below(BLOCK);
            cells.blocks[block as usize][from..].fill(0xff);
            return Err(Dark);
        }
        cells.blocks[block as usize].fill(0xff);
        Ok(())
    }
}
