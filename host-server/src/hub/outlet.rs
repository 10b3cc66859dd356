//! What one connection must be told, and how it is woken.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use atomic_waker::AtomicWaker;
use sordino_core::messages::{CloseReason, Code, NoticeLevel, RoomEventKind};

use super::answers::Answers;
use crate::store::MessageId;

/// Events that may wait; beyond them the connection doesn't read what it asked for and is closed. Answers
/// are bounded by the requests in flight, deliveries by the messages sent.
const EVENTS: usize = 4096;
/// Room events are dropped beyond so many waiting events: they are news, not stored.
const NEWS: usize = 256;

/// Something for the client other than a delivery.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    /// A message is durable: id, number, time in Unix milliseconds.
    Accepted(MessageId, u64, u64),
    /// A message was not taken; seconds to wait, or 0.
    Refused(MessageId, Code, u32),
    /// A receiver acknowledged a message; Unix milliseconds.
    Delivered(MessageId, u64),
    /// A request with this tag has ended; seconds to wait, or 0.
    Done(u32, Code, u32),
    /// Somebody came to a room or left it.
    RoomEvent(RoomEventKind, Arc<str>, Arc<str>),
    /// For the person.
    Notice(NoticeLevel, String),
}

/// What a connection takes from its outlet.
#[derive(Debug)]
pub enum Signal {
    /// To be sent in this order.
    Event(Outgoing),
    /// The mailbox has more.
    Mail,
    /// Close, for this reason.
    Close(CloseReason),
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Outgoing>,
    answers: Answers,
    mail: bool,
    close: Option<CloseReason>,
}

/// The hub's end of a connection.
#[derive(Debug, Default)]
pub struct Outlet {
    queue: Mutex<Queue>,
    waker: AtomicWaker,
}

/// Connections that have something new. They are woken when the state of the hub isn't locked any more, which they
/// need, and when all that there is for them is there.
#[derive(Debug, Default)]
pub struct Wakes {
    woken: Vec<Arc<Outlet>>,
    /// They hold answers back.
    holding: Vec<Arc<Outlet>>,
}

impl Wakes {
    /// Queues an event.
    pub fn tell(&mut self, outlet: &Arc<Outlet>, event: Outgoing) {
        if outlet.put(event) {
            self.woken.push(Arc::clone(outlet));
        }
    }

    /// Says that the mailbox has more.
    pub fn mail(&mut self, outlet: &Arc<Outlet>) {
        if outlet.put_mail() {
            self.woken.push(Arc::clone(outlet));
        }
    }

    /// Queues the answer to a message that is durable, or holds it back.
    pub fn answer(&mut self, outlet: &Arc<Outlet>, answer: Outgoing) {
        let (woken, holds) = outlet.put_answer(answer);
        if woken {
            self.woken.push(Arc::clone(outlet));
        }
        if holds {
            self.holding.push(Arc::clone(outlet));
        }
    }

    /// Wakes them all. Of those that it returns, [`Outlet::tick`] must be called.
    #[must_use]
    pub fn wake(self) -> Vec<Arc<Outlet>> {
        self.woken.iter().for_each(|outlet| outlet.waker.wake());
        self.holding
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && !self.mail && self.close.is_none()
    }

    /// Answers go along with whatever else there is.
    fn take_along(&mut self) {
        if !self.is_empty() {
            self.answers.take_along(&mut self.events);
        }
    }
}

impl Outlet {
    /// Queues an event.
    pub fn tell(&self, event: Outgoing) {
        if self.put(event) {
            self.waker.wake();
        }
    }

    /// Says that the mailbox has more.
    pub fn mail(&self) {
        if self.put_mail() {
            self.waker.wake();
        }
    }

    /// True if the connection must be woken: it looks at its queue until that is empty, so somebody has seen to it
    /// already if it is not.
    fn put(&self, event: Outgoing) -> bool {
        let mut queue = self.lock();
        let first = queue.is_empty();
        let waiting = queue.events.len();
        match event {
            Outgoing::RoomEvent(..) if waiting >= NEWS => return false,
            _ if waiting >= EVENTS => {
                queue.events.clear();
                queue.close.get_or_insert(CloseReason::Overloaded);
                return true;
            }
            event => queue.events.push_back(event),
        }
        first
    }

    /// As [`put`](Self::put); and whether [`tick`](Self::tick) must be called.
    fn put_answer(&self, answer: Outgoing) -> (bool, bool) {
        let mut queue = self.lock();
        let first = queue.is_empty();
        let Queue { events, answers, .. } = &mut *queue;
        let ticks = answers.put(answer, events, Instant::now());
        (first && !events.is_empty(), ticks)
    }

    /// To be called each [`TICK`](super::answers::TICK) while answers are held back. False: not any more.
    pub fn tick(&self) -> bool {
        let mut queue = self.lock();
        let first = queue.is_empty();
        let Queue { events, answers, .. } = &mut *queue;
        let goes_on = answers.tick(events, Instant::now());
        let woken = first && !events.is_empty();
        drop(queue);
        if woken {
            self.waker.wake();
        }
        goes_on
    }

    fn put_mail(&self) -> bool {
        let mut queue = self.lock();
        let first = queue.is_empty();
        queue.mail = true;
        first
    }

    /// Closes the connection; the first reason counts.
    pub fn close(&self, reason: CloseReason) {
        self.lock().close.get_or_insert(reason);
        self.waker.wake();
    }

    /// Takes the next signal: events first, then mail, then the end.
    pub fn take(&self) -> Option<Signal> {
        let mut queue = self.lock();
        queue.take_along();
        if let Some(event) = queue.events.pop_front() {
            return Some(Signal::Event(event));
        }
        if std::mem::take(&mut queue.mail) {
            return Some(Signal::Mail);
        }
        queue.close.take().map(Signal::Close)
    }

    /// Takes all events.
    pub fn take_events(&self) -> VecDeque<Outgoing> {
        let mut queue = self.lock();
        queue.take_along();
        std::mem::take(&mut queue.events)
    }

    /// Takes the end before everything else.
    pub fn take_close(&self) -> Option<CloseReason> {
        self.lock().close.take()
    }

    /// Ready when [`take_close`](Self::take_close) has something.
    pub fn poll_close(&self, context: &mut Context<'_>) -> Poll<()> {
        self.waker.register(context.waker());
        if self.lock().close.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Ready when [`take`](Self::take) has something.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        self.waker.register(context.waker());
        if self.lock().is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        // A queue is consistent between any two of its operations.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering::Relaxed},
        task::Wake,
    };

    use super::*;

    #[test]
    fn news_are_dropped_and_answers_are_not() {
        let outlet = Outlet::default();
        for n in 0..300 {
            outlet.tell(Outgoing::RoomEvent(RoomEventKind::Joined, "lobby".into(), "alice".into()));
            outlet.tell(Outgoing::Done(n, Code::Ok, 0));
        }
        let events: Vec<_> = std::iter::from_fn(|| outlet.take()).collect();
        assert_eq!(events.iter().filter(|s| matches!(s, Signal::Event(Outgoing::Done(..)))).count(), 300);
        assert_eq!(events.len(), 300 + 128);
    }

    #[test]
    fn a_client_that_takes_nothing_is_closed() {
        let outlet = Outlet::default();
        for _ in 0..=EVENTS {
            outlet.tell(Outgoing::Delivered([0; 16], 0));
        }
        assert!(matches!(outlet.take(), Some(Signal::Close(CloseReason::Overloaded))));
        assert!(outlet.take().is_none());
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }

    /// What goes along: the signals of a connection whose answer is held back, when something else comes.
    fn with_an_answer(other: impl FnOnce(&Outlet)) -> Vec<Signal> {
        let outlet = Arc::new(Outlet::default());
        let mut wakes = Wakes::default();
        let mut answer = |number| wakes.answer(&outlet, Outgoing::Accepted([0; 16], number, 0));
        (0..64).for_each(&mut answer);
        assert_eq!(outlet.take_events().len(), 64);
        answer(64);
        assert_eq!([wakes.woken.len(), wakes.holding.len()], [1; 2], "by the first; by the last");
        assert!(outlet.take().is_none(), "held back");
        assert!(outlet.take_events().is_empty());
        let woken = Arc::new(Woken::default());
        let waker = woken.clone().into();
        assert!(outlet.poll(&mut Context::from_waker(&waker)).is_pending());
        other(&outlet);
        assert!(woken.0.load(Relaxed));
        std::iter::from_fn(|| outlet.take()).collect()
    }

    #[test]
    fn answers_that_are_held_back_go_before_anything_else() {
        let is_answer = |signal: &Signal| matches!(signal, Signal::Event(Outgoing::Accepted(_, 64, _)));
        let done = with_an_answer(|outlet| outlet.tell(Outgoing::Done(1, Code::Ok, 0)));
        assert!(is_answer(&done[0]) && matches!(done[1..], [Signal::Event(Outgoing::Done(..))]));
        let mail = with_an_answer(Outlet::mail);
        assert!(is_answer(&mail[0]) && matches!(mail[1..], [Signal::Mail]));
        let close = with_an_answer(|outlet| outlet.close(CloseReason::ShuttingDown));
        assert!(is_answer(&close[0]) && matches!(close[1..], [Signal::Close(CloseReason::ShuttingDown)]));
        let late = with_an_answer(|outlet| assert_eq!([outlet.tick(), outlet.tick()], [true, false]));
        assert!(is_answer(&late[0]) && late.len() == 1);
    }
}
