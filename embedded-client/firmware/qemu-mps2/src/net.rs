//! TCP over smoltcp: what can be done now, and the blocking client over it.

use crate::clock::now;
use crate::lan9118::Lan9118;
use core::net::Ipv4Addr;
use core::task::Poll;
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};
use sordino_embedded::blocking::Connect;

/// Addresses of QEMU's user network: the guest, and the host as the guest sees it.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// QEMU's receive FIFO holds about 10 KB: a larger window would overrun it.
pub const TCP_RX: usize = 4096;
pub const TCP_TX: usize = 4096;
/// Time for TCP to connect, in milliseconds.
const CONNECT: u64 = 10_000;

/// Memory that the stack borrows.
pub struct Buffers {
    pub sockets: [SocketStorage<'static>; 1],
    pub rx: [u8; TCP_RX],
    pub tx: [u8; TCP_TX],
}

impl Buffers {
    pub const fn new() -> Self {
        Self { sockets: [SocketStorage::EMPTY], rx: [0; TCP_RX], tx: [0; TCP_TX] }
    }
}

pub struct Net {
    device: Lan9118,
    interface: Interface,
    sockets: SocketSet<'static>,
    tcp: SocketHandle,
    port: u16,
}

fn instant() -> Instant {
    Instant::from_millis(now() as i64)
}

impl Net {
    /// `seed` makes sequence numbers and the first local port unpredictable.
    pub fn new(mut device: Lan9118, mac: [u8; 6], seed: u64, buffers: &'static mut Buffers) -> Self {
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, instant());
        interface.update_ip_addrs(|addresses| {
            let _has_room = addresses.push(IpCidr::new(OWN.into(), 24));
        });
        let _has_room = interface.routes_mut().add_default_ipv4_route(HOST);
        let Buffers { sockets, rx, tx } = buffers;
        let mut socket =
            tcp::Socket::new(tcp::SocketBuffer::new(&mut rx[..]), tcp::SocketBuffer::new(&mut tx[..]));
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let mut sockets = SocketSet::new(&mut sockets[..]);
        let tcp = sockets.add(socket);
        Self { device, interface, sockets, tcp, port: seed as u16 }
    }

    pub fn poll(&mut self) -> &mut tcp::Socket<'static> {
        self.interface.poll(instant(), &mut self.device, &mut self.sockets);
        self.sockets.get_mut(self.tcp)
    }

    /// Begins to connect; an earlier connection is over.
    pub fn begin(&mut self, host: &str, port: u16) -> Result<(), ErrorKind> {
        let address = match host {
            "localhost" | "127.0.0.1" => HOST,
            other => other.parse().map_err(|_| ErrorKind::InvalidInput)?,
        };
        self.port = self.port.wrapping_add(1) | 0xc000;
        self.poll().abort();
        self.poll();
        let local = self.port;
        let socket = self.sockets.get_mut::<tcp::Socket>(self.tcp);
        let begun = socket.connect(self.interface.context(), (address, port), local);
        begun.map_err(|_| ErrorKind::AddrNotAvailable)
    }

    pub fn connected(&mut self) -> Poll<Result<(), ErrorKind>> {
        let socket = self.poll();
        if socket.may_send() {
            Poll::Ready(Ok(()))
        } else if socket.is_open() {
            Poll::Pending
        } else {
            Poll::Ready(Err(ErrorKind::ConnectionRefused))
        }
    }

    pub fn read(&mut self, out: &mut [u8]) -> Poll<Result<usize, ErrorKind>> {
        let socket = self.poll();
        if socket.can_recv() {
            Poll::Ready(socket.recv_slice(out).map_err(|_| ErrorKind::ConnectionReset))
        } else if socket.may_recv() {
            Poll::Pending
        } else {
            Poll::Ready(Ok(0))
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> Poll<Result<usize, ErrorKind>> {
        let socket = self.poll();
        if !socket.may_send() {
            return Poll::Ready(Err(ErrorKind::ConnectionReset));
        }
        if !socket.can_send() {
            return Poll::Pending;
        }
        let sent = socket.send_slice(bytes).map_err(|_| ErrorKind::ConnectionReset);
        self.poll();
        Poll::Ready(sent)
    }

    pub fn close(&mut self) {
        self.poll().close();
        self.poll();
    }
}

/// Sleeps between two tries.
fn block<T>(mut attempt: impl FnMut() -> Poll<T>) -> T {
    loop {
        if let Poll::Ready(done) = attempt() {
            return done;
        }
        cortex_m::asm::wfi();
    }
}

impl Connect for Net {
    type Stream<'a> = Stream<'a>;
    type Error = ErrorKind;

    fn connect(&mut self, host: &str, port: u16) -> Result<Stream<'_>, ErrorKind> {
        self.begin(host, port)?;
        let end = now() + CONNECT;
        block(|| match self.connected() {
            Poll::Pending if now() >= end => Poll::Ready(Err(ErrorKind::TimedOut)),
            other => other,
        })?;
        Ok(Stream(self))
    }
}

pub struct Stream<'a>(&'a mut Net);

impl ErrorType for Stream<'_> {
    type Error = ErrorKind;
}

impl Read for Stream<'_> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        block(|| self.0.read(out))
    }
}

impl ReadReady for Stream<'_> {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        let socket = self.0.poll();
        Ok(socket.can_recv() || !socket.may_recv())
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        block(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        self.0.poll();
        Ok(())
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}
