//! A bench: two TCP/IP stacks with a cable between them, and a board with its terminal on one of them.

use embassy_futures::block_on;
use embassy_futures::select::{Either, select, select4};
use embassy_net::{Config, Ipv4Address, Ipv4Cidr, Stack, StaticConfigV4};
use embassy_net_driver_channel::driver::{HardwareAddress, LinkState};
use embassy_net_driver_channel::{self as channel, RxRunner, TxRunner};
use embassy_time::{Duration, Timer, with_timeout};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use sordino_embedded::{Block, Board, Memory, Storage};
use sordino_firmware_common::embassy::{Output, Resources, SocketMemory, Sockets, mac_address, run};
use sordino_firmware_common::{HardwareRng, Machine};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

const MTU: usize = 1514;
const BOARD: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
const SERVER: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

type Channel = channel::State<MTU, 4, 4>;

pub fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

/// One end of the cable.
struct End {
    stack: Stack<'static>,
    runner: embassy_net::Runner<'static, channel::Device<'static, MTU>>,
    rx: RxRunner<'static, MTU>,
    tx: TxRunner<'static, MTU>,
}

fn end(address: Ipv4Address) -> End {
    let mac = mac_address(&address.octets());
    let (channel, device) = channel::new(leak(Channel::new()), HardwareAddress::Ethernet(mac));
    let (state, rx, tx) = channel.split();
    state.set_link_state(LinkState::Up);
    let config = StaticConfigV4 {
        address: Ipv4Cidr::new(address, 24),
        gateway: None,
        dns_servers: Default::default(),
    };
    let (stack, runner) = embassy_net::new(device, Config::ipv4_static(config), leak(Resources::new()), 1);
    End { stack, runner, rx, tx }
}

/// Frames in one direction.
async fn carry(mut from: TxRunner<'static, MTU>, mut to: RxRunner<'static, MTU>) {
    loop {
        let frame = from.tx_buf().await.to_vec();
        from.tx_done();
        to.rx_buf().await[..frame.len()].copy_from_slice(&frame);
        to.rx_done(frame.len());
    }
}

/// Runs `test` with the board's and the server's stack.
pub fn with_cable<F: Future<Output = ()>>(test: impl FnOnce(Stack<'static>, Stack<'static>) -> F) {
    let (mut board, mut server) = (end(BOARD), end(SERVER));
    let test = test(board.stack, server.stack);
    let background = select4(
        board.runner.run(),
        server.runner.run(),
        carry(board.tx, server.rx),
        carry(server.tx, board.rx),
    );
    match block_on(select(with_timeout(PATIENCE, test), background)) {
        Either::First(result) => result.expect("this takes too long"),
        Either::Second(_) => unreachable!("the stacks run for ever"),
    }
}

struct Ram([[u8; 4096]; 2]);

impl Storage for Ram {
    type Error = Infallible;

    const WRITE_SIZE: usize = 16;

    fn block_size(&self) -> usize {
        4096
    }

    fn read(&mut self, block: Block, offset: usize, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0[block as usize][offset..offset + out.len()]);
        Ok(())
    }

    fn write(&mut self, block: Block, offset: usize, bytes: &[u8]) -> Result<(), Infallible> {
        self.0[block as usize][offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn erase(&mut self, block: Block) -> Result<(), Infallible> {
        self.0[block as usize].fill(0xff);
        Ok(())
    }
}

/// The board's LED and thermometer.
struct Machinery(&'static Output, Arc<AtomicBool>);

impl fmt::Write for Machinery {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text)
    }
}

impl Machine for Machinery {
    fn now(&self) -> u64 {
        embassy_time::Instant::now().as_millis()
    }

    fn set_led(&mut self, on: bool) {
        self.1.store(on, Ordering::Relaxed);
    }

    fn temperature(&mut self) -> i32 {
        -5
    }
}

/// A terminal, used from a thread of its own.
#[derive(Clone, Default)]
pub struct Terminal {
    typed: Arc<Mutex<VecDeque<u8>>>,
    shown: Arc<Mutex<String>>,
    pub led: Arc<AtomicBool>,
}

impl Terminal {
    pub fn type_line(&self, line: &str) {
        let mut typed = self.typed.lock().expect("nobody has panicked");
        typed.extend(line.bytes().chain([b'\r']));
    }

    pub fn shown(&self) -> String {
        self.shown.lock().expect("nobody has panicked").clone()
    }

    pub fn wait(&self, text: &str) {
        let end = Instant::now() + std::time::Duration::from_secs(60);
        while !self.shown().contains(text) {
            assert!(Instant::now() < end, "no {text:?} on the terminal: {:?}", self.shown());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

struct Keyboard(Terminal);

impl ErrorType for Keyboard {
    type Error = ErrorKind;
}

impl Read for Keyboard {
    /// In pieces.
    async fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        loop {
            let typed = self.0.typed.lock().expect("nobody has panicked").pop_front();
            if let (Some(byte), Some(place)) = (typed, out.first_mut()) {
                *place = byte;
                return Ok(1);
            }
            Timer::after_millis(5).await;
        }
    }
}

/// Is unplugged every other time.
struct Paper(Terminal, bool);

impl ErrorType for Paper {
    type Error = ErrorKind;
}

impl Write for Paper {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.1 = !self.1;
        if self.1 {
            return Err(ErrorKind::NotConnected);
        }
        let text = String::from_utf8_lossy(bytes);
        self.0.shown.lock().expect("nobody has panicked").push_str(&text);
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// Runs a blank board, and `serve` at the other end of its cable, until the script has ended.
pub fn with_board<F: Future>(
    serve: impl FnOnce(Stack<'static>) -> F,
    script: impl FnOnce(&Terminal) + Send + 'static,
) {
    let terminal = Terminal::default();
    let keys = terminal.clone();
    let script = std::thread::spawn(move || script(&keys));
    with_cable(|board, server| {
        let ended = async {
            while !script.is_finished() {
                Timer::after_millis(20).await;
            }
        };
        async move {
            select(ended, select(run_board(board, terminal), serve(server))).await;
        }
    });
    script.join().expect("the script has failed");
}

async fn run_board(stack: Stack<'static>, terminal: Terminal) {
    let rng = HardwareRng(|out: &mut [u8]| getrandom::fill(out).expect("the system's generator"));
    let board = Board::open(Ram([[0xff; 4096]; 2]), rng).expect("opens");
    let output = &*leak(Output::new());
    let machine = Machinery(output, terminal.led.clone());
    let sockets = Sockets::new(stack, leak(SocketMemory::new()));
    let ends = (Keyboard(terminal.clone()), Paper(terminal, false));
    run(&board, machine, sockets, &mut Memory::new(), output, ends).await;
}
