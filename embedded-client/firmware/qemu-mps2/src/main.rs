//! A Sordino board for QEMU's `mps2-an386`: Cortex-M4F, LAN9118, TCP/IP by smoltcp, console on the UART.
//!
//! The machine has no entropy source: random numbers come from the host. **Keys of this firmware are as good as
//! the host's `/dev/urandom`, and everyone with access to the host can read them in the flash file.**
#![no_std]
#![no_main]

mod clock;
mod host;
mod lan9118;
mod machine;
mod net;
mod registers;
mod uart;

use core::ops::ControlFlow;
use core::panic::PanicInfo;
use cortex_m::singleton;
use cortex_m_rt::entry;
use cortex_m_semihosting::debug;
use host::{HostFlash, HostRng};
use lan9118::Lan9118;
use machine::Mps2;
use net::{Buffers, Net};
use sordino_embedded::rand_core::TryRng;
use sordino_embedded::{Board, Event, Memory};
use sordino_firmware_common::Console;
use uart::Uart;

#[entry]
fn main() -> ! {
    let uart = Uart::new();
    say!("Sordino board on QEMU mps2-an386");
    say!("NO ENTROPY SOURCE ON THIS MACHINE: random numbers come from the host, over semihosting");
    if start(uart).is_none() {
        say!("the host's files or the Ethernet controller can't be used");
    }
    debug::exit(debug::EXIT_FAILURE);
    loop {
        cortex_m::asm::wfi();
    }
}

fn start(uart: Uart) -> Option<()> {
    clock::start(cortex_m::Peripherals::take()?.SYST);
    let mut rng = HostRng::open()?;
    let seed = rng.try_next_u64().ok()?;
    let [a, b, c, d, ..] = seed.to_le_bytes();
    let mac = [0x02, 0x00, a, b, c, d];
    let buffers = singleton!(: Buffers = Buffers::new())?;
    let mut net = Net::new(Lan9118::new(mac)?, mac, seed, buffers);
    let flash = HostFlash::open(host::flash_path(&mut [0; 256]))?;
    let board = Board::open(flash, rng).ok()?;
    let mut console = Console::new(&board, Mps2::new(uart));
    let memory = singleton!(: Memory = Memory::new())?;
    say!("ready");
    board.run_blocking(&mut net, clock::now, memory, |event| {
        match event {
            Event::Idle => {
                while let Some(byte) = uart.read() {
                    console.typed(byte);
                }
                console.tick();
                cortex_m::asm::wfi();
            }
            event => console.event(&event),
        }
        ControlFlow::Continue(())
    });
    Some(())
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    say!("{info}");
    debug::exit(debug::EXIT_FAILURE);
    loop {
        cortex_m::asm::wfi();
    }
}
