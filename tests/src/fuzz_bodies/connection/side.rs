//! The side under test: each call with what must hold before and after it.

use sordino_core::config::{CONTROL_RECORD, Millis};
use sordino_core::error::{Error, Misuse, PeerFault, SendError};
use sordino_core::event::{AnswerError, Closed, EventId, Ticket};
use sordino_core::messages::{CloseReason, Message};
use sordino_core::{Answer, Conn, Event, Io, RxBuf, Step, Suite, TxBuf};

use super::super::peers::see;
use super::stages::{Recorded, Side, Stage};
use super::wire::Wire;
use crate::pair::party::{End, twin};
use crate::pair::setup::Seeded;

/// Steps without room that are compared with one that has it: that may cost two handshakes each.
const MOST_COMPARED: usize = 2;

/// How a connection ended.
type Outcome = Result<Closed, Error>;

/// An event that a ticket or a look refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    Admit,
    Auth,
    Other,
}

/// The connection, its buffers, and what is known of it.
pub struct Tested<'m, R: Side, S: Suite> {
    conn: Conn<R, S>,
    pub end: End<'m>,
    pub now: Millis,
    pub wire: Wire<S>,
    pub outcome: Option<Outcome>,
    /// What the latest step has shown, until the next one.
    current: Option<(EventId, Shown)>,
    unanswered: bool,
    pub last: Option<EventId>,
    pub tickets: Vec<(Ticket, EventId)>,
    /// The reason of the CLOSE that must stand in the output.
    closes: Option<CloseReason>,
    /// Steps that did something.
    steps: usize,
    /// Steps that needed room.
    asked: usize,
}

/// What a call finds.
struct Before {
    pending: Vec<u8>,
    timeout: Option<Millis>,
    handshaking: bool,
    ready: bool,
}

impl<'m, R: Side, S: Recorded> Tested<'m, R, S> {
    pub fn new(stage: &Stage<R, S>, rx: &'m mut [u8], tx: &'m mut [u8], now: Millis) -> Self {
        let (conn, rng, to_side, from_side) = stage.begin();
        Self {
            conn,
            end: End { rx: RxBuf::new(rx), tx: TxBuf::new(tx), rng },
            now,
            wire: Wire::new(&stage.hears, &stage.says, to_side, from_side),
            outcome: None,
            current: None,
            unanswered: false,
            last: None,
            tickets: Vec::new(),
            closes: None,
            steps: 0,
            asked: 0,
        }
    }

    fn before(&self) -> Before {
        Before {
            pending: self.end.tx.pending().to_vec(),
            timeout: self.conn.poll_timeout(),
            handshaking: self.conn.is_handshaking(),
            ready: self.conn.is_ready(),
        }
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Conn<R, S>, &mut RxBuf<'m>, &mut Io<'_, 'm>) -> T) -> T {
        let conn = &mut self.conn;
        self.end.with(self.now, |rx, io| call(conn, rx, io))
    }

    /// What holds after every call: old output stays, new output is what the peer understands, CLOSE has room.
    fn check(&mut self, before: &Before) {
        let pending = self.end.tx.pending();
        let new = pending.strip_prefix(&before.pending[..]).expect("written output stays").to_vec();
        if before.handshaking {
            self.wire.hear_handshake(&new);
        } else {
            self.wire.hear_records(&new);
        }
        let open = !self.conn.is_handshaking() && self.outcome.is_none();
        assert!(!open || self.end.tx.free() >= CONTROL_RECORD, "no room for a CLOSE");
        assert_eq!(self.conn.poll_timeout().is_none(), self.outcome.is_some());
    }

    fn check_unchanged(&mut self, before: &Before) {
        assert_eq!(self.end.tx.pending(), before.pending, "the output has changed");
        assert_eq!(self.conn.poll_timeout(), before.timeout, "the deadline has moved");
        self.check(before);
    }

    /// The connection is over; `closes` is the reason of its CLOSE.
    fn over(&mut self, outcome: Outcome, closes: Option<CloseReason>) {
        self.outcome = Some(outcome);
        self.closes = closes;
        self.current = None;
        self.unanswered = false;
    }

    /// Puts so many bytes of the wire into the receive buffer, or as many as find room.
    pub fn deliver(&mut self, most: usize) -> usize {
        if self.end.rx.ended() {
            return 0;
        }
        let waiting = self.wire.waiting();
        let spare = self.end.rx.spare();
        let len = waiting.len().min(most).min(spare.len());
        spare[..len].copy_from_slice(&waiting[..len]);
        self.end.rx.commit(len);
        self.wire.delivered += len;
        len
    }

    /// Takes a step. Whether another may do something.
    pub fn step(&mut self) -> bool {
        let before = self.before();
        let twins = before.handshaking.then(|| (twin(&self.conn), self.end.rx.unconsumed().to_vec()));
        let random = self.end.rng.0;
        let lent = self.current.take().is_some() || self.steps > 0;
        let refused = std::mem::take(&mut self.unanswered);
        let step = self.call(|conn, rx, io| conn.step(rx, io));
        if refused {
            assert_eq!(step, Err(Error::Misuse(Misuse::Unanswered)), "a step although an answer was due");
        }
        match step {
            Ok(Step::NeedInput) => self.needs_input(&before),
            Ok(Step::NeedOutput(room)) => {
                let (earlier, received) = twins.expect("records wait for no room");
                let needed = usize::try_from(room.needed).expect("small");
                assert!((self.end.tx.free() + 1..=self.end.tx.capacity()).contains(&needed));
                assert_eq!(self.end.rng.0, random);
                assert!(received.ends_with(self.end.rx.unconsumed()));
                assert!(lent || self.end.rx.unconsumed() == received);
                self.check_unchanged(&before);
                self.check_goes_on(earlier, &received);
            }
            Ok(Step::Progressed) => self.steps += 1,
            Ok(Step::Event(id)) => {
                self.steps += 1;
                self.show(id);
            }
            Ok(Step::Closed(closed)) => self.closed(closed),
            Err(error) => self.failed(error, &before),
        }
        self.check(&before);
        // A message of a bundle has three bytes at least, and five steps of a handshake consume nothing.
        assert!(self.steps <= 5 + self.wire.delivered / 3, "{} steps: it spins", self.steps);
        matches!(step, Ok(Step::Progressed | Step::Event(_)))
    }

    fn needs_input(&mut self, before: &Before) {
        assert!(!self.end.rx.ended(), "waits for input behind the end of the stream");
        assert!(!self.end.rx.spare().is_empty(), "waits for input into a full buffer");
        assert_eq!(self.conn.poll_timeout(), before.timeout);
        if !self.wire.is_broken() {
            let left = self.wire.delivered - self.wire.whole();
            assert_eq!(self.end.rx.unconsumed().len(), left, "something whole was left lying");
        }
        let pending = self.end.tx.pending().to_vec();
        let received = self.end.rx.unconsumed().to_vec();
        assert_eq!(self.call(|conn, rx, io| conn.step(rx, io)), Ok(Step::NeedInput));
        assert_eq!(self.end.tx.pending(), pending, "writes without cause");
        assert_eq!(self.end.rx.unconsumed(), received);
    }

    /// After NEED_OUTPUT a connection does with room what it would have done without asking.
    fn check_goes_on(&mut self, earlier: Conn<R, S>, received: &[u8]) {
        let again = self.call(|conn, rx, io| conn.step(rx, io));
        assert!(matches!(again, Ok(Step::NeedOutput(_))), "{again:?} without room");
        self.asked += 1;
        if self.asked > MOST_COMPARED {
            return;
        }
        let (now, ended) = (self.now, self.end.rx.ended());
        let rng = &self.end.rng;
        let later = with_room(twin(&self.conn), self.end.rx.unconsumed(), ended, rng.clone(), now);
        assert!(later == with_room(earlier, received, ended, rng.clone(), now), "asking for room changed it");
        assert!(!matches!(later.0, Ok(Step::NeedOutput(_))), "more room does not help");
    }

    fn show(&mut self, id: EventId) {
        let event = self.conn.event(&self.end.rx, id).expect("the event of this step");
        let shown = match event {
            Event::Admit { ticket, .. } => {
                self.tickets.push((ticket, id));
                Shown::Admit
            }
            Event::Auth { ticket, request } => {
                self.tickets.push((ticket, id));
                let seen = see(&Message::Auth(request));
                self.wire.shown(seen[0], &seen[1..]);
                Shown::Auth
            }
            Event::Established(_) => Shown::Other,
            Event::Message(message) => {
                let seen = see(&message);
                self.wire.shown(seen[0], &seen[1..]);
                Shown::Other
            }
        };
        self.unanswered = shown != Shown::Other;
        self.current = Some((id, shown));
        self.last = Some(id);
    }

    fn closed(&mut self, closed: Closed) {
        let Closed::ByPeer(reason) = closed else { panic!("{closed:?} out of nothing") };
        self.wire.closed_by_peer(reason);
        self.over(Ok(closed), None);
    }

    fn failed(&mut self, error: Error, before: &Before) {
        let closes = match error {
            Error::Peer(PeerFault::UnexpectedMessage | PeerFault::MalformedMessage) => {
                self.wire.fault(before.ready).then_some(CloseReason::Protocol)
            }
            Error::Misuse(Misuse::Unanswered) => (!before.handshaking).then_some(CloseReason::Overloaded),
            Error::Truncated => {
                assert!(self.end.rx.ended());
                None
            }
            Error::Peer(_) | Error::Incompatible(_) | Error::Refused(_) => {
                assert!(self.wire.is_broken(), "{error:?} between honest sides");
                None
            }
            _ => panic!("{error:?} in a step"),
        };
        self.over(Err(error), closes);
    }

    /// Looks at an event: only the latest one, until it is answered, is still there.
    pub fn look(&mut self, id: EventId) {
        let shown = self.current.filter(|(current, _)| *current == id).map(|(_, shown)| shown);
        let there = shown.is_some_and(|shown| shown == Shown::Other || self.unanswered);
        match self.conn.event(&self.end.rx, id) {
            Ok(Event::Admit { ticket, .. } | Event::Auth { ticket, .. }) => {
                assert!(there && shown != Some(Shown::Other));
                self.tickets.push((ticket, id));
            }
            Ok(_) => assert!(there && shown == Some(Shown::Other)),
            Err(error) => assert!(!there && error == Error::Misuse(Misuse::Stale), "{error:?}"),
        }
    }

    pub fn send(&mut self, message: &Message<'_>) {
        self.send_by(&[*message], |conn, io| conn.send(message, io).map(|()| 1));
    }

    pub fn send_bundle(&mut self, messages: &[Message<'_>]) {
        self.send_by(messages, |conn, io| conn.send_bundle(messages.iter().copied(), io));
    }

    /// Sends messages, from the first on; the call says how many.
    fn send_by(
        &mut self,
        messages: &[Message<'_>],
        send: impl FnOnce(&mut Conn<R, S>, &mut Io<'_, 'm>) -> Result<usize, SendError>,
    ) {
        let before = self.before();
        match self.call(|conn, _, io| send(conn, io)) {
            Ok(sent) => {
                assert!(!before.handshaking && self.outcome.is_none());
                assert!((1..=messages.len()).contains(&sent));
                for message in &messages[..sent] {
                    let seen = see(message);
                    if !matches!(message, Message::Ping(_) | Message::Pong(_)) {
                        self.wire.sent.push_back((seen[0], seen[1..].to_vec()));
                    }
                }
                assert_eq!(self.conn.poll_timeout(), before.timeout);
                self.check(&before);
            }
            Err(error) => {
                let free = u32::try_from(self.end.tx.free()).expect("small");
                assert!(
                    !matches!(error, SendError::NoRoom(room) if room.needed <= free),
                    "{error:?}: {free} free"
                );
                assert!(error != SendError::Exhausted);
                assert_eq!(error == SendError::Closed, self.outcome.is_some());
                assert!(!before.handshaking || error == SendError::NotAllowed);
                self.check_unchanged(&before);
            }
        }
    }

    /// Gives an answer with the ticket of an event. `refuses` counts towards the three refusals.
    pub fn answer(&mut self, (ticket, id): (Ticket, EventId), answer: Answer<'_>) {
        let before = self.before();
        let shown =
            self.current.filter(|(current, _)| *current == id && self.unanswered).map(|(_, shown)| shown);
        let answered = self.call(|conn, _, io| R::answer(conn, ticket, answer, io));
        match (answered, shown, answer) {
            (Err(AnswerError::Ended), _, _) => assert!(self.outcome.is_some()),
            (Err(AnswerError::Failed(Error::Misuse(Misuse::Stale))), None, _) => {}
            (Ok(()), Some(Shown::Admit), Answer::Admit) => self.unanswered = false,
            (Ok(()), Some(Shown::Admit), Answer::Busy) => {
                self.over(Ok(Closed::Here(CloseReason::Overloaded)), None);
            }
            (Ok(()), Some(Shown::Auth), Answer::Auth(result)) => {
                self.unanswered = false;
                let seen = see(&Message::AuthResult(result));
                self.wire.sent.push_back((seen[0], seen[1..].to_vec()));
                if self.conn.poll_timeout().is_none() {
                    let reason = CloseReason::AuthFailed;
                    self.over(Ok(Closed::Here(reason)), Some(reason));
                }
            }
            (Err(AnswerError::NoRoom(ticket, room)), Some(Shown::Auth), Answer::Auth(_)) => {
                assert!(usize::try_from(room.needed).expect("small") > self.end.tx.free());
                self.tickets.push((ticket, id));
                self.check_unchanged(&before);
            }
            (Err(AnswerError::Failed(Error::Misuse(Misuse::WrongAnswer))), Some(_), _) => {
                self.check_unchanged(&before);
            }
            (answered, ..) => panic!("{answered:?} to {answer:?} at {shown:?}"),
        }
        self.check(&before);
    }

    pub fn close(&mut self, reason: CloseReason) {
        let before = self.before();
        self.call(|conn, _, io| conn.close(reason, io));
        if self.outcome.is_none() {
            self.over(Ok(Closed::Here(reason)), (!before.handshaking).then_some(reason));
            self.check(&before);
        } else {
            self.check_unchanged(&before);
        }
    }

    /// Lets time pass, and handles what is due; nothing is due before its time, nor still due afterwards.
    pub fn wait(&mut self, span: Millis) {
        self.now = self.now.saturating_add(span);
        let before = self.before();
        let done = self.call(|conn, _, io| conn.handle_timeout(io));
        if let Some(outcome) = self.outcome {
            assert_eq!(done, outcome.map(|_| ()));
            return self.check_unchanged(&before);
        }
        let due = before.timeout.is_some_and(|due| due <= self.now);
        match done {
            Err(error @ Error::Timeout(_)) if due => {
                self.over(Err(error), (!before.handshaking).then_some(CloseReason::Timeout));
            }
            Ok(()) if due && self.conn.poll_timeout().is_none() => {
                let reason = CloseReason::Expired;
                self.over(Ok(Closed::Here(reason)), Some(reason));
            }
            Ok(()) if due => assert!(self.conn.poll_timeout() > before.timeout.max(Some(self.now))),
            Ok(()) => self.check_unchanged(&before),
            Err(error) => panic!("{error:?} at a deadline"),
        }
        self.check(&before);
    }

    /// The end is the end: every call gives the same result and writes nothing.
    pub fn check_over(&mut self) {
        let outcome = self.outcome.expect("it goes on");
        let before = self.before();
        for _ in 0..2 {
            let step = self.call(|conn, rx, io| conn.step(rx, io));
            assert_eq!(step, outcome.map(Step::Closed));
        }
        self.send(&Message::GetPolicy(()));
        self.close(CloseReason::Bye);
        self.wait(1);
        if let Some(id) = self.last {
            self.look(id);
        }
        if let Some(ticket) = self.tickets.pop() {
            self.answer(ticket, Answer::Admit);
        }
        self.check_unchanged(&before);
        assert!(self.wire.sent.is_empty(), "sent and not written");
        assert_eq!(self.wire.goodbye.map(|(reason, _)| reason), self.closes.map(|reason| reason as u8));
        assert!(!self.conn.is_ready() && !self.conn.is_handshaking() && self.conn.max_body() == 0);
    }
}

/// A step with ample room: what it returned, wrote, and left in the receive buffer.
fn with_room<R: Side, S: Suite>(
    mut conn: Conn<R, S>,
    received: &[u8],
    ended: bool,
    mut rng: Seeded,
    now: Millis,
) -> (Result<Step, Error>, Vec<u8>, Vec<u8>) {
    let (mut memory, mut out) = (received.to_vec(), [0; 2048]);
    let mut rx = RxBuf::resume(&mut memory, received.len());
    if ended {
        rx.end();
    }
    let mut tx = TxBuf::new(&mut out);
    let step = conn.step(&mut rx, &mut Io { now, tx: &mut tx, rng: &mut rng });
    (step, tx.pending().to_vec(), rx.unconsumed().to_vec())
}
