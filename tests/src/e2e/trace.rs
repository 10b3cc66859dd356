//! The server's system calls, seen by strace.

use std::{
    collections::HashMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use super::PATIENCE;

/// The calls that make something durable, and those that move bytes through sockets.
const CALLS: &str = "trace=fsync,fdatasync,read,readv,write,writev,%network";

/// Whether strace is here and may trace; says so on the terminal if not.
#[must_use]
pub fn available(test: &str) -> bool {
    let works = Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|s| s.success());
    if !works {
        // Not the macro, which the test harness would swallow.
        let _ =
            writeln!(std::io::stderr(), "{test}: skipped, because strace is missing or may not trace here");
    }
    works
}

/// What to put before a command to trace it into a file. The command stays the direct child.
#[must_use]
pub fn wrapper(file: &Path) -> Vec<String> {
    let fixed = ["strace", "-D", "-f", "-yy", "-ttt", "-s", "0", "-e", CALLS, "-e", "signal=none", "-o"];
    fixed.iter().map(ToString::to_string).chain([file.display().to_string()]).collect()
}

/// A system call. The order of [`Call::begun`] and [`Call::done`] among all calls is the order of events.
#[derive(Clone, Debug)]
pub struct Call {
    /// `fdatasync`, `sendto`, …
    pub name: String,
    /// What stands between the parentheses, file descriptors with their path or address.
    pub arguments: String,
    /// What it returned.
    pub result: i64,
    /// Line at which it was called.
    pub begun: usize,
    /// Line at which it returned.
    pub done: usize,
    /// Unix seconds at which it returned, or was called where it was not interrupted.
    pub time: f64,
}

impl Call {
    /// Whether it has made a file durable whose name ends so.
    #[must_use]
    pub fn synced(&self, file: &str) -> bool {
        self.name.ends_with("sync") && self.result == 0 && self.arguments.contains(&format!("{file}>"))
    }

    /// Whether it moved bytes to (`out`) or from a TCP peer.
    #[must_use]
    pub fn carried(&self, out: bool) -> bool {
        let direction = if out {
            ["write", "writev", "sendto", "sendmsg"].contains(&&*self.name)
        } else {
            ["read", "readv", "recvfrom", "recvmsg"].contains(&&*self.name)
        };
        direction && self.result > 0 && self.arguments.contains("<TCP:[") && self.arguments.contains("->")
    }
}

/// The finished trace of a process that has ended.
///
/// # Panics
/// When the tracer doesn't end.
#[must_use]
pub fn read(file: &PathBuf) -> Vec<Call> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        let last = text.lines().last().unwrap_or_default();
        if last.contains("+++ exited with") || last.contains("+++ killed by") {
            return parse(&text);
        }
        assert!(Instant::now() < deadline, "the trace has no end: {last}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Puts calls that were interrupted by others together again.
fn parse(text: &str) -> Vec<Call> {
    let mut unfinished: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut calls = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((time, rest)) = rest.trim_start().split_once(' ') else { continue };
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, (at, begun));
        } else if let Some((_, end)) = rest.split_once(" resumed>") {
            let Some((begun, start)) = unfinished.remove(thread) else { continue };
            calls.extend(call(&format!("{start}{end}"), begun, at, time));
        } else {
            calls.extend(call(rest, at, at, time));
        }
    }
    calls
}

fn call(text: &str, begun: usize, done: usize, time: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let result = result.split_whitespace().next()?.parse().ok()?;
    Some(Call {
        name: name.into(),
        arguments: arguments.trim_end().trim_end_matches(')').into(),
        result,
        begun,
        done,
        time: time.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupted_calls_are_put_together() {
        let calls = parse(
            "7 1.5 fdatasync(3</d/sordino.db-wal> <unfinished ...>\n\
             8 1.6 sendto(9<TCP:[127.0.0.1:1->127.0.0.1:2]>, \"\"..., 82, MSG_NOSIGNAL, NULL, 0) = 82\n\
             7 1.7 <... fdatasync resumed>) = 0\n\
             7 1.8 fsync(4</d>) = -1 EIO (Input/output error)\n\
             8 1.9 +++ exited with 0 +++\n",
        );
        assert_eq!(calls.len(), 3);
        assert!(calls[0].carried(true) && !calls[0].carried(false));
        assert!(calls[1].synced("-wal") && (calls[1].begun, calls[1].done) == (0, 2));
        assert!(!calls[2].synced("/d"));
    }
}
