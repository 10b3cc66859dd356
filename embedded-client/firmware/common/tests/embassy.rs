//! What the boards' firmware has over embassy, on two TCP/IP stacks with a cable between them.

use embassy_futures::block_on;
use embassy_futures::join::join;
use embassy_futures::select::{Either, select, select4};
use embassy_net::tcp::{Error, TcpSocket};
use embassy_net::{Config, Ipv4Address, Ipv4Cidr, Stack, StaticConfigV4};
use embassy_net_driver_channel::driver::{HardwareAddress, LinkState};
use embassy_net_driver_channel::{self as channel, RxRunner, TxRunner};
use embassy_time::{Duration, Timer, with_timeout};
use embedded_io_async::{ErrorType, Read, Write};
use sordino_embedded::{Block, Board, Connect, Memory, Storage};
use sordino_firmware_common::embassy::{Output, Resources, SocketMemory, Sockets, mac_address, run};
use sordino_firmware_common::{HardwareRng, Machine};
use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, pending};
use std::rc::Rc;

const MTU: usize = 1514;
const PORT: u16 = 7;
const BOARD: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
const SERVER: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

type Channel = channel::State<MTU, 4, 4>;

fn leak<T>(value: T) -> &'static mut T {
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
fn with_cable<F: Future<Output = ()>>(test: impl FnOnce(Stack<'static>, Stack<'static>) -> F) {
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

fn server_socket(stack: Stack<'static>) -> TcpSocket<'static> {
    TcpSocket::new(stack, leak([0; 512]), leak([0; 512]))
}

async fn echo_once(socket: &mut TcpSocket<'static>) {
    let mut byte = [0];
    socket.accept(PORT).await.expect("accepts");
    assert_eq!(socket.read(&mut byte).await, Ok(1));
    assert_eq!(socket.write(&byte).await, Ok(1));
}

async fn ask(sockets: &mut Sockets<'static>, byte: u8) {
    let (mut reader, mut writer) = sockets.connect("10.0.0.2", PORT).await.expect("connects");
    assert_eq!(writer.write(&[byte]).await, Ok(1));
    let mut answer = [0];
    assert_eq!(reader.read(&mut answer).await, Ok(1));
    assert_eq!(answer, [byte]);
}

#[test]
fn the_next_connection_ends_the_one_before() {
    with_cable(|board, server| async move {
        let mut sockets = Sockets::new(board, leak(SocketMemory::new()));
        let (mut first, mut second) = (server_socket(server), server_socket(server));
        join(ask(&mut sockets, 1), echo_once(&mut first)).await;
        // Everything is acknowledged: nothing else would tell the server.
        Timer::after_secs(1).await;
        join(ask(&mut sockets, 2), echo_once(&mut second)).await;
        assert_eq!(first.read(&mut [0]).await, Err(Error::ConnectionReset));
    });
}

/// Not even its end could be sent: nobody answers for the address.
#[test]
fn an_address_that_nobody_has_does_not_hold_up_the_next() {
    with_cable(|board, server| async move {
        let mut sockets = Sockets::new(board, leak(SocketMemory::new()));
        let hopeless = with_timeout(Duration::from_secs(2), sockets.connect("10.0.0.99", PORT)).await;
        assert!(hopeless.is_err());
        join(ask(&mut sockets, 1), echo_once(&mut server_socket(server))).await;
    });
}

#[test]
fn a_name_without_a_name_server_is_an_error() {
    with_cable(|board, _| async move {
        let mut sockets = Sockets::new(board, leak(SocketMemory::new()));
        assert!(sockets.connect("chat.example.org", PORT).await.is_err());
    });
}

#[test]
fn a_terminal_that_nobody_reads_holds_up_nothing() {
    let output = Output::new();
    assert!((0..100).any(|_| output.write(&"x".repeat(100)).is_err()));
}

#[test]
fn chips_have_addresses_of_their_own() {
    let addresses = [mac_address(&[1, 2]), mac_address(&[2, 1]), mac_address(&[1, 3])];
    assert!(addresses.iter().all(|mac| mac[0] == 0x02), "locally administered, one station");
    assert!(addresses[0] != addresses[1] && addresses[0] != addresses[2] && addresses[1] != addresses[2]);
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

struct Bench(&'static Output);

impl fmt::Write for Bench {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text)
    }
}

impl Machine for Bench {
    fn now(&self) -> u64 {
        1000
    }

    fn set_led(&mut self, _: bool) {}

    fn temperature(&mut self) -> i32 {
        -5
    }
}

/// Types its lines once, in pieces.
struct Keyboard(&'static [u8]);

impl ErrorType for Keyboard {
    type Error = Infallible;
}

impl Read for Keyboard {
    async fn read(&mut self, out: &mut [u8]) -> Result<usize, Infallible> {
        if self.0.is_empty() {
            pending::<()>().await;
        }
        let (now, later) = self.0.split_at(self.0.len().min(out.len()).min(5));
        out[..now.len()].copy_from_slice(now);
        self.0 = later;
        Ok(now.len())
    }
}

/// Is unplugged every other time.
struct Paper(Rc<RefCell<String>>, bool);

impl ErrorType for Paper {
    type Error = embedded_io_async::ErrorKind;
}

impl Write for Paper {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.1 = !self.1;
        if self.1 {
            return Err(embedded_io_async::ErrorKind::NotConnected);
        }
        self.0.borrow_mut().push_str(std::str::from_utf8(bytes).expect("no umlauts here"));
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// What the terminal shows once it shows `last`.
fn typed(lines: &'static str, last: &str) -> String {
    let shown = Rc::new(RefCell::new(String::new()));
    with_cable(|stack, _| {
        let shown = shown.clone();
        async move {
            let rng = HardwareRng(|out: &mut [u8]| getrandom::fill(out).expect("the system's generator"));
            let board = Board::open(Ram([[0xff; 4096]; 2]), rng).expect("opens");
            let output = &*leak(Output::new());
            let sockets = Sockets::new(stack, leak(SocketMemory::new()));
            let terminal = (Keyboard(lines.as_bytes()), Paper(shown.clone(), false));
            let mut memory = Memory::new();
            let running = run(&board, Bench(output), sockets, &mut memory, output, terminal);
            let watching = async {
                while !shown.borrow().contains(last) {
                    Timer::after_millis(20).await;
                }
            };
            select(running, watching).await;
        }
    });
    shown.take()
}

#[test]
fn the_console_echoes_and_answers() {
    let shown = typed("statuz\x7fs\rfingerprint\rsend @alice hello\rstatus\r", "1 waiting");
    let expected = [
        "statuz\x08 \x08s\r\nnot enrolled: enroll CODE\r\noffline, 0 waiting, 0 dropped, LED 0\r\n",
        "fingerprint\r\nno key yet: enroll CODE\r\n",
        "send @alice hello\r\nmessage 0 queued\r\n",
        "status\r\nnot enrolled: enroll CODE\r\noffline, 1 waiting",
    ];
    assert!(shown.starts_with(&expected.concat()), "{shown:?}");
}

#[test]
fn a_code_on_the_console_makes_keys() {
    let shown = typed(
        "enroll sordino://10.0.0.2:7/board/c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0/1900000000#\
         abababababababababababababababababababababababababababababababab\rfingerprint\rstatus\r",
        "waiting",
    );
    assert!(shown.contains("keys are made; using the code"), "{shown:?}");
    assert!(shown.contains("the code is being used at 10.0.0.2:7"), "{shown:?}");
}
