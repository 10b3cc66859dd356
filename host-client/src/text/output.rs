//! What goes to the terminal: foreign text is made harmless first.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use jiff::{Timestamp, tz::TimeZone};

use crate::failure::{Failure, Result};

/// Indentation of the second and later lines of a text, so that no text can pass for a message of its own.
const CONTINUATION: &str = "\n    ";

/// Makes foreign text safe for a terminal: escape sequences, other control characters and the invisible
/// characters that reorder text become U+FFFD, a tab a space, and a line break an indented one.
pub fn sanitise(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c.is_control() || reorders(c)) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.replace("\r\n", "\n").trim_end_matches('\n').chars() {
        match c {
            '\n' => safe.push_str(CONTINUATION),
            '\t' => safe.push(' '),
            c if c.is_control() || reorders(c) => safe.push('\u{FFFD}'),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Bidirectional overrides and isolates, line separators, and the zero-width characters that hide differences.
/// The zero-width joiner stays: emoji need it.
fn reorders(c: char) -> bool {
    matches!(c,
        '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

/// Unix milliseconds as local time for people: the time of day alone when it is today.
pub fn clock(unix_ms: u64) -> String {
    let zone = TimeZone::system();
    let Ok(time) = i64::try_from(unix_ms).map(Timestamp::from_millisecond) else { return "?".into() };
    let Ok(time) = time else { return "?".into() };
    let (time, today) = (time.to_zoned(zone.clone()), Timestamp::now().to_zoned(zone));
    let form = if time.date() == today.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    time.strftime(form).to_string()
}

/// A hexadecimal fingerprint in groups of eight, as people compare it.
pub fn grouped(fingerprint: &str) -> String {
    let groups: Vec<&str> =
        fingerprint.as_bytes().chunks(8).filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(" ")
}

/// Whether standard output may carry colours: a terminal, and `NO_COLOR` isn't set.
pub fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes one line to standard output and flushes it.
pub fn line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|e| Failure::output(&e))
}

/// Tells the person something beside the output. A standard error that is closed is no error.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
