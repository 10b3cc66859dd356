//! Commands on the serial console, the simulated sensor, and what people may order.

use crate::clock::now;
use crate::host::{HostFlash, HostRng};
use crate::registers::Registers;
use crate::say;
use crate::uart::Uart;
use core::fmt::Write as _;
use heapless::{Deque, String};
use sordino_embedded::{Board, Code, Enrolment, Event, Message, Target};

pub type QemuBoard = Board<HostFlash, HostRng>;

/// Longest line, in bytes: an enrolment code fits.
const LINE: usize = 256;
/// Lines that `log` shows.
const LOG: usize = 16;
/// How often the simulated sensor reports when nobody has said otherwise, in seconds; 0: not.
const REPORT: u64 = 60;
const ROOM: &str = "#sensors";

pub struct Console<'b> {
    board: &'b QemuBoard,
    uart: Uart,
    line: String<LINE>,
    log: Deque<String<96>, LOG>,
    led: Registers,
    led_on: bool,
    every: u64,
    next_report: u64,
}

impl<'b> Console<'b> {
    pub fn new(board: &'b QemuBoard, uart: Uart) -> Self {
        // SAFETY: the LED register of the FPGA's system I/O on mps2-an386.
        let led = unsafe { Registers::at(0x4002_8000) };
        Self {
            board,
            uart,
            line: String::new(),
            log: Deque::new(),
            led,
            led_on: false,
            every: REPORT,
            next_report: 5_000,
        }
    }

    /// Something happened on the board.
    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Idle => self.idle(),
            Event::Message(message) => self.message(message),
            Event::Accepted(number) => self.note(format_args!("message {number} accepted")),
            Event::Refused(number, code) => self.note(format_args!("message {number} refused: {code:?}")),
            Event::Notice(text) => self.note(format_args!("server: {text}")),
            Event::Enrolled { owner } => self.note(format_args!("enrolled by @{owner}")),
            Event::Online { username, pending } => {
                self.note(format_args!("online as @{username}, {pending} waiting"));
            }
            Event::Offline { reason, retry_in } => {
                self.note(format_args!("offline: {reason:?}, next attempt in {} s", retry_in / 1000));
            }
        }
    }

    /// Polls the console and the sensor, then sleeps until the next interrupt.
    fn idle(&mut self) {
        while let Some(byte) = self.uart.read() {
            self.typed(byte);
        }
        if self.every > 0 && now() >= self.next_report {
            self.next_report = now() + self.every * 1000;
            self.report();
        }
        cortex_m::asm::wfi();
    }

    fn report(&mut self) {
        let online = self.board.status().is_ok_and(|status| status.online);
        let Some(room) = Target::parse(ROOM).filter(|_| online) else { return };
        let mut text = String::<32>::new();
        // Not measured: the machine has no sensor.
        let tenths = 200 + now() / 1000 % 50;
        let _fits = write!(text, "{}.{} °C", tenths / 10, tenths % 10);
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
        self.led.write(0, u32::from(on));
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
    fn note(&mut self, line: core::fmt::Arguments<'_>) {
        say!("{line}");
        let mut kept = String::new();
        let _truncated = write!(kept, "{:6} s  {line}", now() / 1000);
        if self.log.is_full() {
            self.log.pop_front();
        }
        let _has_room = self.log.push_back(kept);
    }

    fn typed(&mut self, byte: u8) {
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
                    print.iter().for_each(|byte| {
                        let _never_fails = write!(self.uart, "{byte:02x}");
                    });
                    say!("");
                }
                None => say!("no key yet: enroll CODE"),
            },
            "send" => match rest.split_once(' ').and_then(|(to, text)| Some((Target::parse(to)?, text))) {
                Some((target, text)) => self.send(target, text),
                None => say!("send @user text, or send #room text"),
            },
            "report" => {
                self.every = rest.parse().unwrap_or(0);
                self.next_report = now();
                say!("reports to {ROOM} every {} s", self.every);
            }
            "log" => self.log.iter().for_each(|line| say!("{line}")),
            "factory-reset" => match self.board.factory_reset() {
                Ok(()) => say!("everything is forgotten; revoke the board at its owner too"),
                Err(error) => say!("{error}"),
            },
            _ => say!(
                "status, enroll CODE, fingerprint, send @user text, send #room text, report SECONDS, log, factory-reset"
            ),
        }
    }

    fn enrol(&mut self, code: &str) {
        let Ok(code) = Code::parse(code) else {
            say!("this is not an enrolment code");
            return;
        };
        match self.board.enrol(&code) {
            Ok(()) => say!("keys are made; using the code"),
            Err(error) => say!("{error}"),
        }
    }

    fn status(&self) {
        let Ok(status) = self.board.status() else { return };
        match status.enrolment {
            Enrolment::None => say!("not enrolled: enroll CODE"),
            Enrolment::Pending => say!("the code is being used at {}", status.address),
            Enrolment::Done => say!("@{} of @{} at {}", status.username, status.owner, status.address),
        }
        let online = if status.online { "online" } else { "offline" };
        say!(
            "{online}, {} waiting, {} dropped, LED {}",
            status.waiting,
            status.dropped,
            u8::from(self.led_on)
        );
    }
}
