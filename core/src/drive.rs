//! An async client driver, written once over `embedded-io-async`: any executor, any TCP stack.
//!
//! A [`Link`] is a connected stream with its buffers, clock and randomness. It asks for the server's key
//! ([`Link::fetch_key`]) and becomes a [`Drive`], which moves bytes until something happens ([`Drive::next`]).
//!
//! Reading and writing go on at the same time, and only [`Drive::next`] waits: two peers that both write never wait
//! for each other. [`Drive::next`] may be dropped and called again if dropping the stream's `read` and `write` loses
//! no bytes.

use crate::buf::{RxBuf, TxBuf};
use crate::config::{Millis, Timeouts};
use crate::conn::{Client, Conn};
use crate::entropy::Entropy;
use crate::error::{Deadline, Error, SendError};
use crate::event::{Closed, Event, EventId, Step};
use crate::handshake::client::ClientConfig;
use crate::identity::{Pin, ServerKey, Trust};
use crate::io::Io;
use crate::key_request::KeyRequest;
use crate::messages::{CloseReason, Message};
use crate::suite::Suite;
use core::fmt;
use core::future::{Future, pending, poll_fn};
use core::pin::pin;
use core::task::Poll;
use embedded_io_async::{ErrorType, Read, Write};

/// Time for the last bytes (CLOSE) to leave, in milliseconds.
const GOODBYE: Millis = 2_000;

/// A monotonic clock that can wait.
pub trait Clock {
    /// The present, in milliseconds.
    fn now(&self) -> Millis;

    /// Returns at `at` or later.
    fn sleep_until(&self, at: Millis) -> impl Future<Output = ()>;
}

/// Why a driver stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveError<E> {
    /// The stream failed.
    Stream(E),
    /// The protocol failed.
    Protocol(Error),
}

impl<E> From<Error> for DriveError<E> {
    fn from(error: Error) -> Self {
        Self::Protocol(error)
    }
}

impl<E: fmt::Display> fmt::Display for DriveError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(error) => error.fmt(f),
            Self::Protocol(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for DriveError<E> {}

/// What ended a wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wake {
    /// Bytes came, or the peer ended its direction.
    Read,
    /// Bytes left.
    Written,
    /// The deadline came first.
    Deadline,
}

/// A connected stream, its buffers, a clock and randomness.
pub struct Link<'b, R: ErrorType, W, C, G> {
    reader: R,
    writer: W,
    clock: C,
    rng: G,
    rx: RxBuf<'b>,
    tx: TxBuf<'b>,
    unflushed: bool,
    /// Why writing failed. What the peer said before that is still read: it may be the reason.
    broken: Option<R::Error>,
}

impl<'b, R, W, C, G> Link<'b, R, W, C, G>
where
    R: Read,
    W: Write<Error = R::Error>,
    C: Clock,
    G: Entropy + Send,
{
    /// Takes the two halves of a stream and memory for the buffers: the announced max record and
    /// [`crate::config::RECORD_OVERHEAD`] for receiving, and as much plus
    /// [`crate::config::CONTROL_RECORD`] for sending; each at least 2,048 bytes. The powers of a handshake use the
    /// send buffer too: they are fastest from [`crate::dh::Group::MOST_SCRATCH`] bytes on.
    pub const fn new(reader: R, writer: W, rx: &'b mut [u8], tx: &'b mut [u8], clock: C, rng: G) -> Self {
        Self {
            reader,
            writer,
            clock,
            rng,
            rx: RxBuf::new(rx),
            tx: TxBuf::new(tx),
            unflushed: false,
            broken: None,
        }
    }

    /// Asks the server for its key of suite `S`: the pin to keep from now on, and the key.
    /// Ends after `limit` milliseconds. When dropped, the link must be dropped too.
    ///
    /// # Errors
    /// [`DriveError::Protocol`] with [`Error::Untrusted`], [`Error::Refused`] or another reason.
    pub async fn fetch_key<S: Suite>(
        &mut self,
        trust: Trust<'_>,
        limit: u32,
    ) -> Result<(Pin, ServerKey<S>), DriveError<R::Error>> {
        let end = self.clock.now().saturating_add(Millis::from(limit));
        let request = self.with_io(|_, io| KeyRequest::<S>::send(io))?;
        loop {
            if let Some(found) = request.receive(&mut self.rx, trust)? {
                return Ok(found);
            }
            if let Wake::Deadline = self.exchange(Some(end)).await? {
                return Err(Error::Timeout(Deadline::Handshake).into());
            }
        }
    }

    /// Begins the handshake; [`Drive::next`] carries it out.
    ///
    /// # Errors
    /// [`crate::error::Misuse::Parameter`].
    pub fn connect<S: Suite>(
        self,
        config: ClientConfig<S>,
        limits: Timeouts,
    ) -> Result<Drive<'b, S, R, W, C, G>, Error> {
        let conn = Conn::client(config, limits, self.clock.now())?;
        Ok(Drive { conn, link: self, crowded: false })
    }

    fn with_io<T>(&mut self, f: impl FnOnce(&mut RxBuf<'b>, &mut Io<'_, 'b>) -> T) -> T {
        let mut io = Io { now: self.clock.now(), tx: &mut self.tx, rng: &mut self.rng };
        f(&mut self.rx, &mut io)
    }

    /// Reads and writes until bytes moved or the deadline came.
    async fn exchange(&mut self, deadline: Option<Millis>) -> Result<Wake, DriveError<R::Error>> {
        let Self { reader, writer, clock, rx, tx, unflushed, broken, .. } = self;
        let ended = rx.ended();
        let moved = {
            let spare = rx.spare();
            let mut sleep = pin!(async {
                match deadline {
                    Some(at) => clock.sleep_until(at).await,
                    None => pending().await,
                }
            });
            let mut write = pin!(async {
                match (tx.pending(), *unflushed) {
                    _ if broken.is_some() => pending().await,
                    ([], false) => pending().await,
                    ([], true) => writer.flush().await.map(|()| None),
                    (bytes, _) => writer.write(bytes).await.map(Some),
                }
            });
            let mut read = pin!(async {
                if ended || spare.is_empty() { pending().await } else { reader.read(spare).await }
            });
            // The deadline first: a busy stream must not put it off.
            poll_fn(|context| {
                if sleep.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Moved::Nothing);
                }
                if let Poll::Ready(done) = write.as_mut().poll(context) {
                    return Poll::Ready(Moved::Written(done));
                }
                read.as_mut().poll(context).map(Moved::Read)
            })
            .await
        };
        match moved {
            Moved::Nothing => return Ok(Wake::Deadline),
            Moved::Read(Ok(0)) => match broken.take() {
                Some(error) => return Err(DriveError::Stream(error)),
                None => rx.end(),
            },
            Moved::Read(Ok(n)) => rx.commit(n),
            Moved::Read(Err(error)) => return Err(DriveError::Stream(broken.take().unwrap_or(error))),
            // A writer that takes nothing is closed.
            Moved::Written(Ok(Some(0))) => return Err(Error::Truncated.into()),
            Moved::Written(Ok(Some(n))) => {
                tx.consume(n);
                *unflushed = true;
                return Ok(Wake::Written);
            }
            Moved::Written(Ok(None)) => {
                *unflushed = false;
                return Ok(Wake::Written);
            }
            Moved::Written(Err(error)) => *broken = Some(error),
        }
        Ok(Wake::Read)
    }

    /// Writes what waits, for a limited time, and without regard to the outcome: the connection is over.
    async fn say_goodbye(&mut self) {
        let end = self.clock.now().saturating_add(GOODBYE);
        self.rx.end();
        while self.broken.is_none() && (!self.tx.is_empty() || self.unflushed) {
            if !matches!(self.exchange(Some(end)).await, Ok(Wake::Written)) {
                return;
            }
        }
    }
}

/// Which of the three was first.
enum Moved<E> {
    Nothing,
    Read(Result<usize, E>),
    /// `None`: flushed.
    Written(Result<Option<usize>, E>),
}

/// A connection that is driven.
pub struct Drive<'b, S: Suite, R: ErrorType, W, C, G> {
    conn: Conn<Client, S>,
    link: Link<'b, R, W, C, G>,
    /// A message found no room.
    crowded: bool,
}

/// What [`Drive::next`] waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Look at it through [`Drive::event`].
    Event(EventId),
    /// After [`SendError::NoRoom`]: some output has left, send again.
    Room,
    /// The connection ended in order.
    Closed(Closed),
}

impl<'b, S, R, W, C, G> Drive<'b, S, R, W, C, G>
where
    S: Suite,
    R: Read,
    W: Write<Error = R::Error>,
    C: Clock,
    G: Entropy + Send,
{
    /// Moves bytes until something happens. May be dropped and called again.
    ///
    /// # Errors
    /// [`DriveError::Stream`], [`DriveError::Protocol`]: the connection is over.
    pub async fn next(&mut self) -> Result<Next, DriveError<R::Error>> {
        loop {
            let conn = &mut self.conn;
            match self.link.with_io(|rx, io| conn.step(rx, io)) {
                Ok(Step::Event(id)) => return Ok(Next::Event(id)),
                Ok(Step::Progressed) => {}
                Ok(Step::NeedInput | Step::NeedOutput(_)) => {
                    if self.wait().await? == Wake::Written && core::mem::take(&mut self.crowded) {
                        return Ok(Next::Room);
                    }
                }
                Ok(Step::Closed(closed)) => {
                    self.link.say_goodbye().await;
                    return Ok(Next::Closed(closed));
                }
                Err(error) => {
                    self.link.say_goodbye().await;
                    return Err(error.into());
                }
            }
        }
    }

    /// The event that the latest [`Self::next`] returned.
    ///
    /// # Errors
    /// [`crate::error::Misuse::Stale`].
    pub fn event(&self, id: EventId) -> Result<Event<'_>, Error> {
        self.conn.event(&self.link.rx, id)
    }

    /// Puts a message into the output; [`Self::next`] carries it out.
    ///
    /// # Errors
    /// [`SendError`]; nothing was changed. After [`SendError::NoRoom`], [`Self::next`] returns [`Next::Room`] when it
    /// is time to try again.
    pub fn send(&mut self, message: &Message<'_>) -> Result<(), SendError> {
        let conn = &mut self.conn;
        let sent = self.link.with_io(|_, io| conn.send(message, io));
        self.crowded |= matches!(sent, Err(SendError::NoRoom(_)));
        sent
    }

    /// Says goodbye and writes it, for two seconds at most.
    pub async fn close(&mut self, reason: CloseReason) {
        let conn = &mut self.conn;
        self.link.with_io(|_, io| conn.close(reason, io));
        self.link.say_goodbye().await;
    }

    /// The connection's state.
    pub const fn conn(&self) -> &Conn<Client, S> {
        &self.conn
    }

    /// The present on the driver's clock.
    pub fn now(&self) -> Millis {
        self.link.clock.now()
    }

    /// Moves bytes once, or lets the connection do what its deadline asks for.
    async fn wait(&mut self) -> Result<Wake, DriveError<R::Error>> {
        let wake = self.link.exchange(self.conn.poll_timeout()).await?;
        if wake == Wake::Deadline {
            let conn = &mut self.conn;
            if let Err(error) = self.link.with_io(|_, io| conn.handle_timeout(io)) {
                self.link.say_goodbye().await;
                return Err(error.into());
            }
        }
        Ok(wake)
    }
}
