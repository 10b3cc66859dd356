//! What the server says, to the screen and the history.

use std::time::{Duration, Instant};

use sordino_core::messages::{Accepted, Code, Delivered, NoticeLevel, Refused, RoomEventKind};

use super::{Chat, Link, REMEMBERED};
use crate::chat::outbox::Pending;
use crate::chat::screen::Tone;
use crate::failure::Result;
use crate::history::{Entry, State};
use crate::inbox;
use crate::session::{Delivery, Event, explain};
use crate::text::output::sanitise;

/// Characters of a message that stand beside its state.
const EXCERPT: usize = 40;

impl Chat<'_> {
    pub(super) async fn event(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Message(delivery) => self.message(delivery).await,
            Event::Accepted(accepted) => self.accepted(&accepted).await,
            Event::Delivered(delivered) => self.delivered(&delivered).await,
            Event::Refused(refused) => self.refused(&refused).await,
            Event::Room(kind, room, user) if user != self.me => {
                let what = if kind == RoomEventKind::Joined { "joined" } else { "left" };
                self.screen.show(&format!("— @{user} {what} #{room} —"), Tone::Quiet)
            }
            Event::Notice(level, text) => {
                let tone = if level == NoticeLevel::Warning { Tone::Loud } else { Tone::Normal };
                self.screen.show(&format!("server: {}", sanitise(&text)), tone)
            }
            _ => Ok(()),
        }
    }

    async fn message(&mut self, delivery: Delivery) -> Result<()> {
        let Link::Up(session) = &mut self.link else { return Ok(()) };
        let screen = &mut self.screen;
        let show =
            |entries: &[Entry]| entries.iter().try_for_each(|entry| screen.show(&entry.line(), Tone::Normal));
        inbox::take(session, self.history, delivery, u64::MAX, show).await.map(|_| ())
    }

    async fn accepted(&mut self, accepted: &Accepted) -> Result<()> {
        let Some(pending) = self.outbox.settle(&accepted.id) else { return Ok(()) };
        self.history.record_accepted(&self.me, &accepted.id, accepted.number, accepted.time).await?;
        let label = label(&pending);
        self.screen.show(&format!("  ✓ accepted   {label}"), Tone::Quiet)?;
        self.accepted.push_back((accepted.id, label));
        if self.accepted.len() > REMEMBERED {
            self.accepted.pop_front();
        }
        Ok(())
    }

    async fn delivered(&mut self, delivered: &Delivered) -> Result<()> {
        let Some(at) = self.accepted.iter().position(|(id, _)| *id == delivered.id) else { return Ok(()) };
        let Some((id, label)) = self.accepted.remove(at) else { return Ok(()) };
        self.history.record_state(&self.me, &id, State::Delivered).await?;
        self.screen.show(&format!("  ✓✓ delivered {label}"), Tone::Quiet)
    }

    async fn refused(&mut self, refused: &Refused) -> Result<()> {
        if matches!(refused.code, Code::RateLimited | Code::Unavailable) {
            let pause = Duration::from_secs(u64::from(refused.retry_after.max(1)));
            self.outbox.hold(&refused.id, pause, Instant::now());
            let text = format!("  … queued: the server asks to wait {} s", pause.as_secs());
            return self.screen.show(&text, Tone::Quiet);
        }
        let Some(pending) = self.outbox.settle(&refused.id) else { return Ok(()) };
        self.history.record_state(&self.me, &refused.id, State::Failed).await?;
        let failure = explain::refused(refused.code, refused.retry_after, &label(&pending));
        self.screen.show(&format!("  ✗ failed     {failure}"), Tone::Loud)
    }
}

/// How a message is named beside its state.
pub(super) fn label(pending: &Pending) -> String {
    let first = sanitise(pending.text.lines().next().unwrap_or_default()).into_owned();
    let mut short: String = first.chars().take(EXCERPT).collect();
    if short.len() < pending.text.trim_end().len() {
        short.push('…');
    }
    format!("{}: {short}", pending.target)
}
