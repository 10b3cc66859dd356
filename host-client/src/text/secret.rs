//! Passwords: from a file, from standard input, or from a hidden prompt. Never from an argument.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sordino_core::config::MAX_PASSWORD;
use zeroize::Zeroizing;

use super::output::note;
use crate::failure::{Failure, Result};

/// Reads a password file, or standard input for `-`. One trailing newline is dropped; a file that others may read
/// draws a warning.
///
/// # Errors
/// Exit code 1 when the file can't be read, 2 when it is empty, too long or not text.
pub fn read_file(path: &Path) -> Result<Zeroizing<String>> {
    let mut raw = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD + 2));
    let limit = MAX_PASSWORD as u64 + 3;
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut raw)
    } else {
        File::open(path).and_then(|file| {
            warn_if_loose(&file, path);
            file.take(limit).read_to_end(&mut raw)
        })
    };
    read.map_err(|e| Failure::failed(format!("the password file {} can't be read: {e}", path.display())))?;
    let kept = raw.strip_suffix(b"\n").map_or(&raw[..], |line| line.strip_suffix(b"\r").unwrap_or(line));
    let text = str::from_utf8(kept)
        .map_err(|_| Failure::usage(format!("the password file {} isn't UTF-8 text", path.display())))?;
    check(text)?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn warn_if_loose(file: &File, path: &Path) {
    let Ok(meta) = file.metadata() else { return };
    let mode = meta.permissions().mode() & 0o777;
    if meta.is_file() && mode & 0o077 != 0 {
        note(&format!(
            "warning: others may read the password file {} (mode {mode:04o}); chmod 600 it",
            path.display()
        ));
    }
}

/// Asks for a password without echo. Where standard input is no terminal, its next line is the answer.
///
/// # Errors
/// Exit code 2 for no, an empty or a too long password.
pub fn prompt(question: &str) -> Result<Zeroizing<String>> {
    let text = if io::stdin().is_terminal() {
        rpassword::prompt_password(question)
            .map(Zeroizing::new)
            .map_err(|e| Failure::failed(format!("reading the password from the terminal failed: {e}")))?
    } else {
        piped_line()?
    };
    check(&text)?;
    Ok(text)
}

fn piped_line() -> Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(MAX_PASSWORD + 2));
    match io::stdin().read_line(&mut line) {
        Ok(0) => Err(Failure::usage("a password is needed and nobody is there to ask: give --password-file")),
        Ok(_) => Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned())),
        Err(e) => Err(Failure::failed(format!("the password can't be read from standard input: {e}"))),
    }
}

/// Asks for a new password, twice.
///
/// # Errors
/// Those of [`prompt`], and exit code 2 when the two differ.
pub fn prompt_new() -> Result<Zeroizing<String>> {
    let first = prompt("password: ")?;
    let second = prompt("the same again: ")?;
    if *first != *second {
        return Err(Failure::usage("the two passwords differ"));
    }
    Ok(first)
}

fn check(password: &str) -> Result<()> {
    match password.len() {
        0 => Err(Failure::usage("the password is empty")),
        1..=MAX_PASSWORD => Ok(()),
        _ => Err(Failure::usage(format!("the password is longer than {MAX_PASSWORD} bytes"))),
    }
}
