//! When a sender hears that its messages are durable.
//!
//! Who sends on without waiting for it needs no record for the answers to each few messages: they are held back until
//! there are many, or something else goes out, or some time has passed. Who waits for them gets them at once. Which of
//! the two a sender is shows only when they are held back: that is tried now and then, with senders of many messages.

use std::{collections::VecDeque, mem, time::Duration};

use super::outlet::Outgoing;

/// Without a new answer for so long, a sender whose answers are held back waits for them: it is found out in one to two
/// of these.
pub(super) const TICK: Duration = Duration::from_millis(8);
/// So many are held back at most. With the next they are half of what a client may have unanswered.
const MOST: usize = 15;
/// Ticks after which they go out.
const OLDEST: u32 = 4;
/// So many go out at once before the first try, and between two at most: double the number before for each in vain.
const PROMPT: [u32; 2] = [64, 4096];

/// The answers to one connection.
#[derive(Debug)]
pub(super) struct Answers {
    held: Vec<Outgoing>,
    /// So many more go out at once.
    prompt: u32,
    /// So many will, when the sender is found waiting next.
    next: u32,
    /// Ticks that some were held back for.
    age: u32,
    /// There were new ones since the last tick.
    came: bool,
    /// There will be a tick.
    ticks: bool,
}

impl Default for Answers {
    fn default() -> Self {
        Self { held: Vec::new(), prompt: PROMPT[0], next: PROMPT[0], age: 0, came: false, ticks: false }
    }
}

/// What becomes of an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Answered {
    /// It goes out, and what was held back is before it.
    Now(Outgoing),
    /// It is held back. True: [`Answers::tick`] must be called from now on, each [`TICK`].
    Held(bool),
}

impl Answers {
    /// Takes an answer. It isn't held back when something `goes_out` anyway.
    pub fn put(&mut self, answer: Outgoing, goes_out: bool) -> Answered {
        let prompt = self.prompt > 0;
        if prompt {
            self.prompt -= 1;
        } else {
            self.came = true;
        }
        if prompt || goes_out || self.held.len() >= MOST {
            return Answered::Now(answer);
        }
        self.held.push(answer);
        Answered::Held(!mem::replace(&mut self.ticks, true))
    }

    /// What was held back goes out, before these: it is older.
    pub fn release(&mut self, events: &mut VecDeque<Outgoing>) {
        if !self.held.is_empty() {
            let behind = mem::replace(events, mem::take(&mut self.held).into());
            events.extend(behind);
        }
        self.age = 0;
    }

    /// A [`TICK`] has passed. Says whether what is held back must go out; and whether there will be another tick.
    pub fn tick(&mut self) -> (bool, bool) {
        self.ticks = mem::take(&mut self.came);
        self.age += u32::from(!self.held.is_empty());
        let waits = !self.ticks && self.age > 0;
        let old = self.age >= OLDEST;
        if waits {
            self.prompt = self.next;
            self.next = PROMPT[1].min(self.next * 2);
        } else if old {
            self.next = PROMPT[0];
        }
        (waits || old, self.ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(number: u64) -> Outgoing {
        Outgoing::Accepted([0; 16], number, 0)
    }

    /// A connection, whose numbers come one after the other.
    #[derive(Default)]
    struct Sender {
        answers: Answers,
        events: VecDeque<Outgoing>,
        last: u64,
    }

    impl Sender {
        /// One of whose first answers so many have gone out.
        fn after(prompt: u32) -> Self {
            let mut sender = Self::default();
            assert_eq!(sender.put(prompt), prompt as usize);
            sender
        }

        /// So many answers. How many go out.
        fn put(&mut self, count: u32) -> usize {
            for _ in 0..count {
                self.last += 1;
                if let Answered::Now(answer) = self.answers.put(answer(self.last), false) {
                    self.answers.release(&mut self.events);
                    self.events.push_back(answer);
                }
            }
            self.out()
        }

        /// How many go out, and whether there is another tick.
        fn tick(&mut self) -> (usize, bool) {
            let (goes_out, goes_on) = self.answers.tick();
            if goes_out {
                self.answers.release(&mut self.events);
            }
            (self.out(), goes_on)
        }

        fn out(&mut self) -> usize {
            let out = mem::take(&mut self.events);
            let first = self.last + 1 - (out.len() + self.answers.held.len()) as u64;
            assert!(out.iter().zip(first..).all(|(event, number)| *event == answer(number)), "in order");
            out.len()
        }
    }

    #[test]
    fn who_waits_is_found_out_and_then_waits_seldom() {
        let mut sender = Sender::after(PROMPT[0]);
        for prompt in [64, 128, 256, 512, 1024, 2048, 4096, 4096] {
            assert_eq!(sender.put(4), 0, "tried");
            assert_eq!([sender.tick(), sender.tick()], [(0, true), (4, false)]);
            assert_eq!(sender.put(prompt), prompt as usize);
        }
    }

    #[test]
    fn who_sends_on_hears_of_many_at_once() {
        let mut sender = Sender::after(PROMPT[0]);
        for _ in 0..100 {
            assert_eq!([sender.put(4), sender.put(4)], [0; 2]);
            assert_eq!(sender.tick(), (0, true));
            assert_eq!([sender.put(4), sender.put(4)], [0, 16]);
            assert_eq!(sender.tick(), (0, true));
        }
        assert_eq!(sender.tick(), (0, false), "nothing came, nothing is held back");
        assert_eq!(sender.put(1), 0, "nobody was found waiting");
    }

    #[test]
    fn who_sends_slowly_hears_after_some_ticks() {
        let mut sender = Sender::after(PROMPT[0]);
        for _ in 0..100 {
            for out in [0, 0, 0, OLDEST as usize] {
                assert_eq!(sender.put(1), 0);
                assert_eq!(sender.tick(), (out, true));
            }
        }
    }

    #[test]
    fn who_sent_on_is_tried_again_soon() {
        let mut sender = Sender::after(PROMPT[0]);
        for _ in 0..3 {
            for _ in 0..OLDEST {
                assert_eq!(sender.put(1), 0);
                sender.tick();
            }
            assert_eq!(sender.put(1), 0);
            assert_eq!([sender.tick(), sender.tick()], [(0, true), (1, false)]);
            assert_eq!(sender.put(PROMPT[0]), PROMPT[0] as usize);
        }
    }

    #[test]
    fn ticks_are_asked_for_once() {
        let mut sender = Sender::after(PROMPT[0]);
        let put = |sender: &mut Sender| sender.answers.put(answer(0), false);
        assert_eq!([put(&mut sender), put(&mut sender)], [Answered::Held(true), Answered::Held(false)]);
        assert_eq!(sender.answers.tick(), (false, true));
        assert_eq!(put(&mut sender), Answered::Held(false));
        assert_eq!([sender.answers.tick(), sender.answers.tick()], [(false, true), (true, false)]);
    }

    #[test]
    fn what_goes_out_anyway_takes_it_along() {
        let mut sender = Sender::after(PROMPT[0]);
        assert_eq!(sender.answers.put(answer(1), true), Answered::Now(answer(1)));
        assert_eq!(sender.answers.tick(), (false, true), "it came all the same");
    }
}
