//! A Sordino board on ST's NUCLEO-F767ZI: Cortex-M7, built-in Ethernet, console on the ST-Link's serial port.
#![no_std]
#![no_main]

mod clocks;
mod machine;

use core::panic::PanicInfo;
use cortex_m::peripheral::SCB;
use cortex_m_rt::{ExceptionFrame, exception};
use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_stm32::bind_interrupts;
use embassy_stm32::eth::{self, Ethernet, GenericPhy, PacketQueue, Sma};
use embassy_stm32::flash::Flash;
use embassy_stm32::peripherals::{ETH, ETH_SMA, RNG, USART3};
use embassy_stm32::rng::{self, Rng};
use embassy_stm32::uid::uid;
use embassy_stm32::usart::{self, BufferedUart};
use machine::Nucleo;
use sordino_embedded::rand_core::TryRng;
use sordino_embedded::{Board, Memory, NorBlocks};
use sordino_firmware_common::HardwareRng;
use sordino_firmware_common::embassy::{self, Output as Screen, Resources, SocketMemory, Sockets};
use static_cell::{ConstStaticCell, StaticCell};

bind_interrupts!(struct Irqs {
    ETH => eth::InterruptHandler;
    RNG => rng::InterruptHandler<RNG>;
    USART3 => usart::BufferedInterruptHandler<USART3>;
});

/// Sectors 2 and 3, which memory.x leaves to the journal.
const BLOCK: u32 = 32 * 1024;
const JOURNAL: u32 = 2 * BLOCK;

type Device = Ethernet<'static, ETH, GenericPhy<Sma<'static, ETH_SMA>>>;

static FRAMES: StaticCell<PacketQueue<4, 8>> = StaticCell::new();
static RESOURCES: ConstStaticCell<Resources> = ConstStaticCell::new(Resources::new());
static SOCKET: ConstStaticCell<SocketMemory> = ConstStaticCell::new(SocketMemory::new());
static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());
static SCREEN: ConstStaticCell<Screen> = ConstStaticCell::new(Screen::new());
static TYPED: ConstStaticCell<[u8; 512]> = ConstStaticCell::new([0; 512]);
static SHOWN: ConstStaticCell<[u8; 64]> = ConstStaticCell::new([0; 64]);

#[embassy_executor::task]
async fn tcp_ip(mut runner: embassy_net::Runner<'static, Device>) -> ! {
    runner.run().await
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let p = embassy_stm32::init(clocks::config());
    // The data cache stays off: the Ethernet DMA does not know of it.
    if let Some(mut core) = cortex_m::Peripherals::take() {
        core.SCB.enable_icache();
    }
    let screen = &*SCREEN.take();
    let config = usart::Config::default();
    let uart = BufferedUart::new(p.USART3, p.PD9, p.PD8, SHOWN.take(), TYPED.take(), Irqs, config);
    let (shown, typed) = uart.expect("115200 baud are possible").split();
    let terminal = (typed, shown);

    let mut generator = Rng::new(p.RNG, Irqs);
    let mut rng = HardwareRng(move |out: &mut [u8]| generator.fill_bytes(out));
    let Ok(seed) = rng.try_next_u64();

    let device = Ethernet::new(
        FRAMES.init_with(PacketQueue::new),
        p.ETH,
        Irqs,
        p.PA1,
        p.PA7,
        p.PC4,
        p.PC5,
        p.PG13,
        p.PB13,
        p.PG11,
        embassy::mac_address(&uid()),
        p.ETH_SMA,
        p.PA2,
        p.PC1,
    );
    let config = embassy_net::Config::dhcpv4(Default::default());
    let (stack, runner): (Stack<'static>, _) = embassy_net::new(device, config, RESOURCES.take(), seed);
    spawner.spawn(tcp_ip(runner).expect("the only one"));

    let flash = Flash::new_blocking(p.FLASH).into_blocking_regions().bank1_region1;
    let Ok(board) = Board::open(NorBlocks::new(flash, JOURNAL, BLOCK), rng) else {
        return embassy::give_up("the flash can't be used", screen, terminal).await;
    };
    let machine = Nucleo::new(screen, p.PB0, p.ADC1);
    let sockets = Sockets::new(stack, SOCKET.take());
    embassy::run(&board, machine, sockets, MEMORY.take(), screen, terminal).await;
}

/// The board goes on from its flash.
#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    SCB::sys_reset()
}

/// Among others: the stack has reached its end.
#[exception]
unsafe fn HardFault(_: &ExceptionFrame) -> ! {
    SCB::sys_reset()
}
