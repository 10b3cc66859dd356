//! What the server says, owned, so that it can be kept and sent between tasks.

use sordino_core::messages::{
    Accepted, AuthCode, BoardState, Deliver, Delivered, Done, Message, MessageId, NoticeLevel, Policy,
    Refused, Registration, RoomEventKind,
};

use crate::text::target::Target;

/// A message for this device, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The server's number, to be acknowledged.
    pub number: u64,
    /// Unique for the sender.
    pub id: MessageId,
    /// Unix milliseconds at which the server accepted it.
    pub time: u64,
    /// Username.
    pub sender: String,
    /// As addressed.
    pub target: Target,
    /// 0 is UTF-8 text.
    pub format: u8,
    /// 1 to 15,360 bytes.
    pub body: Vec<u8>,
}

/// A room in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomInfo {
    /// Without `#`.
    pub name: String,
    /// Number of members.
    pub members: u16,
    /// Whether this account is one of them.
    pub joined: bool,
}

/// A user in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserInfo {
    /// Without `@`.
    pub name: String,
    /// Whether a device of the user is connected.
    pub online: bool,
}

/// A board in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardInfo {
    /// Without `@`.
    pub name: String,
    /// How far its enrolment has come.
    pub state: BoardState,
    /// Unix milliseconds at which it claimed its code, or at which the code expires.
    pub time: u64,
    /// Fingerprint of the key that claimed the code, or zeros.
    pub device: [u8; 32],
    /// What that key's holder showed for it, or zeros.
    pub proof: [u8; 32],
}

/// What the server wants people to know before they register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether one may register.
    pub open: bool,
    /// Shortest and longest username, in characters.
    pub username: (u8, u8),
    /// Shortest password, in characters.
    pub password_min: u8,
    /// Lowest zxcvbn score, 0 to 4.
    pub password_score: u8,
    /// Largest message, in bytes.
    pub max_body: u16,
    /// The server's name. Foreign text.
    pub server_name: String,
    /// Text for people. Foreign text.
    pub text: String,
    /// Allowed email domains; none means any.
    pub domains: Vec<String>,
}

/// The answer to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginAnswer {
    /// The result.
    pub code: AuthCode,
    /// Seconds to wait, or 0.
    pub retry_after: u32,
    /// Messages that wait for this device.
    pub pending: u32,
    /// The account in canonical form.
    pub user: String,
}

/// Something that the server said.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A sent message is durable.
    Accepted(Accepted),
    /// A sent message was not taken.
    Refused(Refused),
    /// A sent message has reached somebody.
    Delivered(Delivered),
    /// A message came.
    Message(Delivery),
    /// A request has ended.
    Done(Done),
    /// A page of rooms: tag, whether there is more, the rooms.
    Rooms(u32, bool, Vec<RoomInfo>),
    /// A page of users: tag, whether there is more, the users.
    Users(u32, bool, Vec<UserInfo>),
    /// A page of boards: tag, whether there is more, the boards.
    Boards(u32, bool, Vec<BoardInfo>),
    /// Somebody came to a room, or left it: what, room, user.
    Room(RoomEventKind, String, String),
    /// A line for the person. Foreign text.
    Notice(NoticeLevel, String),
    /// The server's rules.
    Rules(Rules),
    /// The answer to a login.
    Login(LoginAnswer),
}

/// Puts the parts of a message together (PROTOCOL.md section 9, DELIVER).
#[derive(Debug, Default)]
pub struct Assembler {
    begun: Option<Delivery>,
}

/// A part came that doesn't continue what was begun.
#[derive(Debug, PartialEq, Eq)]
pub struct Gap;

impl Assembler {
    /// Adds a part; the message when it is whole.
    ///
    /// # Errors
    /// [`Gap`]: the server broke the protocol.
    pub fn add(&mut self, part: &Deliver<'_>) -> Result<Option<Delivery>, Gap> {
        let mut message = match self.begun.take() {
            None => begin(part),
            Some(begun) if begun.number == part.number => begun,
            Some(_) => return Err(Gap),
        };
        if message.body.len() != usize::from(part.offset) {
            return Err(Gap);
        }
        message.body.extend_from_slice(part.part.0);
        if message.body.len() == usize::from(part.total) {
            return Ok(Some(message));
        }
        self.begun = Some(message);
        Ok(None)
    }
}

fn begin(part: &Deliver<'_>) -> Delivery {
    Delivery {
        number: part.number,
        id: part.id,
        time: part.time,
        sender: part.sender.as_str().to_owned(),
        target: part.target.into(),
        format: part.format,
        body: Vec::with_capacity(usize::from(part.total)),
    }
}

/// Takes ownership of what a record said. `None` for what is no event for people: a part of a message, or what the
/// core answers itself.
///
/// # Errors
/// [`Gap`].
pub fn own(message: &Message<'_>, assembler: &mut Assembler) -> Result<Option<Event>, Gap> {
    Ok(Some(match message {
        Message::Accepted(accepted) => Event::Accepted(*accepted),
        Message::Refused(refused) => Event::Refused(*refused),
        Message::Delivered(delivered) => Event::Delivered(*delivered),
        Message::Deliver(part) => return Ok(assembler.add(part)?.map(Event::Message)),
        Message::Done(done) => Event::Done(*done),
        Message::Rooms(page) => {
            let room = |r: sordino_core::messages::RoomEntry<'_>| RoomInfo {
                name: r.room.as_str().to_owned(),
                members: r.members,
                joined: r.joined,
            };
            Event::Rooms(page.tag, page.more, page.items.iter().map(room).collect())
        }
        Message::Users(page) => {
            let user = |u: sordino_core::messages::UserEntry<'_>| UserInfo {
                name: u.user.as_str().to_owned(),
                online: u.online,
            };
            Event::Users(page.tag, page.more, page.items.iter().map(user).collect())
        }
        Message::Boards(page) => {
            let board = |b: sordino_core::messages::BoardEntry<'_>| BoardInfo {
                name: b.board.as_str().to_owned(),
                state: b.state,
                time: b.time,
                device: b.device,
                proof: b.proof,
            };
            Event::Boards(page.tag, page.more, page.items.iter().map(board).collect())
        }
        Message::RoomEvent(e) => Event::Room(e.event, e.room.as_str().to_owned(), e.user.as_str().to_owned()),
        Message::Notice(notice) => Event::Notice(notice.level, notice.text.0.to_owned()),
        Message::Policy(policy) => Event::Rules(rules(policy)),
        Message::AuthResult(result) => Event::Login(LoginAnswer {
            code: result.code,
            retry_after: result.retry_after,
            pending: result.pending,
            user: result.username.to_owned(),
        }),
        _ => return Ok(None),
    }))
}

fn rules(policy: &Policy<'_>) -> Rules {
    Rules {
        open: policy.registration == Registration::Open,
        username: (policy.username_min, policy.username_max),
        password_min: policy.password_min,
        password_score: policy.password_score,
        max_body: policy.max_body,
        server_name: policy.server_name.to_owned(),
        text: policy.rules.0.to_owned(),
        domains: policy.domains.iter().map(str::to_owned).collect(),
    }
}
