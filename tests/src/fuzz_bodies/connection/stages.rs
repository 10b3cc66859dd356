//! Where a connection under test begins: at its first byte, amid its handshake, after it, after the login, and two
//! records before the first change of keys. Recorded once in a process, because exponentiations take milliseconds.

use std::sync::OnceLock;

use sordino_core::bytes::{Bytes, Secret};
use sordino_core::conn::Role;
use sordino_core::event::AnswerError;
use sordino_core::identity::ServedSuite;
use sordino_core::messages::{Message, Ping};
use sordino_core::record::{Direction, Inbound, Outbound};
use sordino_core::{Acceptor, Answer, Client, Conn, Io, Server, Suite, Suite1, Suite2, event::Ticket};

use crate::pair::forge::Known;
use crate::pair::party::twin;
use crate::pair::script::{Act, PASSWORD_AUTH, admit_all, silent};
use crate::pair::setup::{Seeded, static_key};
use crate::pair::{Machine, Memory, Party, Setup, lone_client, lone_server};

/// Max record of client and server, in bytes.
pub const MAX_RECORDS: [u16; 2] = [1024, 4096];
/// Records of each direction before the last stage: the epoch has 4,096.
const NEAR_THE_EPOCHS_END: u64 = 4094;
const CONTROL_KIND: u8 = 2;

/// A connection to begin with, and the peer who holds the keys.
pub struct Stage<R: Role, S: Suite> {
    conn: Conn<R, S>,
    rng: Seeded,
    /// What the peer still says in the handshake.
    pub hears: Vec<u8>,
    /// What this side still says in the handshake.
    pub says: Vec<u8>,
    to_side: Outbound<S>,
    from_side: Inbound<S>,
}

/// A stage to be played: connection, its randomness, and the peer's ends.
pub type Begun<R, S> = (Conn<R, S>, Seeded, Outbound<S>, Inbound<S>);

impl<R: Role, S: Suite> Stage<R, S> {
    /// The same stage once more.
    pub fn begin(&self) -> Begun<R, S> {
        (twin(&self.conn), self.rng.clone(), twin(&self.to_side), twin(&self.from_side))
    }
}

/// A role, as far as the two differ.
pub trait Side: Role + Sized + 'static {
    const OUTWARD: Direction;
    const INWARD: Direction;
    const MAX_RECORD: u16;

    fn stages<S: Recorded>() -> &'static [Stage<Self, S>];

    fn answer<S: Suite>(
        conn: &mut Conn<Self, S>,
        ticket: Ticket,
        answer: Answer<'_>,
        io: &mut Io<'_, '_>,
    ) -> Result<(), AnswerError>;
}

impl Side for Client {
    const OUTWARD: Direction = Direction::ToServer;
    const INWARD: Direction = Direction::ToClient;
    const MAX_RECORD: u16 = MAX_RECORDS[0];

    fn stages<S: Recorded>() -> &'static [Stage<Self, S>] {
        &S::recorded().0
    }

    fn answer<S: Suite>(
        _: &mut Conn<Self, S>,
        _: Ticket,
        _: Answer<'_>,
        _: &mut Io<'_, '_>,
    ) -> Result<(), AnswerError> {
        unreachable!("a client is never asked")
    }
}

impl Side for Server {
    const OUTWARD: Direction = Direction::ToClient;
    const INWARD: Direction = Direction::ToServer;
    const MAX_RECORD: u16 = MAX_RECORDS[1];

    fn stages<S: Recorded>() -> &'static [Stage<Self, S>] {
        &S::recorded().1
    }

    fn answer<S: Suite>(
        conn: &mut Conn<Self, S>,
        ticket: Ticket,
        answer: Answer<'_>,
        io: &mut Io<'_, '_>,
    ) -> Result<(), AnswerError> {
        conn.answer(ticket, answer, io)
    }
}

/// The stages of both sides.
pub type Both<S> = (Vec<Stage<Client, S>>, Vec<Stage<Server, S>>);

/// A suite whose stages are kept.
pub trait Recorded: ServedSuite {
    fn recorded() -> &'static Both<Self>;
}

impl Recorded for Suite1 {
    fn recorded() -> &'static Both<Self> {
        static STAGES: OnceLock<Both<Suite1>> = OnceLock::new();
        STAGES.get_or_init(record)
    }
}

impl Recorded for Suite2 {
    fn recorded() -> &'static Both<Self> {
        static STAGES: OnceLock<Both<Suite2>> = OnceLock::new();
        STAGES.get_or_init(record)
    }
}

/// The parameters of all stages.
fn setup() -> Setup {
    Setup { max_record: MAX_RECORDS, bundles: [true; 2], ..Setup::default() }
}

/// A connection, and what it has in store.
type Moment<R, S> = (Conn<R, S>, Seeded);

fn moment<M: Machine>(party: &Party<'_, M>) -> Moment<M::Role, M::Suite> {
    (twin(party.machine.look().expect("a connection")), party.end.rng.clone())
}

/// Plays an honest handshake, a login and nearly an epoch of PINGs.
fn record<S: ServedSuite>() -> Both<S> {
    let setup = setup();
    let (mut near, mut far) = (Memory::default(), Memory::default());
    let mut client = lone_client::<S>(&mut near, &setup, silent());
    let mut server = lone_server::<S>(&mut far, &setup, admit_all());
    let unheard = Acceptor::new(setup.server(), setup.limits[1], setup.start)
        .connection::<S>(setup.identity)
        .expect("both suites are served");
    let mut clients = vec![moment(&client)];
    let mut servers = vec![(unheard, server.end.rng.clone())];

    client.settle(setup.start);
    let first = client.take(usize::MAX);
    clients.push(moment(&client));
    server.feed(&first, setup.start);
    let second = server.take(usize::MAX);
    servers.push(moment(&server));
    client.feed(&second, setup.start);
    let third = client.take(usize::MAX);
    server.feed(&third, setup.start);

    let messages = [Message::Auth(PASSWORD_AUTH), Message::Ping(Ping { token: 1 })];
    let mut sent = 0;
    for stop in [0, 1, NEAR_THE_EPOCHS_END] {
        while sent < stop {
            client.act(Act::Send(messages[usize::from(sent > 0)]), setup.start);
            server.feed(&client.take(usize::MAX), setup.start);
            client.feed(&server.take(usize::MAX), setup.start);
            sent += 1;
        }
        clients.push(moment(&client));
        servers.push(moment(&server));
    }
    let handshake = [&first[..], &second, &third];
    let secrets = Known::<S>::derive(static_key::<S>(), setup.seeds, handshake).epoch_0;
    (stages(clients, handshake, &secrets), stages(servers, handshake, &secrets))
}

/// Puts what was recorded beside what the peer has in store.
fn stages<R: Side, S: ServedSuite>(
    moments: Vec<Moment<R, S>>,
    handshake: [&[u8]; 3],
    secrets: &[Vec<u8>; 2],
) -> Vec<Stage<R, S>> {
    let [first, second, third] = handshake.map(<[u8]>::to_vec);
    let before = match R::OUTWARD {
        Direction::ToServer => [(second.clone(), [first, third.clone()].concat()), (second, third)],
        Direction::ToClient => [([first, third.clone()].concat(), second), (third, Vec::new())],
    };
    let courses = before.into_iter().chain(std::iter::repeat((Vec::new(), Vec::new())));
    let sequences = [0, 0, 0, 1, NEAR_THE_EPOCHS_END];
    let stage = |(((conn, rng), (hears, says)), sequence)| Stage {
        conn,
        rng,
        hears,
        says,
        to_side: ends::<S>(R::INWARD, secrets, sequence).0,
        from_side: ends::<S>(R::OUTWARD, secrets, sequence).1,
    };
    moments.into_iter().zip(courses).zip(sequences).map(stage).collect()
}

/// Both ends of a direction after so many records.
fn ends<S: ServedSuite>(
    direction: Direction,
    secrets: &[Vec<u8>; 2],
    sequence: u64,
) -> (Outbound<S>, Inbound<S>) {
    let secret = S::Hash::copy_of(&secrets[direction as usize]).map(Secret::new).expect("the hash's length");
    let receiver = MAX_RECORDS[usize::from(direction == Direction::ToServer)];
    let mut ends = (Outbound::new(direction, &secret, 0), Inbound::new(direction, &secret, 0, receiver));
    for _ in 0..sequence {
        let mut record = vec![0; Outbound::<S>::wire_len(8).expect("a small body")];
        ends.0.seal(&mut record, CONTROL_KIND, 8).expect("room for the record");
        ends.1.open(&mut record).expect("an honest record");
    }
    ends
}
