//! An async client driver, written once over `embedded-io-async`: any executor, any TCP stack.
//!
//! A [`Link`] is a connected stream with its buffers, clock and randomness. It asks for the server's key
//! ([`Link::fetch_key`]) and becomes a [`Drive`], which moves bytes until something happens ([`Drive::next`]).
//!
//! Reading and writing go on at the same time, so two peers that both write never wait for each other.
//! All futures may be dropped and called again if dropping the stream's `read` and `write` loses no bytes.

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
use embedded_io_async::{Read, Write};

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
    /// A message could not be sent; the connection goes on unless it is closed.
    Send(SendError),
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
            Self::Send(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for DriveError<E> {}

/// What ended a wait.
enum Wake {
    /// Bytes moved, or the peer ended its direction.
    Moved,
    /// The deadline came first.
    Deadline,
}

/// A connected stream, its buffers, a clock and randomness.
pub struct Link<'b, R, W, C, G> {
    reader: R,
    writer: W,
    clock: C,
    rng: G,
    rx: RxBuf<'b>,
    tx: TxBuf<'b>,
    unflushed: bool,
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
    /// [`crate::config::CONTROL_RECORD`] for sending; each at least 2,048 bytes.
    pub const fn new(reader: R, writer: W, rx: &'b mut [u8], tx: &'b mut [u8], clock: C, rng: G) -> Self {
        Self { reader, writer, clock, rng, rx: RxBuf::new(rx), tx: TxBuf::new(tx), unflushed: false }
    }

    /// Asks the server for its key of suite `S`: the pin to keep from now on, and the key.
    /// Ends after `limit` milliseconds.
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
        Ok(Drive { conn, link: self })
    }

    fn with_io<T>(&mut self, f: impl FnOnce(&mut RxBuf<'b>, &mut Io<'_, 'b>) -> T) -> T {
        let mut io = Io { now: self.clock.now(), tx: &mut self.tx, rng: &mut self.rng };
        f(&mut self.rx, &mut io)
    }

    /// Reads and writes until bytes moved or the deadline came.
    async fn exchange(&mut self, deadline: Option<Millis>) -> Result<Wake, DriveError<R::Error>> {
        let Self { reader, writer, clock, rx, tx, unflushed, .. } = self;
        let ended = rx.ended();
        let wrote = {
            let spare = rx.spare();
            let mut read = pin!(async {
                if ended || spare.is_empty() { pending().await } else { reader.read(spare).await }
            });
            let mut write = pin!(async {
                match (tx.is_empty(), *unflushed) {
                    (false, _) => writer.write(tx.pending()).await.map(Some),
                    (true, true) => writer.flush().await.map(|()| None),
                    (true, false) => pending().await,
                }
            });
            let mut sleep = pin!(async {
                match deadline {
                    Some(at) => clock.sleep_until(at).await,
                    None => pending().await,
                }
            });
            poll_fn(|context| {
                if let Poll::Ready(done) = write.as_mut().poll(context) {
                    return Poll::Ready(Moved::Written(done));
                }
                if let Poll::Ready(done) = read.as_mut().poll(context) {
                    return Poll::Ready(Moved::Read(done));
                }
                sleep.as_mut().poll(context).map(|()| Moved::Nothing)
            })
            .await
        };
        match wrote {
            Moved::Nothing => return Ok(Wake::Deadline),
            Moved::Read(done) => match done.map_err(DriveError::Stream)? {
                0 => rx.end(),
                n => rx.commit(n),
            },
            Moved::Written(done) => match done.map_err(DriveError::Stream)? {
                // A writer that takes nothing is closed.
                Some(0) => return Err(Error::Truncated.into()),
                Some(n) => {
                    tx.consume(n);
                    *unflushed = true;
                }
                None => *unflushed = false,
            },
        }
        Ok(Wake::Moved)
    }

    /// Writes what waits, for a limited time, and without regard to the outcome: the connection is over.
    async fn say_goodbye(&mut self) {
        let end = self.clock.now().saturating_add(GOODBYE);
        self.rx.end();
        while !self.tx.is_empty() || self.unflushed {
            if !matches!(self.exchange(Some(end)).await, Ok(Wake::Moved)) {
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
pub struct Drive<'b, S: Suite, R, W, C, G> {
    conn: Conn<Client, S>,
    link: Link<'b, R, W, C, G>,
}

/// What [`Drive::next`] waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Look at it through [`Drive::event`].
    Event(EventId),
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
                Ok(Step::NeedInput | Step::NeedOutput(_)) => self.wait().await?,
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
    pub fn event(&mut self, id: EventId) -> Result<Event<'_>, Error> {
        self.conn.event(&self.link.rx, id)
    }

    /// Puts a message into the output, waiting for room. [`Self::next`] or [`Self::flush`] carries it out.
    ///
    /// # Errors
    /// [`DriveError::Send`] if the message can't be sent; otherwise the connection is over.
    pub async fn send(&mut self, message: &Message<'_>) -> Result<(), DriveError<R::Error>> {
        loop {
            let conn = &mut self.conn;
            match self.link.with_io(|_, io| conn.send(message, io)) {
                Ok(()) => return Ok(()),
                Err(SendError::NoRoom(_)) if !self.link.tx.is_empty() => self.wait().await?,
                Err(error) => return Err(DriveError::Send(error)),
            }
        }
    }

    /// Waits until all output was written.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn flush(&mut self) -> Result<(), DriveError<R::Error>> {
        while !self.link.tx.is_empty() {
            self.wait().await?;
        }
        Ok(())
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
    async fn wait(&mut self) -> Result<(), DriveError<R::Error>> {
        if let Wake::Deadline = self.link.exchange(self.conn.poll_timeout()).await? {
            let conn = &mut self.conn;
            if let Err(error) = self.link.with_io(|_, io| conn.handle_timeout(io)) {
                self.link.say_goodbye().await;
                return Err(error.into());
            }
        }
        Ok(())
    }
}
