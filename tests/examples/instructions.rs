//! Does one thing inside of [`measured`], for `tests/instructions/run` to count its instructions.

use std::hint::black_box;
use std::sync::Arc;

use sordino_core::bytes::{Bytes, Secret};
use sordino_core::event::{Answer, Event, Step};
use sordino_core::identity::ServedSuite;
use sordino_core::record::{Direction, Inbound, Outbound};
use sordino_core::{Accept, Acceptor, Client, Conn, Io, RxBuf, Server, Suite, Suite1, Suite2, TxBuf};
use sordino_server::config::Limits;
use sordino_server::hub::{Attached, Outlet, Recipient, Signal, State, Submission, Wakes};
use sordino_server::store::{Account, AccountId, Device, DeviceId, Member, Room, RoomId, Snapshot};
use sordino_tests::pair::setup::{Seeded, Setup};

/// Members of the room whose message is routed.
const MEMBERS: i64 = 50;
const NOW: u64 = 1_000;
const SIZE: usize = 32 * 1024;

/// What happens in here is counted. A name of its own for each type, and none inside of another.
#[inline(never)]
fn measured<T>(work: impl FnOnce() -> T) -> T {
    black_box(black_box(work)())
}

/// Nothing is counted.
#[inline(never)]
fn unmeasured<T>(work: impl FnOnce() -> T) -> T {
    work()
}

fn main() {
    let row = std::env::args().nth(1).unwrap_or_default();
    let words: Vec<&str> = row.split('-').collect();
    match words[..] {
        ["handshake", side, "1"] => shake_hands::<Suite1>(side),
        ["handshake", side, "2"] => shake_hands::<Suite2>(side),
        [what @ ("seal" | "open"), bytes, "1"] => record::<Suite1>(what, bytes),
        [what @ ("seal" | "open"), bytes, "2"] => record::<Suite2>(what, bytes),
        ["route"] => route(),
        _ => panic!("there is no row {row:?}"),
    }
}

// ---- handshake ----

/// Both ends of a handshake without a key request, one of them counted.
fn shake_hands<S: ServedSuite>(side: &str) {
    let (counts_client, setup) = (side == "client", Setup::default());
    assert!(counts_client || side == "server");
    let mut memory = [vec![0; SIZE], vec![0; SIZE], vec![0; SIZE], vec![0; SIZE]];
    let [client_rx, client_tx, server_rx, server_tx] = &mut memory;
    let mut client = End { rx: RxBuf::new(client_rx), tx: TxBuf::new(client_tx), rng: Seeded(1) };
    let mut server = End { rx: RxBuf::new(server_rx), tx: TxBuf::new(server_tx), rng: Seeded(2) };
    let config = setup.client::<S>(setup.server_key());
    let mut near = Conn::client(config, setup.limits[0], NOW).expect("a client");
    count(counts_client, || client.settle(&mut near));
    client.carry(&mut server);
    let mut far = count(!counts_client, || server.accept::<S>(&setup));
    count(!counts_client, || server.settle_admitting(&mut far));
    server.carry(&mut client);
    count(counts_client, || client.settle(&mut near));
    client.carry(&mut server);
    count(!counts_client, || server.settle_admitting(&mut far));
    assert!(!near.is_handshaking() && !far.is_handshaking());
}

fn count<T>(counted: bool, work: impl FnOnce() -> T) -> T {
    if counted { measured(work) } else { unmeasured(work) }
}

struct End<'m> {
    rx: RxBuf<'m>,
    tx: TxBuf<'m>,
    rng: Seeded,
}

impl End<'_> {
    fn settle<S: Suite>(&mut self, conn: &mut Conn<Client, S>) {
        loop {
            let mut io = Io { now: NOW, tx: &mut self.tx, rng: &mut self.rng };
            match conn.step(&mut self.rx, &mut io).expect("a step") {
                Step::NeedInput | Step::Event(_) => return,
                Step::Progressed => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn accept<S: ServedSuite>(&mut self, setup: &Setup) -> Conn<Server, S> {
        let mut acceptor = Acceptor::new(setup.server(), setup.limits[1], NOW);
        let mut io = Io { now: NOW, tx: &mut self.tx, rng: &mut self.rng };
        let accepted = acceptor.step(setup.identity, &mut self.rx, &mut io).expect("message 1");
        assert!(matches!(accepted, Accept::Suite1 | Accept::Suite2));
        acceptor.connection(setup.identity).expect("a connection")
    }

    fn settle_admitting<S: Suite>(&mut self, conn: &mut Conn<Server, S>) {
        loop {
            let mut io = Io { now: NOW, tx: &mut self.tx, rng: &mut self.rng };
            match conn.step(&mut self.rx, &mut io).expect("a step") {
                Step::NeedInput => return,
                Step::Progressed => {}
                Step::Event(id) => match conn.event(&self.rx, id).expect("an event") {
                    Event::Admit { ticket, .. } => conn.answer(ticket, Answer::Admit, &mut io).expect("room"),
                    _ => return,
                },
                other => panic!("{other:?}"),
            }
        }
    }

    fn carry(&mut self, to: &mut End<'_>) {
        let bytes = self.tx.pending().to_vec();
        to.rx.spare()[..bytes.len()].copy_from_slice(&bytes);
        to.rx.commit(bytes.len());
        self.tx.consume(bytes.len());
    }
}

// ---- records ----

/// Seals and opens one record with a body of so many bytes; one of the two is counted.
fn record<S: Suite>(what: &str, bytes: &str) {
    let len: usize = bytes.parse().expect("a length");
    let secret = Secret::<S::Hash>::new(S::Hash::zeroed());
    let mut out = Outbound::<S>::new(Direction::ToServer, &secret, 0);
    let mut into = Inbound::<S>::new(Direction::ToServer, &secret, 0, 16_384);
    let mut region = vec![0; 17 * 1024];
    region[Outbound::<S>::BODY..][..len].fill(b'x');
    let total = count(what == "seal", || out.seal(&mut region, 32, len)).expect("room");
    let opened = count(what == "open", || into.open(&mut region[..total])).expect("a record");
    assert_eq!(opened.body.len(), len);
}

// ---- routing ----

/// A room and its members, each with a device that is connected and receives.
fn assemble() -> (State, Vec<(Attached, Arc<Outlet>)>) {
    let name = |number: i64| -> Arc<str> { format!("member{number}").into() };
    let everybody = || 1..=MEMBERS;
    let snapshot = Snapshot {
        accounts: everybody().map(|n| Account { id: AccountId(n), name: name(n), disabled: false }).collect(),
        devices: everybody()
            .map(|n| Device {
                id: DeviceId(n),
                account: AccountId(n),
                fingerprint: [n as u8; 32],
                label: String::new(),
                cursor: 0,
            })
            .collect(),
        rooms: vec![Room { id: RoomId(1), name: "room".into() }],
        members: everybody()
            .map(|n| Member { room: RoomId(1), account: AccountId(n), joined_at: 0 })
            .collect(),
        last_rows: (MEMBERS, MEMBERS, 1),
        ..Snapshot::default()
    };
    let mut state = State::new(snapshot, Limits::default());
    let people = everybody()
        .map(|n| {
            let outlet = Arc::new(Outlet::default());
            let attached = state.attach(DeviceId(n), Arc::clone(&outlet), NOW).expect("a device");
            state.receive(attached.id);
            while outlet.take().is_some() {}
            (attached, outlet)
        })
        .collect();
    (state, people)
}

/// One message of 256 bytes through the hub: decided, published, fetched and acknowledged by every other member. The
/// first one warms up and isn't counted.
fn route() {
    let (mut state, people) = assemble();
    route_one(&mut state, &people, 1);
    measured(|| route_one(&mut state, &people, 2));
}

#[inline(never)]
fn route_one(state: &mut State, people: &[(Attached, Arc<Outlet>)], number: u64) {
    let sender = &people[0].0;
    let submission = Submission {
        origin: sender.id,
        account: sender.account,
        device: DeviceId(1),
        id: [number as u8; 16],
        recipient: Recipient::Room("room".into()),
        format: 0,
        body: vec![b'x'; 256].into(),
    };
    let mut promised = state.promise(1);
    let draft = state.accept(&submission, NOW, &mut promised).expect("a draft");
    assert_eq!(draft.message.place.number, number);
    let mut wakes = Wakes::default();
    state.publish(draft, &mut wakes);
    state.call(&promised, &mut wakes);
    assert!(wakes.wake().is_empty());
    for (attached, outlet) in &people[1..] {
        assert!(matches!(outlet.take(), Some(Signal::Mail)));
        assert_eq!(state.deliveries(attached.id, number - 1, 64).ready.len(), 1);
        state.acknowledge(attached.id, number, NOW);
    }
}
