//! What the applications at both ends decide.

use sordino_core::event::{Answer, Event};
use sordino_core::messages::{
    Accepted, Ack, Auth, AuthCode, AuthMethod, AuthResult, CloseReason, Code, Deliver, Done, Message,
    Receive, RoomRequest, Send,
};
use sordino_core::name::{RoomName, Target, Username};
use sordino_core::wire::Opaque;

/// A decision of an application.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Sends a message, as soon as there is room.
    Send(Message<'static>),
    /// Answers with the ticket of the event. An event that isn't answered leaves its ticket with the party.
    Answer(Answer<'static>),
    /// Says goodbye.
    Close(CloseReason),
}

/// What an application does at an event.
pub type Script<'m> = Box<dyn FnMut(&Event<'_>) -> Vec<Act> + 'm>;

/// An application that only looks on.
pub fn silent<'m>() -> Script<'m> {
    Box::new(|_| Vec::new())
}

/// Credentials that fill every field of AUTH.
pub const PASSWORD_AUTH: Auth<'static> = Auth {
    method: AuthMethod::Password,
    username: "alice",
    email: "",
    password: "correct horse battery staple",
    invite: "",
    code: "",
    label: "laptop",
};

/// A login that succeeded.
pub const WELCOME: AuthResult<'static> =
    AuthResult { code: AuthCode::Ok, retry_after: 0, device: 4, pending: 0, username: "alice" };

/// Client: logs in, and no more.
pub fn log_in<'m>() -> Script<'m> {
    Box::new(|event| match event {
        Event::Established(_) => vec![Act::Send(Message::Auth(PASSWORD_AUTH))],
        _ => Vec::new(),
    })
}

/// Server: admits everybody to the handshake and to an account.
pub fn admit_all<'m>() -> Script<'m> {
    Box::new(|event| match event {
        Event::Admit { .. } => vec![Act::Answer(Answer::Admit)],
        Event::Auth { .. } => vec![Act::Answer(Answer::Auth(WELCOME))],
        _ => Vec::new(),
    })
}

/// The user `bob`.
pub fn bob() -> Username<'static> {
    Username::new("bob").unwrap_or_else(|| unreachable!())
}

/// The room `lobby`.
pub fn lobby() -> RoomName<'static> {
    RoomName::new("lobby").unwrap_or_else(|| unreachable!())
}

/// A SEND with this body.
pub fn send(body: &'static [u8]) -> Message<'static> {
    Message::Send(Send { id: [3; 16], target: Target::User(bob()), format: 0, body: Opaque(body) })
}

/// A DELIVER with this number and body.
pub fn deliver(number: u64, body: &'static [u8]) -> Message<'static> {
    Message::Deliver(Deliver {
        number,
        id: [5; 16],
        time: 1_790_000_000_000,
        sender: bob(),
        target: Target::Room(lobby()),
        format: 0,
        total: u16::try_from(body.len()).unwrap_or(u16::MAX),
        offset: 0,
        part: Opaque(body),
    })
}

/// Client of a whole conversation: logs in, sends, joins, receives, acknowledges, says goodbye.
pub fn talkative_client<'m>() -> Script<'m> {
    Box::new(|event| match event {
        Event::Established(_) => vec![Act::Send(Message::Auth(PASSWORD_AUTH))],
        Event::Message(Message::AuthResult(_)) => vec![
            Act::Send(Message::Receive(Receive { window: 16 })),
            Act::Send(send(b"hello")),
            Act::Send(Message::Join(RoomRequest { tag: 7, room: lobby() })),
        ],
        Event::Message(Message::Done(_)) => {
            vec![Act::Send(Message::Ack(Ack { number: 10 })), Act::Close(CloseReason::Bye)]
        }
        _ => Vec::new(),
    })
}

/// Server of a whole conversation.
pub fn talkative_server<'m>() -> Script<'m> {
    Box::new(|event| match event {
        Event::Admit { .. } => vec![Act::Answer(Answer::Admit)],
        Event::Auth { .. } => vec![Act::Answer(Answer::Auth(WELCOME))],
        Event::Message(Message::Send(send)) => vec![
            Act::Send(Message::Accepted(Accepted { id: send.id, number: 9, time: 1_790_000_000_000 })),
            Act::Send(deliver(10, &[b'x'; 200])),
        ],
        Event::Message(Message::Join(join)) => {
            vec![Act::Send(Message::Done(Done { tag: join.tag, code: Code::Ok, retry_after: 0 }))]
        }
        _ => Vec::new(),
    })
}
