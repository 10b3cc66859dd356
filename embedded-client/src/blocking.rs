//! The blocking client: bare loops and threads.

use crate::backoff::after;
use crate::board::{Board, Memory};
use crate::connection::{Drawn, LIMIT, Plan, Then, closed};
use crate::event::{Event, Offline};
use crate::session::{End, Scratch, Session};
use crate::state::OUTGOING;
use crate::storage::Storage;
use core::ops::ControlFlow;
use embedded_io::{Read, ReadReady, Write};
use rand_core::TryCryptoRng;
use sordino_core::buf::{RxBuf, TxBuf};
use sordino_core::config::{Millis, Timeouts};
use sordino_core::error::{Deadline, Error, SendError};
use sordino_core::event::Step;
use sordino_core::identity::ServerKey;
use sordino_core::key_request::KeyRequest;
use sordino_core::messages::CloseReason;
use sordino_core::suite::Suite;
use sordino_core::{Client, Conn, Io};

/// Makes TCP connections.
pub trait Connect {
    /// A connected stream.
    type Stream<'a>: Read + Write + ReadReady
    where
        Self: 'a;
    /// Why it did not work.
    type Error: core::fmt::Debug;

    /// Connects to a host (a name or an address) and port; an earlier connection is over.
    ///
    /// # Errors
    /// The host can't be reached.
    fn connect(&mut self, host: &str, port: u16) -> Result<Self::Stream<'_>, Self::Error>;
}

type Handler<'h> = &'h mut dyn FnMut(Event<'_>) -> ControlFlow<()>;

/// A stream with its buffers and randomness.
struct Wire<'b, T> {
    stream: T,
    rx: RxBuf<'b>,
    tx: TxBuf<'b>,
    random: Drawn,
}

impl<'b, T: Read + Write + ReadReady> Wire<'b, T> {
    fn with_io<X>(&mut self, now: Millis, f: impl FnOnce(&mut RxBuf<'b>, &mut Io<'_, 'b>) -> X) -> X {
        let mut io = Io { now, tx: &mut self.tx, rng: &mut self.random };
        f(&mut self.rx, &mut io)
    }

    /// Writes what waits and reads what is there; whether bytes moved.
    fn exchange(&mut self) -> Result<bool, End> {
        const LOST: End = End::Offline(Offline::Network);
        let wrote = self.flush()?;
        let ready =
            !self.rx.ended() && !self.rx.spare().is_empty() && self.stream.read_ready().map_err(|_| LOST)?;
        if ready {
            match self.stream.read(self.rx.spare()).map_err(|_| LOST)? {
                0 => self.rx.end(),
                n => self.rx.commit(n),
            }
        }
        Ok(wrote || ready)
    }

    fn flush(&mut self) -> Result<bool, End> {
        const LOST: End = End::Offline(Offline::Network);
        let waits = !self.tx.is_empty();
        while !self.tx.is_empty() {
            match self.stream.write(self.tx.pending()).map_err(|_| LOST)? {
                0 => return Err(LOST),
                n => self.tx.consume(n),
            }
        }
        if waits {
            self.stream.flush().map_err(|_| LOST)?;
        }
        Ok(waits)
    }
}

impl<F: Storage, G: TryCryptoRng, S: Suite> Board<F, G, S> {
    /// Like [`Board::run`], in a loop that blocks in `connect` and `write` only. [`Event::Idle`] comes whenever there
    /// is nothing to do. `now` is a monotonic clock in milliseconds.
    pub fn run_blocking<K: Connect>(
        &self,
        connector: &mut K,
        now: impl Fn() -> Millis,
        memory: &mut Memory,
        mut handler: impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) {
        let now: &dyn Fn() -> Millis = &now;
        let handler: Handler<'_> = &mut handler;
        loop {
            let Some(plan) = self.plan() else {
                if handler(Event::Idle).is_break() {
                    return;
                }
                continue;
            };
            let generation = self.generation();
            let end = self.attempt_blocking(plan, connector, now, memory, handler);
            match self.ended(end, now()) {
                Then::Stop => return,
                Then::Again => {}
                Then::Wait(reason, retry_in, until) => {
                    if handler(Event::Offline { reason, retry_in }).is_break() {
                        return;
                    }
                    while generation == self.generation() && now() < until {
                        if handler(Event::Idle).is_break() {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// One connection, from TCP to its end.
    fn attempt_blocking<K: Connect>(
        &self,
        mut plan: Plan<S>,
        connector: &mut K,
        now: &dyn Fn() -> Millis,
        memory: &mut Memory,
        handler: Handler<'_>,
    ) -> End {
        let (host, port) = plan.place();
        let Ok(stream) = connector.connect(host, port) else { return End::Offline(Offline::Network) };
        let random = match self.draw() {
            Ok(random) => random,
            Err(end) => return end,
        };
        let Memory { rx, tx } = memory;
        let mut wire = Wire { stream, rx: RxBuf::new(rx), tx: TxBuf::new(tx), random };
        let key = match plan.key.take() {
            Some(key) => Ok(key),
            None => self.fetch_key(&plan, &mut wire, now, handler),
        };
        drop(plan);
        let config = match key.and_then(|key| self.client(key)) {
            Ok(config) => config,
            Err(end) => return end,
        };
        let mut conn = match Conn::client(config, Timeouts::CLIENT, now()) {
            Ok(conn) => conn,
            Err(error) => return self.failed(error),
        };
        let Err(end) = self.converse_blocking(&mut conn, &mut wire, now, handler) else { return End::Turned };
        wire.with_io(now(), |_, io| conn.close(CloseReason::Bye, io));
        // The connection is over whether or not the goodbye leaves.
        let _unsaid = wire.flush();
        end
    }

    fn fetch_key<T: Read + Write + ReadReady>(
        &self,
        plan: &Plan<S>,
        wire: &mut Wire<'_, T>,
        now: &dyn Fn() -> Millis,
        handler: Handler<'_>,
    ) -> Result<ServerKey<S>, End> {
        let until = after(now(), LIMIT);
        let request = wire.with_io(now(), |_, io| KeyRequest::<S>::send(io)).map_err(|e| self.failed(e))?;
        loop {
            if let Some((pin, key)) =
                request.receive(&mut wire.rx, plan.trust()).map_err(|e| self.failed(e))?
            {
                self.keep(&pin, &key)?;
                return Ok(key);
            }
            if !wire.exchange()? {
                idle(handler)?;
            }
            if now() >= until {
                return Err(self.failed(Error::Timeout(Deadline::Handshake)));
            }
        }
    }

    /// Handshake, login and everything after; ends with an error only.
    fn converse_blocking<T: Read + Write + ReadReady>(
        &self,
        conn: &mut Conn<Client, S>,
        wire: &mut Wire<'_, T>,
        now: &dyn Fn() -> Millis,
        handler: Handler<'_>,
    ) -> Result<(), End> {
        let mut session = Session::new::<F, G, S>(&mut *self.access()?);
        loop {
            let step = wire.with_io(now(), |rx, io| conn.step(rx, io)).map_err(|e| self.failed(e))?;
            match step {
                Step::Progressed => {}
                Step::Closed(reason) => return Err(closed(reason)),
                Step::Event(id) => {
                    let event = conn.event(&wire.rx, id).map_err(|e| self.failed(e))?;
                    session.handle(self, now(), event, handler)?;
                }
                Step::NeedInput | Step::NeedOutput(_) => {
                    self.send_due_blocking(&mut session, conn, wire, now())?;
                    let moved = wire.exchange()?;
                    if conn.poll_timeout().is_some_and(|at| now() >= at) {
                        wire.with_io(now(), |_, io| conn.handle_timeout(io)).map_err(|e| self.failed(e))?;
                    } else if !moved {
                        idle(handler)?;
                    }
                }
            }
        }
    }

    fn send_due_blocking<T: Read + Write + ReadReady>(
        &self,
        session: &mut Session,
        conn: &mut Conn<Client, S>,
        wire: &mut Wire<'_, T>,
        now: Millis,
    ) -> Result<(), End> {
        let mut scratch = Scratch([0; OUTGOING]);
        loop {
            let mut inner = self.access()?;
            if session.is_stale(&inner) {
                return Err(End::Turned);
            }
            let Some((message, sent)) = session.next(&mut inner, now, &mut scratch) else { return Ok(()) };
            match wire.with_io(now, |_, io| conn.send(&message, io)) {
                Ok(()) => session.sent(&mut inner, sent),
                Err(SendError::NoRoom(_)) => return Ok(()),
                Err(_) => return Err(End::Offline(Offline::Closed)),
            }
        }
    }
}

fn idle(handler: Handler<'_>) -> Result<(), End> {
    match handler(Event::Idle) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(End::Stopped),
    }
}
