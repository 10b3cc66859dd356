//! The async client: any executor, any TCP stack.

use crate::backoff::after;
use crate::board::{Board, Memory};
use crate::connection::{LIMIT, Plan, Then, closed};
use crate::event::{Event, Offline};
use crate::session::{End, Scratch, Session};
use crate::state::OUTGOING;
use crate::storage::Storage;
use core::future::{Future, pending};
use core::ops::ControlFlow;
use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::{ErrorType, Read, Write};
use rand_core::TryCryptoRng;
use sordino_core::config::{Millis, Timeouts};
use sordino_core::drive::{Clock, Drive, DriveError, Link, Next};
use sordino_core::error::SendError;
use sordino_core::messages::CloseReason;
use sordino_core::suite::Suite;

/// Makes TCP connections.
pub trait Connect {
    /// The half that reads. Dropping its `read` must lose no bytes.
    type Reader<'a>: Read
    where
        Self: 'a;
    /// The half that writes.
    type Writer<'a>: Write<Error = <Self::Reader<'a> as ErrorType>::Error>
    where
        Self: 'a;
    /// Why it did not work.
    type Error: core::fmt::Debug;

    /// Connects to a host (a name or an address) and port; an earlier connection is over. May be dropped.
    fn connect(
        &mut self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = Result<(Self::Reader<'_>, Self::Writer<'_>), Self::Error>>;
}

/// The maker's clock, lent to a driver.
struct Lent<'c, C>(&'c C);

impl<C: Clock> Clock for Lent<'_, C> {
    fn now(&self) -> Millis {
        self.0.now()
    }

    fn sleep_until(&self, at: Millis) -> impl Future<Output = ()> {
        self.0.sleep_until(at)
    }
}

impl<F: Storage, G: TryCryptoRng, S: Suite> Board<F, G, S> {
    /// Connects, stays connected, sends the outbox and receives, until the handler breaks.
    ///
    /// Waits for an enrolment first if there is none. Reconnects by itself: after 1 s, doubling to 60 s, with
    /// jitter; after 10 minutes where only people can help (revoked, or not the right server).
    pub async fn run<K: Connect, C: Clock>(
        &self,
        connector: &mut K,
        clock: &C,
        memory: &mut Memory,
        mut handler: impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) {
        loop {
            let Some(plan) = self.plan() else {
                self.changed.wait().await;
                continue;
            };
            let generation = self.generation();
            let end = self.attempt(plan, connector, clock, memory, &mut handler).await;
            match self.ended(end, clock.now()) {
                Then::Stop => return,
                Then::Again => {}
                Then::Wait(reason, retry_in, until) => {
                    if handler(Event::Offline { reason, retry_in }).is_break() {
                        return;
                    }
                    while generation == self.generation()
                        && let Either::Second(()) =
                            select(clock.sleep_until(until), self.changed.wait()).await
                    {}
                }
            }
        }
    }

    /// One connection, from TCP to its end.
    async fn attempt<K: Connect, C: Clock>(
        &self,
        mut plan: Plan<S>,
        connector: &mut K,
        clock: &C,
        memory: &mut Memory,
        handler: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> End {
        let limit = clock.sleep_until(after(clock.now(), LIMIT));
        let key = plan.key.take();
        let (host, port) = plan.place();
        let Either::First(Ok((reader, writer))) = select(connector.connect(host, port), limit).await else {
            return End::Offline(Offline::Network);
        };
        let random = match self.draw() {
            Ok(random) => random,
            Err(end) => return end,
        };
        let mut link = Link::new(reader, writer, &mut memory.rx, &mut memory.tx, Lent(clock), random);
        let key = match key {
            Some(key) => key,
            None => match link.fetch_key::<S>(plan.trust(), LIMIT).await {
                Ok((pin, key)) => match self.keep(&pin, &key) {
                    Ok(()) => key,
                    Err(end) => return end,
                },
                Err(error) => return self.drive_failed(error),
            },
        };
        drop(plan);
        let drive = match self.client(key).map(|config| link.connect(config, Timeouts::CLIENT)) {
            Ok(Ok(drive)) => drive,
            Ok(Err(error)) => return self.failed(error),
            Err(end) => return end,
        };
        self.converse(drive, clock, handler).await
    }

    fn drive_failed<E>(&self, error: DriveError<E>) -> End {
        match error {
            DriveError::Stream(_) => End::Offline(Offline::Network),
            DriveError::Protocol(error) => self.failed(error),
        }
    }

    /// Handshake, login and everything after.
    async fn converse<R, W, C, D>(
        &self,
        mut drive: Drive<'_, S, R, W, D, crate::connection::Drawn>,
        clock: &C,
        handler: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> End
    where
        R: Read,
        W: Write<Error = R::Error>,
        C: Clock,
        D: Clock,
    {
        let mut session = match self.access() {
            Ok(mut inner) => Session::new::<F, G, S>(&mut inner),
            Err(end) => return end,
        };
        loop {
            if let Err(end) = self.send_due(&mut session, &mut drive) {
                drive.close(CloseReason::Bye).await;
                return end;
            }
            let hold = async {
                match session.hold {
                    Some(until) if until > clock.now() => clock.sleep_until(until).await,
                    _ => pending().await,
                }
            };
            let next = match select3(drive.next(), self.changed.wait(), hold).await {
                Either3::First(next) => next,
                Either3::Second(()) | Either3::Third(()) => continue,
            };
            let event = match next {
                Ok(Next::Event(id)) => drive.event(id),
                Ok(Next::Room) => continue,
                Ok(Next::Closed(reason)) => return closed(reason),
                Err(error) => return self.drive_failed(error),
            };
            let handled = match event {
                Ok(event) => session.handle(self, clock.now(), event, handler),
                Err(error) => Err(self.failed(error)),
            };
            if let Err(end) = handled {
                drive.close(CloseReason::Bye).await;
                return end;
            }
        }
    }

    /// Puts everything that is due into the output, as far as there is room.
    fn send_due<R, W, D>(
        &self,
        session: &mut Session,
        drive: &mut Drive<'_, S, R, W, D, crate::connection::Drawn>,
    ) -> Result<(), End>
    where
        R: Read,
        W: Write<Error = R::Error>,
        D: Clock,
    {
        let mut scratch = Scratch([0; OUTGOING]);
        loop {
            let mut inner = self.access()?;
            if session.is_stale(&inner) {
                return Err(End::Turned);
            }
            let Some((message, sent)) = session.next(&mut inner, drive.now(), &mut scratch) else {
                return Ok(());
            };
            match drive.send(&message) {
                Ok(()) => session.sent(&mut inner, sent),
                Err(SendError::NoRoom(_)) => return Ok(()),
                Err(_) => return Err(End::Offline(Offline::Closed)),
            }
        }
    }
}
