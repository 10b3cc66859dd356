//! A serial port on USB.

use embassy_rp::peripherals::USB;
use embassy_rp::usb::Driver;
use embassy_usb::class::cdc_acm::{BufferedReceiver, CdcAcmClass, Sender, State};
use embassy_usb::{Builder, Config, UsbDevice};
use static_cell::{ConstStaticCell, StaticCell};

/// Largest packet of a full-speed bulk endpoint, in bytes.
const PACKET: usize = 64;
/// For tests, by pid.codes: a product needs its own.
const VENDOR: u16 = 0x1209;
const PRODUCT: u16 = 0x0001;

pub type Port = Driver<'static, USB>;

static CONFIG: ConstStaticCell<[u8; 128]> = ConstStaticCell::new([0; 128]);
static BOS: ConstStaticCell<[u8; 32]> = ConstStaticCell::new([0; 32]);
static CONTROL: ConstStaticCell<[u8; 64]> = ConstStaticCell::new([0; 64]);
static RECEIVED: ConstStaticCell<[u8; PACKET]> = ConstStaticCell::new([0; PACKET]);
static STATE: StaticCell<State<'static>> = StaticCell::new();

#[embassy_executor::task]
pub async fn run(mut device: UsbDevice<'static, Port>) -> ! {
    device.run().await
}

type Terminal = (BufferedReceiver<'static, Port>, Sender<'static, Port>);

pub fn serial(port: Port) -> (UsbDevice<'static, Port>, Terminal) {
    let mut config = Config::new(VENDOR, PRODUCT);
    config.manufacturer = Some("Sordino");
    config.product = Some("W5500-EVB-Pico2");
    let mut builder = Builder::new(port, config, CONFIG.take(), BOS.take(), &mut [], CONTROL.take());
    let class = CdcAcmClass::new(&mut builder, STATE.init(State::new()), PACKET as u16);
    let (sender, receiver) = class.split();
    (builder.build(), (receiver.into_buffered(RECEIVED.take()), sender))
}
