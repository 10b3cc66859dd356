//! A connection to the server: who we are, whether it is the right one, and what is said.
//!
//! A [`Session`] has no task of its own: it moves only while one of its futures is polled, so keep [`Session::next`]
//! running. Thousands fit into a process. All futures may be dropped and called again.

mod acks;
mod carry;
mod dial;
pub mod event;
pub mod explain;
mod identity;

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::channel::{Receiver, Sender, bounded, unbounded};
use smol::future::{or, pending};
use sordino_core::config::{AUTH_LEN, MAX_WINDOW};
use sordino_core::identity::Fingerprint;
use sordino_core::messages::{
    Ack, Auth, AuthCode, AuthMethod, Code, EnrolBoard, ListMembers, ListRequest, Message, MessageId, Receive,
    RevokeBoard, RoomRequest, Send,
};
use sordino_core::name::{RoomName, Username};
use sordino_core::suite::{Suite1, Suite2};
use sordino_core::wire::{Opaque, Writer};
use zeroize::Zeroizing;

pub use event::{BoardInfo, Delivery, Event, LoginAnswer, RoomInfo, Rules, UserInfo};
pub use identity::Identity;

use crate::failure::{Failure, Result};
use crate::text::address::Address;
use crate::text::target::Target;
use crate::wait;
use acks::Acks;
use carry::{Channels, Order, carry};
use dial::Greeting;

/// Room for every body that a client sends, apart from a message's text: AUTH is the largest.
const SMALL_BODY: usize = AUTH_LEN;

/// Messages that the server may send ahead of the acknowledgement, where nothing speaks for fewer.
pub const WINDOW: u16 = MAX_WINDOW;

/// How long a session takes to end.
const GOODBYE: Duration = Duration::from_secs(5);

/// Where and how to connect.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub server: Address,
    /// The only root to accept; without it and without a pin the first one is trusted.
    pub fingerprint: Option<[u8; 32]>,
    /// 1 or 2.
    pub suite: u8,
    /// For connecting, and again for each answer to a request.
    pub within: Duration,
}

/// How to log in.
#[derive(Clone, Copy)]
pub enum Credentials<'a> {
    /// By the device key.
    Device,
    /// By password; binds the device key to the account.
    Password {
        /// Username.
        user: &'a str,
        /// At most 128 bytes.
        password: &'a str,
        /// Name of this device for its owner, at most 32 bytes.
        label: &'a str,
    },
    /// Makes the account first.
    Register {
        /// Username.
        user: &'a str,
        /// At most 254 bytes.
        email: &'a str,
        /// At most 128 bytes.
        password: &'a str,
        /// Name of this device for its owner, at most 32 bytes.
        label: &'a str,
    },
}

impl<'a> Credentials<'a> {
    fn auth(self) -> Auth<'a> {
        match self {
            Self::Device => Auth::DEVICE,
            Self::Password { user, password, label } => {
                Auth { method: AuthMethod::Password, username: user, password, label, ..Auth::DEVICE }
            }
            Self::Register { user, email, password, label } => {
                Auth { method: AuthMethod::Register, username: user, email, password, label, ..Auth::DEVICE }
            }
        }
    }
}

/// A connection.
pub struct Session {
    life: Pin<Box<dyn Future<Output = Option<Failure>> + std::marker::Send>>,
    /// Why the connection is over.
    end: Option<Failure>,
    orders: Sender<Order>,
    events: Receiver<Event>,
    /// Events that came while something else was waited for.
    early: VecDeque<Event>,
    greeting: Greeting,
    within: Duration,
    acks: Acks,
    last_tag: u32,
    user: String,
    pending: u32,
}

impl Session {
    /// Connects and carries the handshake out; nobody is logged in yet.
    ///
    /// # Errors
    /// Exit code 3 without network, 4 when the server isn't the trusted one, 5 when it is busy, 1 otherwise.
    pub async fn connect(identity: &Identity, options: &Options) -> Result<Self> {
        let (orders, order_from) = unbounded();
        let (event_to, events) = unbounded();
        let (greeting_to, greeting) = bounded(1);
        let channels = Channels { orders: order_from, events: event_to, greeting: greeting_to };
        let (identity, kept) = (identity.clone(), options.clone());
        let mut life: Pin<Box<dyn Future<Output = Option<Failure>> + std::marker::Send>> = match options.suite
        {
            1 => Box::pin(carry::<Suite1>(identity, kept, channels)),
            _ => Box::pin(carry::<Suite2>(identity, kept, channels)),
        };
        let ended = async { Err(life.as_mut().await.unwrap_or_else(ended)) };
        let met = async { greeting.recv().await.map_err(|_| ended_early()) };
        let silent = || explain::silent(&format!("connecting to {}", options.server), options.within);
        let greeting = wait::within(options.within, or(ended, met)).await.ok_or_else(silent)??;
        Ok(Self {
            life,
            end: None,
            orders,
            events,
            early: VecDeque::new(),
            greeting,
            within: options.within,
            acks: Acks::default(),
            last_tag: 0,
            user: String::new(),
            pending: 0,
        })
    }

    /// Connects and logs in by the device key.
    ///
    /// # Errors
    /// Those of [`Self::connect`] and [`Self::log_in`].
    pub async fn open(identity: &Identity, options: &Options) -> Result<Self> {
        let mut session = Self::connect(identity, options).await?;
        session.log_in(Credentials::Device).await?;
        Ok(session)
    }

    /// Logs in.
    ///
    /// # Errors
    /// Exit code 6 when denied, 5 when asked to wait, 1 for what else the server says; 3 without network.
    pub async fn log_in(&mut self, credentials: Credentials<'_>) -> Result<()> {
        let rules = match credentials {
            Credentials::Register { .. } => Some(self.rules().await?),
            _ => None,
        };
        self.order(&Message::Auth(credentials.auth()))?;
        let answer = self
            .answer("login", |event| match event {
                Event::Login(answer) => Ok(answer),
                other => Err(other),
            })
            .await?;
        if answer.code != AuthCode::Ok {
            return Err(explain::login(&answer, rules.as_ref()));
        }
        (self.user, self.pending) = (answer.user, answer.pending);
        Ok(())
    }

    /// The server's rules.
    ///
    /// # Errors
    /// Exit code 3 when the connection is over or silent.
    pub async fn rules(&mut self) -> Result<Rules> {
        self.order(&Message::GetPolicy(()))?;
        self.answer("asking for the server's rules", |event| match event {
            Event::Rules(rules) => Ok(rules),
            other => Err(other),
        })
        .await
    }

    /// Fingerprint of the server's root.
    pub fn fingerprint(&self) -> Fingerprint {
        self.greeting.fingerprint
    }

    /// Whether this device had never met the server.
    pub fn is_first_contact(&self) -> bool {
        self.greeting.first
    }

    /// Whether the connection goes on.
    pub fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// The account, after the login.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Messages that waited for this device at the login.
    pub fn pending(&self) -> u32 {
        self.pending
    }

    /// Sends a text. ACCEPTED or REFUSED comes as an event with the same id. At most 32 may be unanswered.
    ///
    /// # Errors
    /// Exit code 3 when the connection is over, 1 when the message can't be sent.
    pub async fn send(&mut self, id: &MessageId, target: &Target, body: &[u8]) -> Result<()> {
        let target = target.borrowed().map_err(Failure::failed)?;
        self.order(&Message::Send(Send { id: *id, target, format: 0, body: Opaque(body) }))?;
        self.nudge().await
    }

    /// Lets the server deliver up to `window` messages, 1 to 256, ahead of the acknowledgement; 0 stops it.
    ///
    /// # Errors
    /// Exit code 3 when the connection is over.
    pub async fn receive(&mut self, window: u16) -> Result<()> {
        self.order(&Message::Receive(Receive { window }))?;
        self.nudge().await
    }

    /// Acknowledges so many more deliveries, all up to a number: at once, or a little later together with others.
    ///
    /// # Errors
    /// Exit code 3 when the connection is over.
    pub async fn ack(&mut self, number: u64, deliveries: usize) -> Result<()> {
        self.acks.add(number, deliveries, Instant::now());
        self.send_ack()?;
        self.nudge().await
    }

    /// Sends the acknowledgement that is due.
    fn send_ack(&mut self) -> Result<()> {
        match self.acks.take(Instant::now()) {
            Some(number) => self.order(&Message::Ack(Ack { number })),
            None => Ok(()),
        }
    }

    /// Joins a room, which is made when it is missing.
    ///
    /// # Errors
    /// As the server says.
    pub async fn join(&mut self, room: &str) -> Result<()> {
        let tag = self.next_tag();
        self.order(&Message::Join(RoomRequest { tag, room: room_name(room)? }))?;
        self.done(tag, &format!("joining #{room}")).await
    }

    /// Leaves a room.
    ///
    /// # Errors
    /// As the server says.
    pub async fn leave(&mut self, room: &str) -> Result<()> {
        let tag = self.next_tag();
        self.order(&Message::Leave(RoomRequest { tag, room: room_name(room)? }))?;
        self.done(tag, &format!("leaving #{room}")).await
    }

    async fn done(&mut self, tag: u32, step: &str) -> Result<()> {
        let done = self
            .answer(step, |event| match event {
                Event::Done(done) if done.tag == tag => Ok(done),
                other => Err(other),
            })
            .await?;
        match done.code {
            Code::Ok => Ok(()),
            code => Err(explain::refused(code, done.retry_after, step)),
        }
    }

    /// All rooms.
    ///
    /// # Errors
    /// As the server says.
    pub async fn rooms(&mut self) -> Result<Vec<RoomInfo>> {
        let mut all: Vec<RoomInfo> = Vec::new();
        loop {
            let tag = self.next_tag();
            let after = all.last().map_or("", |room| &room.name);
            self.order(&Message::ListRooms(ListRequest { tag, after }))?;
            let (more, page) = self
                .answer("listing rooms", |event| match event {
                    Event::Rooms(of, more, page) if of == tag => Ok(Ok((more, page))),
                    Event::Done(done) if done.tag == tag => Ok(Err(done)),
                    other => Err(other),
                })
                .await?
                .map_err(|done| explain::refused(done.code, done.retry_after, "listing rooms"))?;
            let last = page.is_empty() || !more;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// Makes an account for a board.
    ///
    /// # Errors
    /// As the server says.
    pub async fn enrol_board(
        &mut self,
        board: &str,
        lookup: [u8; 32],
        proof: [u8; 32],
        lifetime: u32,
    ) -> Result<()> {
        let tag = self.next_tag();
        let name = user_name(board)?;
        self.order(&Message::EnrolBoard(EnrolBoard { tag, board: name, lookup, proof, lifetime }))?;
        self.done(tag, &format!("enrolling @{board}")).await
    }

    /// Disables a board of one's own.
    ///
    /// # Errors
    /// As the server says.
    pub async fn revoke_board(&mut self, board: &str) -> Result<()> {
        let tag = self.next_tag();
        self.order(&Message::RevokeBoard(RevokeBoard { tag, board: user_name(board)? }))?;
        self.done(tag, &format!("revoking @{board}")).await
    }

    /// All boards of one's own.
    ///
    /// # Errors
    /// As the server says.
    pub async fn boards(&mut self) -> Result<Vec<BoardInfo>> {
        let mut all: Vec<BoardInfo> = Vec::new();
        loop {
            let tag = self.next_tag();
            let after = all.last().map_or("", |board| &board.name);
            self.order(&Message::ListBoards(ListRequest { tag, after }))?;
            let (more, page) = self
                .answer("listing boards", |event| match event {
                    Event::Boards(of, more, page) if of == tag => Ok(Ok((more, page))),
                    Event::Done(done) if done.tag == tag => Ok(Err(done)),
                    other => Err(other),
                })
                .await?
                .map_err(|done| explain::refused(done.code, done.retry_after, "listing boards"))?;
            let last = page.is_empty() || !more;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// The members of a room that one is in.
    ///
    /// # Errors
    /// As the server says.
    pub async fn members(&mut self, room: &str) -> Result<Vec<UserInfo>> {
        self.users(Some(room_name(room)?), &format!("listing the members of #{room}")).await
    }

    /// The users who are connected.
    ///
    /// # Errors
    /// As the server says.
    pub async fn who(&mut self) -> Result<Vec<UserInfo>> {
        self.users(None, "listing who is here").await
    }

    /// The members of a room, or all who are connected.
    async fn users(&mut self, room: Option<RoomName<'_>>, what: &str) -> Result<Vec<UserInfo>> {
        let mut all: Vec<UserInfo> = Vec::new();
        loop {
            let tag = self.next_tag();
            let after = all.last().map_or("", |user| &user.name);
            self.order(&match room {
                Some(room) => Message::ListMembers(ListMembers { tag, room, after }),
                None => Message::Who(ListRequest { tag, after }),
            })?;
            let (more, page) = self
                .answer(what, |event| match event {
                    Event::Users(of, more, page) if of == tag => Ok(Ok((more, page))),
                    Event::Done(done) if done.tag == tag => Ok(Err(done)),
                    other => Err(other),
                })
                .await?
                .map_err(|done| explain::refused(done.code, done.retry_after, what))?;
            let last = page.is_empty() || !more;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// What the server says next. May be dropped and called again.
    ///
    /// # Errors
    /// The end of the connection, again at each further call: exit code 3, or another where the server says why.
    pub async fn next(&mut self) -> Result<Event> {
        match self.early.pop_front() {
            Some(event) => Ok(event),
            None => self.fresh().await,
        }
    }

    /// Makes an event the next one again.
    pub fn put_back(&mut self, event: Event) {
        self.early.push_front(event);
    }

    /// Sends what is left and says goodbye, for five seconds at most.
    pub async fn close(mut self) {
        if let Some(number) = self.acks.flush() {
            // A connection that is over takes none.
            let _ = self.order(&Message::Ack(Ack { number }));
        }
        if self.end.is_none() && self.orders.try_send(Order::Close).is_ok() {
            wait::within(GOODBYE, self.life.as_mut()).await;
        }
    }

    /// The next event that nobody has seen.
    async fn fresh(&mut self) -> Result<Event> {
        loop {
            if let Ok(event) = self.events.try_recv() {
                return Ok(event);
            }
            if let Some(end) = &self.end {
                return Err(end.clone());
            }
            self.send_ack()?;
            let due = self.acks.due();
            let ack = async {
                match due {
                    Some(time) => drop(Timer::at(time).await),
                    None => pending().await,
                }
                None
            };
            let event = async { self.events.recv().await.ok() };
            let life = async {
                self.end = Some(self.life.as_mut().await.unwrap_or_else(ended));
                None
            };
            if let Some(event) = or(event, or(life, ack)).await {
                return Ok(event);
            }
        }
    }

    /// Waits for the event that `pick` takes; others stay for [`Self::next`], in order.
    async fn answer<T>(&mut self, step: &str, pick: impl Fn(Event) -> Result<T, Event>) -> Result<T> {
        let limit = self.within;
        let found = wait::within(limit, async {
            loop {
                match pick(self.fresh().await?) {
                    Ok(found) => return Ok(found),
                    Err(other) => self.early.push_back(other),
                }
            }
        });
        found.await.unwrap_or_else(|| Err(explain::silent(step, limit)))
    }

    /// Hands a message to the connection, which sends it when it is polled next.
    fn order(&mut self, message: &Message<'_>) -> Result<()> {
        if let Some(end) = &self.end {
            return Err(end.clone());
        }
        let room = match message {
            Message::Send(send) => send.body.0.len() + SMALL_BODY,
            _ => SMALL_BODY,
        };
        let mut body = Zeroizing::new(vec![0; room]);
        let mut out = Writer::new(&mut body);
        message
            .encode(&mut out)
            .map_err(|_| Failure::failed("the message is too large, or a name in it too long"))?;
        let len = out.written();
        body.truncate(len);
        self.orders.try_send(Order::Send(message.kind(), body)).map_err(|_| ended_early())
    }

    /// Lets the connection work without waiting, so that what was ordered leaves.
    async fn nudge(&mut self) -> Result<()> {
        if self.end.is_none()
            && let Some(end) = wait::at_once(self.life.as_mut()).await
        {
            self.end = Some(end.unwrap_or_else(ended));
        }
        match &self.end {
            Some(end) if self.events.is_empty() => Err(end.clone()),
            _ => Ok(()),
        }
    }

    fn next_tag(&mut self) -> u32 {
        self.last_tag = self.last_tag.wrapping_add(1);
        self.last_tag
    }
}

fn user_name(user: &str) -> Result<Username<'_>> {
    Username::new(user).ok_or_else(|| Failure::usage(format!("@{user} isn't a username in canonical form")))
}

fn room_name(room: &str) -> Result<RoomName<'_>> {
    RoomName::new(room).ok_or_else(|| Failure::usage(format!("#{room} isn't a room name in canonical form")))
}

fn ended() -> Failure {
    Failure::network("the connection was closed from here")
}

fn ended_early() -> Failure {
    Failure::network("the connection is over")
}
