//! Whole conversations: chunk size (1) ‖ what one side receives from its first byte to the end of the stream.
//!
//! Both sides are fixed (`peers`), so an honest conversation is always the same bytes. Whatever someone on the way
//! does to them, a side must see a beginning of the honest conversation, and all of it only if it was closed in order.

use std::sync::OnceLock;

use sordino_core::config::HEADER_LEN;
use sordino_core::event::Closed;
use sordino_core::identity::ServedSuite;
use sordino_core::messages::*;
use sordino_core::name::{RoomName, Target, Username};
use sordino_core::wire::{List, Opaque, Text};
use sordino_core::{Suite1, Suite2};

use super::peers::{ClientSide, Link, Seen, ServerSide, Side};

/// What the server says to AUTH.
pub const LOGGED_IN: AuthResult<'static> =
    AuthResult { code: AuthCode::Ok, retry_after: 0, device: 9, pending: 1, username: "alice" };

const LOGIN: Auth<'static> =
    Auth { method: AuthMethod::Password, username: "alice", password: "correct horse", ..Auth::DEVICE };

/// What the client says, a line after each event.
pub static SCRIPT: [Message<'static>; 7] = [
    Message::GetPolicy(()),
    Message::Auth(LOGIN),
    Message::Receive(Receive { window: 16 }),
    Message::Ack(Ack { number: 77 }),
    Message::ListRooms(ListRequest { tag: 1, after: "" }),
    Message::Who(ListRequest { tag: 2, after: "ab" }),
    // Answered by nothing, so that nothing comes behind the client's CLOSE.
    Message::Pong(Ping { token: 3 }),
];

fn alice() -> Username<'static> {
    Username::new("alice").expect("a username")
}

fn lobby() -> RoomName<'static> {
    RoomName::new("lobby").expect("a room name")
}

/// What the server says to a message.
pub fn replies<'a>(message: &Message<'_>) -> Vec<Message<'a>> {
    static LOBBY: OnceLock<[RoomEntry<'static>; 1]> = OnceLock::new();
    static ALICE: OnceLock<[UserEntry<'static>; 1]> = OnceLock::new();
    match message {
        Message::GetPolicy(()) => vec![Message::Policy(Policy {
            registration: Registration::Open,
            username_min: 3,
            username_max: 32,
            password_min: 10,
            password_score: 3,
            max_body: 15_360,
            server_name: "fuzz",
            rules: Text("be kind"),
            domains: List::Items(&["example.org"]),
        })],
        Message::Receive(_) => vec![Message::Deliver(Deliver {
            number: 77,
            id: [0x1d; 16],
            time: 1_790_000_000_000,
            sender: alice(),
            target: Target::Room(lobby()),
            format: 0,
            total: 5,
            offset: 0,
            part: Opaque(b"hello"),
        })],
        Message::Ack(_) => vec![Message::Notice(Notice { level: NoticeLevel::Info, text: Text("stored") })],
        Message::ListRooms(list) => {
            let rooms = LOBBY.get_or_init(|| [RoomEntry { room: lobby(), members: 2, joined: true }]);
            vec![Message::Rooms(Page { tag: list.tag, more: false, items: List::Items(rooms) })]
        }
        Message::Who(list) => {
            let users = ALICE.get_or_init(|| [UserEntry { user: alice(), online: true }]);
            let event = RoomEvent { event: RoomEventKind::Joined, room: lobby(), user: alice() };
            vec![
                Message::RoomEvent(event),
                Message::Users(Page { tag: list.tag, more: false, items: List::Items(users) }),
            ]
        }
        _ => Vec::new(),
    }
}

/// What one side receives in an honest conversation, and what its application sees.
pub struct Honest {
    /// From the first byte to the end of the stream.
    pub received: Vec<u8>,
    /// Where message 1 or 2 begins, behind what may be repeated or left out.
    keys: usize,
    seen: Vec<Seen>,
}

/// An honest conversation in suite `S`: the server's view and the client's.
fn converse<S: ServedSuite>() -> (Honest, Honest) {
    let (mut server, mut client) = (ServerSide::new(), ClientSide::<S>::new());
    let (mut to_server, mut to_client) = (0, 0);
    while server.link().end.is_none() || client.link().end.is_none() {
        let news = client.link().out[to_server..].to_vec();
        to_server += news.len();
        server.receive(&news);
        let answer = server.link().out[to_client..].to_vec();
        to_client += answer.len();
        client.receive(&answer);
        assert!(!news.is_empty() || !answer.is_empty(), "both sides wait");
    }
    assert_eq!(server.link().end, Some(Ok(Closed::ByPeer(CloseReason::Bye))));
    assert_eq!(client.link().end, Some(Ok(Closed::Here(CloseReason::Bye))));
    let server_view =
        Honest { received: client.link().out.clone(), keys: HEADER_LEN, seen: server.link().seen.clone() };
    let client_view =
        Honest { received: server.link().out.clone(), keys: 0, seen: client.link().seen.clone() };
    (server_view, client_view)
}

/// The honest conversation in suite 1 or 2: the server's view and the client's.
pub fn honest(suite: u8) -> &'static (Honest, Honest) {
    static ONE: OnceLock<(Honest, Honest)> = OnceLock::new();
    static TWO: OnceLock<(Honest, Honest)> = OnceLock::new();
    if suite == 1 { ONE.get_or_init(converse::<Suite1>) } else { TWO.get_or_init(converse::<Suite2>) }
}

/// Chunk size 0 is the whole at once.
fn play(side: &mut dyn Side, chunk: u8, bytes: &[u8]) {
    let size = if chunk == 0 { bytes.len().max(1) } else { usize::from(chunk) };
    bytes.chunks(size).for_each(|part| side.receive(part));
    side.finish();
}

/// Fails unless the side saw a beginning of what `honest` saw, and all of it, unaltered, if it ended in order.
fn check(link: &Link, honest: &Honest, bytes: &[u8]) {
    assert!(honest.seen.starts_with(&link.seen), "{:?} in place of {:?}", link.seen, honest.seen);
    if matches!(link.end, Some(Ok(_))) {
        assert_eq!(link.seen, honest.seen);
        assert!(contains(bytes, &honest.received[honest.keys..]), "took altered bytes");
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The server's side.
pub fn server(data: &[u8]) {
    let Some((&chunk, bytes)) = data.split_first() else { return };
    let mut side = ServerSide::new();
    play(&mut side, chunk, bytes);
    let suite = side.suite();
    let honest = &honest(suite).0;
    check(side.link(), honest, bytes);
    check_gate(side.link(), honest, bytes);
    assert!(key_answers(&side.link().out) <= 2);
}

/// Admitted is only who sent a gate that fits its ephemeral key: here, the honest client's or a copy.
fn check_gate(link: &Link, honest: &Honest, bytes: &[u8]) {
    if !link.seen.is_empty() {
        let message1 = &honest.received[HEADER_LEN..][..HEADER_LEN + 16 + 256];
        assert!(contains(bytes, message1), "admitted without the gate");
    }
}

/// How many key answers an output begins with.
fn key_answers(mut out: &[u8]) -> usize {
    let mut answers = 0;
    while let [b'S', b'O', 1, 2, _, 0, high, low, rest @ ..] = out {
        out = &rest[usize::from(u16::from_be_bytes([*high, *low]))..];
        answers += 1;
    }
    answers
}

/// The client's side. The highest bit of the chunk size chooses suite 2.
pub fn client(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    let chunk = first & 0x7f;
    if first == chunk {
        let mut side = ClientSide::<Suite1>::new();
        play(&mut side, chunk, bytes);
        check(side.link(), &honest(1).1, bytes);
    } else {
        let mut side = ClientSide::<Suite2>::new();
        play(&mut side, chunk, bytes);
        check(side.link(), &honest(2).1, bytes);
    }
}
