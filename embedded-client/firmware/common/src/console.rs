//! Commands on the serial console, the sensor that reports to a room, and what people may order.

use core::fmt;
use heapless::{Deque, String};
use sordino_embedded::rand_core::TryCryptoRng;
use sordino_embedded::{Board, Code, Enrolment, Event, Message, Storage, Target};

/// Longest line, in bytes: the longest message and an enrolment code fit.
const LINE: usize = 600;
/// Lines that `log` shows.
const LOG: usize = 16;
/// How often the sensor reports when nobody has said otherwise, in seconds; 0: not.
const REPORT: u64 = 60;
const ROOM: &str = "#sensors";

/// The hardware under a console: where its lines go, an LED, a sensor.
pub trait Machine: fmt::Write {
    /// Milliseconds since the start.
    fn now(&self) -> u64;

    fn set_led(&mut self, on: bool);

    /// Tenths of a degree Celsius.
    fn temperature(&mut self) -> i32;
}

pub struct Console<'b, F: Storage, G, M> {
    board: &'b Board<F, G>,
    machine: M,
    line: String<LINE>,
    log: Deque<String<96>, LOG>,
    led_on: bool,
    every: u64,
    next_report: u64,
}

/// A line on the console. A terminal that is not there loses it.
macro_rules! say {
    ($console:expr, $($argument:tt)*) => {{
        let _lost = fmt::Write::write_fmt(&mut $console.machine, format_args!($($argument)*));
        let _lost = fmt::Write::write_str(&mut $console.machine, "\n");
    }};
}

impl<'b, F: Storage, G: TryCryptoRng, M: Machine> Console<'b, F, G, M> {
    pub fn new(board: &'b Board<F, G>, machine: M) -> Self {
        Self {
            board,
            machine,
            line: String::new(),
            log: Deque::new(),
            led_on: false,
            every: REPORT,
            next_report: 5_000,
        }
    }

    /// Something happened on the board.
    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Idle => {}
            Event::Message(message) => self.message(message),
            Event::Accepted(number) => self.note(format_args!("message {number} accepted")),
            Event::Refused(number, code) => self.note(format_args!("message {number} refused: {code:?}")),
            Event::Notice(text) => self.note(format_args!("server: {text}")),
            Event::Enrolled { owner } => self.note(format_args!("enrolled by @{owner}")),
            Event::Online { username, pending } => {
                self.note(format_args!("online as @{username}, {pending} waiting"));
            }
            Event::Offline { reason, retry_in } => {
                self.note(format_args!("offline: {reason}; next attempt in {} s", retry_in / 1000));
            }
        }
    }

    /// Reports if it is time to. To be called a few times a second.
    pub fn tick(&mut self) {
        if self.every > 0 && self.machine.now() >= self.next_report {
            self.next_report = self.machine.now().saturating_add(self.every.saturating_mul(1000));
            self.report();
        }
    }

    fn report(&mut self) {
        let online = self.board.status().is_ok_and(|status| status.online);
        let Some(room) = Target::parse(ROOM).filter(|_| online) else { return };
        let mut text = String::<32>::new();
        let tenths = self.machine.temperature();
        let sign = if tenths < 0 { "-" } else { "" };
        let (whole, tenth) = (tenths.unsigned_abs() / 10, tenths.unsigned_abs() % 10);
        let _fits = fmt::write(&mut text, format_args!("{sign}{whole}.{tenth} °C"));
        if let Err(error) = self.board.send(room, &text) {
            self.note(format_args!("report: {error}"));
        }
    }

    fn message(&mut self, message: &Message<'_>) {
        let Some(text) = message.text() else {
            self.note(format_args!(
                "{} {}: {} of {} bytes",
                message.from,
                message.to,
                message.part.len(),
                message.total
            ));
            return;
        };
        self.note(format_args!("{} {}: {text}", message.from, message.to));
        let mine = matches!(message.to, Target::User(_));
        match text {
            "led on" if mine => self.set_led(true, message),
            "led off" if mine => self.set_led(false, message),
            _ => {}
        }
    }

    fn set_led(&mut self, on: bool, message: &Message<'_>) {
        self.machine.set_led(on);
        self.led_on = on;
        self.send(Target::User(message.from), if on { "the LED is on" } else { "the LED is off" });
    }

    fn send(&mut self, target: Target<'_>, text: &str) {
        match self.board.send(target, text) {
            Ok(number) => self.note(format_args!("message {number} queued")),
            Err(error) => self.note(format_args!("not sent: {error}")),
        }
    }

    /// Prints a line and keeps it for `log`.
    fn note(&mut self, line: fmt::Arguments<'_>) {
        say!(self, "{line}");
        let mut kept = String::new();
        let _truncated = fmt::write(&mut kept, format_args!("{:6} s  {line}", self.machine.now() / 1000));
        if self.log.is_full() {
            self.log.pop_front();
        }
        let _has_room = self.log.push_back(kept);
    }

    /// A byte was typed.
    pub fn typed(&mut self, byte: u8) {
        match byte {
            b'\r' | b'\n' => {
                let line = core::mem::take(&mut self.line);
                self.command(line.trim());
            }
            0x08 | 0x7f => {
                self.line.pop();
            }
            0x20..=0x7e => {
                let _too_long = self.line.push(char::from(byte));
            }
            _ => {}
        }
    }

    fn command(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" => {}
            "status" => self.status(),
            "enroll" | "enrol" => self.enrol(rest),
            "fingerprint" => match self.board.fingerprint() {
                Some(print) => {
                    for byte in print {
                        let _lost = write!(self.machine, "{byte:02x}");
                    }
                    say!(self, "");
                }
                None => say!(self, "no key yet: enroll CODE"),
            },
            "send" => match rest.split_once(' ').and_then(|(to, text)| Some((Target::parse(to)?, text))) {
                Some((target, text)) => self.send(target, text),
                None => say!(self, "send @user text, or send #room text"),
            },
            "report" => {
                self.every = rest.parse().unwrap_or(0);
                self.next_report = self.machine.now();
                say!(self, "reports to {ROOM} every {} s", self.every);
            }
            "log" => {
                for line in &self.log {
                    say!(self, "{line}");
                }
            }
            "factory-reset" => match self.board.factory_reset() {
                Ok(()) => say!(self, "everything is forgotten; revoke the board at its owner too"),
                Err(error) => say!(self, "{error}"),
            },
            _ => say!(
                self,
                "status, enroll CODE, fingerprint, send @user text, send #room text, report SECONDS, log, factory-reset"
            ),
        }
    }

    fn enrol(&mut self, code: &str) {
        let Ok(code) = Code::parse(code) else {
            say!(self, "this is not an enrolment code");
            return;
        };
        match self.board.enrol(&code) {
            Ok(()) => say!(self, "keys are made; using the code"),
            Err(error) => say!(self, "{error}"),
        }
    }

    fn status(&mut self) {
        let Ok(status) = self.board.status() else { return };
        match status.enrolment {
            Enrolment::None => say!(self, "not enrolled: enroll CODE"),
            Enrolment::Pending => say!(self, "the code is being used at {}", status.address),
            Enrolment::Done => say!(self, "@{} of @{} at {}", status.username, status.owner, status.address),
        }
        let online = if status.online { "online" } else { "offline" };
        say!(
            self,
            "{online}, {} waiting, {} dropped, LED {}",
            status.waiting,
            status.dropped,
            u8::from(self.led_on)
        );
    }
}
