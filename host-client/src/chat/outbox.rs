//! Own messages that the server has not answered yet: sent in order, and again on a new connection.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sordino_core::config::MAX_UNANSWERED_SENDS;

use crate::history::Id;
use crate::text::target::Target;

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Stays the same however often it is sent.
    pub id: Id,
    /// To whom.
    pub target: Target,
    /// What.
    pub text: String,
    sent: bool,
}

/// Messages on their way, oldest first.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: VecDeque<Pending>,
    held: Option<Instant>,
}

impl Outbox {
    /// Adds a message.
    pub fn push(&mut self, id: Id, target: Target, text: String) {
        self.queue.push_back(Pending { id, target, text, sent: false });
    }

    /// The next message to send now, which counts as sent from here on. The protocol lets 32 be unanswered.
    pub fn next_to_send(&mut self, now: Instant) -> Option<Pending> {
        if self.held.is_some_and(|until| now < until) {
            return None;
        }
        self.held = None;
        let next = self.queue.iter_mut().take(MAX_UNANSWERED_SENDS).find(|pending| !pending.sent)?;
        next.sent = true;
        Some(next.clone())
    }

    /// The server has answered for good.
    pub fn settle(&mut self, id: &Id) -> Option<Pending> {
        let at = self.queue.iter().position(|pending| pending.id == *id)?;
        self.queue.remove(at)
    }

    /// The server asks to wait: the message, and all others, are sent again later.
    pub fn hold(&mut self, id: &Id, pause: Duration, now: Instant) {
        if let Some(pending) = self.queue.iter_mut().find(|pending| pending.id == *id) {
            pending.sent = false;
        }
        self.held = Some(now + pause);
    }

    /// When a held message may go.
    pub fn held_until(&self) -> Option<Instant> {
        self.held
    }

    /// The connection is gone: everything goes again on the next one.
    pub fn unsend(&mut self) {
        self.queue.iter_mut().for_each(|pending| pending.sent = false);
    }

    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Gives up on everything.
    pub fn drain(&mut self) -> impl Iterator<Item = Pending> + '_ {
        self.queue.drain(..)
    }
}
