//! The whole async client. The build fails if any panic is left.
#![no_std]
#![no_main]

use cortex_m as _;
use cortex_m_rt::entry;
use sordino_embedded::Memory;
use sordino_figures::{Device, look, probe};

#[entry]
fn main() -> ! {
    probe(|board| {
        embassy_futures::block_on(board.run(&mut Device, &Device, &mut Memory::new(), look));
    })
}

sordino_figures::no_panic!();
