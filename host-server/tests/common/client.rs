//! A blocking client of suite 1 over the core's own state machine, that sees every record.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use getrandom::SysRng;
use sordino_core::{
    Client as ClientRole, ClientConfig, Closed, Conn, Error, Event, Io, Message, RxBuf, Step, Suite1,
    SuiteList, TxBuf,
    config::{RX_BUFFER, TX_BUFFER, Timeouts},
    identity::Trust,
    key_request::KeyRequest,
    messages::{self, Accepted, Ack, Auth, AuthMethod, Receive, RoomRequest},
    name::{RoomName, Target, Username},
    suite::SecretKey,
    wire::{Opaque, Writer},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// A record from the server.
#[derive(Debug)]
pub struct Record {
    kind: u8,
    body: Vec<u8>,
}

impl Record {
    pub fn message(&self) -> Message<'_> {
        Message::decode(self.kind, &self.body).unwrap()
    }
}

/// How a connection ended.
#[derive(Debug, PartialEq)]
pub enum End {
    Closed(Closed),
    Failed(Error),
    /// Nothing came in time.
    Silence,
}

pub struct Client {
    socket: TcpStream,
    conn: Conn<ClientRole, Suite1>,
    rx: RxBuf<'static>,
    tx: TxBuf<'static>,
    start: Instant,
    /// Bytes from the server.
    pub received: usize,
}

/// Memory of a test is never given back.
fn memory(len: usize) -> &'static mut [u8] {
    Box::leak(vec![0; len].into())
}

pub type Device = SecretKey<Suite1>;

pub fn device() -> Device {
    Device::generate(&mut SysRng).unwrap()
}

impl Client {
    /// Carries the handshake out, as a client that receives bundles.
    pub fn connect(address: SocketAddr, device: &Device, max_record: u16) -> Result<Self, End> {
        Self::connect_as(address, device, max_record, true)
    }

    fn connect_as(address: SocketAddr, device: &Device, max_record: u16, bundles: bool) -> Result<Self, End> {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut rx, mut tx) = (RxBuf::new(memory(RX_BUFFER)), TxBuf::new(memory(TX_BUFFER)));
        let request = KeyRequest::<Suite1>::send(&mut Io { now: 0, tx: &mut tx, rng: &mut SysRng }).unwrap();
        write(&mut socket, &mut tx);
        let server = loop {
            read(&mut socket, &mut rx)?;
            if let Some((_, key)) = request.receive(&mut rx, Trust::FirstUse).map_err(End::Failed)? {
                break key;
            }
        };
        let config = ClientConfig {
            server,
            device: device.clone(),
            device_public: device.public(),
            suites: SuiteList::new(&[1]).unwrap(),
            max_record,
            bundles,
            counter: 1,
        };
        let conn = Conn::client(config, Timeouts::CLIENT, 0).unwrap();
        let mut client = Self { socket, conn, rx, tx, start: Instant::now(), received: 0 };
        while client.conn.is_handshaking() {
            client.step()?;
        }
        Ok(client)
    }

    /// Connects with the largest records, and registers.
    pub fn register(address: SocketAddr, name: &str, device: &Device) -> Self {
        let mut client = Self::connect(address, device, 16_384).unwrap();
        let auth = Auth {
            method: AuthMethod::Register,
            username: name,
            email: "somebody@example.org",
            password: "correct horse battery",
            ..Auth::DEVICE
        };
        client.log_in(auth);
        client
    }

    /// Connects again with a device that is bound.
    pub fn reconnect(address: SocketAddr, device: &Device, max_record: u16) -> Self {
        let mut client = Self::connect(address, device, max_record).unwrap();
        client.log_in(Auth::DEVICE);
        client
    }

    /// The same, as a client that doesn't receive bundles.
    pub fn reconnect_without_bundles(address: SocketAddr, device: &Device) -> Self {
        let mut client = Self::connect_as(address, device, 16_384, false).unwrap();
        client.log_in(Auth::DEVICE);
        client
    }

    fn log_in(&mut self, auth: Auth<'_>) {
        self.send(&Message::Auth(auth));
        let answer = self.next().unwrap();
        assert!(self.conn.is_ready(), "{answer:?}");
    }

    pub fn send(&mut self, message: &Message<'_>) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap();
        self.conn.send(message, &mut Io { now, tx: &mut self.tx, rng: &mut SysRng }).unwrap();
        write(&mut self.socket, &mut self.tx);
    }

    pub fn say(&mut self, to: &str, id: u64, body: &[u8]) {
        let target = match to.strip_prefix('#') {
            Some(room) => Target::Room(RoomName::new(room).unwrap()),
            None => Target::User(Username::new(to).unwrap()),
        };
        let id = super::id(id);
        self.send(&Message::Send(messages::Send { id, target, format: 0, body: Opaque(body) }));
    }

    /// Waits for ACCEPTED and returns its number.
    pub fn accepted(&mut self) -> u64 {
        loop {
            let record = self.next().unwrap();
            match record.message() {
                Message::Accepted(Accepted { number, .. }) => return number,
                Message::Refused(refused) => panic!("{refused:?}"),
                _ => {}
            }
        }
    }

    pub fn receive(&mut self, window: u16) {
        self.send(&Message::Receive(Receive { window }));
    }

    pub fn acknowledge(&mut self, number: u64) {
        self.send(&Message::Ack(Ack { number }));
    }

    pub fn join(&mut self, room: &str) {
        self.send(&Message::Join(RoomRequest { tag: 1, room: RoomName::new(room).unwrap() }));
    }

    /// The next record, PINGs and PONGs excepted.
    pub fn next(&mut self) -> Result<Record, End> {
        loop {
            if let Some(record) = self.step()? {
                return Ok(record);
            }
        }
    }

    /// What comes within a time.
    pub fn within(&mut self, time: Duration) -> Vec<Record> {
        let end = Instant::now() + time;
        let mut records = Vec::new();
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.socket.set_read_timeout(Some(left)).unwrap();
            match self.step() {
                Ok(record) => records.extend(record),
                Err(End::Silence) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        records
    }

    /// The end of the connection; records before it are passed over.
    pub fn end(&mut self) -> End {
        loop {
            if let Err(end) = self.next() {
                return end;
            }
        }
    }

    fn step(&mut self) -> Result<Option<Record>, End> {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap();
        let step = self.conn.step(&mut self.rx, &mut Io { now, tx: &mut self.tx, rng: &mut SysRng });
        write(&mut self.socket, &mut self.tx);
        match step.map_err(End::Failed)? {
            Step::NeedInput => self.received += read(&mut self.socket, &mut self.rx)?,
            Step::NeedOutput(_) | Step::Progressed => {}
            Step::Closed(closed) => return Err(End::Closed(closed)),
            Step::Event(id) => {
                if let Event::Message(message) = self.conn.event(&self.rx, id).map_err(End::Failed)? {
                    let mut body = vec![0; 16_384];
                    let mut out = Writer::new(&mut body);
                    message.encode(&mut out).unwrap();
                    let len = out.written();
                    body.truncate(len);
                    return Ok(Some(Record { kind: message.kind(), body }));
                }
            }
        }
        Ok(None)
    }
}

fn write(socket: &mut TcpStream, tx: &mut TxBuf<'_>) {
    while !tx.is_empty() {
        // The server may have closed: then reading tells how.
        let Ok(written) = socket.write(tx.pending()) else { return tx.consume(usize::MAX) };
        tx.consume(written);
    }
}

fn read(socket: &mut TcpStream, rx: &mut RxBuf<'_>) -> Result<usize, End> {
    let read = socket.read(rx.spare()).map_err(|_| End::Silence)?;
    if read == 0 {
        rx.end();
    }
    rx.commit(read);
    Ok(read)
}
