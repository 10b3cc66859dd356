//! The handshake of a real client and a real server, between which only bytes of the wire pass.
//!
//! Secret: every long-lived exponent, all random numbers (and so the ephemeral exponents), the gate's key, and who the
//! client is. Public: what goes over the wire.

use crate::dh::{exponent, public};
use crate::taint::{demand_hidden, hide, show};
use sordino_core::config::{HEADER_LEN, RX_BUFFER, TX_BUFFER, Timeouts};
use sordino_core::entropy::Entropy;
use sordino_core::error::{Error, PeerFault};
use sordino_core::event::{Answer, Event, EventId, Peer, Step};
use sordino_core::identity::{Pin, ServedSuite, ServerIdentity, ServerKey, StaticKey};
use sordino_core::{
    Accept, Acceptor, Client, ClientConfig, Conn, Io, RxBuf, Server, ServerConfig, Suite, Suite1, Suite2,
    SuiteList, TxBuf,
};

/// Secret bytes, the same in every run.
struct Random(u8);

impl Entropy for Random {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        for byte in out.iter_mut() {
            self.0 = self.0.wrapping_mul(29).wrapping_add(71);
            *byte = self.0;
        }
        hide(out);
        Ok(())
    }
}

/// Buffers and randomness of one end.
struct End<'m> {
    rx: RxBuf<'m>,
    tx: TxBuf<'m>,
    rng: Random,
}

impl<'m> End<'m> {
    fn new(memory: &'m mut [Vec<u8>; 2], seed: u8) -> Self {
        let [rx, tx] = memory;
        Self { rx: RxBuf::new(rx), tx: TxBuf::new(tx), rng: Random(seed) }
    }

    fn with<T>(&mut self, call: impl FnOnce(&mut RxBuf<'m>, &mut Io<'_, 'm>) -> T) -> T {
        let mut io = Io { now: 1, tx: &mut self.tx, rng: &mut self.rng };
        call(&mut self.rx, &mut io)
    }

    /// Carries what is to be written to the other end. What goes over the wire is public.
    fn carry(&mut self, to: &mut End<'_>) {
        let wire = self.tx.pending();
        show(wire);
        to.rx.spare()[..wire.len()].copy_from_slice(wire);
        to.rx.commit(wire.len());
        let len = wire.len();
        self.tx.consume(len);
    }
}

fn memory() -> [Vec<u8>; 2] {
    [vec![0; RX_BUFFER], vec![0; TX_BUFFER]]
}

/// A server's static key: the exponent, the gate's key and the start of the transcript stay secret, the public key and
/// its id are public.
fn static_key<S: Suite>() -> StaticKey<S> {
    let key = StaticKey::new(exponent::<S>(13));
    show(key.public().as_bytes());
    show(key.id());
    key
}

fn identity() -> ServerIdentity {
    ServerIdentity::sign(&[9; 32], 1, 0, Some(static_key::<Suite1>()), Some(static_key::<Suite2>())).unwrap()
}

/// A client that hides who it is.
fn client<S: ServedSuite>(identity: &ServerIdentity) -> Conn<Client, S> {
    let pin = Pin { root: *identity.root(), statement: identity.statement().clone() };
    let server = S::key(identity).unwrap().public().clone();
    let device = exponent::<S>(17);
    let device_public = public::<S>(&device);
    hide(device_public.as_bytes());
    let config = ClientConfig {
        server: ServerKey::from_pin(&pin, server).unwrap(),
        device,
        device_public,
        suites: SuiteList::new(&[S::ID]).unwrap(),
        max_record: 1024,
        bundles: true,
        counter: 1,
    };
    Conn::client(config, Timeouts::CLIENT, 1).unwrap()
}

fn acceptor() -> Acceptor {
    Acceptor::new(ServerConfig { max_record: 1024, bundles: true, counter: 2, time: 3 }, Timeouts::SERVER, 1)
}

/// The server's connection, when message 1 has come.
fn accept<S: ServedSuite>(identity: &ServerIdentity, end: &mut End<'_>) -> Conn<Server, S> {
    let mut acceptor = acceptor();
    let step = end.with(|rx, io| acceptor.step(identity, rx, io)).unwrap();
    assert!(matches!(step, Accept::Suite1 | Accept::Suite2));
    acceptor.connection(identity).unwrap()
}

/// One flipped bit in the gate's last byte: it is compared, and nothing more is done.
#[inline(never)]
pub fn wrong_gate<S: ServedSuite>() {
    let identity = identity();
    let mut memories = [memory(), memory()];
    let [at_client, at_server] = &mut memories;
    let (mut here, mut there) = (End::new(at_client, 1), End::new(at_server, 2));
    let mut client = client::<S>(&identity);
    assert_eq!(here.with(|rx, io| client.step(rx, io)), Ok(Step::Progressed));
    here.carry(&mut there);
    let mut altered = there.rx.unconsumed().to_vec();
    altered[HEADER_LEN + 15] ^= 1;
    there.rx.wipe();
    there.rx.spare()[..altered.len()].copy_from_slice(&altered);
    there.rx.commit(altered.len());
    let mut server = accept::<S>(&identity, &mut there);
    assert_eq!(there.with(|rx, io| server.step(rx, io)), Err(Error::Peer(PeerFault::Gate)));
}

/// From message 1 until both sides have the keys of the records.
#[inline(never)]
pub fn whole<S: ServedSuite>() {
    let identity = identity();
    let mut memories = [memory(), memory()];
    let [at_client, at_server] = &mut memories;
    let (mut here, mut there) = (End::new(at_client, 1), End::new(at_server, 2));
    let mut client = client::<S>(&identity);
    assert_eq!(here.with(|rx, io| client.step(rx, io)), Ok(Step::Progressed));
    here.carry(&mut there);
    let mut server = accept::<S>(&identity, &mut there);
    there.with(|rx, io| admit(&mut server, rx, io));
    assert_eq!(there.with(|rx, io| server.step(rx, io)), Ok(Step::Progressed));
    there.carry(&mut here);
    let id = event(here.with(|rx, io| client.step(rx, io)));
    assert!(matches!(client.event(&here.rx, id), Ok(Event::Established(_))));
    here.carry(&mut there);
    let id = event(there.with(|rx, io| server.step(rx, io)));
    let Ok(Event::Established(Peer::Device(device))) = server.event(&there.rx, id) else { unreachable!() };
    demand_hidden(device);
}

fn admit<S: Suite>(server: &mut Conn<Server, S>, rx: &mut RxBuf<'_>, io: &mut Io<'_, '_>) {
    let id = event(server.step(rx, io));
    let Ok(Event::Admit { ticket, .. }) = server.event(rx, id) else { unreachable!() };
    server.answer(ticket, Answer::Admit, io).unwrap();
}

fn event(step: Result<Step, Error>) -> EventId {
    let Ok(Step::Event(id)) = step else { panic!("{step:?}") };
    id
}
