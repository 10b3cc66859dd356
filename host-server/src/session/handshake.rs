//! From the first byte to the established connection. Exponentiations run on worker threads, so many at a
//! time as configured; who comes when too many wait is told that the server is busy.

use std::{future::poll_fn, sync::Arc, task::Poll};

use sordino_core::{
    Accept, Acceptor, Conn, Error, Event, Peer, RxBuf, Server, ServerConfig, Step, Suite1, Suite2, TxBuf,
    config::{HEADER_LEN, MAX_HANDSHAKE_LEN, MAX_RECORD},
    error::{Deadline, Misuse},
    event::{Answer, EventId},
    identity::ServedSuite,
};

use super::{
    End, Line, hang_up, lend_io,
    replay::{Mark, ReplayFilter},
};
use crate::{hub::unix_now, server::Shared};

/// A handshake message and what a client may send behind its last one.
const RECEIVE: usize = 2 * MAX_HANDSHAKE_LEN;
const SEND: usize = 2 * MAX_HANDSHAKE_LEN;

/// A connection after its handshake.
pub(super) struct Established<S: ServedSuite> {
    pub conn: Box<Conn<Server, S>>,
    /// Received and not consumed.
    pub early: Vec<u8>,
    /// What the client has proven to hold.
    pub device_key: Vec<u8>,
}

/// The client has chosen a suite, and the handshake is over.
pub(super) enum Greeting {
    Suite1(Established<Suite1>),
    Suite2(Established<Suite2>),
}

/// Buffers that can go to a worker thread and come back.
struct Wire {
    rx: Box<[u8]>,
    received: usize,
    ended: bool,
    tx: Box<[u8]>,
    waiting: usize,
}

impl Wire {
    fn new() -> Self {
        Self { rx: vec![0; RECEIVE].into(), received: 0, ended: false, tx: vec![0; SEND].into(), waiting: 0 }
    }

    /// Lends both buffers, and keeps what is left in them.
    fn with<T>(&mut self, use_them: impl FnOnce(&mut RxBuf<'_>, &mut TxBuf<'_>) -> T) -> T {
        let mut rx = RxBuf::resume(&mut self.rx, self.received);
        if self.ended {
            rx.end();
        }
        let mut tx = TxBuf::resume(&mut self.tx, self.waiting);
        let result = use_them(&mut rx, &mut tx);
        self.ended = rx.ended();
        let (left, unsent) = (rx.unconsumed().to_vec(), tx.pending().to_vec());
        self.rx[..left.len()].copy_from_slice(&left);
        self.received = left.len();
        self.tx[..unsent.len()].copy_from_slice(&unsent);
        self.waiting = unsent.len();
        result
    }

    /// Nothing more is read; what waits is written, if there is something.
    async fn hang_up(&mut self, line: &mut Line) {
        if self.waiting > 0 {
            let mut tx = TxBuf::resume(&mut self.tx, self.waiting);
            hang_up(&mut line.socket, &mut tx, &mut RxBuf::new(&mut self.rx)).await;
        }
    }

    fn left(&self) -> Vec<u8> {
        self.rx[..self.received].to_vec()
    }

    /// Whether the message that the header announces is there.
    fn is_whole(&self) -> bool {
        let header = self.rx.get(..self.received.min(HEADER_LEN)).and_then(|h| h.first_chunk::<HEADER_LEN>());
        header.is_some_and(|h| self.received >= HEADER_LEN + usize::from(u16::from_be_bytes([h[6], h[7]])))
    }
}

/// Does the whole handshake.
pub(super) async fn greet(shared: &Arc<Shared>, line: &mut Line) -> Result<Greeting, End> {
    let config = ServerConfig {
        max_record: MAX_RECORD,
        bundles: true,
        counter: shared.next_counter(),
        time: unix_now(),
    };
    let mut acceptor = Acceptor::new(config, shared.timeouts, shared.now());
    let mut wire = Wire::new();
    loop {
        let identity = &shared.identity;
        let accept = wire.with(|rx, tx| acceptor.step(identity, rx, lend_io!(shared.now(), tx)));
        match accept {
            Ok(Accept::Progressed) => {}
            Ok(Accept::NeedInput | Accept::NeedOutput(_)) => {
                exchange(line, &mut wire, acceptor.poll_timeout()).await?;
            }
            Ok(Accept::Suite1) => {
                let conn = acceptor.connection::<Suite1>(identity)?;
                return Shaking::new(shared, line, conn, wire).run().await.map(Greeting::Suite1);
            }
            Ok(Accept::Suite2) => {
                let conn = acceptor.connection::<Suite2>(identity)?;
                return Shaking::new(shared, line, conn, wire).run().await.map(Greeting::Suite2);
            }
            Err(error) => return Err(part(line, &mut wire, error).await),
        }
    }
}

/// A handshake in a suite.
struct Shaking<'a, S: ServedSuite> {
    shared: &'a Shared,
    line: &'a mut Line,
    conn: Box<Conn<Server, S>>,
    wire: Wire,
}

impl<'a, S: ServedSuite> Shaking<'a, S> {
    fn new(shared: &'a Shared, line: &'a mut Line, conn: Conn<Server, S>, wire: Wire) -> Self {
        Self { shared, line, conn: Box::new(conn), wire }
    }

    async fn run(mut self) -> Result<Established<S>, End> {
        // Up to the client's gate nothing is computed.
        let event = loop {
            let step = self.step();
            if let Some(event) = self.follow(step).await? {
                break event;
            }
        };
        let mark = self.admit(event).await?;
        self = self.compute().await?.0;
        // Message 2 exists, so that message 1 was no garbage.
        self.shared.replays.insert(mark);
        // Message 1 still has to be dropped: no work for a thread.
        let mut step = self.step();
        loop {
            if let Some(event) = self.follow(step).await? {
                return self.established(event);
            }
            (self, step) = if self.wire.is_whole() {
                let (this, step) = self.compute().await?;
                (this, Ok(step))
            } else if self.wire.ended {
                // Nothing more will be read: the core says so at once, and not the deadline later.
                let step = self.step();
                (self, step)
            } else {
                (self, Ok(Step::NeedInput))
            };
        }
    }

    fn step(&mut self) -> Result<Step, Error> {
        let now = self.shared.now();
        self.wire.with(|rx, tx| self.conn.step(rx, lend_io!(now, tx)))
    }

    /// A step on a worker thread.
    async fn compute(self) -> Result<(Self, Step), End> {
        let Self { shared, line, mut conn, mut wire } = self;
        let work = shared.admission.enter().await;
        let now = shared.now();
        let (step, conn, mut wire) = smol::unblock(move || {
            let step = wire.with(|rx, tx| conn.step(rx, lend_io!(now, tx)));
            (step, conn, wire)
        })
        .await;
        drop(work);
        match step {
            Ok(step) => Ok((Self { shared, line, conn, wire }, step)),
            Err(error) => Err(part(line, &mut wire, error).await),
        }
    }

    /// Does what a step asks for; an event is for the caller.
    async fn follow(&mut self, step: Result<Step, Error>) -> Result<Option<EventId>, End> {
        match step {
            Ok(Step::NeedInput | Step::NeedOutput(_)) => {
                let deadline = self.conn.poll_timeout().unwrap_or_default();
                exchange(self.line, &mut self.wire, deadline).await.map(|()| None)
            }
            Ok(Step::Event(event)) => Ok(Some(event)),
            Ok(Step::Progressed) => Ok(None),
            Ok(Step::Closed(closed)) => Err(End::Closed(closed)),
            Err(error) => Err(part(self.line, &mut self.wire, error).await),
        }
    }

    /// The client knows the server's key: now it may cost something, if there is room for it and the message is new.
    async fn admit(&mut self, event: EventId) -> Result<Mark, End> {
        let Self { shared, conn, wire, .. } = self;
        let admitted = wire.with(|rx, tx| {
            let Ok(Event::Admit { ephemeral, ticket }) = conn.event(rx, event) else { return None };
            let mark = ReplayFilter::mark(ephemeral);
            let mark = mark.filter(|mark| shared.admission.has_room() && !shared.replays.has(mark));
            let answer = if mark.is_some() { Answer::Admit } else { Answer::Busy };
            conn.answer(ticket, answer, lend_io!(shared.now(), tx)).ok().and(mark)
        });
        if admitted.is_none() {
            self.wire.hang_up(self.line).await;
        }
        admitted.ok_or(End::Dismissed)
    }

    fn established(mut self, event: EventId) -> Result<Established<S>, End> {
        let device_key = self.wire.with(|rx, _| match self.conn.event(rx, event) {
            Ok(Event::Established(Peer::Device(key))) => Some(key.to_vec()),
            _ => None,
        });
        let device_key = device_key.ok_or(Error::Misuse(Misuse::Stale))?;
        Ok(Established { conn: self.conn, early: self.wire.left(), device_key })
    }
}

/// Writes what waits, and reads; until something was read, the deadline has come, or the server stops.
async fn exchange(line: &mut Line, wire: &mut Wire, deadline: u64) -> Result<(), End> {
    let Line { socket, outlet, alarm, .. } = line;
    poll_fn(|context| {
        if outlet.poll(context).is_ready() {
            return Poll::Ready(Err(End::Dismissed));
        }
        if alarm.poll(Some(deadline), context).is_ready() {
            return Poll::Ready(Err(End::Failed(Error::Timeout(Deadline::Handshake))));
        }
        // The buffers can't be lent across a wait: each wake lends them again.
        let read = wire.with(|rx, tx| {
            while socket.poll_write(tx, context)? {}
            socket.poll_read(rx, context)
        });
        match read {
            Ok(false) => Poll::Pending,
            Ok(true) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(End::Socket(error))),
        }
    })
    .await
}

/// An ERROR may wait in the output.
async fn part(line: &mut Line, wire: &mut Wire, error: Error) -> End {
    wire.hang_up(line).await;
    End::Failed(error)
}
