//! The whole blocking client. Its panic handler can't link: the build fails if any panic is left.
#![no_std]
#![no_main]

use core::panic::PanicInfo;
use cortex_m as _;
use cortex_m_rt::entry;
use sordino_embedded::{Board, Code, Memory, Target};
use sordino_figures::{Device, look, used};

#[entry]
fn main() -> ! {
    let board: Board<_, _> = match Board::open(Device, Device) {
        Ok(board) => board,
        Err(_) => loop {},
    };
    let mut text = [0_u8; 200];
    text.iter_mut().for_each(|byte| *byte = sordino_figures::any() as u8);
    let text = core::str::from_utf8(&text).unwrap_or_default();
    if let Ok(code) = Code::parse(text) {
        used(u32::from(board.enrol(&code).is_ok()));
    }
    if let Some(target) = Target::parse(text) {
        used(u32::from(board.send(target, text).is_ok()));
    }
    used(board.fingerprint().map_or(0, |print| u32::from(print[0])));
    used(board.status().map_or(0, |status| status.dropped));
    used(u32::from(board.factory_reset().is_ok()));
    board.run_blocking(&mut Device, || u64::from(sordino_figures::any()), &mut Memory::new(), look);
    loop {}
}

unsafe extern "C" {
    /// Defined nowhere.
    safe fn a_panic_is_left() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    a_panic_is_left()
}
