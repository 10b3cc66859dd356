//! The chat's loop: lines from the person, events from the server, and the connection's comings and goings.

mod events;
mod lines;

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::{Duration, Instant};

use smol::future::or;

use super::outbox::Outbox;
use super::screen::{Screen, Tone};
use crate::commands;
use crate::failure::{Exit, Failure, Result};
use crate::history::{History, Id, State};
use crate::session::{Event, Session, WINDOW};
use crate::settings::Settings;
use crate::text::target::Target;
use crate::wait::{self, Backoff};

/// How long leaving waits for the server's answers: a person, and a script whose input has ended.
const FAREWELL: Duration = Duration::from_secs(3);
const SCRIPT_FAREWELL: Duration = Duration::from_secs(15);
/// Accepted messages whose delivery is still told.
const REMEMBERED: usize = 256;

/// The connection, or the attempt to get one.
enum Link {
    Up(Box<Session>),
    Down(Pin<Box<dyn Future<Output = Result<Session>>>>),
}

/// What can happen next.
enum Happening {
    Line(Option<String>),
    Server(Result<Event>),
    Connected(Result<Session>),
    /// A held message may go now.
    Due,
}

struct Chat<'a> {
    settings: &'a Settings,
    history: &'a History,
    screen: Screen,
    me: String,
    current: Option<Target>,
    outbox: Outbox,
    accepted: VecDeque<(Id, String)>,
    link: Link,
    backoff: Backoff,
}

/// Talks until the person leaves.
pub async fn talk(settings: &Settings, session: Session, history: &History) -> Result<()> {
    let mut chat = Chat {
        settings,
        history,
        screen: Screen::open()?,
        me: session.user().to_owned(),
        current: None,
        outbox: Outbox::default(),
        accepted: VecDeque::new(),
        link: Link::Down(Box::pin(std::future::pending())),
        backoff: Backoff::default(),
    };
    let fingerprint = hex::encode(session.fingerprint());
    chat.screen.show(
        &format!("You are @{} on {}. /help says what you can type; exit leaves.", chat.me, settings.server),
        Tone::Normal,
    )?;
    let source = commands::trust_source(settings, &session);
    chat.screen.show(&format!("Server fingerprint {}… ({source}).", &fingerprint[..16]), Tone::Quiet)?;
    chat.connected(session).await?;
    chat.run().await
}

impl Chat<'_> {
    async fn run(mut self) -> Result<()> {
        self.prompt();
        loop {
            match self.next().await {
                Happening::Line(None) => return self.leave().await,
                Happening::Line(Some(line)) => {
                    if self.line(&line).await?.is_break() {
                        return self.leave().await;
                    }
                    self.prompt();
                }
                other => self.happened(other).await?,
            }
            self.send_pending().await?;
        }
    }

    async fn next(&mut self) -> Happening {
        let line = async { Happening::Line(self.screen.line().await) };
        or(line, news(&mut self.link, self.outbox.held_until())).await
    }

    async fn happened(&mut self, happening: Happening) -> Result<()> {
        match happening {
            Happening::Server(Ok(event)) => self.event(event).await,
            Happening::Server(Err(failure)) => self.lost(failure),
            Happening::Connected(Ok(session)) => {
                self.screen.show("— connected again —", Tone::Quiet)?;
                self.connected(session).await
            }
            Happening::Connected(Err(failure)) => self.lost(failure),
            Happening::Line(_) | Happening::Due => Ok(()),
        }
    }

    async fn connected(&mut self, mut session: Session) -> Result<()> {
        self.backoff.reset();
        match session.pending() {
            0 => {}
            1 => self.screen.show("— 1 message since last time —", Tone::Loud)?,
            n => self.screen.show(&format!("— {n} messages since last time —"), Tone::Loud)?,
        }
        let receiving = session.receive(WINDOW).await;
        self.link = Link::Up(Box::new(session));
        match receiving {
            Ok(()) => Ok(()),
            Err(failure) => self.lost(failure),
        }
    }

    /// The connection is gone: tries again, unless that can't help.
    fn lost(&mut self, failure: Failure) -> Result<()> {
        if !super::passes(&failure) {
            return Err(failure);
        }
        self.outbox.unsend();
        let pause = self.backoff.next_pause();
        let text =
            format!("— not connected, next attempt in {:.0} s: {failure} —", pause.as_secs_f64().ceil());
        self.screen.show(&text, Tone::Quiet)?;
        let settings = self.settings.clone();
        self.link = Link::Down(Box::pin(async move {
            smol::Timer::after(pause).await;
            commands::connect(&settings, commands::PATIENCE).await
        }));
        Ok(())
    }

    async fn send_pending(&mut self) -> Result<()> {
        while let Link::Up(session) = &mut self.link {
            let Some(pending) = self.outbox.next_to_send(Instant::now()) else { break };
            if let Err(failure) = session.send(&pending.id, &pending.target, pending.text.as_bytes()).await {
                self.lost(failure)?;
            }
        }
        Ok(())
    }

    fn prompt(&self) {
        let prompt = self.current.as_ref().map_or("> ".to_owned(), |target| format!("{target}> "));
        self.screen.prompt(&prompt);
    }

    /// Waits a little for what is on its way, then gives the rest up and says goodbye.
    async fn leave(mut self) -> Result<()> {
        let patience = if self.screen.is_interactive() { FAREWELL } else { SCRIPT_FAREWELL };
        let settled = wait::within(patience, self.settle()).await.unwrap_or(Ok(()));
        let given_up: Vec<_> = self.outbox.drain().collect();
        for pending in &given_up {
            self.history.record_state(&self.me, &pending.id, State::Failed).await?;
        }
        if let Link::Up(session) = self.link {
            session.close().await;
        }
        settled?;
        match given_up.len() {
            0 => Ok(()),
            n => Err(Failure::new(
                Exit::Network,
                format!("{n} messages were not confirmed by the server: see /history"),
            )),
        }
    }

    async fn settle(&mut self) -> Result<()> {
        while !self.outbox.is_empty() {
            self.send_pending().await?;
            let happening = news(&mut self.link, self.outbox.held_until()).await;
            self.happened(happening).await?;
        }
        Ok(())
    }
}

/// What comes from elsewhere than the person. May be dropped at any time.
async fn news(link: &mut Link, held_until: Option<Instant>) -> Happening {
    let due = async {
        match held_until {
            Some(at) => smol::Timer::at(at).await,
            None => std::future::pending().await,
        };
        Happening::Due
    };
    let server = async {
        match link {
            Link::Up(session) => Happening::Server(session.next().await),
            Link::Down(attempt) => Happening::Connected(attempt.await),
        }
    };
    or(server, due).await
}
