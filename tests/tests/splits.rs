//! The stream may arrive in any pieces; every message has one phase and one direction.

use sordino_core::config::Millis;
use sordino_core::error::{Error, PeerFault};
use sordino_core::event::Closed;
use sordino_core::identity::ServedSuite;
use sordino_core::messages::{
    Accepted, Ack, Close, CloseReason, Code, Delivered, Done, EnrolBoard, ListMembers, ListRequest, Message,
    Notice, NoticeLevel, Page, Ping, Policy, Receive, Refused, Registration, RevokeBoard, RoomEvent,
    RoomEventKind, RoomRequest, Welcome,
};
use sordino_core::record::{Direction, bucket_for};
use sordino_core::wire::{List, Text};
use sordino_core::{Suite, Suite1};
use sordino_tests::both_suites;
use sordino_tests::pair::forge::{Keys, aad, inner, record};
use sordino_tests::pair::lane::frames;
use sordino_tests::pair::script::{
    Act, PASSWORD_AUTH, WELCOME, admit_all, bob, deliver, lobby, send, silent, talkative_client,
    talkative_server,
};
use sordino_tests::pair::{
    Machine, Memory, Outcome, Pair, Party, Recording, Script, Seen, Setup, lone_client, lone_server,
};

const NOW: Millis = 1_000;

both_suites! {
    every_split_in_two
    every_chunk_size
    every_kind_in_every_phase_and_direction
    malformed_bodies
}

/// Red if a step looks at bytes that have not come, or forgets those that have. Suite 2, whose exponentiations cost three
/// times as much, is split at every byte around the borders of messages, and at every seventh elsewhere.
fn every_split_in_two<S: ServedSuite>() {
    let whole = Recording::of_suite::<S>();
    let setup = Recording::setup();
    let mut memory = Memory::default();
    let server = lone_server::<S>(&mut memory, &setup, talkative_server());
    split_everywhere(server, || talkative_server(), [&whole.up, &whole.down], &whole.server);
    let mut memory = Memory::default();
    let client = lone_client::<S>(&mut memory, &setup, talkative_client());
    split_everywhere(client, || talkative_client(), [&whole.down, &whole.up], &whole.client);
}

fn split_everywhere<M: Machine>(
    mut party: Party<'_, M>,
    script: fn() -> Script<'static>,
    [received, written]: [&[u8]; 2],
    (log, outcome): &(Vec<Seen>, Option<Outcome>),
) {
    let mut memory = Memory::default();
    party.settle(NOW);
    let mut output = party.take(usize::MAX);
    let handshake = if M::CONNECTS { 2 } else { 3 };
    let starts = frames(received, handshake).into_iter().scan(0, |end, frame| {
        let start = *end;
        *end += frame.len();
        Some(start)
    });
    let borders: Vec<usize> = starts.collect();
    for at in 0..received.len() {
        let near_border = borders.iter().any(|border| (border.saturating_sub(2)..border + 9).contains(&at));
        if M::Suite::ID == Suite1::ID || near_border || at.is_multiple_of(7) {
            let mut rest = party.fork(&mut memory, script());
            rest.feed(&received[at..], NOW);
            let seen: Vec<_> = party.log.iter().chain(&rest.log).cloned().collect();
            assert_eq!((&seen, &rest.outcome), (log, outcome), "split at {at}");
            assert!([&output[..], rest.end.tx.pending()].concat() == written, "split at {at}: other bytes");
        }
        party.feed(&received[at..=at], NOW);
        output.extend(party.take(usize::MAX));
    }
    assert_eq!((&party.log, &party.outcome), (log, outcome), "byte by byte");
    assert!(output == written);
}

/// The same through the wire, where the output is also taken in pieces.
fn every_chunk_size<S: ServedSuite>() {
    let whole = Recording::of_suite::<S>();
    for chunk in [1, 2, 3, 7, 16, 63, 64, 65, 100, 511, 1000, 4096] {
        for [up, down] in [[chunk, chunk], [chunk, usize::MAX], [usize::MAX, chunk]] {
            let mut memory = Memory::sized(2048, 4096);
            let scripts = [talkative_client(), talkative_server()];
            let mut pair = Pair::<S>::new(&mut memory, &Recording::setup(), scripts);
            (pair.up.chunk, pair.down.chunk) = (up, down);
            pair.run();
            assert_eq!((pair.client.log, pair.client.outcome), whole.client, "{up}, {down}");
            assert_eq!((pair.server.log, pair.server.outcome), whole.server, "{up}, {down}");
            assert!(pair.up.sent == whole.up && pair.down.sent == whole.down, "{up}, {down}");
        }
    }
}

/// Who may send a message, and when.
#[derive(Clone, Copy, PartialEq)]
enum Sender {
    Both,
    Client,
    Server,
}

#[derive(Clone, Copy, PartialEq)]
enum When {
    Any,
    Login,
    Ready,
}

/// Section 7's table, with a body for each type.
fn table() -> Vec<(Message<'static>, Sender, When)> {
    use Sender::{Both, Client, Server};
    use When::{Any, Login, Ready};
    let list = ListRequest { tag: 1, after: "" };
    let room = RoomRequest { tag: 1, room: lobby() };
    let enrol = EnrolBoard { tag: 1, board: bob(), lookup: [1; 32], proof: [2; 32], lifetime: 60 };
    let policy = Policy {
        registration: Registration::Open,
        username_min: 3,
        username_max: 32,
        password_min: 8,
        password_score: 2,
        max_body: 15_360,
        server_name: "here",
        rules: Text("be kind"),
        domains: List::Items(&[]),
    };
    vec![
        (Message::Close(Close { reason: 1, received: 0 }), Both, Any),
        (Message::Ping(Ping { token: 1 }), Both, Any),
        (Message::Pong(Ping { token: 1 }), Both, Any),
        (Message::Auth(PASSWORD_AUTH), Client, Login),
        (Message::AuthResult(WELCOME), Server, Login),
        (Message::GetPolicy(()), Client, Any),
        (Message::Policy(policy), Server, Any),
        (Message::Notice(Notice { level: NoticeLevel::Info, text: Text("hi") }), Server, Any),
        (Message::Welcome(Welcome { owner: bob(), proof: [7; 32] }), Server, Ready),
        (send(b"x"), Client, Ready),
        (Message::Accepted(Accepted { id: [1; 16], number: 1, time: 1 }), Server, Ready),
        (Message::Refused(Refused { id: [1; 16], code: Code::NotFound, retry_after: 0 }), Server, Ready),
        (Message::Delivered(Delivered { id: [1; 16], time: 1 }), Server, Ready),
        (Message::Receive(Receive { window: 1 }), Client, Ready),
        (deliver(1, b"x"), Server, Ready),
        (Message::Ack(Ack { number: 1 }), Client, Ready),
        (Message::Join(room), Client, Ready),
        (Message::Leave(room), Client, Ready),
        (Message::Done(Done { tag: 1, code: Code::Ok, retry_after: 0 }), Server, Ready),
        (Message::ListRooms(list), Client, Ready),
        (Message::Rooms(Page { tag: 1, more: false, items: List::Items(&[]) }), Server, Ready),
        (Message::ListMembers(ListMembers { tag: 1, room: lobby(), after: "" }), Client, Ready),
        (Message::Who(list), Client, Ready),
        (Message::Users(Page { tag: 1, more: false, items: List::Items(&[]) }), Server, Ready),
        (
            Message::RoomEvent(RoomEvent { event: RoomEventKind::Joined, room: lobby(), user: bob() }),
            Server,
            Ready,
        ),
        (Message::EnrolBoard(enrol), Client, Ready),
        (Message::RevokeBoard(RevokeBoard { tag: 1, board: bob() }), Client, Ready),
        (Message::ListBoards(list), Client, Ready),
        (Message::Boards(Page { tag: 1, more: false, items: List::Items(&[]) }), Server, Ready),
    ]
}

/// An end of a connection that expects the record `sequence` of `direction`, and what a forger needs.
struct Stand<'p, 'm, M> {
    party: &'p Party<'m, M>,
    secrets: &'p [Vec<u8>; 2],
    direction: Direction,
    /// Records received and sent so far.
    counts: [u64; 2],
}

impl<M: Machine> Stand<'_, '_, M> {
    /// Lets a twin receive an authentic record; the twin, and the bytes of its answer.
    fn receive<'n>(&self, kind: u8, body: &[u8], memory: &'n mut Memory) -> (Party<'n, M>, Vec<u8>) {
        let bucket = bucket_for(body.len()).unwrap();
        let inner = inner(kind, body, bucket);
        let secret = &self.secrets[self.direction as usize];
        let record = record::<M::Suite>(secret, self.direction, self.counts[0], &inner);
        let mut twin = self.party.fork(memory, silent());
        twin.feed(&record, NOW);
        let answer = twin.take(usize::MAX);
        (twin, answer)
    }

    /// Opens the one record that an end has answered.
    fn opened(&self, answer: &[u8]) -> Vec<u8> {
        let back =
            if self.direction == Direction::ToServer { Direction::ToClient } else { Direction::ToServer };
        let data = aad(back, self.counts[1], answer.len() - 2);
        let keys = Keys::of_epoch::<M::Suite>(&self.secrets[back as usize]);
        keys.open::<M::Suite>(self.counts[1], &data, &answer[2..]).expect("one record, and authentic")
    }

    fn closes_for_protocol(&self, kind: u8, body: &[u8], fault: PeerFault, memory: &mut Memory) {
        let (twin, answer) = self.receive(kind, body, memory);
        assert_eq!(twin.outcome, Some(Err(Error::Peer(fault))), "type {kind}");
        assert!(twin.log.is_empty(), "type {kind}");
        if kind == 1 {
            assert!(answer.is_empty(), "a CLOSE is never answered");
            return;
        }
        // CLOSE 4, with the count of opened records, this one included.
        let count = (self.counts[0] + 1).to_be_bytes();
        assert_eq!(self.opened(&answer)[..12], [&[1, 0, 9, 4][..], &count].concat(), "type {kind}");
    }

    fn tries_everything(&self, phase: When, memory: &mut Memory) {
        let sender = if self.direction == Direction::ToServer { Sender::Client } else { Sender::Server };
        let table = table();
        for kind in 0..=u8::MAX {
            let known = table.iter().find(|(message, ..)| message.kind() == kind);
            let Some((message, from, when)) = known else {
                self.closes_for_protocol(kind, &[], PeerFault::UnexpectedMessage, memory);
                continue;
            };
            let Seen::Message(_, body) = Seen::message(message) else { unreachable!() };
            if (*from != Sender::Both && *from != sender) || (*when != When::Any && *when != phase) {
                self.closes_for_protocol(kind, &body, PeerFault::UnexpectedMessage, memory);
                continue;
            }
            let (twin, answer) = self.receive(kind, &body, memory);
            match message {
                Message::Close(_) => {
                    assert_eq!(twin.outcome, Some(Ok(Closed::ByPeer(CloseReason::Bye))));
                    assert!(answer.is_empty());
                }
                Message::Ping(_) => assert_eq!(self.opened(&answer)[..3], [3, 0, 8]),
                Message::Pong(_) => assert!(twin.log.is_empty() && twin.outcome.is_none()),
                Message::Auth(_) => assert!(matches!(twin.log[..], [Seen::Auth(..)])),
                message => {
                    assert_eq!(twin.log, [Seen::message(message)], "type {kind}");
                    assert_eq!(twin.outcome, None);
                }
            }
        }
    }
}

/// Red if `allowed` lets a type pass in another direction or phase than the document's table, or an unknown one.
fn every_kind_in_every_phase_and_direction<S: ServedSuite>() {
    let mut spare = Memory::default();
    let mut memory = Memory::default();
    let mut pair = Pair::<S>::new(&mut memory, &Setup::default(), [silent(), admit_all()]);
    pair.run();
    let secrets = pair.known().epoch_0;
    let stand =
        Stand { party: &pair.server, secrets: &secrets, direction: Direction::ToServer, counts: [0, 0] };
    stand.tries_everything(When::Login, &mut spare);
    // A client takes AUTH_RESULT only as the answer of an AUTH.
    let stand =
        Stand { party: &pair.client, secrets: &secrets, direction: Direction::ToClient, counts: [0, 0] };
    let Seen::Message(_, result) = Seen::message(&Message::AuthResult(WELCOME)) else { unreachable!() };
    stand.closes_for_protocol(17, &result, PeerFault::UnexpectedMessage, &mut spare);
    let auth = Act::Send(Message::Auth(PASSWORD_AUTH));
    pair.client.act(auth, NOW);
    let record = pair.client.take(usize::MAX);
    let stand =
        Stand { party: &pair.client, secrets: &secrets, direction: Direction::ToClient, counts: [0, 1] };
    stand.tries_everything(When::Login, &mut spare);
    pair.server.feed(&record, NOW);
    pair.client.feed(&pair.server.take(usize::MAX), NOW);

    let stand =
        Stand { party: &pair.server, secrets: &secrets, direction: Direction::ToServer, counts: [1, 1] };
    stand.tries_everything(When::Ready, &mut spare);
    let stand =
        Stand { party: &pair.client, secrets: &secrets, direction: Direction::ToClient, counts: [1, 1] };
    stand.tries_everything(When::Ready, &mut spare);
}

/// Red if a body may be longer than its fields, or shorter: CLOSE 4 in each case.
fn malformed_bodies<S: ServedSuite>() {
    let (mut memory, mut spare) = (Memory::default(), Memory::default());
    let pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let secrets = pair.known().epoch_0;
    let server =
        Stand { party: &pair.server, secrets: &secrets, direction: Direction::ToServer, counts: [1, 1] };
    let client =
        Stand { party: &pair.client, secrets: &secrets, direction: Direction::ToClient, counts: [1, 1] };
    for (message, from, when) in table() {
        let Seen::Message(kind, body) = Seen::message(&message) else { unreachable!() };
        let longer = [&body[..], &[0]].concat();
        let shorter = &body[..body.len().saturating_sub(1)];
        for wrong in [&longer[..], shorter] {
            if wrong == body || when == When::Login {
                continue;
            }
            if from != Sender::Server {
                server.closes_for_protocol(kind, wrong, PeerFault::MalformedMessage, &mut spare);
            }
            if from != Sender::Client {
                client.closes_for_protocol(kind, wrong, PeerFault::MalformedMessage, &mut spare);
            }
        }
    }
    // The reason of a CLOSE is for people: an unknown one closes too.
    let (twin, answer) = server.receive(1, &[200, 0, 0, 0, 0, 0, 0, 0, 0], &mut spare);
    assert_eq!(twin.outcome, Some(Ok(Closed::ByPeer(CloseReason::Other))));
    assert!(answer.is_empty());
}

/// The table here has every type that the core knows.
#[test]
fn table_is_whole() {
    use sordino_core::messages::{Phase, allowed};
    let known = (0..=u8::MAX).filter(|kind| {
        [Direction::ToServer, Direction::ToClient]
            .iter()
            .any(|way| [Phase::Login, Phase::Ready].iter().any(|phase| allowed(*kind, *way, *phase)))
    });
    let listed: Vec<u8> = table().iter().map(|(message, ..)| message.kind()).collect();
    assert_eq!(known.collect::<Vec<_>>(), listed);
}
