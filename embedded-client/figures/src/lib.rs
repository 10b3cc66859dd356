#![no_std]
//! Devices that a compiler can't see through: every byte comes from, and goes to, a volatile place. A probe that is
//! built on them keeps exactly the code that a firmware would keep.

use core::convert::Infallible;
use core::future::Future;
use core::ops::ControlFlow;
use embedded_io::ErrorKind;
use sordino_embedded::rand_core::{TryCryptoRng, TryRng};
use sordino_embedded::{Block, Board, Clock, Code, Connect, Event, Storage, Target, blocking};

/// The value of a timer that nobody starts.
const PLACE: *mut u32 = core::ptr::with_exposed_provenance_mut(0x4000_1004);

/// Some value.
#[inline(never)]
pub fn any() -> u32 {
    // SAFETY: the register is there, and any value is a `u32`.
    unsafe { PLACE.read_volatile() }
}

/// Uses a value.
#[inline(never)]
pub fn used(value: u32) {
    // SAFETY: as in `any`; nothing relies on the word.
    unsafe { PLACE.write_volatile(value) }
}

#[inline(never)]
fn fill(out: &mut [u8]) {
    out.iter_mut().for_each(|byte| *byte = any() as u8);
}

#[inline(never)]
fn take(bytes: &[u8]) {
    bytes.iter().for_each(|byte| used(u32::from(*byte)));
}

fn outcome() -> Result<(), ErrorKind> {
    if any() == 0 { Ok(()) } else { Err(ErrorKind::Other) }
}

/// Flash, randomness, clock, network and stream.
pub struct Device;

impl Storage for Device {
    type Error = ErrorKind;

    const WRITE_SIZE: usize = 4;

    fn block_size(&self) -> usize {
        4096
    }

    fn read(&mut self, _: Block, _: usize, out: &mut [u8]) -> Result<(), ErrorKind> {
        fill(out);
        outcome()
    }

    fn write(&mut self, _: Block, _: usize, bytes: &[u8]) -> Result<(), ErrorKind> {
        take(bytes);
        outcome()
    }

    fn erase(&mut self, _: Block) -> Result<(), ErrorKind> {
        outcome()
    }
}

impl TryRng for Device {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(any())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from(any()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        fill(out);
        Ok(())
    }
}

impl TryCryptoRng for Device {}

impl embedded_io::ErrorType for Device {
    type Error = ErrorKind;
}

impl embedded_io::Read for Device {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        fill(out);
        outcome().map(|()| any() as usize)
    }
}

impl embedded_io::ReadReady for Device {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        outcome().map(|()| any() == 1)
    }
}

impl embedded_io::Write for Device {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        take(bytes);
        outcome().map(|()| any() as usize)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        outcome()
    }
}

impl blocking::Connect for Device {
    type Stream<'a> = Device;
    type Error = ErrorKind;

    fn connect(&mut self, host: &str, port: u16) -> Result<Device, ErrorKind> {
        take(host.as_bytes());
        used(u32::from(port));
        outcome().map(|()| Device)
    }
}

impl embedded_io_async::Read for Device {
    async fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        pause().await;
        fill(out);
        outcome().map(|()| any() as usize)
    }
}

impl embedded_io_async::Write for Device {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        pause().await;
        take(bytes);
        outcome().map(|()| any() as usize)
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        pause().await;
        outcome()
    }
}

impl Connect for Device {
    type Reader<'a> = Device;
    type Writer<'a> = Device;
    type Error = ErrorKind;

    async fn connect(&mut self, host: &str, port: u16) -> Result<(Device, Device), ErrorKind> {
        pause().await;
        take(host.as_bytes());
        used(u32::from(port));
        outcome().map(|()| (Device, Device))
    }
}

impl Clock for Device {
    fn now(&self) -> u64 {
        u64::from(any())
    }

    fn sleep_until(&self, _: u64) -> impl Future<Output = ()> {
        pause()
    }
}

fn pause() -> impl Future<Output = ()> {
    core::future::poll_fn(
        |_| if any() == 0 { core::task::Poll::Ready(()) } else { core::task::Poll::Pending },
    )
}

/// Looks at everything that an event says.
pub fn look(event: Event<'_>) -> ControlFlow<()> {
    match event {
        Event::Message(message) => {
            take(message.part);
            take(message.from.as_str().as_bytes());
            if let Some(text) = message.text() {
                take(text.as_bytes());
            }
        }
        Event::Online { username, pending } => {
            take(username.as_bytes());
            used(pending);
        }
        Event::Enrolled { owner } => take(owner.as_bytes()),
        Event::Notice(text) => take(text.as_bytes()),
        Event::Offline { retry_in, .. } => used(retry_in),
        Event::Accepted(number) | Event::Refused(number, _) => used(number),
        Event::Idle => {}
    }
    if any() == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Calls everything that a board offers, and ends in one of the clients.
pub fn probe(run: impl FnOnce(&Board<Device, Device>)) -> ! {
    if let Ok(board) = Board::open(Device, Device) {
        let mut text = [0_u8; 200];
        fill(&mut text);
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
        run(&board);
    }
    loop {}
}

/// A panic handler that can't link.
#[macro_export]
macro_rules! no_panic {
    () => {
        unsafe extern "C" {
            /// Defined nowhere.
            safe fn a_panic_is_left() -> !;
        }

        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            a_panic_is_left()
        }
    };
}
