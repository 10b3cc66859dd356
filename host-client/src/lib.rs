//! Sordino's client as a library: what the `sordino` command is made of, and what tests and load generators drive.
//!
//! - [`session`] a connection: trust, login, messages
//! - [`home`] keys, pinned server and account on disk; [`history`] what was said; [`inbox`] from one to the other
//! - [`cli`] the command line, [`settings`] its sources, [`commands`] and [`chat`] what it does,
//!   [`failure`] its exit codes
//! - [`text`] people's input and output; [`wait`] time limits

pub mod chat;
pub mod cli;
pub mod commands;
pub mod failure;
pub mod history;
pub mod home;
pub mod inbox;
pub mod session;
pub mod settings;
pub mod text;
pub mod wait;

use std::ffi::OsString;

use clap::Parser;

use failure::Exit;

/// Runs a command line, and says on standard error why it failed.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match cli::Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(answer) => {
            // Help is an answer too; a reader who has gone is no error.
            let _ = answer.print();
            return if answer.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    match smol::block_on(commands::dispatch(cli)) {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            if !failure.message.is_empty() {
                text::output::note(&format!("sordino: {failure}"));
            }
            failure.exit
        }
    }
}
