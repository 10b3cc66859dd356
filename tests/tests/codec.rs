//! Properties of the message codec: every message comes back as it went out, every body has exactly one form, and
//! nothing that a peer can write makes the decoder panic. The table of `docs/PROTOCOL.md` is the core's table.

use proptest::prelude::*;
use sordino_core::config::{MAX_BODY, MAX_RECORD};
use sordino_core::messages::*;
use sordino_core::name::{RoomName, Target, Username};
use sordino_core::record::{Direction, bucket_for, max_body};
use sordino_core::wire::{List, Opaque, Overflow, Text, Writer};

/// What the messages below are made of; each field lies within the limits of the protocol.
#[derive(Debug)]
struct Pieces {
    users: Vec<String>,
    rooms: Vec<String>,
    texts: [String; 6],
    long_text: String,
    body: Vec<u8>,
    id: MessageId,
    wide: [u64; 2],
    small: u32,
    short: u16,
    byte: u8,
    flag: bool,
}

prop_compose! {
    fn pieces()(
        users in prop::collection::vec("[a-z0-9._-]{3,32}", 1..20),
        rooms in prop::collection::vec("[a-z0-9._-]{1,32}", 1..20),
        // Limits count bytes: the longest character here takes 4.
        texts in ["\\PC{0,8}", "\\PC{0,60}", "\\PC{0,32}", "\\PC{0,8}", "\\PC{0,2}", "\\PC{0,8}"],
        long_text in "\\PC{0,128}",
        body in prop::collection::vec(any::<u8>(), 1..2000),
        id: MessageId, wide: [u64; 2], small: u32, short: u16, byte: u8, flag: bool,
    ) -> Pieces {
        Pieces { users, rooms, texts, long_text, body, id, wide, small, short, byte, flag }
    }
}

impl Pieces {
    fn user(&self) -> Username<'_> {
        Username::new(&self.users[0]).expect("generated in this form")
    }

    fn room(&self) -> RoomName<'_> {
        RoomName::new(&self.rooms[0]).expect("generated in this form")
    }

    fn target(&self) -> Target<'_> {
        if self.flag { Target::User(self.user()) } else { Target::Room(self.room()) }
    }

    /// One of the values that an enum of one byte has.
    fn pick<T: Copy>(&self, from_u8: fn(u8) -> Option<T>) -> T {
        let all: Vec<T> = (0..=u8::MAX).filter_map(from_u8).collect();
        all[usize::from(self.byte) % all.len()]
    }

    fn auth(&self) -> Auth<'_> {
        let [username, email, password, invite, code, label] = &self.texts;
        Auth { method: self.pick(AuthMethod::from_u8), username, email, password, invite, code, label }
    }

    fn auth_result(&self) -> AuthResult<'_> {
        match self.pick(AuthCode::from_u8) {
            AuthCode::Ok => AuthResult {
                code: AuthCode::Ok,
                retry_after: 0,
                device: self.wide[0],
                pending: self.small,
                username: &self.users[0],
            },
            code @ (AuthCode::RateLimited | AuthCode::Unavailable) => AuthResult::refusal(code, self.small),
            code => AuthResult::refusal(code, 0),
        }
    }

    fn policy<'a>(&'a self, domains: &'a [&'a str]) -> Policy<'a> {
        Policy {
            registration: self.pick(Registration::from_u8),
            username_min: self.byte,
            username_max: self.byte,
            password_min: self.byte,
            password_score: self.byte % 5,
            max_body: self.short,
            server_name: &self.texts[0],
            rules: Text(&self.long_text),
            domains: List::Items(domains),
        }
    }

    fn deliver(&self) -> Deliver<'_> {
        let room = MAX_BODY - self.body.len();
        let offset = usize::from(self.short) % (room + 1);
        let total = offset + self.body.len();
        Deliver {
            number: self.wide[0],
            id: self.id,
            time: self.wide[1],
            sender: self.user(),
            target: self.target(),
            format: self.byte,
            total: u16::try_from(total).expect("at most 15,360"),
            offset: u16::try_from(offset).expect("at most 15,360"),
            part: Opaque(&self.body),
        }
    }

    /// Calls `check` with a message of every type.
    fn for_every_type(&self, mut check: impl FnMut(Message<'_>)) {
        let (tag, id, time, room) = (self.small, self.id, self.wide[0], self.room());
        let ping = Ping { token: self.wide[0] };
        let in_room = RoomRequest { tag, room };
        let list = ListRequest { tag, after: &self.texts[2] };
        let code = self.pick(Code::from_u8);
        let refusal = if code == Code::Ok { Code::NotFound } else { code };
        let pause = |code| if matches!(code, Code::RateLimited | Code::Unavailable) { self.small } else { 0 };
        let domains: Vec<&str> = self.users.iter().take(4).map(String::as_str).collect();
        let rooms: Vec<RoomEntry<'_>> = (self.rooms.iter())
            .map(|name| RoomEntry {
                room: RoomName::new(name).expect("generated in this form"),
                members: self.short,
                joined: self.flag,
            })
            .collect();
        let users: Vec<UserEntry<'_>> = (self.users.iter())
            .map(|name| UserEntry {
                user: Username::new(name).expect("generated in this form"),
                online: self.flag,
            })
            .collect();
        let boards: Vec<BoardEntry<'_>> = (self.users.iter())
            .map(|name| BoardEntry {
                board: Username::new(name).expect("generated in this form"),
                state: self.pick(BoardState::from_u8),
                time,
                device: [self.byte; 32],
                proof: [self.byte; 32],
            })
            .collect();
        let proof = [self.byte; 32];
        let all = [
            Message::Close(Close { reason: self.byte, received: self.wide[0] }),
            Message::Ping(ping),
            Message::Pong(ping),
            Message::Auth(self.auth()),
            Message::AuthResult(self.auth_result()),
            Message::GetPolicy(()),
            Message::Policy(self.policy(&domains)),
            Message::Notice(Notice { level: self.pick(NoticeLevel::from_u8), text: Text(&self.long_text) }),
            Message::Welcome(Welcome { owner: self.user(), proof }),
            Message::Send(Send { id, target: self.target(), format: self.byte, body: Opaque(&self.body) }),
            Message::Accepted(Accepted { id, number: self.wide[1], time }),
            Message::Refused(Refused { id, code: refusal, retry_after: pause(refusal) }),
            Message::Delivered(Delivered { id, time }),
            Message::Receive(Receive { window: self.short % 257 }),
            Message::Deliver(self.deliver()),
            Message::Ack(Ack { number: self.wide[1] }),
            Message::Join(in_room),
            Message::Leave(in_room),
            Message::Done(Done { tag, code, retry_after: pause(code) }),
            Message::ListRooms(list),
            Message::Rooms(Page { tag, more: self.flag, items: List::Items(&rooms) }),
            Message::ListMembers(ListMembers { tag, room, after: &self.texts[2] }),
            Message::Who(list),
            Message::Users(Page { tag, more: self.flag, items: List::Items(&users) }),
            Message::RoomEvent(RoomEvent {
                event: self.pick(RoomEventKind::from_u8),
                room,
                user: self.user(),
            }),
            Message::EnrolBoard(EnrolBoard {
                tag,
                board: self.user(),
                lookup: proof,
                proof,
                lifetime: self.small,
            }),
            Message::RevokeBoard(RevokeBoard { tag, board: self.user() }),
            Message::ListBoards(list),
            Message::Boards(Page { tag, more: self.flag, items: List::Items(&boards) }),
        ];
        all.into_iter().for_each(&mut check);
    }
}

fn encode(message: &Message<'_>) -> Vec<u8> {
    let mut buf = vec![0; usize::from(MAX_RECORD)];
    let mut out = Writer::new(&mut buf);
    message.encode(&mut out).expect("every generated message fits a record");
    let written = out.written();
    buf.truncate(written);
    buf
}

proptest! {
    #[test]
    fn every_message_comes_back(pieces in pieces()) {
        let mut kinds = Vec::new();
        pieces.for_every_type(|message| {
            kinds.push(message.kind());
            let body = encode(&message);
            assert!(body.len() <= max_body(MAX_RECORD));
            let decoded = Message::decode(message.kind(), &body).expect("decodes");
            assert_eq!(decoded, message);
            assert_eq!(encode(&decoded), body);
        });
        let documented: Vec<u8> = protocol_table().iter().map(|row| row.number).collect();
        prop_assert_eq!(kinds, documented);
    }

    /// "Every body has exactly the length that its fields take."
    #[test]
    fn no_other_length_decodes(pieces in pieces(), cut: prop::sample::Index, extra: u8) {
        pieces.for_every_type(|message| {
            let mut body = encode(&message);
            if !body.is_empty() {
                assert!(Message::decode(message.kind(), &body[..cut.index(body.len())]).is_err(), "{message:?}");
            }
            body.push(extra);
            assert!(Message::decode(message.kind(), &body).is_err(), "{message:?}");
        });
    }

    #[test]
    fn no_room_is_an_overflow(pieces in pieces(), cut: prop::sample::Index) {
        pieces.for_every_type(|message| {
            let mut body = encode(&message);
            if !body.is_empty() {
                let room = cut.index(body.len());
                assert_eq!(message.encode(&mut Writer::new(&mut body[..room])), Err(Overflow));
            }
        });
    }

    /// A changed byte is refused, or is another message in its one form.
    #[test]
    fn every_body_has_one_form(pieces in pieces(), at: prop::sample::Index, flip in 1..=u8::MAX) {
        pieces.for_every_type(|message| {
            let mut body = encode(&message);
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] ^= flip;
                if let Ok(decoded) = Message::decode(message.kind(), &body) {
                    assert_eq!(encode(&decoded), body);
                    assert_ne!(decoded, message);
                }
            }
        });
    }

    #[test]
    fn any_bytes_are_refused_or_canonical(kind: u8, body in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(message) = Message::decode(kind, &body) {
            prop_assert_eq!(message.kind(), kind);
            prop_assert_eq!(encode(&message), body);
        }
    }

    /// PROTOCOL.md section 1: which names are names.
    #[test]
    fn names_have_their_form(text in "[a-zA-Z0-9._ @#äß-]{0,36}") {
        let form = |min, max| {
            (min..=max).contains(&text.chars().count())
                && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-'))
        };
        prop_assert_eq!(Username::new(&text).is_some(), form(3, 32));
        prop_assert_eq!(RoomName::new(&text).is_some(), form(1, 32));
    }
}

/// PROTOCOL.md section 6, written as the list that it is.
#[test]
fn the_bucket_is_the_smallest_that_fits() {
    let buckets: Vec<usize> = [64, 128, 256, 512].into_iter().chain((1..=16).map(|k| k * 1024)).collect();
    for body in 0..=17_000 {
        let smallest = buckets.iter().copied().find(|bucket| *bucket > 3 + body);
        assert_eq!(bucket_for(body), smallest, "{body}");
    }
}

/// PROTOCOL.md section 8: one byte more than a field of AUTH takes is refused on either side, although it would fit.
#[test]
fn no_field_of_auth_is_longer_than_its_limit() {
    let limits = [32, 254, 128, 32, 8, 32];
    for field in 0..=limits.len() {
        let mut longest = limits.map(|limit| "x".repeat(limit));
        if let Some(text) = longest.get_mut(field) {
            text.push('x');
        }
        let [username, email, password, invite, code, label] = longest.each_ref().map(String::as_str);
        let auth = Auth { method: AuthMethod::Register, username, email, password, invite, code, label };
        let texts = longest.iter().flat_map(|text| [&[text.len() as u8], text.as_bytes()].concat());
        let mut body: Vec<u8> = std::iter::once(1).chain(texts).collect();
        body.resize(508, 0);
        let mut out = [0; 508];
        let encoded = Message::Auth(auth).encode(&mut Writer::new(&mut out));
        let decoded = Message::decode(16, &body);
        if field == limits.len() {
            assert_eq!((encoded, &out[..], decoded), (Ok(()), &body[..], Ok(Message::Auth(auth))));
        } else {
            assert_eq!((encoded, decoded.is_err()), (Err(Overflow), true), "field {field}");
        }
    }
}

/// PROTOCOL.md section 8: which fields AUTH_RESULT has with which code. Red if either side lets one through that the
/// code doesn't allow.
#[test]
fn auth_result_has_the_fields_of_its_code() {
    let values = [0_u32, 7];
    let names = ["", "bob", "Bob"];
    let codes = (0..=u8::MAX).filter_map(AuthCode::from_u8);
    for code in codes {
        for (at, username) in (0..8).flat_map(|at| names.map(|name| (at, name))) {
            let [retry_after, device, pending] = [0, 1, 2].map(|bit| values[(at >> bit) & 1_usize]);
            let empty = (device, pending, username) == (0, 0, "");
            let sound = match code as u8 {
                0 => retry_after == 0 && username == "bob",
                2 | 9 => empty,
                _ => empty && retry_after == 0,
            };
            let result = AuthResult { code, retry_after, device: device.into(), pending, username };
            let mut body = vec![code as u8];
            body.extend(retry_after.to_be_bytes());
            body.extend(u64::from(device).to_be_bytes());
            body.extend(pending.to_be_bytes());
            body.extend([&[username.len() as u8], username.as_bytes()].concat());
            body.resize(124, 0);
            let encoded = Message::AuthResult(result).encode(&mut Writer::new(&mut [0; 124]));
            assert_eq!(encoded.is_ok(), sound, "{result:?}");
            let decoded = Message::decode(17, &body).ok();
            assert_eq!(decoded, sound.then_some(Message::AuthResult(result)), "{result:?}");
        }
    }
}

struct Row {
    number: u8,
    direction: String,
    phase: String,
}

/// The rows of the table in PROTOCOL.md section 7, but for BUNDLE, which is no message of its own.
fn protocol_table() -> Vec<Row> {
    const TEXT: &str = include_str!("../../docs/PROTOCOL.md");
    let section = TEXT.split("\n## 7 Messages").nth(1).and_then(|rest| rest.split("\n## 8").next());
    let rows = section.expect("section 7").lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.split('|').map(|cell| cell.trim().to_owned());
        let number = cells.next()?.parse().ok()?;
        let (direction, phase) = (cells.nth(1)?, cells.next()?);
        Some(Row { number, direction, phase }).filter(|row| row.number != BUNDLE)
    });
    rows.collect()
}

#[test]
fn the_core_allows_what_the_document_says() {
    let table = protocol_table();
    assert_eq!(table.len(), 29);
    for kind in 0..=u8::MAX {
        let row = table.iter().find(|row| row.number == kind);
        for (direction, arrow) in [(Direction::ToServer, "C→S"), (Direction::ToClient, "S→C")] {
            for (phase, name) in [(Phase::Login, "Login"), (Phase::Ready, "Ready")] {
                let documented = row.is_some_and(|row| {
                    (row.direction == "both" || row.direction == arrow)
                        && (row.phase == "any" || row.phase == name)
                });
                assert_eq!(allowed(kind, direction, phase), documented, "type {kind} {arrow} {name}");
            }
        }
    }
}
