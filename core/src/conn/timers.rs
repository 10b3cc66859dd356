//! Deadlines of a connection (`docs/PROTOCOL.md`, section 10).

use crate::config::{MAX_LIFETIME, Millis, Timeouts};
use crate::error::{Deadline, Error, Misuse};
use crate::messages::Phase;

/// When things are due.
pub(super) struct Timers {
    limits: Timeouts,
    /// The connection's start, then the handshake's end.
    since: Millis,
    /// When the peer's last record was opened.
    heard: Millis,
    /// Whether a PING was decided on since then.
    pinged: bool,
}

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Ping,
    Expired,
    Timeout(Deadline),
}

impl Timers {
    /// # Errors
    /// [`Misuse::Parameter`] for limits that would never end a connection, or ping without pause.
    pub fn new(limits: Timeouts, now: Millis) -> Result<Self, Error> {
        let sound = limits.handshake > 0
            && (1..limits.idle).contains(&limits.ping)
            && (1..=MAX_LIFETIME).contains(&limits.lifetime);
        if !sound {
            return Err(Error::Misuse(Misuse::Parameter));
        }
        Ok(Self { limits, since: now, heard: now, pinged: false })
    }

    /// The handshake is over.
    pub const fn established(&mut self, now: Millis) {
        self.since = now;
        self.heard = now;
    }

    /// A record has come.
    pub const fn heard(&mut self, now: Millis) {
        self.heard = now;
        self.pinged = false;
    }

    /// End of the handshake.
    pub const fn handshake_end(&self) -> Millis {
        after(self.since, self.limits.handshake)
    }

    /// The next time at which [`due`](Self::due) has something.
    pub fn next(&self, phase: Phase) -> Millis {
        let silence = if self.pinged { self.limits.idle } else { self.limits.ping };
        let next = after(self.heard, silence).min(after(self.since, self.limits.lifetime));
        self.login_end(phase).map_or(next, |login| login.min(next))
    }

    /// What is due now. A PING is due once for each silence.
    pub fn due(&mut self, phase: Phase, now: Millis) -> Due {
        if now >= after(self.since, self.limits.lifetime) {
            Due::Expired
        } else if now >= after(self.heard, self.limits.idle) {
            Due::Timeout(Deadline::Idle)
        } else if self.login_end(phase).is_some_and(|end| now >= end) {
            Due::Timeout(Deadline::Login)
        } else if !self.pinged && now >= after(self.heard, self.limits.ping) {
            self.pinged = true;
            Due::Ping
        } else {
            Due::Nothing
        }
    }

    /// When a login must have succeeded.
    fn login_end(&self, phase: Phase) -> Option<Millis> {
        (phase == Phase::Login && self.limits.login != 0).then(|| after(self.since, self.limits.login))
    }
}

const fn after(start: Millis, span: u32) -> Millis {
    start.saturating_add(span as Millis)
}
