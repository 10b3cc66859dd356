//! What to do after each event of a connection, and what to send next. Both clients share it; neither a socket nor a
//! clock is in it.

use crate::board::{Board, Inner};
use crate::code;
use crate::event::{Event, Offline};
use crate::state::{OUTGOING, StateError};
use crate::storage::Storage;
use core::ops::ControlFlow;
use heapless::String;
use rand_core::TryCryptoRng;
use sordino_core::board;
use sordino_core::config::{MAX_USERNAME, Millis};
use sordino_core::event;
use sordino_core::identity::device_fingerprint;
use sordino_core::messages::{
    Ack, Auth, AuthCode, AuthMethod, AuthResult, Code, Deliver, Done, Message, Receive, Refused, RoomRequest,
    Welcome,
};
use sordino_core::name::Target;
use sordino_core::suite::Suite;

/// Messages that are on their way at once.
const IN_FLIGHT: usize = 4;
/// Deliveries that the server may have unacknowledged.
const WINDOW: u16 = 4;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The maker's handler wants to stop.
    Stopped,
    /// The board was enrolled anew or reset.
    Turned,
    /// Try again later.
    Offline(Offline),
    /// Try again after so many seconds.
    Told(AuthCode, u32),
}

impl<E> From<StateError<E>> for End {
    fn from(_: StateError<E>) -> Self {
        Self::Offline(Offline::Flash)
    }
}

/// What this side still has to send before the outbox.
#[derive(Default)]
struct Due {
    auth: bool,
    receive: bool,
    ack: Option<u64>,
    /// The message whose room is to be joined.
    join: Option<u32>,
}

/// One connection.
pub(crate) struct Session {
    generation: u32,
    due: Due,
    ready: bool,
    claim: Option<Claim>,
    /// The message whose room is being joined: nothing else is sent until that is answered.
    joining: Option<u32>,
    /// A room was joined for this message already.
    joined: Option<u32>,
    /// The server wants nothing new before this time.
    pub hold: Option<Millis>,
}

/// A code that is being used.
struct Claim {
    /// 32 hexadecimal digits.
    lookup: String<32>,
    /// 64 hexadecimal digits.
    proof: String<64>,
    /// The account that the server gave.
    username: String<MAX_USERNAME>,
}

/// What was to be sent.
#[derive(Clone, Copy)]
pub(crate) enum Sent {
    Auth,
    Receive,
    Ack,
    Join(u32),
    Message(u32),
}

/// Scratch for the message that is to be sent.
pub(crate) struct Scratch(pub [u8; OUTGOING]);

type Handler<'h> = &'h mut dyn FnMut(Event<'_>) -> ControlFlow<()>;

impl Session {
    pub fn new<F: Storage, G: TryCryptoRng, S: Suite>(inner: &mut Inner<F, G>) -> Self {
        inner.state.unmark_all();
        let account = inner.state.account().is_some();
        let claim = inner.state.secret().filter(|_| !account).and_then(|secret| {
            let (_, public) = inner.state.identity::<S>()?;
            let proof = board::board_proof(secret.expose(), &device_fingerprint::<S>(&public));
            Some(Claim {
                lookup: code::hex(&board::lookup_id(secret.expose())),
                proof: code::hex(proof.expose()),
                username: String::new(),
            })
        });
        Self {
            generation: inner.generation,
            due: Due::default(),
            ready: false,
            claim,
            joining: None,
            joined: None,
            hold: None,
        }
    }

    /// What is to be sent now, if anything. [`Self::sent`] must follow when it was.
    pub fn next<'m, F: Storage, G: TryCryptoRng>(
        &'m self,
        inner: &mut Inner<F, G>,
        now: Millis,
        scratch: &'m mut Scratch,
    ) -> Option<(Message<'m>, Sent)> {
        if self.due.auth {
            return Some((Message::Auth(self.auth()), Sent::Auth));
        }
        if self.due.receive {
            return Some((Message::Receive(Receive { window: WINDOW }), Sent::Receive));
        }
        if let Some(number) = self.due.ack {
            return Some((Message::Ack(Ack { number }), Sent::Ack));
        }
        if let Some(number) = self.due.join {
            let message = inner.state.outgoing(number, &mut scratch.0)?;
            let Target::Room(room) = message.target else { return None };
            return Some((Message::Join(RoomRequest { tag: number, room }), Sent::Join(number)));
        }
        if !self.ready || self.joining.is_some() || self.hold.is_some_and(|until| now < until) {
            return None;
        }
        let waiting = inner.state.oldest(|entry| !entry.in_flight)?;
        if inner.state.in_flight_count() >= IN_FLIGHT {
            return None;
        }
        let message = inner.state.outgoing(waiting.number, &mut scratch.0)?;
        Some((Message::Send(message), Sent::Message(waiting.number)))
    }

    fn auth(&self) -> Auth<'_> {
        let Some(claim) = &self.claim else { return Auth::DEVICE };
        Auth {
            method: AuthMethod::Claim,
            invite: &claim.lookup,
            password: &claim.proof,
            label: "board",
            ..Auth::DEVICE
        }
    }

    /// What [`Self::next`] named stands in the output.
    pub fn sent<F: Storage, G: TryCryptoRng>(&mut self, inner: &mut Inner<F, G>, sent: Sent) {
        match sent {
            Sent::Auth => self.due.auth = false,
            Sent::Receive => self.due.receive = false,
            Sent::Ack => self.due.ack = None,
            Sent::Join(number) => {
                self.due.join = None;
                self.joining = Some(number);
            }
            Sent::Message(number) => inner.state.mark(number, true),
        }
    }

    /// Whether the board was enrolled anew or reset since this connection began.
    pub fn is_stale<F, G>(&self, inner: &Inner<F, G>) -> bool {
        self.generation != inner.generation
    }

    /// Takes an event of the connection.
    pub fn handle<F: Storage, G: TryCryptoRng, S: Suite>(
        &mut self,
        board: &Board<F, G, S>,
        now: Millis,
        event: event::Event<'_>,
        handler: Handler<'_>,
    ) -> Result<(), End> {
        match event {
            event::Event::Established(_) => {
                self.due.auth = true;
                Ok(())
            }
            event::Event::Message(Message::Deliver(deliver)) => self.deliver(board, &deliver, handler),
            event::Event::Message(message) => self.control(board, now, &message, handler),
            event::Event::Admit { .. } | event::Event::Auth { .. } => Ok(()),
        }
    }

    fn control<F: Storage, G: TryCryptoRng, S: Suite>(
        &mut self,
        board: &Board<F, G, S>,
        now: Millis,
        message: &Message<'_>,
        handler: Handler<'_>,
    ) -> Result<(), End> {
        let told = {
            let mut inner = board.inner().map_err(|_| End::Turned)?;
            match *message {
                Message::AuthResult(result) => self.logged_in(&mut inner, &result)?,
                Message::Welcome(welcome) => self.welcomed(&mut inner, &welcome)?,
                Message::Accepted(accepted) => {
                    let number = inner.state.in_flight(&accepted.id);
                    if let Some(number) = number {
                        inner.state.settle(number)?;
                    }
                    number.map(Event::Accepted)
                }
                Message::Refused(refused) => self.refused(&mut inner, now, &refused)?,
                Message::Done(done) => self.room_joined(&mut inner, done)?,
                Message::Notice(notice) => Some(Event::Notice(notice.text.0)),
                _ => None,
            }
        };
        told.map_or(Ok(()), |event| tell(handler, event))
    }

    fn logged_in<'m, F: Storage, G: TryCryptoRng>(
        &mut self,
        inner: &mut Inner<F, G>,
        result: &AuthResult<'m>,
    ) -> Result<Option<Event<'m>>, End> {
        match result.code {
            AuthCode::Ok => {}
            code if result.retry_after > 0 => return Err(End::Told(code, result.retry_after)),
            code => return Err(End::Offline(Offline::Login(code))),
        }
        if let Some(claim) = &mut self.claim {
            // The owner's proof decides; it comes in WELCOME.
            claim.username = String::try_from(result.username).unwrap_or_default();
            return Ok(None);
        }
        self.begin(inner);
        Ok(Some(Event::Online { username: result.username, pending: result.pending }))
    }

    fn welcomed<'m, F: Storage, G: TryCryptoRng>(
        &mut self,
        inner: &mut Inner<F, G>,
        welcome: &Welcome<'m>,
    ) -> Result<Option<Event<'m>>, End> {
        let Some(claim) = &self.claim else { return Ok(None) };
        let secret = inner.state.secret().ok_or(End::Turned)?;
        let owner = welcome.owner.as_str();
        if !board::is_owner_proof(secret.expose(), &claim.username, owner, &welcome.proof) {
            return Err(End::Offline(Offline::Owner));
        }
        inner.state.finish_enrolment(&claim.username, owner)?;
        self.claim = None;
        self.begin(inner);
        Ok(Some(Event::Enrolled { owner }))
    }

    fn begin<F: Storage, G: TryCryptoRng>(&mut self, inner: &mut Inner<F, G>) {
        self.ready = true;
        self.due.receive = true;
        inner.online = true;
        inner.backoff.reset();
    }

    /// A refusal that time or a JOIN mends leaves the message in the outbox.
    fn refused<F: Storage, G: TryCryptoRng>(
        &mut self,
        inner: &mut Inner<F, G>,
        now: Millis,
        refused: &Refused,
    ) -> Result<Option<Event<'static>>, End> {
        let Some(number) = inner.state.in_flight(&refused.id) else { return Ok(None) };
        match refused.code {
            Code::RateLimited | Code::Unavailable => {
                let pause = Millis::from(refused.retry_after.clamp(1, 3600)).saturating_mul(1000);
                self.hold = Some(now.saturating_add(pause));
            }
            // A JOIN makes a room that is missing.
            Code::NotMember | Code::NotFound
                if self.joined != Some(number) && inner.state.is_for_room(number) =>
            {
                self.joined = Some(number);
                self.due.join = Some(number);
            }
            code => {
                inner.state.settle(number)?;
                return Ok(Some(Event::Refused(number, code)));
            }
        }
        inner.state.mark(number, false);
        Ok(None)
    }

    fn room_joined<F: Storage, G: TryCryptoRng>(
        &mut self,
        inner: &mut Inner<F, G>,
        done: Done,
    ) -> Result<Option<Event<'static>>, End> {
        let Some(number) = self.joining.take_if(|number| *number == done.tag) else { return Ok(None) };
        if done.code == Code::Ok {
            return Ok(None);
        }
        inner.state.settle(number)?;
        Ok(Some(Event::Refused(number, done.code)))
    }

    /// Shows a message, and notes it as handled once all of it was shown.
    fn deliver<F: Storage, G: TryCryptoRng, S: Suite>(
        &mut self,
        board: &Board<F, G, S>,
        deliver: &Deliver<'_>,
        handler: Handler<'_>,
    ) -> Result<(), End> {
        let access = || board.inner().map_err(|_| End::Turned);
        let known = deliver.number <= access()?.state.seen;
        let stop = if known { Ok(()) } else { tell(handler, Event::Message(deliver.into())) };
        let end = usize::from(deliver.offset).saturating_add(deliver.part.0.len());
        if end >= usize::from(deliver.total) {
            if !known {
                access()?.state.set_seen(deliver.number)?;
            }
            self.due.ack = Some(deliver.number);
        }
        stop
    }
}

fn tell(handler: Handler<'_>, event: Event<'_>) -> Result<(), End> {
    match handler(event) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(End::Stopped),
    }
}
