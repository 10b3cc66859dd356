//! See the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    sordino_server::cli::main()
}
