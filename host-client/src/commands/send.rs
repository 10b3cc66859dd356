//! `send`: one message, and the wait for what becomes of it.

use std::io::Read;
use std::time::{Duration, Instant};

use sordino_core::config::MAX_BODY;

use super::{connect, open_history};
use crate::cli::{self, Wait};
use crate::failure::{Exit, Failure, Result};
use crate::history::{History, Id, Outgoing, State};
use crate::session::{Event, explain};
use crate::settings::Settings;
use crate::text::output;
use crate::text::target::Target;
use crate::wait::{self, Backoff};

/// Sends. After a failure nothing remains queued.
pub async fn send(settings: &Settings, args: &cli::Send) -> Result<()> {
    let text = text(args.text.as_deref())?;
    let history = open_history(settings).await?;
    let id = new_id()?;
    let mut sending = Sending {
        settings,
        target: &args.to,
        id,
        text: &text,
        wait: args.wait,
        reached: Reached::Nothing,
        trouble: None,
    };
    let limit = Duration::from_secs_f64(args.timeout);
    let outcome = match wait::within(limit, sending.run(Instant::now() + limit)).await {
        Some(outcome) => outcome,
        None => Err(sending.out_of_time(limit)),
    };
    sending.record(&history).await?;
    history.close().await;
    outcome
}

/// A new message id.
pub(crate) fn new_id() -> Result<Id> {
    let mut id = Id::default();
    getrandom::fill(&mut id).map_err(|e| Failure::failed(format!("no random numbers: {e}")))?;
    Ok(id)
}

/// The text from the command line or from standard input, whose last newline is dropped.
fn text(argument: Option<&str>) -> Result<String> {
    let text = match argument {
        Some(text) if text != "-" => text.to_owned(),
        _ => from_stdin()?,
    };
    check_size(&text)?;
    Ok(text)
}

fn from_stdin() -> Result<String> {
    let mut raw = Vec::new();
    std::io::stdin()
        .lock()
        .take(MAX_BODY as u64 + 2)
        .read_to_end(&mut raw)
        .map_err(|e| Failure::failed(format!("standard input can't be read: {e}")))?;
    let mut text = String::from_utf8(raw).map_err(|_| Failure::failed("standard input isn't UTF-8 text"))?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

/// Refuses what no server takes.
pub(crate) fn check_size(text: &str) -> Result<()> {
    match text.len() {
        0 => Err(Failure::failed("the message is empty")),
        1..=MAX_BODY => Ok(()),
        _ => Err(Failure::failed(format!("the message is too large: at most {MAX_BODY} bytes go into one"))),
    }
}

enum Reached {
    Nothing,
    /// Sent at least once: the server may have it.
    Sent,
    Accepted {
        number: u64,
        time: u64,
    },
    Delivered {
        number: u64,
        time: u64,
    },
}

struct Sending<'a> {
    settings: &'a Settings,
    target: &'a Target,
    id: Id,
    text: &'a str,
    wait: Wait,
    reached: Reached,
    /// Why the last attempt failed.
    trouble: Option<Failure>,
}

impl Sending<'_> {
    /// Tries again, under the same id, as long as only the network fails.
    async fn run(&mut self, deadline: Instant) -> Result<()> {
        let mut backoff = Backoff::default();
        loop {
            match self.attempt(deadline).await {
                Err(failure) if failure.exit == Exit::Network => {
                    self.trouble = Some(failure);
                    smol::Timer::after(backoff.next_pause()).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn attempt(&mut self, deadline: Instant) -> Result<()> {
        let mut session = connect(self.settings, deadline.saturating_duration_since(Instant::now())).await?;
        session.send(&self.id, self.target, self.text.as_bytes()).await?;
        if matches!(self.reached, Reached::Nothing) {
            self.reached = Reached::Sent;
        }
        while !self.done() {
            self.handle(session.next().await?)?;
        }
        session.close().await;
        Ok(())
    }

    fn done(&self) -> bool {
        match self.reached {
            Reached::Nothing | Reached::Sent => false,
            Reached::Accepted { .. } => self.wait == Wait::Accepted,
            Reached::Delivered { .. } => true,
        }
    }

    fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Accepted(a) if a.id == self.id => {
                self.reached = Reached::Accepted { number: a.number, time: a.time };
            }
            Event::Delivered(d) if d.id == self.id => {
                if let Reached::Accepted { number, time } = self.reached {
                    self.reached = Reached::Delivered { number, time };
                }
            }
            Event::Refused(r) if r.id == self.id => {
                return Err(explain::refused(
                    r.code,
                    r.retry_after,
                    &format!("the message to {}", self.target),
                ));
            }
            Event::Notice(_, text) => output::note(&format!("server: {}", output::sanitise(&text))),
            _ => {}
        }
        Ok(())
    }

    fn out_of_time(&self, limit: Duration) -> Failure {
        let seconds = limit.as_secs_f64();
        let trouble = self.trouble.as_ref().map(|f| format!(" ({f})")).unwrap_or_default();
        match self.reached {
            Reached::Nothing => {
                Failure::network(format!("not sent: no connection within {seconds} s{trouble}"))
            }
            Reached::Sent => Failure::network(format!(
                "sent, but the server did not confirm it within {seconds} s{trouble}: it may or may not have it"
            )),
            Reached::Accepted { .. } | Reached::Delivered { .. } => Failure::failed(format!(
                "accepted, but not delivered within {seconds} s: it waits on the server until {} connects",
                self.target
            )),
        }
    }

    /// The history learns of a message when its fate is known, so that a killed `send` leaves nothing queued.
    async fn record(&self, history: &History) -> Result<()> {
        let Some(account) = &self.settings.account else { return Ok(()) };
        let sender = &account.user;
        let message =
            Outgoing { sender, id: self.id, target: self.target, time: wait::unix_ms(), text: self.text };
        history.record_queued(&message).await?;
        match self.reached {
            Reached::Accepted { number, time } => {
                history.record_accepted(sender, &self.id, number, time).await
            }
            Reached::Delivered { number, time } => {
                history.record_accepted(sender, &self.id, number, time).await?;
                history.record_state(sender, &self.id, State::Delivered).await
            }
            Reached::Nothing | Reached::Sent => history.record_state(sender, &self.id, State::Failed).await,
        }
    }
}
