//! Deliveries: from the device's mailbox into records, within the client's window.

use std::{collections::VecDeque, sync::Arc};

use sordino_core::{
    Message as Wire, TxBuf,
    identity::ServedSuite,
    messages::{CloseReason, Deliver},
    wire::Opaque,
};

use super::{Session, buffers::DELIVERIES, lend_io};
use crate::store::Message;

/// Messages fetched at once.
const FETCH: usize = 64;

/// What a client has been given, and what comes next.
#[derive(Debug, Default)]
pub(super) struct Feed {
    /// The mailbox may have more than was fetched.
    pub more: bool,
    window: usize,
    /// Delivered and not acknowledged, ascending.
    unacknowledged: VecDeque<u64>,
    acknowledged: u64,
    /// The last number fetched.
    fetched: u64,
    /// Fetched and not delivered; `offset` bytes of the first are on their way.
    queue: VecDeque<Arc<Message>>,
    offset: usize,
}

/// An ACK of a number that was not delivered.
#[derive(Debug)]
pub(super) struct NotDelivered;

impl Feed {
    /// RECEIVE.
    pub fn open(&mut self, window: u16) {
        self.window = usize::from(window);
        self.more = true;
    }

    /// ACK. True if it says something new.
    pub fn acknowledge(&mut self, number: u64) -> Result<bool, NotDelivered> {
        let count = self.unacknowledged.partition_point(|n| *n <= number);
        let delivered = count.checked_sub(1).and_then(|last| self.unacknowledged.get(last)) == Some(&number);
        if delivered {
            self.unacknowledged.drain(..count);
            self.acknowledged = number;
            return Ok(true);
        }
        // What was acknowledged is acknowledged.
        if (1..=self.acknowledged).contains(&number) { Ok(false) } else { Err(NotDelivered) }
    }

    fn free(&self) -> usize {
        self.window.saturating_sub(self.unacknowledged.len())
    }
}

impl<S: ServedSuite> Session<S> {
    /// Fills the output with deliveries.
    pub(super) async fn deliver(&mut self, tx: &mut TxBuf<'_>) {
        while self.end.is_none() && self.feed.free() > 0 && tx.free() >= DELIVERIES {
            if self.feed.queue.is_empty() && !self.fetch(tx).await {
                return;
            }
            if !self.deliver_bundle(tx) {
                self.deliver_part(tx);
            }
        }
    }

    /// Sends the next messages, as many as one record takes. False, and nothing is sent, if the first is larger than
    /// that.
    fn deliver_bundle(&mut self, tx: &mut TxBuf<'_>) -> bool {
        let Feed { offset, queue, .. } = &self.feed;
        let fits = |message: &Arc<Message>| message.encoded().body().len() <= self.conn.max_body();
        if *offset > 0 || !queue.front().is_some_and(fits) {
            return false;
        }
        let next = queue.iter().take(self.feed.free()).map(|message| message.encoded());
        let sent = self.conn.send_bundle(next, lend_io!(self.now, tx));
        let sent = self.sent(sent, tx);
        self.feed.unacknowledged.extend(self.feed.queue.drain(..sent).map(|message| message.place.number));
        true
    }

    /// False if there is nothing.
    async fn fetch(&mut self, tx: &mut TxBuf<'_>) -> bool {
        let Some(user) = self.user.as_ref().filter(|_| self.feed.more) else { return false };
        let most = self.feed.free().min(FETCH);
        match self.shared.hub.deliveries(user.id, self.feed.fetched, most).await {
            Ok((messages, more)) => {
                self.feed.more = more;
                self.feed.fetched = messages.last().map_or(self.feed.fetched, |m| m.place.number);
                self.feed.queue = messages.into();
            }
            Err(error) => {
                tracing::error!(%error, "can't read messages");
                self.close(CloseReason::Overloaded, tx);
            }
        }
        !self.feed.queue.is_empty()
    }

    /// Sends the next part of a message.
    fn deliver_part(&mut self, tx: &mut TxBuf<'_>) {
        let Some(message) = self.feed.queue.front().cloned() else { return };
        let body = message.body();
        let head = message.encoded().body().len() - body.len();
        let most = self.conn.max_body().saturating_sub(head);
        let end = body.len().min(self.feed.offset + most);
        let (Some(whole), Ok(offset)) = (message.deliver(), u16::try_from(self.feed.offset)) else {
            tracing::error!(number = message.place.number, "a message can't be delivered");
            self.close(CloseReason::Overloaded, tx);
            return;
        };
        let part = Opaque(&body[self.feed.offset..end]);
        self.send(&Wire::Deliver(Deliver { offset, part, ..whole }), tx);
        if end == body.len() {
            self.feed.offset = 0;
            self.feed.queue.pop_front();
            self.feed.unacknowledged.push_back(message.place.number);
        } else {
            self.feed.offset = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(numbers: &[u64]) -> Feed {
        Feed { window: 4, unacknowledged: numbers.iter().copied().collect(), ..Feed::default() }
    }

    #[test]
    fn an_acknowledgement_covers_what_was_delivered_before() {
        let mut feed = delivered(&[3, 5, 9]);
        assert_eq!(feed.free(), 1);
        assert!(feed.acknowledge(5).unwrap());
        assert_eq!((feed.unacknowledged.iter().copied().collect::<Vec<_>>(), feed.free()), (vec![9], 3));
        assert!(!feed.acknowledge(5).unwrap(), "again: nothing new");
        assert!(!feed.acknowledge(3).unwrap(), "late: nothing new");
    }

    #[test]
    fn what_was_not_delivered_cannot_be_acknowledged() {
        for number in [0, 1, 4, 10, u64::MAX] {
            assert!(delivered(&[3, 5, 9]).acknowledge(number).is_err(), "{number}");
        }
        assert!(Feed::default().acknowledge(0).is_err());
    }

    #[test]
    fn a_smaller_window_waits_for_acknowledgements() {
        let mut feed = delivered(&[3, 5, 9]);
        feed.open(1);
        assert_eq!(feed.free(), 0);
        feed.acknowledge(9).unwrap();
        assert_eq!(feed.free(), 1);
    }
}
