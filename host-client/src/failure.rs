//! Every way to fail: the exit code that a script gets and the sentence that a person gets.

use std::{fmt, io, process::ExitCode};

/// What the process answers to its caller. The numbers are part of the command line's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; also when the reader of our output went away (`EPIPE`).
    Ok = 0,
    /// Anything that has no number of its own.
    Failed = 1,
    /// The command line or the configuration is malformed.
    Usage = 2,
    /// The server can't be reached, or stopped answering.
    Network = 3,
    /// The server's key isn't the one that is pinned or was given.
    Untrusted = 4,
    /// The server asks to wait.
    RateLimited = 5,
    /// No account here, or the server denied the login.
    Authentication = 6,
    /// No such user or room.
    NotFound = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// A failure: which exit code, and what to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The process's answer.
    pub exit: Exit,
    /// Step, likely cause and remedy, for people. Empty where there is nothing to say.
    pub message: String,
}

impl Failure {
    /// A failure with its sentence.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// Exit code 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// Exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Exit code 3.
    pub fn network(message: impl Into<String>) -> Self {
        Self::new(Exit::Network, message)
    }

    /// A failed write to standard output: nothing to tell when the reader has simply gone.
    pub fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Ok, ""),
            _ => Self::failed(format!("writing the output failed: {error}")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::failed(format!("the local history can't be read or written: {error}"))
    }
}

/// The result of everything that a command does.
pub type Result<T, E = Failure> = std::result::Result<T, E>;
