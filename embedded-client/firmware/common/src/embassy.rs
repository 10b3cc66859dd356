//! For firmwares on embassy: clock, sockets, and the serial console's two directions.

use crate::console::{Console, Machine};
use core::cell::RefCell;
use core::fmt;
use core::future::Future;
use core::ops::ControlFlow;
use embassy_futures::join::join4;
use embassy_net::dns::{self, DnsQueryType};
use embassy_net::tcp::{ConnectError, TcpReader, TcpSocket, TcpWriter};
use embassy_net::{Stack, StackResources};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::pipe::Pipe;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use embedded_io_async::{Read, Write};
use sordino_embedded::rand_core::TryCryptoRng;
use sordino_embedded::{Board, Clock, Connect, Event, Memory, Storage};

/// Sockets that the stack needs: DHCP, DNS and the client's own.
pub type Resources = StackResources<3>;
/// Bytes in each direction of the client's socket: a record has 1 KiB.
const SOCKET: usize = 2048;
/// How long the end of the previous connection may take: its peer may be gone.
const FAREWELL: Duration = Duration::from_millis(500);
/// How often the sensor is asked whether it has to report.
const TICK: Duration = Duration::from_millis(250);
/// How long to wait for a terminal that was unplugged.
const UNPLUGGED: Duration = Duration::from_millis(100);

/// Milliseconds from embassy's time driver.
pub struct Uptime;

impl Clock for Uptime {
    fn now(&self) -> u64 {
        Instant::now().as_millis()
    }

    fn sleep_until(&self, at: u64) -> impl Future<Output = ()> {
        Timer::at(Instant::from_millis(at))
    }
}

/// Memory that the client's socket borrows.
pub struct SocketMemory {
    rx: [u8; SOCKET],
    tx: [u8; SOCKET],
}

impl SocketMemory {
    #[expect(clippy::new_without_default, reason = "it is only made in a static")]
    pub const fn new() -> Self {
        Self { rx: [0; SOCKET], tx: [0; SOCKET] }
    }
}

/// A locally administered MAC address from what the chip alone has (FNV-1a).
pub fn mac_address(unique: &[u8]) -> [u8; 6] {
    let hash = unique.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    [0x02, a, b, c, d, e]
}

/// One TCP socket, used for one connection after the other.
pub struct Sockets<'s> {
    stack: Stack<'s>,
    socket: TcpSocket<'s>,
}

impl<'s> Sockets<'s> {
    pub fn new(stack: Stack<'s>, memory: &'s mut SocketMemory) -> Self {
        let mut socket = TcpSocket::new(stack, &mut memory.rx, &mut memory.tx);
        socket.set_nagle_enabled(false);
        Self { stack, socket }
    }
}

/// Why a connection did not come about.
#[derive(Debug)]
pub enum NotConnected {
    Name(dns::Error),
    NoAddress,
    Tcp(ConnectError),
}

impl Connect for Sockets<'_> {
    type Reader<'a>
        = TcpReader<'a>
    where
        Self: 'a;
    type Writer<'a>
        = TcpWriter<'a>
    where
        Self: 'a;
    type Error = NotConnected;

    async fn connect(
        &mut self,
        host: &str,
        port: u16,
    ) -> Result<(TcpReader<'_>, TcpWriter<'_>), NotConnected> {
        self.socket.abort();
        let _peer_is_gone = with_timeout(FAREWELL, self.socket.flush()).await;
        self.stack.wait_config_up().await;
        let addresses = self.stack.dns_query(host, DnsQueryType::A).await.map_err(NotConnected::Name)?;
        let address = *addresses.first().ok_or(NotConnected::NoAddress)?;
        self.socket.connect((address, port)).await.map_err(NotConnected::Tcp)?;
        Ok(self.socket.split())
    }
}

/// What waits for the terminal. A full one loses what comes: a board does not wait for people.
pub struct Output(Pipe<NoopRawMutex, 2048>);

impl Output {
    #[expect(clippy::new_without_default, reason = "it is only made in a static")]
    pub const fn new() -> Self {
        Self(Pipe::new())
    }

    fn put(&self, mut bytes: &[u8]) -> fmt::Result {
        while !bytes.is_empty() {
            let taken = self.0.try_write(bytes).map_err(|_| fmt::Error)?;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Terminals show what is typed only if it comes back.
    fn echo(&self, byte: u8) {
        let _lost = match byte {
            b'\r' | b'\n' => self.put(b"\r\n"),
            0x08 | 0x7f => self.put(b"\x08 \x08"),
            0x20..=0x7e => self.put(&[byte]),
            _ => Ok(()),
        };
    }

    /// Terminals want a carriage return too.
    ///
    /// # Errors
    /// There was no room for all of it.
    pub fn write(&self, text: &str) -> fmt::Result {
        for (index, line) in text.split('\n').enumerate() {
            if index > 0 {
                self.put(b"\r\n")?;
            }
            self.put(line.as_bytes())?;
        }
        Ok(())
    }
}

/// Runs the board and its console, for ever. `terminal` is where people type, and where they read.
pub async fn run<F: Storage, G: TryCryptoRng>(
    board: &Board<F, G>,
    machine: impl Machine,
    mut sockets: Sockets<'_>,
    memory: &mut Memory,
    output: &Output,
    terminal: (impl Read, impl Write),
) {
    let console = RefCell::new(Console::new(board, machine));
    let handler = |event: Event<'_>| {
        console.borrow_mut().event(&event);
        ControlFlow::Continue(())
    };
    let client = board.run(&mut sockets, &Uptime, memory, handler);
    let sensor = async {
        loop {
            Timer::after(TICK).await;
            console.borrow_mut().tick();
        }
    };
    let (input, screen) = terminal;
    let typing = read(input, |byte| {
        output.echo(byte);
        console.borrow_mut().typed(byte);
    });
    join4(client, sensor, typing, show(screen, output)).await;
}

/// Tells people why the board does nothing.
pub async fn give_up(why: &str, output: &Output, terminal: (impl Read, impl Write)) {
    let _lost = output.write(why);
    let _lost = output.write("\n");
    show(terminal.1, output).await;
}

async fn read(mut input: impl Read, mut typed: impl FnMut(u8)) {
    let mut bytes = [0; 64];
    loop {
        match input.read(&mut bytes).await {
            Ok(count) => bytes.iter().take(count).for_each(|byte| typed(*byte)),
            Err(_) => Timer::after(UNPLUGGED).await,
        }
    }
}

async fn show(mut screen: impl Write, output: &Output) {
    let mut bytes = [0; 64];
    loop {
        let count = output.0.read(&mut bytes).await;
        let mut left = bytes.get(..count).unwrap_or_default();
        while !left.is_empty() {
            match screen.write(left).await {
                Ok(written) => left = left.get(written..).unwrap_or_default(),
                Err(_) => Timer::after(UNPLUGGED).await,
            }
        }
    }
}
