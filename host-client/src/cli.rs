//! The command line: what may be said, and nothing of what it does.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::text::address::Address;
use crate::text::{fingerprint, target};
use target::Target;

const EXIT_CODES: &str = "\
Exit codes: 0 ok, 1 failed, 2 usage, 3 network, 4 key not trusted, 5 rate limited, 6 authentication, 7 not found.
Settings come from flags, then the environment (SORDINO_…), then config.toml, then what the last login left.";

/// Chat with people and rooms on a Sordino server. Without a command the chat opens.
#[derive(Debug, Parser)]
#[command(name = "sordino", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Settings that every command takes.
    #[command(flatten)]
    pub common: Common,
    /// Server for the chat [default: the one of the last login, or localhost]
    pub host: Option<String>,
    /// Its port [default: 12345]
    pub port: Option<u16>,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Settings that every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Directory for keys, account and history [default: the XDG data directory]
    #[arg(long, global = true, env = "SORDINO_HOME", value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Server's address
    #[arg(long, global = true, env = "SORDINO_SERVER", value_name = "HOST:PORT")]
    pub server: Option<Address>,
    /// Server's fingerprint, 64 hexadecimal digits: nothing else is accepted then
    #[arg(long, global = true, env = "SORDINO_FINGERPRINT", value_name = "HEX", value_parser = fingerprint::parse)]
    pub fingerprint: Option<[u8; 32]>,
    /// Cipher suite: 1 (ffdhe2048, AES-128) or 2 (ffdhe3072, AES-256) [default: 2]
    #[arg(long, global = true, env = "SORDINO_SUITE", value_name = "1|2", value_parser = clap::value_parser!(u8).range(1..=2))]
    pub suite: Option<u8>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an account on the server and log this device in
    Register(Register),
    /// Log this device in to an account
    Login(Login),
    /// Send a message to a user or a room
    Send(Send),
    /// Print the messages that wait for this device
    Recv(Recv),
    /// List, join and leave rooms
    Rooms(Rooms),
    /// List the users who are connected
    Who(Json),
    /// Enrol, list and revoke boards
    Boards(Boards),
    /// Print what was said with a user or in a room, as this device knows it
    History(History),
}

/// Who logs in.
#[derive(Debug, Args)]
pub struct Login {
    /// Username
    #[arg(long, env = "SORDINO_USER", value_parser = target::username)]
    pub user: Option<String>,
    /// File with the password, - for standard input [default: ask]
    #[arg(long, env = "SORDINO_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// Who registers.
#[derive(Debug, Args)]
pub struct Register {
    /// Account
    #[command(flatten)]
    pub login: Login,
    /// Email address, for the server's operator to reach you
    #[arg(long, env = "SORDINO_EMAIL")]
    pub email: Option<String>,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wait {
    /// The server has it on disk
    Accepted,
    /// A device of the user, or of another member of the room, has it
    Delivered,
}

/// A message to send.
#[derive(Debug, Args)]
pub struct Send {
    /// @user or '#room'
    pub to: Target,
    /// The text; - or nothing reads standard input
    #[arg(allow_hyphen_values = true)]
    pub text: Option<String>,
    /// What to wait for
    #[arg(long, value_enum, default_value_t = Wait::Accepted)]
    pub wait: Wait,
    /// Give up after so many seconds
    #[arg(long, value_name = "S", default_value_t = 15.0, value_parser = seconds)]
    pub timeout: f64,
}

/// How to receive.
#[derive(Debug, Args)]
pub struct Recv {
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// End after so many seconds without a message
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = seconds)]
    pub timeout: f64,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Keep waiting, and reconnect when the connection breaks
    #[arg(long)]
    pub follow: bool,
}

/// Output form.
#[derive(Debug, Clone, Copy, Args)]
pub struct Json {
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Room commands.
#[derive(Debug, Args)]
pub struct Rooms {
    /// What to do.
    #[command(subcommand)]
    pub command: RoomCommand,
}

/// Board commands.
#[derive(Debug, Args)]
pub struct Boards {
    /// What to do.
    #[command(subcommand)]
    pub command: BoardCommand,
}

/// What to do with boards.
#[derive(Debug, Subcommand)]
pub enum BoardCommand {
    /// Make an account for a board, and print the code that lets it in, once
    Enrol(EnrolBoard),
    /// List your boards and whether their keys are proven
    List(Json),
    /// Disable a board for good
    Revoke(BoardName),
}

/// A board to be enrolled.
#[derive(Debug, Args)]
pub struct EnrolBoard {
    /// Username of the board
    #[arg(value_parser = target::username)]
    pub board: String,
    /// Minutes for which the code is good
    #[arg(long, value_name = "MIN", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    pub minutes: u32,
    /// Print the text only, no QR code
    #[arg(long)]
    pub no_qr: bool,
}

/// A board.
#[derive(Debug, Args)]
pub struct BoardName {
    /// Username of the board
    #[arg(value_parser = target::username)]
    pub board: String,
}

/// What to do with rooms.
#[derive(Debug, Subcommand)]
pub enum RoomCommand {
    /// List all rooms: name, number of members, and whether you are one
    List(Json),
    /// Join a room; a room that doesn't exist yet is made
    Join(Room),
    /// Leave a room
    Leave(Room),
    /// List the members of a room that you are in
    Members(Members),
}

/// A room.
#[derive(Debug, Args)]
pub struct Room {
    /// '#room'
    #[arg(value_parser = target::room)]
    pub room: String,
}

/// A room whose members are listed.
#[derive(Debug, Args)]
pub struct Members {
    /// Which
    #[command(flatten)]
    pub room: Room,
    /// How
    #[command(flatten)]
    pub form: Json,
}

/// Which part of the history.
#[derive(Debug, Args)]
pub struct History {
    /// @user or '#room'
    pub with: Target,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// At most so many of the latest messages
    #[arg(long, value_name = "N", default_value_t = u32::MAX, hide_default_value = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if (0.0..=31_536_000.0).contains(&s) => Ok(s),
        _ => Err("a number of seconds from 0 to a year".into()),
    }
}
