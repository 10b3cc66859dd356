//! The last messages, shared by all sessions: who keeps up never reads the database.

use std::{collections::VecDeque, sync::Arc};

use crate::store::Message;

/// Bytes of messages that are kept.
const BYTES: usize = 4 << 20;
/// Messages that are kept.
const MESSAGES: usize = 8192;

/// See the module.
#[derive(Debug, Default)]
pub struct Recent {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
}

impl Recent {
    /// Keeps a message; its number is above all numbers before.
    pub fn push(&mut self, message: Arc<Message>) {
        self.bytes += message.encoded().body().len();
        self.messages.push_back(message);
        while self.bytes > BYTES || self.messages.len() > MESSAGES {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes -= oldest.encoded().body().len();
        }
    }

    /// A message, if it is still here.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<Arc<Message>> {
        // Hardly a number is missing, so a message is hardly ever before its place.
        let first = self.messages.front()?.place.number;
        let most = usize::try_from(number.checked_sub(first)?).ok()?;
        let here = self.messages.get(most).filter(|m| m.place.number == number);
        here.or_else(|| self.search(number)).cloned()
    }

    fn search(&self, number: u64) -> Option<&Arc<Message>> {
        let at = self.messages.binary_search_by_key(&number, |m| m.place.number).ok()?;
        self.messages.get(at)
    }
}
