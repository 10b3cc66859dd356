//! Questions to the person at the terminal, or to the script behind standard input.

use std::io::{self, IsTerminal, Write};

use crate::failure::{Failure, Result};

/// Asks for a line; `flag` is what a script would give instead.
///
/// # Errors
/// Exit code 2 at the end of the input and for an empty answer.
pub fn line(question: &str, flag: &str) -> Result<String> {
    let missing = || {
        Failure::usage(format!(
            "{flag} is needed: nobody answered \"{}\"",
            question.trim_end_matches([':', ' '])
        ))
    };
    optional_line(question)?.filter(|answer| !answer.is_empty()).ok_or_else(missing)
}

/// Asks for a line that may be empty; `None` at the end of the input.
///
/// # Errors
/// Exit code 1 when standard input can't be read or isn't UTF-8.
pub fn optional_line(question: &str) -> Result<Option<String>> {
    if io::stdin().is_terminal() {
        let mut out = io::stderr().lock();
        let _ = write!(out, "{question}").and_then(|()| out.flush());
    }
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    match read.map_err(|e| Failure::failed(format!("standard input can't be read: {e}")))? {
        0 => Ok(None),
        _ => Ok(Some(answer.trim().to_owned())),
    }
}
