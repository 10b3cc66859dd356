//! The command line: what is set where (file < environment < flags), and the exit code.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use async_signal::{Signal, Signals};
use clap::{Parser, Subcommand, ValueEnum};
use directories::ProjectDirs;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use smol::{future::FutureExt as _, stream::StreamExt as _};
use tracing_subscriber::EnvFilter;

use crate::{
    accounts,
    config::{self, Config},
    console::Console,
    hub::Hub,
    keys::{DataDir, fingerprint},
    server::{self, Server},
};

const AFTER_HELP: &str = "Exit codes: 0 ok, 1 failed, 2 usage.\n\
    Settings come from flags, then the environment (SORDINO_SERVER_…), then the policy file.";

/// Sordino's chat server. Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "sordino-server", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    serve: Serve,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Directory for keys and database [default: the XDG data directory]
    #[arg(long, env = "SORDINO_SERVER_DATA_DIR", value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one [default: localhost:12345]
    #[arg(long, env = "SORDINO_SERVER_LISTEN", value_name = "HOST:PORT", value_parser = host_and_port)]
    listen: Option<String>,
    /// Policy file, see `config default`
    #[arg(long, env = "SORDINO_SERVER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one line of JSON on standard output when ready, and nothing else there
    #[arg(long, conflicts_with = "console")]
    json: bool,
    /// Talk from this terminal
    #[arg(long)]
    console: bool,
    /// Form of the log on standard error; RUST_LOG sets its level
    #[arg(long, env = "SORDINO_SERVER_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (what happens without a command)
    Serve,
    /// Replace the static keys, signed by the same root; the server must be stopped
    Rotate {
        /// Version of the new statement [default: the present one plus one]
        #[arg(long)]
        version: Option<u32>,
    },
    /// Disable or enable an account, a board's too; while the server runs, its console does that
    #[command(subcommand)]
    Accounts(AccountsCommand),
    /// Show or check a policy file
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum AccountsCommand {
    /// Let nobody in to an account
    Disable {
        /// Username
        name: String,
    },
    /// Let its devices in again
    Enable {
        /// Username
        name: String,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print a commented policy file with the default values
    Default,
    /// Check a policy file
    Check {
        /// The file
        file: PathBuf,
    },
}

/// The one line of `--json`.
#[derive(Serialize)]
struct Ready<'a> {
    event: &'a str,
    listen: SocketAddr,
    fingerprint: &'a str,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        None | Some(Command::Serve) => serve(&cli.serve),
        Some(Command::Rotate { version }) => rotate(&cli.serve, *version),
        Some(Command::Accounts(AccountsCommand::Disable { name })) => set_disabled(&cli.serve, name, true),
        Some(Command::Accounts(AccountsCommand::Enable { name })) => set_disabled(&cli.serve, name, false),
        Some(Command::Config(ConfigCommand::Default)) => print(config::DEFAULT),
        Some(Command::Config(ConfigCommand::Check { file })) => {
            Config::load(file).and_then(|_| print(&format!("{} is a valid policy\n", file.display())))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told if this fails.
            let _ = writeln!(io::stderr(), "sordino-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &Serve) -> Result<()> {
    log_to_stderr(options.log_format);
    raise_file_limit();
    let mut config = options.config.as_deref().map_or_else(|| Ok(Config::default()), Config::load)?;
    if let Some(listen) = &options.listen {
        config.listen.clone_from(listen);
    }
    smol::block_on(run(config, &data_dir(options)?, options))
}

fn set_disabled(options: &Serve, name: &str, disabled: bool) -> Result<()> {
    let data_dir = data_dir(options)?;
    let order = async |hub: &Hub| accounts::set_disabled(hub, name, disabled).await;
    smol::block_on(server::maintain(&data_dir, order))?.with_context(|| format!("@{name}"))?;
    print(&format!("@{name} is {}\n", if disabled { "disabled" } else { "enabled" }))
}

fn rotate(options: &Serve, version: Option<u32>) -> Result<()> {
    let identity = DataDir::open(&data_dir(options)?)?.rotate(version)?;
    print(&format!(
        "New static keys are in force from the next start on, under version {} of the key statement.\n\
         The fingerprint is as it was: {}\n",
        identity.statement().version,
        grouped(&fingerprint(&identity)),
    ))
}

async fn run(config: Config, data_dir: &Path, options: &Serve) -> Result<()> {
    let mut signals = Signals::new([Signal::Term, Signal::Int]).context("can't listen for signals")?;
    let first_start = !data_dir.join(crate::store::FILE).exists();
    let server = Server::start(config, data_dir).await?;
    announce(&server, options, data_dir, first_start)?;
    let stopped = async {
        signals.next().await;
        tracing::info!("stopping");
    };
    let broken = async {
        server.broken().await;
        tracing::error!("the task that writes has failed: stopping");
    };
    if options.console {
        let console = Console::open(&server).await?;
        stopped.or(broken).or(console.run()).await;
    } else {
        stopped.or(broken).await;
    }
    server.stop().await
}

fn announce(server: &Server, options: &Serve, data_dir: &Path, first_start: bool) -> Result<()> {
    let (address, fingerprint) = (server.address(), server.fingerprint());
    tracing::info!(%address, %fingerprint, data = %data_dir.display(), "listening");
    if options.json {
        let ready = Ready { event: "ready", listen: address, fingerprint: &fingerprint };
        return print(&format!("{}\n", serde_json::to_string(&ready)?));
    }
    let mut text = String::new();
    if first_start {
        let _ = writeln!(text, "Made keys and database in {}.", data_dir.display());
    }
    let _ = writeln!(text, "Listening on  {address}");
    let _ = writeln!(text, "Fingerprint   {}", grouped(&fingerprint));
    let _ = writeln!(
        text,
        "To connect    {} --fingerprint {fingerprint} {} {}",
        client(),
        address.ip(),
        address.port()
    );
    print(&text)
}

/// The client's command as it must be typed where this server was started.
fn client() -> &'static str {
    if std::env::var_os("CARGO").is_some() { "cargo run --release -p sordino --" } else { "sordino" }
}

/// In groups of four, to be compared by people.
fn grouped(digits: &str) -> String {
    let groups: Vec<_> = digits.as_bytes().chunks(4).map(String::from_utf8_lossy).collect();
    groups.join(" ")
}

/// A reader that has gone away is no error.
fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("can't write to standard output")
        }
        _ => Ok(()),
    }
}

fn host_and_port(text: &str) -> Result<String, &'static str> {
    let port =
        text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    if matches!(port, Some(Ok(_))) { Ok(text.to_owned()) } else { Err("not HOST:PORT") }
}

/// Every connection is an open file, and the customary limit is far below what the policy admits.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, files = limit.current, "can't raise the limit of open files");
    }
}

fn data_dir(options: &Serve) -> Result<PathBuf> {
    if let Some(given) = &options.data_dir {
        return Ok(given.clone());
    }
    let dirs = ProjectDirs::from("", "", "sordino-server").context("no home directory: use --data-dir")?;
    Ok(dirs.data_dir().to_owned())
}

fn log_to_stderr(format: LogFormat) {
    let level = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(level).with_writer(io::stderr).with_ansi(colours);
    let set = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    if let Err(error) = set {
        let _ = writeln!(io::stderr(), "sordino-server: no log: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for right in ["localhost:12345", "127.0.0.1:0", "[::1]:9"] {
            assert!(host_and_port(right).is_ok(), "{right}");
        }
        for wrong in ["localhost", ":12345", "127.0.0.1:", "127.0.0.1:65536", ""] {
            assert!(host_and_port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fingerprint_is_shown_in_groups() {
        assert_eq!(grouped("0123456789ab"), "0123 4567 89ab");
    }
}
