//! A message of each type in the table, and messages that no type allows.

use std::sync::OnceLock;

use sordino_core::Message;
use sordino_core::messages::*;
use sordino_core::name::{RoomName, Target, Username};
use sordino_core::wire::{List, Opaque, Text};

use super::super::conversation::{LOGGED_IN, SCRIPT, replies};

/// Well-formed messages: every type occurs.
pub fn samples() -> &'static [Message<'static>] {
    static SAMPLES: OnceLock<Vec<Message<'static>>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let answers = SCRIPT.iter().flat_map(replies);
        SCRIPT.iter().copied().chain(answers).chain(others()).chain(boards()).collect()
    })
}

fn room() -> RoomName<'static> {
    RoomName::new("lobby").expect("a room name")
}

fn user() -> Username<'static> {
    Username::new("alice").expect("a username")
}

fn others() -> [Message<'static>; 13] {
    static LONG: [u8; 3000] = [b'x'; 3000];
    let (id, time, number, tag, code) = ([1; 16], 1_790_000_000_000, 5, 6, Code::RateLimited);
    let in_room = RoomRequest { tag, room: room() };
    let send = |body| Send { id, target: Target::User(user()), format: 0, body: Opaque(body) };
    [
        Message::Close(Close { reason: CloseReason::Bye as u8, received: 3 }),
        Message::Ping(Ping { token: 4 }),
        Message::AuthResult(LOGGED_IN),
        Message::AuthResult(AuthResult::refusal(AuthCode::Denied, 0)),
        Message::Send(send(b"hello")),
        Message::Send(send(&LONG)),
        Message::Accepted(Accepted { id, number, time }),
        Message::Refused(Refused { id, code, retry_after: 7 }),
        Message::Delivered(Delivered { id, time }),
        Message::Join(in_room),
        Message::Leave(in_room),
        Message::Done(Done { tag, code, retry_after: 7 }),
        Message::ListMembers(ListMembers { tag, room: room(), after: "ab" }),
    ]
}

fn boards() -> [Message<'static>; 5] {
    let (tag, board, proof) = (8, user(), [9; 32]);
    [
        Message::Welcome(Welcome { owner: board, proof }),
        Message::EnrolBoard(EnrolBoard { tag, board, lookup: [4; 32], proof, lifetime: 600 }),
        Message::RevokeBoard(RevokeBoard { tag, board }),
        Message::ListBoards(ListRequest { tag, after: "" }),
        Message::Boards(Page { tag, more: false, items: List::Items(&[]) }),
    ]
}

/// Messages with fields of any content: most of them have no form on the wire.
pub fn unsound(which: u8, text: &str, number: u16) -> Message<'_> {
    let code = Code::from_u8(which >> 4).unwrap_or(Code::Ok);
    let bytes = Opaque(text.as_bytes());
    match which % 8 {
        0 => Message::Auth(Auth { username: text, password: text, ..Auth::DEVICE }),
        1 => Message::Receive(Receive { window: number }),
        2 => Message::Refused(Refused { id: [0; 16], code, retry_after: number.into() }),
        3 => Message::Done(Done { tag: 0, code, retry_after: number.into() }),
        4 => Message::Deliver(Deliver {
            number: 1,
            id: [0; 16],
            time: 2,
            sender: user(),
            target: Target::Room(room()),
            format: 0,
            total: number,
            offset: u16::from(which),
            part: bytes,
        }),
        5 => Message::Notice(Notice { level: NoticeLevel::Info, text: Text(text) }),
        6 => Message::Send(Send { id: [0; 16], target: Target::User(user()), format: which, body: bytes }),
        _ => Message::Who(ListRequest { tag: number.into(), after: text }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sordino_core::record::Direction;

    #[test]
    fn every_type_has_a_sample() {
        for kind in 0..=u8::MAX {
            let exists = [Direction::ToServer, Direction::ToClient]
                .into_iter()
                .any(|way| [Phase::Login, Phase::Ready].into_iter().any(|phase| allowed(kind, way, phase)));
            assert_eq!(samples().iter().any(|sample| sample.kind() == kind), exists, "type {kind}");
        }
    }
}
