//! When a sender hears that its messages are durable.
//!
//! Who sends on without waiting for it needs no record for the answers to each few messages: they are held back until
//! there are many, or something else goes out, or some time has passed. Who waits for them gets them at once. Which of
//! the two a sender is shows only when they are held back: that is tried now and then, with senders of many messages.

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

use super::outlet::Outgoing;

/// Without a new answer for so long, a sender whose answers are held back waits for them: it is found out in one to two
/// of these.
pub(super) const TICK: Duration = Duration::from_millis(8);
/// So many are held back at most. With the next they are half of what a client may have unanswered.
const MOST: usize = 15;
/// They go out at the first tick behind this time.
const OLDEST: Duration = Duration::from_millis(32);
/// So many go out at once before the first try, and between two at most: double the number before for each in vain.
const PROMPT: [u32; 2] = [64, 4096];
/// Who had so many in a row that there were too many to hold back sends on: the next try comes soon.
const ROW: u32 = 16;
/// So many tries that something else has cut short, with never many held back: the sender may be one that waits.
const ALONG: u32 = 4;

/// The answers to one connection.
#[derive(Debug)]
pub(super) struct Answers {
    held: Vec<Outgoing>,
    /// When the first of them came.
    since: Option<Instant>,
    /// So many more go out at once.
    prompt: u32,
    /// So many will, behind the next try in vain.
    next: u32,
    /// How often there were many since the last try in vain.
    many: u32,
    /// How often something took them along since there were many.
    along: u32,
    /// There were new ones since the last tick.
    came: bool,
    /// There will be a tick.
    ticks: bool,
}

impl Default for Answers {
    fn default() -> Self {
        let [prompt, _] = PROMPT;
        Self {
            held: Vec::new(),
            since: None,
            prompt,
            next: prompt,
            many: 0,
            along: 0,
            came: false,
            ticks: false,
        }
    }
}

impl Answers {
    /// Takes an answer, and puts it behind `events` if anything goes out now. True: [`tick`](Self::tick) must be called
    /// from now on, each [`TICK`].
    pub fn put(&mut self, answer: Outgoing, events: &mut VecDeque<Outgoing>, now: Instant) -> bool {
        if self.prompt > 0 {
            self.prompt -= 1;
            events.push_back(answer);
            return false;
        }
        self.came = true;
        if self.held.len() >= MOST {
            self.along = 0;
            self.many = self.many.saturating_add(1);
            if self.many == ROW {
                [self.next, _] = PROMPT;
            }
            self.release(events);
        }
        // Those before it go out now, or something else does.
        if !events.is_empty() {
            events.push_back(answer);
            return false;
        }
        self.held.push(answer);
        self.since.get_or_insert(now);
        !mem::replace(&mut self.ticks, true)
    }

    /// Something else goes out, and takes along what is held back.
    pub fn take_along(&mut self, events: &mut VecDeque<Outgoing>) {
        if self.held.is_empty() {
            return;
        }
        self.release(events);
        self.along += 1;
        if self.along >= ALONG {
            self.tried_in_vain();
        }
    }

    /// A [`TICK`] has passed. Whether there will be another one.
    pub fn tick(&mut self, events: &mut VecDeque<Outgoing>, now: Instant) -> bool {
        self.ticks = mem::take(&mut self.came);
        let Some(since) = self.since else { return self.ticks };
        if !self.ticks {
            self.tried_in_vain();
            self.release(events);
        } else if now.saturating_duration_since(since) >= OLDEST {
            self.release(events);
        }
        self.ticks
    }

    /// The sender waits, or may wait.
    fn tried_in_vain(&mut self) {
        let [_, most] = PROMPT;
        self.prompt = self.next;
        self.next = most.min(self.next * 2);
        (self.many, self.along) = (0, 0);
    }

    /// What is held back goes before these: it is older.
    fn release(&mut self, events: &mut VecDeque<Outgoing>) {
        let behind = mem::replace(events, mem::take(&mut self.held).into());
        events.extend(behind);
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number before the first try, and those between the tries that follow, all in vain.
    const SENDS: u32 = PROMPT[0];
    /// Ticks until they are too old.
    const TICKS: u32 = OLDEST.as_millis() as u32 / TICK.as_millis() as u32;

    fn answer(number: u64) -> Outgoing {
        Outgoing::Accepted([0; 16], number, 0)
    }

    /// A connection whose first answers have gone out, and its numbers, which come one after the other.
    struct Sender {
        answers: Answers,
        events: VecDeque<Outgoing>,
        last: u64,
        now: Instant,
    }

    impl Sender {
        fn new() -> Self {
            let (answers, events) = (Answers::default(), VecDeque::new());
            let mut sender = Self { answers, events, last: 0, now: Instant::now() };
            assert_eq!(sender.put(SENDS), SENDS as usize);
            sender
        }

        /// So many answers, each by itself. How many go out.
        fn put(&mut self, count: u32) -> usize {
            let put = |_| {
                self.last += 1;
                self.answers.put(answer(self.last), &mut self.events, self.now);
                self.out()
            };
            (0..count).map(put).sum()
        }

        /// How many go out with something else.
        fn along(&mut self) -> usize {
            self.answers.take_along(&mut self.events);
            self.out()
        }

        /// How many go out, and whether there is another tick.
        fn tick(&mut self) -> (usize, bool) {
            self.now += TICK;
            let goes_on = self.answers.tick(&mut self.events, self.now);
            (self.out(), goes_on)
        }

        fn out(&mut self) -> usize {
            let out = mem::take(&mut self.events);
            let first = self.last + 1 - (out.len() + self.answers.held.len()) as u64;
            assert!(out.iter().zip(first..).all(|(event, number)| *event == answer(number)), "in order");
            out.len()
        }

        /// How many answers go out at once until one is held back.
        fn prompt(&mut self) -> usize {
            (0..).find(|_| self.put(1) == 0).unwrap()
        }
    }

    #[test]
    fn who_waits_is_found_out_and_then_waits_seldom() {
        let mut sender = Sender::new();
        for prompt in [0, 64, 128, 256, 512, 1024, 2048, 4096, 4096] {
            assert_eq!(sender.prompt(), prompt);
            assert_eq!(sender.put(3), 0);
            assert_eq!([sender.tick(), sender.tick()], [(0, true), (4, false)]);
        }
    }

    #[test]
    fn who_waits_is_found_out_beside_other_traffic() {
        let mut sender = Sender::new();
        for prompt in [0, 64, 128, 256, 512, 1024, 2048, 4096, 4096] {
            assert_eq!(sender.prompt(), prompt);
            for _ in 1..ALONG {
                assert_eq!([sender.along(), sender.put(1)], [1, 0]);
                assert_eq!(sender.tick(), (0, true));
            }
            assert_eq!([sender.along(), sender.along()], [1, 0]);
        }
    }

    #[test]
    fn who_sends_on_hears_of_many_at_once() {
        let mut sender = Sender::new();
        for round in 0..100 {
            assert_eq!([sender.put(4), sender.put(4)], [0; 2]);
            assert_eq!(sender.tick(), (0, true));
            assert_eq!([sender.put(4), sender.put(4)], [0, 16]);
            assert_eq!(sender.tick(), (0, true));
            if round % 2 == 0 {
                assert_eq!([sender.put(4), sender.along()], [0, 4]);
            }
        }
        assert_eq!(sender.tick(), (0, false), "nothing came, nothing is held back");
        assert_eq!(sender.prompt(), 0, "nobody was found waiting");
    }

    #[test]
    fn who_sends_slowly_hears_after_some_ticks() {
        let mut sender = Sender::new();
        for _ in 0..100 {
            for tick in 1..=TICKS {
                assert_eq!(sender.put(1), 0);
                let out = if tick == TICKS { TICKS as usize } else { 0 };
                assert_eq!(sender.tick(), (out, true));
            }
        }
    }

    #[test]
    fn only_who_sent_many_in_a_row_is_tried_again_soon() {
        let mut sender = Sender::new();
        for (rows, prompt) in [(ROW - 1, 64), (1, 128), (ROW, 64), (0, 128)] {
            assert_eq!(sender.put(rows * 16), rows as usize * 16);
            assert_eq!(sender.put(1), 0);
            assert_eq!([sender.tick(), sender.tick()], [(0, true), (1, false)]);
            assert_eq!(sender.prompt(), prompt);
            assert_eq!(sender.along(), 1);
        }
    }

    #[test]
    fn ticks_are_asked_for_once() {
        let mut sender = Sender::new();
        let mut put = |now| sender.answers.put(answer(0), &mut VecDeque::new(), now);
        let now = Instant::now();
        assert_eq!([put(now), put(now)], [true, false]);
        assert_eq!(sender.tick(), (0, true));
        let mut put = |now| sender.answers.put(answer(0), &mut VecDeque::new(), now);
        assert!(!put(now));
    }

    #[test]
    fn who_hears_something_anyway_hears_this_too() {
        let mut sender = Sender::new();
        sender.events.push_back(answer(0));
        assert!(!sender.answers.put(answer(1), &mut sender.events, sender.now));
        assert_eq!(sender.events, [answer(0), answer(1)]);
    }
}
