//! One connection of the test's server: blocking, with a look at the mailbox every 10 ms.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use getrandom::SysRng;
use sordino_core::acceptor::{Accept, Acceptor};
use sordino_core::buf::{RxBuf, TxBuf};
use sordino_core::config::{MAX_RECORD, RX_BUFFER, TX_BUFFER, Timeouts};
use sordino_core::conn::{Conn, Server};
use sordino_core::event::{Answer, Event, Peer, Step};
use sordino_core::io::Io;
use sordino_core::messages::*;
use sordino_core::name::{RoomName, Target as WireTarget, Username};
use sordino_core::suite::{Suite, Suite1, Suite2};
use sordino_core::wire::{List, Opaque, Text};
use sordino_core::{Error, ServerConfig};

use sordino::text::target::Target;

use super::{Faults, Shared, Stored, timed};

struct Wire<'b> {
    stream: TcpStream,
    rx: RxBuf<'b>,
    tx: TxBuf<'b>,
    start: Instant,
}

impl<'b> Wire<'b> {
    fn io<T>(&mut self, f: impl FnOnce(&mut RxBuf<'b>, &mut Io<'_, 'b>) -> T) -> T {
        let now = self.start.elapsed().as_millis() as u64;
        f(&mut self.rx, &mut Io { now, tx: &mut self.tx, rng: &mut SysRng })
    }

    /// `false` when the peer is gone.
    fn exchange(&mut self) -> bool {
        if self.stream.write_all(self.tx.pending()).is_err() {
            return false;
        }
        self.tx.consume(self.tx.pending().len());
        match self.stream.read(self.rx.spare()) {
            Ok(0) => false,
            Ok(n) => {
                self.rx.commit(n);
                true
            }
            Err(e) => matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    fn flush(&mut self) {
        let _ = self.stream.write_all(self.tx.pending());
        self.tx.consume(self.tx.pending().len());
    }
}

pub fn serve(shared: &Shared, stream: TcpStream) {
    timed(&stream);
    let (mut rx, mut tx) = (vec![0; RX_BUFFER], vec![0; 4 * TX_BUFFER]);
    let mut wire = Wire { stream, rx: RxBuf::new(&mut rx), tx: TxBuf::new(&mut tx), start: Instant::now() };
    let identity = shared.identity.read().unwrap().clone();
    let config = ServerConfig { max_record: MAX_RECORD, bundles: true, counter: 0, time: 0 };
    let mut acceptor = Acceptor::new(config, Timeouts::SERVER, 0);
    loop {
        match wire.io(|rx, io| acceptor.step(&identity, rx, io)) {
            Ok(Accept::Suite1) => {
                return talk::<Suite1>(shared, wire, acceptor.connection(&identity).unwrap());
            }
            Ok(Accept::Suite2) => {
                return talk::<Suite2>(shared, wire, acceptor.connection(&identity).unwrap());
            }
            Ok(_) => {
                if !wire.exchange() {
                    return;
                }
            }
            Err(_) => return wire.flush(),
        }
    }
}

/// What a connection remembers.
#[derive(Default)]
struct Who {
    device: Vec<u8>,
    user: String,
    receiving: bool,
    delivered: u64,
    /// Own messages whose DELIVERED is still to be told.
    told: Vec<(u64, [u8; 16])>,
}

fn talk<S: Suite>(shared: &Shared, mut wire: Wire<'_>, mut conn: Conn<Server, S>) {
    let mut who = Who::default();
    loop {
        let step = wire.io(|rx, io| conn.step(rx, io));
        let id = match step {
            Ok(Step::Event(id)) => id,
            Ok(Step::Progressed) => continue,
            Ok(Step::NeedInput | Step::NeedOutput(_)) => {
                push(shared, &mut wire, &mut conn, &mut who);
                if wire.exchange() {
                    continue;
                }
                return;
            }
            Ok(Step::Closed(_)) | Err(_) => return wire.flush(),
        };
        let event = conn.event(&wire.rx, id).unwrap();
        let (ticket, answer) = match event {
            Event::Admit { ticket, .. } => (ticket, Answer::Admit),
            Event::Established(Peer::Device(key)) => {
                who.device = key.to_vec();
                continue;
            }
            Event::Auth { request, ticket } => {
                (ticket, Answer::Auth(authenticate(shared, &mut who, &request)))
            }
            Event::Message(message) => {
                let Some(replies) = respond(shared, &mut who, &message) else { return };
                for reply in replies {
                    reply.send(&mut wire, &mut conn);
                }
                continue;
            }
            Event::Established(_) => return,
        };
        let name = who.user.clone();
        let answer = match answer {
            Answer::Auth(result) if result.code == AuthCode::Ok => {
                Answer::Auth(AuthResult { username: &name, ..result })
            }
            other => other,
        };
        wire.io(|_, io| conn.answer(ticket, answer, io)).map_err(|_| Error::Truncated).unwrap();
    }
}

fn authenticate(shared: &Shared, who: &mut Who, request: &Auth<'_>) -> AuthResult<'static> {
    if Faults::take(&shared.faults.rate_limit_login) {
        return AuthResult::refusal(AuthCode::RateLimited, 7);
    }
    let mut state = shared.state();
    let user = request.username.to_ascii_lowercase();
    let granted = match request.method {
        AuthMethod::Register if state.passwords.contains_key(&user) => {
            return AuthResult::refusal(AuthCode::UsernameTaken, 0);
        }
        AuthMethod::Register => {
            state.passwords.insert(user.clone(), request.password.to_owned());
            Some(user)
        }
        AuthMethod::Password => {
            (state.passwords.get(&user).map(String::as_str) == Some(request.password)).then_some(user)
        }
        AuthMethod::Device => state.devices.get(&who.device).cloned(),
        AuthMethod::Claim => None,
    };
    let Some(user) = granted else { return AuthResult::refusal(AuthCode::Denied, 0) };
    state.devices.insert(who.device.clone(), user.clone());
    who.delivered = state.acked.get(&user).copied().unwrap_or(0);
    who.user = user;
    AuthResult { code: AuthCode::Ok, retry_after: 0, device: 1, pending: 0, username: "" }
}

/// Answers, owned, so that the record they came from is no longer borrowed.
enum Reply {
    Accepted([u8; 16], u64),
    Refused([u8; 16], Code),
    Done(u32, Code),
    Rooms(u32, Vec<(String, u16, bool)>),
    Users(u32, Vec<String>),
    Policy,
}

impl Reply {
    fn send<S: Suite>(&self, wire: &mut Wire<'_>, conn: &mut Conn<Server, S>) {
        let mut put = |message: &Message<'_>| wire.io(|_, io| conn.send(message, io)).unwrap();
        match self {
            Self::Accepted(id, number) => {
                put(&Message::Accepted(Accepted { id: *id, number: *number, time: 1_000 }))
            }
            Self::Refused(id, code) => {
                put(&Message::Refused(Refused { id: *id, code: *code, retry_after: 0 }))
            }
            Self::Done(tag, code) => put(&Message::Done(Done { tag: *tag, code: *code, retry_after: 0 })),
            Self::Rooms(tag, rooms) => {
                let items: Vec<RoomEntry<'_>> = rooms
                    .iter()
                    .map(|(room, members, joined)| RoomEntry {
                        room: RoomName::new(room).unwrap(),
                        members: *members,
                        joined: *joined,
                    })
                    .collect();
                put(&Message::Rooms(Page { tag: *tag, more: false, items: List::Items(&items) }));
            }
            Self::Users(tag, users) => {
                let items: Vec<UserEntry<'_>> = users
                    .iter()
                    .map(|user| UserEntry { user: Username::new(user).unwrap(), online: true })
                    .collect();
                put(&Message::Users(Page { tag: *tag, more: false, items: List::Items(&items) }));
            }
            Self::Policy => put(&Message::Policy(Policy {
                registration: Registration::Open,
                username_min: 3,
                username_max: 32,
                password_min: 10,
                password_score: 2,
                max_body: 15_360,
                server_name: "test\x1b[31m",
                rules: Text("Be kind."),
                domains: List::Items(&[]),
            })),
        }
    }
}

/// `None` cuts the connection.
fn respond(shared: &Shared, who: &mut Who, message: &Message<'_>) -> Option<Vec<Reply>> {
    let mut state = shared.state();
    let reply = match message {
        Message::GetPolicy(()) => Reply::Policy,
        Message::Send(send) => {
            state.sends.push(send.id);
            let known =
                state.messages.iter().find(|m| m.id == send.id && m.sender == who.user).map(|m| m.number);
            let exists = match send.target {
                WireTarget::User(user) => state.passwords.contains_key(user.as_str()),
                WireTarget::Room(room) => state.rooms.contains_key(room.as_str()),
            };
            if !exists {
                return Some(vec![Reply::Refused(send.id, Code::NotFound)]);
            }
            let number = known.unwrap_or_else(|| {
                let number = state.messages.len() as u64 * 3 + 1;
                let (sender, target) = (who.user.clone(), Target::from(send.target));
                state.messages.push(Stored {
                    number,
                    id: send.id,
                    sender,
                    target,
                    body: send.body.0.to_vec(),
                });
                number
            });
            if Faults::take(&shared.faults.cut_after_send) {
                return None;
            }
            who.told.push((number, send.id));
            Reply::Accepted(send.id, number)
        }
        Message::Receive(receive) => {
            who.receiving = receive.window > 0;
            return Some(vec![]);
        }
        Message::Ack(ack) => {
            if Faults::take(&shared.faults.cut_before_ack) {
                return None;
            }
            let user = who.user.clone();
            let acked = state.acked.entry(user).or_default();
            *acked = ack.number.max(*acked);
            return Some(vec![]);
        }
        Message::Join(join) => {
            state.rooms.entry(join.room.as_str().to_owned()).or_default().insert(who.user.clone());
            Reply::Done(join.tag, Code::Ok)
        }
        Message::Leave(leave) => {
            let left =
                state.rooms.get_mut(leave.room.as_str()).is_some_and(|members| members.remove(&who.user));
            Reply::Done(leave.tag, if left { Code::Ok } else { Code::NotMember })
        }
        Message::ListRooms(list) => Reply::Rooms(
            list.tag,
            state.rooms.iter().map(|(r, m)| (r.clone(), m.len() as u16, m.contains(&who.user))).collect(),
        ),
        Message::ListMembers(list) => match state.rooms.get(list.room.as_str()) {
            Some(members) => Reply::Users(list.tag, members.iter().cloned().collect()),
            None => Reply::Done(list.tag, Code::NotFound),
        },
        Message::Who(list) => Reply::Users(list.tag, vec![who.user.clone()]),
        _ => return Some(vec![]),
    };
    Some(vec![reply])
}

/// Delivers what is new, and tells what was delivered.
fn push<S: Suite>(shared: &Shared, wire: &mut Wire<'_>, conn: &mut Conn<Server, S>, who: &mut Who) {
    let state = shared.state();
    let acked =
        |number: u64| state.acked.iter().any(|(user, through)| *user != who.user && *through >= number);
    let told: Vec<_> = who.told.iter().copied().filter(|(number, _)| acked(*number)).collect();
    who.told.retain(|entry| !told.contains(entry));
    for (_, id) in told {
        let message = Message::Delivered(Delivered { id, time: 2_000 });
        wire.io(|_, io| conn.send(&message, io)).unwrap();
    }
    if !who.receiving {
        return;
    }
    let delivered = who.delivered;
    for stored in state.messages.iter().filter(|m| m.number > delivered) {
        let mine = match &stored.target {
            Target::User(user) => *user == who.user,
            Target::Room(room) => {
                stored.sender != who.user && state.rooms.get(room).is_some_and(|m| m.contains(&who.user))
            }
        };
        who.delivered = stored.number;
        if !mine {
            continue;
        }
        let message = Message::Deliver(Deliver {
            number: stored.number,
            id: stored.id,
            time: 3_000,
            sender: Username::new(&stored.sender).unwrap(),
            target: stored.target.borrowed().unwrap(),
            format: 0,
            total: stored.body.len() as u16,
            offset: 0,
            part: Opaque(&stored.body),
        });
        if wire.io(|_, io| conn.send(&message, io)).is_err() {
            return;
        }
    }
}
