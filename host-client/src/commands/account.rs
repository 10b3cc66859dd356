//! `register` and `login`: afterwards the device key is enough.

use sordino_core::config::{MAX_EMAIL, MAX_LABEL};
use zeroize::Zeroizing;

use super::{PATIENCE, options, trust_source};
use crate::cli;
use crate::failure::{Failure, Result};
use crate::home::Account;
use crate::session::{Credentials, Identity, Session};
use crate::settings::Settings;
use crate::text::{ask, output, secret};

/// Makes an account and remembers it.
pub async fn register(settings: &Settings, args: &cli::Register) -> Result<()> {
    let email = match &args.email {
        Some(email) => email.clone(),
        None => ask::line("email: ", "--email")?,
    };
    if email.len() > MAX_EMAIL {
        return Err(Failure::usage(format!("the email address is longer than {MAX_EMAIL} bytes")));
    }
    let user = user(&args.login)?;
    let password = match &args.login.password_file {
        Some(path) => secret::read_file(path)?,
        None => secret::prompt_new()?,
    };
    let label = device_label();
    let session = enter(
        settings,
        Credentials::Register { user: &user, email: &email, password: &password, label: &label },
    )
    .await?;
    done(settings, session, "registered").await
}

/// Logs this device in by password and remembers the account.
pub async fn log_in(settings: &Settings, args: &cli::Login) -> Result<()> {
    let user = user(args)?;
    let password: Zeroizing<String> = match &args.password_file {
        Some(path) => secret::read_file(path)?,
        None => secret::prompt("password: ")?,
    };
    let label = device_label();
    let session =
        enter(settings, Credentials::Password { user: &user, password: &password, label: &label }).await?;
    done(settings, session, "logged in").await
}

fn user(args: &cli::Login) -> Result<String> {
    match &args.user {
        Some(user) => Ok(user.clone()),
        None => ask::line("username: ", "--user"),
    }
}

/// Connects, logs in, and remembers the account.
pub(crate) async fn enter(settings: &Settings, credentials: Credentials<'_>) -> Result<Session> {
    let identity = Identity::of_home(settings.home.clone());
    let mut session = Session::connect(&identity, &options(settings, PATIENCE)).await?;
    if session.is_first_contact() {
        let fingerprint = output::grouped(&hex::encode(session.fingerprint()));
        output::note(&format!("server fingerprint, {}:\n  {fingerprint}", trust_source(settings, &session)));
    }
    session.log_in(credentials).await?;
    if let Some(before) = settings.account.as_ref().filter(|before| before.user != session.user()) {
        output::note(&format!("this device was @{} and is @{} now", before.user, session.user()));
    }
    settings.home.set_account(&Account {
        user: session.user().to_owned(),
        server: settings.server.to_string(),
        suite: settings.suite,
    })?;
    Ok(session)
}

async fn done(settings: &Settings, session: Session, what: &str) -> Result<()> {
    output::note(&format!("{what} as @{} on {}", session.user(), settings.server));
    session.close().await;
    Ok(())
}

/// The name of this device for its owner: the host's, cut to what the protocol carries.
pub(crate) fn device_label() -> String {
    let host = gethostname::gethostname();
    let host = host.to_string_lossy();
    let end = (0..=host.len().min(MAX_LABEL)).rev().find(|&end| host.is_char_boundary(end)).unwrap_or(0);
    host[..end].to_owned()
}
