//! The `sordino` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    sordino::run(std::env::args_os()).into()
}
