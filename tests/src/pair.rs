//! Both ends of a connection, made of the real state machines, on a virtual clock and with the wire in the test's hands.
//!
//! A [`Party`] is one end: machine, buffers, deterministic randomness, a [`Script`] that decides like an
//! application, and a log of what it saw. It can be played alone, with bytes from a recording. A [`Pair`] is two
//! of them and a [`Lane`] for each direction, in which bytes are cut into chunks, altered, dropped, added, or end.

pub mod answer;
pub mod forge;
pub mod lane;
pub mod party;
pub mod script;
pub mod setup;

pub use lane::Lane;
pub use party::{ClientSide, Machine, Party, Seen, ServerSide};
pub use script::{Act, Script};
pub use setup::{Memory, Setup, device, identity};

use forge::Known;
use lane::frames;
use setup::static_key;
use sordino_core::config::Millis;
use sordino_core::error::Error;
use sordino_core::event::Closed;
use sordino_core::identity::ServedSuite;
use sordino_core::messages::CloseReason;

/// How a connection ended at one end.
pub type Outcome = Result<Closed, Error>;

/// Both ends of one connection.
pub struct Pair<'m, S: ServedSuite> {
    /// The virtual clock, in milliseconds.
    pub now: Millis,
    /// The end that connects.
    pub client: Party<'m, ClientSide<S>>,
    /// The end that accepts.
    pub server: Party<'m, ServerSide<S>>,
    /// Client to server.
    pub up: Lane,
    /// Server to client.
    pub down: Lane,
    seeds: [u64; 2],
}

impl<'m, S: ServedSuite> Pair<'m, S> {
    /// Two ends that have not exchanged a byte, with a script for each.
    pub fn new(memory: &'m mut Memory, setup: &Setup, scripts: [Script<'m>; 2]) -> Self {
        let [client, server] = scripts;
        let (near, far) = memory.ends(setup);
        Self {
            now: setup.start,
            client: Party::client(setup, near, client),
            server: Party::server(setup, far, server),
            up: Lane::default(),
            down: Lane::default(),
            seeds: setup.seeds,
        }
    }

    /// Two ends that have logged in and wait, with everything delivered.
    ///
    /// # Panics
    /// If the login fails.
    pub fn ready(memory: &'m mut Memory, setup: &Setup) -> Self {
        let mut pair = Self::new(memory, setup, [script::log_in(), script::admit_all()]);
        pair.run();
        assert!(pair.client.machine.conn().is_ready() && pair.server.machine.conn().is_ready());
        pair
    }

    /// The secrets of the handshake, once it is over.
    ///
    /// # Panics
    /// If the handshake did not take the honest course without a key request.
    pub fn known(&self) -> Known<S> {
        let (up, down) = (frames(&self.up.sent, 2), frames(&self.down.sent, 1));
        Known::derive(static_key::<S>(), self.seeds, [up[0], down[0], up[1]])
    }

    /// Moves bytes and takes steps until nothing more happens at this time.
    pub fn run(&mut self) {
        while self.turn() {}
    }

    /// One round: each end takes its steps, each lane carries a chunk. Whether anything happened.
    pub fn turn(&mut self) -> bool {
        let mut busy = self.client.settle(self.now);
        busy |= self.up.carry(&mut self.client, &mut self.server);
        busy |= self.server.settle(self.now);
        busy | self.down.carry(&mut self.server, &mut self.client)
    }

    /// Lets time pass until `then`, with every deadline of both ends handled when it falls due.
    ///
    /// # Panics
    /// If a deadline stays due after it was handled: a driver would spin.
    pub fn advance(&mut self, then: Millis) {
        self.run();
        let mut latest = None;
        while let Some(due) = self.next_deadline().filter(|due| *due <= then) {
            assert_ne!(latest, Some(due), "the deadline does not move");
            latest = Some(due);
            self.now = self.now.max(due);
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
            self.run();
        }
        self.now = then;
        self.run();
    }

    fn next_deadline(&self) -> Option<Millis> {
        [self.client.poll_timeout(), self.server.poll_timeout()].into_iter().flatten().min()
    }
}

/// A client alone, which has not taken a step.
pub fn lone_client<'m, S: ServedSuite>(
    memory: &'m mut Memory,
    setup: &Setup,
    script: Script<'m>,
) -> Party<'m, ClientSide<S>> {
    Party::client(setup, memory.ends(setup).0, script)
}

/// A server alone, which has not read a byte.
pub fn lone_server<'m, S: ServedSuite>(
    memory: &'m mut Memory,
    setup: &Setup,
    script: Script<'m>,
) -> Party<'m, ServerSide<S>> {
    Party::server(setup, memory.ends(setup).1, script)
}

/// A whole conversation: key request, handshake, login, messages, goodbye.
pub struct Recording {
    /// Bytes from client to server.
    pub up: Vec<u8>,
    /// Bytes from server to client.
    pub down: Vec<u8>,
    /// What the client saw, and how it ended.
    pub client: (Vec<Seen>, Option<Outcome>),
    /// What the server saw, and how it ended.
    pub server: (Vec<Seen>, Option<Outcome>),
}

impl Recording {
    /// The parameters under which [`Self::of_suite`] records.
    pub fn setup() -> Setup {
        Setup { key_request: true, ..Setup::default() }
    }

    /// Records the conversation of the talkative scripts.
    ///
    /// # Panics
    /// If it doesn't come to its end.
    pub fn of_suite<S: ServedSuite>() -> Self {
        let mut memory = Memory::default();
        let scripts = [script::talkative_client(), script::talkative_server()];
        let mut pair = Pair::<S>::new(&mut memory, &Self::setup(), scripts);
        pair.run();
        assert_eq!(pair.client.outcome, Some(Ok(Closed::Here(CloseReason::Bye))));
        assert!(pair.server.was_closed(CloseReason::Bye));
        Self {
            up: pair.up.sent,
            down: pair.down.sent,
            client: (pair.client.log, pair.client.outcome),
            server: (pair.server.log, pair.server.outcome),
        }
    }
}

/// Declares each generic function as a test for suite 1 and for suite 2.
#[macro_export]
macro_rules! both_suites {
    ($($name:ident)+) => {$(
        mod $name {
            #[test]
            fn suite_1() {
                super::$name::<sordino_core::Suite1>();
            }

            #[test]
            fn suite_2() {
                super::$name::<sordino_core::Suite2>();
            }
        }
    )+};
}
