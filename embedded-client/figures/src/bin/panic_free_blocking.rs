//! The whole blocking client. The build fails if any panic is left.
#![no_std]
#![no_main]

use cortex_m as _;
use cortex_m_rt::entry;
use sordino_embedded::Memory;
use sordino_figures::{Device, any, look, probe};

#[entry]
fn main() -> ! {
    probe(|board| {
        board.run_blocking(&mut Device, || u64::from(any()), &mut Memory::new(), look);
    })
}

sordino_figures::no_panic!();
