//! One task for each connection: drives the core's state machine over a socket.
//!
//! ```text
//! socket ─▶ RxBuf ─ step ─▶ event ─▶ requests ─▶ hub
//!                                                 │ outlet, mailbox
//! socket ◀─ TxBuf ◀─ records in place ◀───────────┘
//! ```
//!
//! A connection that waits holds no record buffers: it takes a pair when the socket is readable or something
//! waits to go out, and gives it back when all is done. What goes out is collected and written at once.

mod admission;
mod boards;
mod buffers;
mod clock;
mod feed;
mod handshake;
mod replay;
mod requests;
mod socket;

use std::{
    collections::VecDeque, fmt, future::poll_fn, io, net::TcpStream, sync::Arc, task::Poll, time::Duration,
};

use smol::{Async, Timer, future::FutureExt as _};
use sordino_core::{
    Closed, Conn, Error, Event, Message, RxBuf, Server, Step, Suite, TxBuf,
    config::TX_BUFFER,
    error::{PeerFault, SendError},
    event::EventId,
    identity::ServedSuite,
    messages::{Accepted, CloseReason, Delivered, Done, Notice, Refused, RoomEvent},
    name::{RoomName, Username},
    wire::Text,
};

pub use admission::Admission;
pub use buffers::Pool;
use clock::Alarm;
pub use clock::Clock;
use feed::Feed;
use handshake::{Established, Greeting};
pub use replay::ReplayFilter;
use socket::Socket;

use crate::{
    hub::{ConnectionId, Outgoing, Outlet, Signal},
    limits::Origin,
    server::Shared,
    store::{AccountId, DeviceId},
};

/// What each call of the core is lent.
macro_rules! lend_io {
    ($now:expr, $tx:expr) => {
        &mut ::sordino_core::Io { now: $now, tx: $tx, rng: &mut ::getrandom::SysRng }
    };
}
pub(crate) use lend_io;

/// Time for the last bytes to leave, and for the peer to take them.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a connection ended, for the log.
#[derive(Debug)]
pub(crate) enum End {
    /// In order.
    Closed(Closed),
    /// With an error of the protocol.
    Failed(Error),
    /// The socket.
    Socket(io::Error),
    /// The server stops, or turned the client away.
    Dismissed,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(Closed::Here(reason)) => write!(f, "closed: {reason:?}"),
            Self::Closed(Closed::ByPeer(reason)) => write!(f, "closed by the client: {reason:?}"),
            Self::Failed(error) => error.fmt(f),
            Self::Socket(error) => error.fmt(f),
            Self::Dismissed => f.write_str("turned away"),
        }
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A socket and the clock that bounds its use.
pub(crate) struct Line {
    pub socket: Socket,
    pub outlet: Arc<Outlet>,
    pub origin: Origin,
    alarm: Alarm,
}

/// Serves a connection until its end.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    stream: Async<TcpStream>,
    origin: Origin,
    outlet: Arc<Outlet>,
) -> End {
    let socket = Socket::new(stream);
    let mut line = Line { socket, outlet, origin, alarm: Alarm::new(shared.clock) };
    match handshake::greet(&shared, &mut line).await {
        Ok(Greeting::Suite1(established)) => Session::new(shared, line, established).run().await,
        Ok(Greeting::Suite2(established)) => Session::new(shared, line, established).run().await,
        Err(end) => end,
    }
}

/// Who is logged in.
struct User {
    id: ConnectionId,
    account: AccountId,
    device: DeviceId,
}

/// A connection after its handshake.
struct Session<S: Suite> {
    shared: Arc<Shared>,
    line: Line,
    conn: Box<Conn<Server, S>>,
    /// Received behind the handshake.
    early: Vec<u8>,
    device_key: Vec<u8>,
    user: Option<User>,
    feed: Feed,
    /// Taken from the outlet, and not sent.
    told: VecDeque<Outgoing>,
    /// Unanswered SENDs and requests.
    sends: usize,
    requests: usize,
    /// Set once; the connection ends when everything is written.
    end: Option<End>,
    /// The time of the last look at the clock, in its milliseconds: one look is for all that comes and goes together.
    now: u64,
}

impl<S: ServedSuite> Session<S> {
    fn new(shared: Arc<Shared>, line: Line, established: Established<S>) -> Self {
        let Established { conn, early, device_key } = established;
        let (feed, now) = (Feed::default(), shared.now());
        Self {
            shared,
            line,
            conn,
            early,
            device_key,
            user: None,
            feed,
            told: VecDeque::new(),
            sends: 0,
            requests: 0,
            end: None,
            now,
        }
    }

    async fn run(mut self) -> End {
        let mut wait = self.early.is_empty();
        let end = loop {
            if wait && let Err(error) = self.idle().await {
                break End::Socket(error);
            }
            let (mut rx, mut tx) = self.shared.pool.take();
            let mut rx_buf = RxBuf::new(&mut rx);
            let early = std::mem::take(&mut self.early);
            rx_buf.spare()[..early.len()].copy_from_slice(&early);
            rx_buf.commit(early.len());
            let end = self.work(&mut rx_buf, &mut TxBuf::new(&mut tx)).await;
            rx_buf.wipe();
            self.shared.pool.give_back(rx, tx);
            wait = true;
            if let Some(end) = end {
                break end;
            }
        };
        if let Some(user) = self.user.take() {
            self.shared.hub.detach(user.id);
        }
        end
    }

    /// Nothing is under way: waits without buffers.
    async fn idle(&mut self) -> io::Result<()> {
        let deadline = self.deadline();
        let Line { socket, outlet, alarm, .. } = &mut self.line;
        poll_fn(|context| {
            if outlet.poll(context).is_ready() || alarm.poll(deadline, context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            socket.poll_readable(context)
        })
        .await
    }

    /// Works until nothing is under way, or to the end.
    async fn work(&mut self, rx: &mut RxBuf<'_>, tx: &mut TxBuf<'_>) -> Option<End> {
        loop {
            self.timeouts(tx);
            // Deliveries come last: input opens their window, signals announce them.
            let starved = self.take_input(rx, tx).await;
            self.take_signals(tx);
            self.deliver(tx).await;
            if self.end.is_some() {
                return Some(self.farewell(rx, tx).await);
            }
            match self.exchange(rx, tx, starved).await {
                Ok(true) => return None,
                Ok(false) => {}
                Err(error) => return Some(End::Socket(error)),
            }
        }
    }

    fn deadline(&self) -> Option<u64> {
        self.conn.poll_timeout()
    }

    /// The present.
    fn look(&mut self) -> u64 {
        self.now = self.shared.now();
        self.now
    }

    fn timeouts(&mut self, tx: &mut TxBuf<'_>) {
        let now = self.look();
        if self.deadline().is_some_and(|deadline| deadline <= now)
            && let Err(error) = self.conn.handle_timeout(lend_io!(now, tx))
        {
            self.end = Some(End::Failed(error));
        }
    }

    /// What the hub has to say, as long as there is room for it. The end needs none.
    fn take_signals(&mut self, tx: &mut TxBuf<'_>) {
        while self.end.is_none() {
            if tx.free() < TX_BUFFER {
                if let Some(reason) = self.line.outlet.take_close() {
                    self.close(reason, tx);
                }
                return;
            }
            if self.told.is_empty() {
                self.told = self.line.outlet.take_events();
            }
            if !self.told.is_empty() {
                self.tell(tx);
                continue;
            }
            match self.line.outlet.take() {
                None => return,
                Some(Signal::Mail) => self.feed.more = true,
                Some(Signal::Event(event)) => self.told.push_back(event),
                Some(Signal::Close(reason)) => self.close(reason, tx),
            }
        }
    }

    /// Sends as many events as one record takes.
    fn tell(&mut self, tx: &mut TxBuf<'_>) {
        // Names that the protocol doesn't know can't be in the hub.
        let events = self.told.iter().map_while(message);
        let sent = self.conn.send_bundle(events, lend_io!(self.now, tx));
        let sent = self.sent(sent, tx);
        for event in self.told.drain(..sent) {
            match event {
                Outgoing::Accepted(..) | Outgoing::Refused(..) => self.sends = self.sends.saturating_sub(1),
                Outgoing::Done(..) => self.requests = self.requests.saturating_sub(1),
                Outgoing::Delivered(..) | Outgoing::RoomEvent(..) | Outgoing::Notice(..) => {}
            }
        }
    }

    /// Handles what was received, as long as any answer has room. True: more input is needed.
    async fn take_input(&mut self, rx: &mut RxBuf<'_>, tx: &mut TxBuf<'_>) -> bool {
        while self.end.is_none() && tx.free() >= TX_BUFFER && self.takes_requests() {
            match self.conn.step(rx, lend_io!(self.now, tx)) {
                Ok(Step::NeedInput) => return true,
                Ok(Step::NeedOutput(_)) => return false,
                Ok(Step::Progressed) => {}
                Ok(Step::Event(event)) => self.event(rx, event, tx).await,
                Ok(Step::Closed(closed)) => self.end = Some(End::Closed(closed)),
                Err(error) => self.end = Some(End::Failed(error)),
            }
        }
        false
    }

    async fn event(&mut self, rx: &RxBuf<'_>, id: EventId, tx: &mut TxBuf<'_>) {
        match self.conn.event(rx, id) {
            Ok(Event::Auth { request, ticket }) => self.log_in(&request, ticket, tx).await,
            Ok(Event::Message(message)) => self.request(message, tx).await,
            // The handshake is over when a session begins.
            Ok(Event::Admit { .. } | Event::Established(_)) => {}
            Err(error) => self.end = Some(End::Failed(error)),
        }
    }

    /// Writes and reads what can be, and waits if neither can. True: nothing is under way any more.
    async fn exchange(&mut self, rx: &mut RxBuf<'_>, tx: &mut TxBuf<'_>, starved: bool) -> io::Result<bool> {
        let deadline = self.deadline();
        let Line { socket, outlet, alarm, .. } = &mut self.line;
        let mut idle = false;
        // What can't be taken must not wake.
        let listens = tx.free() >= TX_BUFFER;
        poll_fn(|context| {
            let wrote = socket.poll_write(tx, context)?;
            let read = if starved { socket.poll_read(rx, context)? } else { false };
            idle = !read && tx.is_empty() && starved && rx.unconsumed().is_empty();
            let told = if listens { outlet.poll(context) } else { outlet.poll_close(context) };
            let woken = told.is_ready() || alarm.poll(deadline, context).is_ready();
            if wrote || read || woken || idle { Poll::Ready(Ok::<_, io::Error>(())) } else { Poll::Pending }
        })
        .await?;
        Ok(idle)
    }

    /// Sends a message for which there is room.
    fn send(&mut self, message: &Message<'_>, tx: &mut TxBuf<'_>) {
        let sent = self.conn.send(message, lend_io!(self.now, tx)).map(|()| 1);
        self.sent(sent, tx);
    }

    /// How many messages were sent. There was one, and room for it: if it was not, that is the connection's end.
    fn sent(&mut self, sent: Result<usize, SendError>, tx: &mut TxBuf<'_>) -> usize {
        let reason = match sent {
            Ok(sent) if sent > 0 => return sent,
            Err(SendError::Exhausted) => CloseReason::Expired,
            failed => {
                tracing::error!(?failed, "a message could not be sent");
                CloseReason::Overloaded
            }
        };
        self.close(reason, tx);
        0
    }

    fn close(&mut self, reason: CloseReason, tx: &mut TxBuf<'_>) {
        self.conn.close(reason, lend_io!(self.now, tx));
        self.end.get_or_insert(End::Closed(Closed::Here(reason)));
    }

    /// Writes what is still to be written, within a time limit.
    async fn farewell(&mut self, rx: &mut RxBuf<'_>, tx: &mut TxBuf<'_>) -> End {
        let end = self.end.take().unwrap_or(End::Dismissed);
        match end {
            // After bytes that are not the peer's, not one more is written.
            End::Failed(Error::Peer(PeerFault::Record | PeerFault::Sequence)) | End::Socket(_) => {}
            _ => hang_up(&mut self.line.socket, tx, rx).await,
        }
        end
    }
}

/// An event on the wire; `None` if a name isn't one.
fn message(event: &Outgoing) -> Option<Message<'_>> {
    Some(match event {
        Outgoing::Accepted(id, number, time) => {
            Message::Accepted(Accepted { id: *id, number: *number, time: *time })
        }
        Outgoing::Refused(id, code, retry_after) => {
            Message::Refused(Refused { id: *id, code: *code, retry_after: *retry_after })
        }
        Outgoing::Delivered(id, time) => Message::Delivered(Delivered { id: *id, time: *time }),
        Outgoing::Done(tag, code, retry_after) => {
            Message::Done(Done { tag: *tag, code: *code, retry_after: *retry_after })
        }
        Outgoing::RoomEvent(event, room, user) => Message::RoomEvent(RoomEvent {
            event: *event,
            room: RoomName::new(room)?,
            user: Username::new(user)?,
        }),
        Outgoing::Notice(level, text) => Message::Notice(Notice { level: *level, text: Text(text) }),
    })
}

/// Writes the rest, ends this direction, and lets the peer end the other: a socket that is closed while it
/// still receives takes what was written back from the peer.
async fn hang_up(socket: &mut Socket, tx: &mut TxBuf<'_>, rx: &mut RxBuf<'_>) {
    let rest = async {
        while !tx.is_empty() {
            poll_fn(|context| match socket.poll_write(tx, context) {
                Ok(false) => Poll::Pending,
                done => Poll::Ready(done),
            })
            .await?;
        }
        socket.end()?;
        while !rx.ended() {
            rx.wipe();
            poll_fn(|context| match socket.poll_read(rx, context) {
                Ok(false) => Poll::Pending,
                done => Poll::Ready(done),
            })
            .await?;
        }
        Ok::<_, io::Error>(())
    };
    let late = async {
        Timer::after(FAREWELL).await;
        Ok(())
    };
    // Whether the peer takes it is its own affair.
    let _ = rest.or(late).await;
}
