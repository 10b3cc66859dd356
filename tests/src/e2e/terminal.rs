//! A client under a pseudo-terminal, as a person sees it.

use std::process::Command;

use rexpect::{
    process::WaitStatus,
    reader::Options,
    session::{PtySession, spawn_with_options},
};

use super::PATIENCE;

/// A program on a terminal of its own. It is killed when dropped.
pub struct Terminal(PtySession);

impl Terminal {
    /// Starts the program as the leader of the terminal's session. Escape sequences are left out of what is read.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        command.env("TERM", "xterm").env("NO_COLOR", "1");
        let timeout_ms = u64::try_from(PATIENCE.as_millis()).ok();
        let options = Options::new().timeout_ms(timeout_ms).strip_ansi_escape_codes(true);
        let mut session = spawn_with_options(command, options).expect("a pseudo-terminal");
        session.process_mut().set_kill_timeout(Some(1_000));
        Self(session)
    }

    /// Waits for a text and returns what stood before it.
    ///
    /// # Panics
    /// When it doesn't come.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        self.0.exp_string(text).unwrap_or_else(|e| panic!("{text:?} is missing: {e}"))
    }

    /// Types a line.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn type_line(&mut self, line: &str) {
        self.0.send_line(line).expect("the terminal takes a line");
    }

    /// Waits for a question, then answers it.
    #[track_caller]
    pub fn answer(&mut self, question: &str, answer: &str) {
        self.expect(question);
        self.type_line(answer);
    }

    /// Waits for the end: the exit code, and what was still written.
    ///
    /// # Panics
    /// When the program doesn't end in time, or by a signal.
    #[must_use]
    #[track_caller]
    pub fn end(mut self) -> (i32, String) {
        let rest = self.0.exp_eof().unwrap_or_else(|e| panic!("no end: {e}"));
        match self.0.process().wait().expect("the program is a child") {
            WaitStatus::Exited(_, code) => (code, rest),
            other => panic!("{other:?}: {rest}"),
        }
    }
}
