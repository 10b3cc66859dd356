//! The commands that end by themselves. The chat is in [`crate::chat`].

mod account;
mod boards;
mod recv;
mod rooms;
mod send;

use std::time::Duration;

use crate::cli::{self, Cli, Command};
use crate::failure::{Exit, Failure, Result};
use crate::history::{Entry, History};
use crate::session::{Identity, Options, Session};
use crate::settings::Settings;

pub(crate) use account::{device_label, enter};
pub(crate) use rooms::{room_list, user_list};
pub(crate) use send::{check_size, new_id};

/// How long a command waits for the server where it has no `--timeout`.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Does what the command line says.
///
/// # Errors
/// Whatever the command fails with.
pub async fn dispatch(cli: Cli) -> Result<()> {
    let Cli { mut common, host, port, command } = cli;
    let Some(command) = command else {
        common.server = chat_server(host, port)?.or(common.server);
        return crate::chat::open(Settings::resolve(&common)?).await;
    };
    if host.is_some() {
        return Err(Failure::usage("HOST and PORT belong to the chat; give --server to a command"));
    }
    let settings = Settings::resolve(&common)?;
    match command {
        Command::Register(args) => account::register(&settings, &args).await,
        Command::Login(args) => account::log_in(&settings, &args).await,
        Command::Send(args) => send::send(&settings, &args).await,
        Command::Recv(args) => recv::recv(&settings, &args).await,
        Command::Rooms(args) => rooms::rooms(&settings, &args.command).await,
        Command::Boards(args) => boards::boards(&settings, &args.command).await,
        Command::Who(form) => rooms::who(&settings, form).await,
        Command::History(args) => history(&settings, &args).await,
    }
}

/// The address from the plain arguments.
fn chat_server(host: Option<String>, port: Option<u16>) -> Result<Option<crate::text::address::Address>> {
    let Some(host) = host else { return Ok(None) };
    let mut address: crate::text::address::Address = host.parse().map_err(Failure::usage)?;
    address.port = port.unwrap_or(address.port);
    Ok(Some(address))
}

async fn history(settings: &Settings, args: &cli::History) -> Result<()> {
    let history = open_history(settings).await?;
    let entries = history.conversation(&args.with, args.limit).await?;
    print(&entries, |entry| if args.json { entry.json(true) } else { entry.line() })?;
    history.close().await;
    Ok(())
}

/// Prints messages in their form, and flushes them.
pub(crate) fn print(entries: &[Entry], form: impl Fn(&Entry) -> String) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let written = entries.iter().try_for_each(|entry| writeln!(out, "{}", form(entry)));
    written.and_then(|()| out.flush()).map_err(|e| Failure::output(&e))
}

/// The history of the account of this home.
pub(crate) async fn open_history(settings: &Settings) -> Result<History> {
    let account = settings.account.as_ref().ok_or_else(no_account)?;
    // Two processes must not make the tables of a new history at once.
    let _lock = settings.home.lock()?;
    History::open(&settings.home.history_path(&account.user)).await
}

/// A logged-in connection by the home's device key.
pub(crate) async fn connect(settings: &Settings, within: Duration) -> Result<Session> {
    if settings.account.is_none() {
        return Err(no_account());
    }
    let identity = Identity::of_home(settings.home.clone());
    Session::open(&identity, &options(settings, within)).await
}

/// Connection options of these settings.
pub(crate) fn options(settings: &Settings, within: Duration) -> Options {
    Options {
        server: settings.server.clone(),
        fingerprint: settings.fingerprint,
        suite: settings.suite,
        within,
    }
}

fn no_account() -> Failure {
    Failure::new(
        Exit::Authentication,
        "no account is logged in here: run `sordino register` or `sordino login` first, or plain `sordino`",
    )
}

/// Where the trust in the server's fingerprint comes from, for people.
pub(crate) fn trust_source(settings: &Settings, session: &Session) -> &'static str {
    match (settings.fingerprint, session.is_first_contact()) {
        (Some(_), _) => "the one that you gave",
        (None, true) => "seen for the first time and trusted from now on: compare it with the operator's",
        (None, false) => "as on first contact",
    }
}
