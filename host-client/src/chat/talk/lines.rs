//! What the person types, done.

use std::ops::ControlFlow;

use super::{Chat, Link};
use crate::chat::line::{self, Line};
use crate::chat::screen::Tone;
use crate::commands;
use crate::failure::{Failure, Result};
use crate::history::{Entry, Outgoing};
use crate::text::target::Target;
use crate::wait;

impl Chat<'_> {
    /// Does what a line says; `Break` to leave. Only what ends the chat is an error.
    pub(super) async fn line(&mut self, line: &str) -> Result<ControlFlow<()>> {
        match line::parse(line) {
            Line::Nothing => {}
            Line::Quit => return Ok(ControlFlow::Break(())),
            Line::Help => self.screen.show(line::HELP, Tone::Normal)?,
            Line::Wrong(why) => self.screen.show(&why, Tone::Loud)?,
            Line::To(target) => self.turn_to(target)?,
            Line::Say(to, text) => self.say(to, text).await?,
            Line::History(with, limit) => self.past(with, limit).await?,
            request => self.request(request).await?,
        }
        Ok(ControlFlow::Continue(()))
    }

    fn turn_to(&mut self, target: Target) -> Result<()> {
        self.screen.show(&format!("plain text goes to {target} now"), Tone::Quiet)?;
        self.current = Some(target);
        Ok(())
    }

    async fn say(&mut self, to: Option<Target>, text: String) -> Result<()> {
        let Some(target) = to.or_else(|| self.current.clone()) else {
            return self.screen.show("to whom? @bob hi, or #room hi, or /to @bob first", Tone::Loud);
        };
        if let Err(failure) = commands::check_size(&text) {
            return self.screen.show(&failure.message, Tone::Loud);
        }
        self.current.get_or_insert_with(|| target.clone());
        let id = commands::new_id()?;
        let message = Outgoing { sender: &self.me, id, target: &target, time: wait::unix_ms(), text: &text };
        self.history.record_queued(&message).await?;
        if matches!(self.link, Link::Down(_)) {
            self.screen
                .show(&format!("  … queued     {target}: goes when the connection is back"), Tone::Quiet)?;
        }
        self.outbox.push(id, target, text);
        Ok(())
    }

    async fn past(&mut self, with: Option<Target>, limit: u32) -> Result<()> {
        let Some(with) = with.or_else(|| self.current.clone()) else {
            return self.screen.show("whose history? /history @bob, or /history #room", Tone::Loud);
        };
        let entries = self.history.conversation(&with, limit).await?;
        if entries.is_empty() {
            return self.screen.show(&format!("nothing is known of {with} on this device"), Tone::Quiet);
        }
        let lines: Vec<String> = entries.iter().map(Entry::line).collect();
        self.screen.show(&lines.join("\n"), Tone::Normal)
    }

    /// Lines that need the server's answer.
    async fn request(&mut self, request: Line) -> Result<()> {
        let Link::Up(session) = &mut self.link else {
            return self.screen.show("not connected: try again when the connection is back", Tone::Loud);
        };
        let current = match &self.current {
            Some(Target::Room(room)) => Some(room.clone()),
            _ => None,
        };
        let no_room = || Failure::usage("which room? name it: #room");
        let answer = match request {
            Line::Join(room) => session.join(&room).await.map(|()| {
                self.current = Some(Target::Room(room.clone()));
                format!("you are in #{room}; plain text goes there now")
            }),
            Line::Leave(room) => match room.or(current).ok_or_else(no_room) {
                Ok(room) => session.leave(&room).await.map(|()| {
                    self.current.take_if(|target| *target == Target::Room(room.clone()));
                    format!("you have left #{room}")
                }),
                Err(failure) => Err(failure),
            },
            Line::Members(room) => match room.or(current).ok_or_else(no_room) {
                Ok(room) => session.members(&room).await.map(|users| commands::user_list(&users)),
                Err(failure) => Err(failure),
            },
            Line::Rooms => session.rooms().await.map(|rooms| commands::room_list(&rooms)),
            _ => session.who().await.map(|users| commands::user_list(&users)),
        };
        match answer {
            Ok(text) => self.screen.show(&text, Tone::Normal),
            Err(failure) if super::super::passes(&failure) && !session.is_open() => self.lost(failure),
            Err(failure) => self.screen.show(&failure.message, Tone::Loud),
        }
    }
}
