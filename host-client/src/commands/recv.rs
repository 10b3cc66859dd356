//! `recv`: a line for each message, acknowledged once it is flushed.

use std::time::{Duration, Instant};

use super::{PATIENCE, connect, open_history, print};
use crate::cli;
use crate::failure::{Exit, Failure, Result};
use crate::history::{Entry, History};
use crate::inbox;
use crate::session::{Event, Session, WINDOW};
use crate::settings::Settings;
use crate::text::output;
use crate::wait::{self, Backoff};

/// Receives until the count is reached, the time is over, or, following, for ever.
pub async fn recv(settings: &Settings, args: &cli::Recv) -> Result<()> {
    let history = open_history(settings).await?;
    let _lock = settings.home.lock_receiving()?;
    let mut receiving = Receiving {
        history: &history,
        json: args.json,
        left: args.count.unwrap_or(u64::MAX),
        patience: (!args.follow).then(|| Duration::from_secs_f64(args.timeout)),
    };
    let outcome = receiving.run(settings).await;
    history.close().await;
    outcome
}

struct Receiving<'a> {
    history: &'a History,
    json: bool,
    /// Messages still to be printed.
    left: u64,
    /// How long to wait for the next one; `None` when following.
    patience: Option<Duration>,
}

impl Receiving<'_> {
    async fn run(&mut self, settings: &Settings) -> Result<()> {
        let mut session = connect(settings, PATIENCE).await?;
        loop {
            match self.drain(&mut session).await {
                Err(failure) if self.patience.is_none() && failure.exit == Exit::Network => {
                    session = reconnect(settings, &failure).await?;
                }
                outcome => {
                    session.close().await;
                    return outcome;
                }
            }
        }
    }

    async fn drain(&mut self, session: &mut Session) -> Result<()> {
        session.receive(u16::try_from(self.left).map_or(WINDOW, |left| left.min(WINDOW))).await?;
        while self.left > 0 {
            let deadline = self.patience.map(|patience| Instant::now() + patience);
            let Some(delivery) = next_delivery(session, deadline).await? else { return Ok(()) };
            let form = if self.json { |entry: &Entry| entry.json(false) } else { Entry::line };
            let printed =
                inbox::take(session, self.history, delivery, self.left, |entries| print(entries, form))
                    .await?;
            self.left -= printed;
        }
        Ok(())
    }
}

/// The next message, or `None` at the deadline.
async fn next_delivery(
    session: &mut Session,
    deadline: Option<Instant>,
) -> Result<Option<crate::session::Delivery>> {
    loop {
        let event = match deadline {
            Some(deadline) => match wait::until(deadline, session.next()).await {
                Some(event) => event?,
                None => return Ok(None),
            },
            None => session.next().await?,
        };
        match event {
            Event::Message(delivery) => return Ok(Some(delivery)),
            Event::Notice(_, text) => output::note(&format!("server: {}", output::sanitise(&text))),
            _ => {}
        }
    }
}

async fn reconnect(settings: &Settings, why: &Failure) -> Result<Session> {
    output::note(&format!("{why}; reconnecting"));
    let mut backoff = Backoff::default();
    loop {
        smol::Timer::after(backoff.next_pause()).await;
        match connect(settings, PATIENCE).await {
            Err(failure) if matches!(failure.exit, Exit::Network | Exit::RateLimited) => {}
            outcome => return outcome,
        }
    }
}
