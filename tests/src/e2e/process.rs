//! A child process with its output followed, its end awaited, and its death assured.

use std::{
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

/// How often a process that must end is looked at.
const GLANCE: Duration = Duration::from_millis(2);

#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    ended: bool,
}

/// One output of a process, read as it comes.
#[derive(Clone, Default)]
pub struct Output(Arc<(Mutex<Written>, Condvar)>);

impl Output {
    fn follow(mut from: impl Read + Send + 'static) -> Self {
        let output = Self::default();
        let ours = output.clone();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                let read = from.read(&mut chunk).unwrap_or(0);
                let mut written = ours.lock();
                written.bytes.extend_from_slice(&chunk[..read]);
                written.ended = read == 0;
                ours.0.1.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        output
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    /// Waits until `find` finds something in everything that was written; `None` at the end of the output, or when
    /// the time is over.
    pub fn wait_for<T>(&self, within: Duration, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + within;
        let mut written = self.lock();
        loop {
            if let Some(found) = find(&String::from_utf8_lossy(&written.bytes)) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if written.ended || left.is_zero() {
                return None;
            }
            written = self.0.1.wait_timeout(written, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a text.
    ///
    /// # Panics
    /// When it doesn't come.
    pub fn expect(&self, needle: &str) {
        let found = self.wait_for(PATIENCE, |text| text.contains(needle).then_some(()));
        assert!(found.is_some(), "{needle:?} was not written, but:\n{}", self.text());
    }

    /// Waits for the end and returns everything.
    #[must_use]
    pub fn to_end(&self, within: Duration) -> String {
        self.wait_for(within, |_| None::<()>);
        self.text()
    }
}

/// How a process ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit code, or `None` for a signal.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
}

impl Finished {
    /// Checks the exit code.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }
}

/// A running child process. It is killed when dropped.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Standard output so far.
    pub stdout: Output,
    /// Standard error so far.
    pub stderr: Output,
    started: Instant,
}

impl Process {
    /// Starts a command with all three streams piped.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().map(Output::follow).unwrap_or_default();
        let stderr = child.stderr.take().map(Output::follow).unwrap_or_default();
        Self { child, stdin, stdout, stderr, started }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How many files and sockets it has open.
    ///
    /// # Panics
    /// When it doesn't run.
    #[must_use]
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).expect("it runs").count()
    }

    /// The most memory that it has had, in KiB.
    ///
    /// # Panics
    /// When it doesn't run.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Types into standard input. A process that doesn't listen any more is for the caller's other checks.
    pub fn write(&mut self, text: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush());
        }
    }

    /// Ends standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal, unless the process was reaped.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits for the end; `None` when the time is over.
    pub fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(GLANCE),
                _ => return None,
            }
        }
    }

    /// Ends standard input and waits for the end.
    ///
    /// # Panics
    /// When it doesn't end in time.
    #[must_use]
    #[track_caller]
    pub fn finish(mut self, within: Duration) -> Finished {
        self.close_stdin();
        let Some(status) = self.ended(within) else {
            panic!(
                "no end after {within:?}\nstdout:\n{}\nstderr:\n{}",
                self.stdout.text(),
                self.stderr.text()
            );
        };
        Finished {
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout.to_end(PATIENCE),
            stderr: self.stderr.to_end(PATIENCE),
            took: self.started.elapsed(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
