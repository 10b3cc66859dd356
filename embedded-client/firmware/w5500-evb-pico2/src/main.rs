//! A Sordino board on WIZnet's W5500-EVB-Pico2: RP2350, W5500 Ethernet on SPI0, console on USB.
#![no_std]
#![no_main]

mod machine;
mod usb;

use core::panic::PanicInfo;
use cortex_m::peripheral::SCB;
use cortex_m_rt::{ExceptionFrame, exception};
use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_net_wiznet::chip::W5500;
use embassy_rp::flash::{Blocking, Flash};
use embassy_rp::gpio::{Input, Level, Output, Pull};
use embassy_rp::peripherals::{DMA_CH0, DMA_CH1, FLASH, SPI0, TRNG, USB};
use embassy_rp::spi::{self, Spi};
use embassy_rp::trng::{self, Trng};
use embassy_rp::{bind_interrupts, dma, otp};
use embassy_time::Delay;
use embedded_hal_bus::spi::ExclusiveDevice;
use machine::Pico2;
use sordino_embedded::rand_core::TryRng;
use sordino_embedded::{Board, Memory, NorBlocks};
use sordino_firmware_common::HardwareRng;
use sordino_firmware_common::embassy::{self, Output as Screen, Resources, SocketMemory, Sockets};
use static_cell::ConstStaticCell;

bind_interrupts!(struct Irqs {
    DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>, dma::InterruptHandler<DMA_CH1>;
    TRNG_IRQ => trng::InterruptHandler<TRNG>;
    USBCTRL_IRQ => embassy_rp::usb::InterruptHandler<USB>;
});

/// The part of the flash that is used; memory.x leaves its last 64 KiB to the journal.
const FLASH_SIZE: usize = 2 * 1024 * 1024;
const BLOCK: u32 = 16 * 1024;
const JOURNAL: u32 = FLASH_SIZE as u32 - 64 * 1024;
/// What WIZnet's chip guarantees is 33 MHz.
const SPI_FREQUENCY: u32 = 20_000_000;
/// Four times embassy's: fewer samples that depend on each other, 8 ms for 24 bytes.
const TRNG_SAMPLES: u32 = 100;

type Device = embassy_net_wiznet::Device<'static>;
type Bus = ExclusiveDevice<Spi<'static, SPI0, spi::Async>, Output<'static>, Delay>;
type Ethernet = embassy_net_wiznet::Runner<'static, W5500, Bus, Input<'static>, Output<'static>>;

static FRAMES: ConstStaticCell<embassy_net_wiznet::State<4, 4>> =
    ConstStaticCell::new(embassy_net_wiznet::State::new());
static RESOURCES: ConstStaticCell<Resources> = ConstStaticCell::new(Resources::new());
static SOCKET: ConstStaticCell<SocketMemory> = ConstStaticCell::new(SocketMemory::new());
static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());
static SCREEN: ConstStaticCell<Screen> = ConstStaticCell::new(Screen::new());

#[embassy_executor::task]
async fn ethernet(runner: Ethernet) -> ! {
    runner.run().await
}

#[embassy_executor::task]
async fn tcp_ip(mut runner: embassy_net::Runner<'static, Device>) -> ! {
    runner.run().await
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let p = embassy_rp::init(embassy_rp::config::Config::default());
    let screen = &*SCREEN.take();
    let (device, terminal) = usb::serial(embassy_rp::usb::Driver::new(p.USB, Irqs));
    spawner.spawn(usb::run(device).expect("the only one"));

    let mut config = trng::Config::default();
    config.sample_count = TRNG_SAMPLES;
    let mut trng = Trng::new(p.TRNG, Irqs, config);
    let mut rng = HardwareRng(move |out: &mut [u8]| trng.blocking_fill_bytes(out));
    let Ok(seed) = rng.try_next_u64();
    let Ok(chip) = otp::get_chipid() else {
        return embassy::give_up("the chip's number can't be read", screen, terminal).await;
    };

    let mut config = spi::Config::default();
    config.frequency = SPI_FREQUENCY;
    let spi = Spi::new(p.SPI0, p.PIN_18, p.PIN_19, p.PIN_16, p.DMA_CH0, p.DMA_CH1, Irqs, config);
    let Ok(bus) = ExclusiveDevice::new(spi, Output::new(p.PIN_17, Level::High), Delay);
    let interrupt = Input::new(p.PIN_21, Pull::Up);
    let reset = Output::new(p.PIN_20, Level::High);
    let mac = embassy::mac_address(&chip.to_be_bytes());
    let Ok((device, runner)) = embassy_net_wiznet::new(mac, FRAMES.take(), bus, interrupt, reset).await
    else {
        return embassy::give_up("the W5500 does not answer", screen, terminal).await;
    };
    spawner.spawn(ethernet(runner).expect("the only one"));
    let config = embassy_net::Config::dhcpv4(Default::default());
    let (stack, runner): (Stack<'static>, _) = embassy_net::new(device, config, RESOURCES.take(), seed);
    spawner.spawn(tcp_ip(runner).expect("the only one"));

    let flash = Flash::<'_, FLASH, Blocking, FLASH_SIZE>::new_blocking(p.FLASH);
    let Ok(board) = Board::open(NorBlocks::new(flash, JOURNAL, BLOCK), rng) else {
        return embassy::give_up("the flash can't be used", screen, terminal).await;
    };
    let machine = Pico2::new(screen, p.PIN_25, p.ADC, p.ADC_TEMP_SENSOR);
    let sockets = Sockets::new(stack, SOCKET.take());
    embassy::run(&board, machine, sockets, MEMORY.take(), screen, terminal).await;
}

/// The board goes on from its flash.
#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    SCB::sys_reset()
}

/// Among others: the stack has reached its limit.
#[exception]
unsafe fn HardFault(_: &ExceptionFrame) -> ! {
    SCB::sys_reset()
}
