//! The chat in line mode.

mod enrol;
pub mod line;
pub mod outbox;
mod screen;
mod talk;

use crate::commands;
use crate::failure::{Exit, Failure, Result};
use crate::session::{Identity, Session};
use crate::settings::Settings;
use crate::text::output;

/// Opens the chat: meets the server and makes an account where that is still to be done, then talks.
///
/// # Errors
/// Exit code 3 when the server can't be reached at the start; afterwards the chat reconnects by itself.
pub async fn open(settings: Settings) -> Result<()> {
    let lock = settings.home.lock_receiving()?;
    let (settings, session) = match &settings.account {
        None => enrol::enrol(settings).await?,
        Some(_) => match commands::connect(&settings, commands::PATIENCE).await {
            Ok(session) => (settings, session),
            Err(failure) if failure.exit == Exit::Authentication => {
                output::note(&failure.message);
                enrol::enrol(settings).await?
            }
            Err(failure) => return Err(failure),
        },
    };
    let history = commands::open_history(&settings).await?;
    history.give_up_queued().await?;
    let outcome = talk::talk(&settings, session, &history).await;
    history.close().await;
    drop(lock);
    outcome
}

/// A connection that isn't logged in.
async fn meet(settings: &Settings) -> Result<Session> {
    let identity = Identity::of_home(settings.home.clone());
    Session::connect(&identity, &commands::options(settings, commands::PATIENCE)).await
}

/// Whether trying again later may help.
fn passes(failure: &Failure) -> bool {
    matches!(failure.exit, Exit::Network | Exit::RateLimited)
}
