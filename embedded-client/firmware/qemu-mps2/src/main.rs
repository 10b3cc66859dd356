//! A Sordino board for QEMU's `mps2-an386`: Cortex-M4F, LAN9118, TCP/IP by smoltcp, console on the UART.
//!
//! The machine has no entropy source: random numbers come from the host. **Keys of this firmware are as good as
//! the host's `/dev/urandom`, and everyone with access to the host can read them in the flash file.**
#![no_std]
#![no_main]

#[cfg(feature = "async-client")]
mod awaited;
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
use sordino_embedded::{Board, Memory};
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
    let net = Net::new(Lan9118::new(mac)?, mac, seed, buffers);
    let flash = HostFlash::open(host::flash_path(&mut [0; 256]))?;
    let board = Board::open(flash, rng).ok()?;
    let console = Console::new(&board, Mps2::new(uart));
    let memory = singleton!(: Memory = Memory::new())?;
    say!("ready");
    talk(&board, net, memory, console, uart);
    Some(())
}

type Mps2Board = Board<HostFlash, HostRng>;
type Mps2Console<'b> = Console<'b, HostFlash, HostRng, Mps2>;

fn poll_console(console: &mut Mps2Console<'_>, uart: Uart) {
    while let Some(byte) = uart.read() {
        console.typed(byte);
    }
    console.tick();
}

#[cfg(not(feature = "async-client"))]
fn talk(board: &Mps2Board, mut net: Net, memory: &mut Memory, mut console: Mps2Console<'_>, uart: Uart) {
    use sordino_embedded::Event;
    board.run_blocking(&mut net, clock::now, memory, |event| {
        match event {
            Event::Idle => {
                poll_console(&mut console, uart);
                cortex_m::asm::wfi();
            }
            event => console.event(&event),
        }
        ControlFlow::Continue(())
    });
}

#[cfg(feature = "async-client")]
fn talk(board: &Mps2Board, net: Net, memory: &mut Memory, console: Mps2Console<'_>, uart: Uart) {
    let console = core::cell::RefCell::new(console);
    let mut net = awaited::AsyncNet::new(net);
    let client = board.run(&mut net, &awaited::Uptime, memory, |event| {
        console.borrow_mut().event(&event);
        ControlFlow::Continue(())
    });
    awaited::block_on(client, || poll_console(&mut console.borrow_mut(), uart));
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    say!("{info}");
    debug::exit(debug::EXIT_FAILURE);
    loop {
        cortex_m::asm::wfi();
    }
}
