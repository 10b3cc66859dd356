//! A client's home, and the commands that are run in it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use super::{Finished, Host, PASSWORD, PATIENCE, Process, Programs};

/// A line of `recv --json`: these fields and no others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Unique for the sender.
    pub id: String,
    /// Unix milliseconds.
    pub time: u64,
    /// Username, without sigil.
    pub from: String,
    /// `@user` or `#room`.
    pub to: String,
    /// What was said.
    pub text: String,
}

/// Reads the lines of `--json`.
///
/// # Panics
/// When a line has another form.
#[must_use]
#[track_caller]
pub fn lines(output: &str) -> Vec<Line> {
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
    output.lines().map(read).collect()
}

/// A home, and where its server is.
#[derive(Clone, Debug)]
pub struct Client {
    programs: Programs,
    home: PathBuf,
    /// `IP:PORT` of the server.
    pub server: String,
    /// The fingerprint that is given to `register` and `login`.
    pub fingerprint: String,
}

impl Client {
    /// A home that may not exist yet.
    #[must_use]
    pub fn new(host: &Host, home: PathBuf) -> Self {
        let (server, fingerprint) = (host.address().into(), host.fingerprint().into());
        Self { programs: host.programs(), home, server, fingerprint }
    }

    /// The home.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// `sordino` with these arguments and an empty environment.
    #[must_use]
    pub fn bare(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.client);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("TZ", "UTC").env("HOME", self.home.join("nowhere")).args(arguments);
        command
    }

    /// `sordino --home H` with these arguments.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare(&["--home"]);
        command.arg(&self.home).args(arguments);
        command
    }

    /// Starts a command and leaves it running.
    #[must_use]
    pub fn start(&self, arguments: &[&str]) -> Process {
        Process::start(&mut self.command(arguments))
    }

    /// Runs a command with nothing on standard input.
    #[must_use]
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Finished {
        self.start(arguments).finish(PATIENCE)
    }

    /// Runs a command with this on standard input.
    #[must_use]
    #[track_caller]
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Finished {
        let mut process = self.start(arguments);
        process.write(input);
        process.finish(PATIENCE)
    }

    /// Runs a command that succeeds, and returns its standard output.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        self.run(arguments).exits(0).stdout
    }

    /// Writes a password file with mode 0600.
    ///
    /// # Panics
    /// When it can't be written.
    #[must_use]
    pub fn password_file(&self, password: &str) -> String {
        let file = self.home.with_extension("password");
        fs::write(&file, password).expect("the password file is written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode is set");
        file.display().to_string()
    }

    /// Runs `register` or `login`.
    #[must_use]
    #[track_caller]
    pub fn enter(&self, command: &str, user: &str, password: &str) -> Finished {
        let file = self.password_file(password);
        let email = format!("{user}@example.org");
        let mut arguments = vec![command, "--server", &self.server, "--fingerprint", &self.fingerprint];
        arguments.extend(["--user", user, "--password-file", &file]);
        if command == "register" {
            arguments.extend(["--email", &email]);
        }
        self.run(&arguments)
    }

    /// Registers with [`PASSWORD`].
    #[track_caller]
    pub fn register(&self, user: &str) {
        self.enter("register", user, &format!("{PASSWORD}\n")).exits(0);
    }

    /// Logs in with [`PASSWORD`].
    #[track_caller]
    pub fn log_in(&self, user: &str) {
        self.enter("login", user, &format!("{PASSWORD}\n")).exits(0);
    }

    /// Sends a message.
    #[track_caller]
    pub fn send(&self, to: &str, text: &str) {
        self.ok(&["send", to, text]);
    }

    /// Receives so many messages.
    ///
    /// # Panics
    /// When fewer come, or a line has another form.
    #[track_caller]
    pub fn receive(&self, count: usize) -> Vec<Line> {
        let number = count.to_string();
        let received = lines(&self.ok(&["recv", "--json", "--timeout", "10", "--count", &number]));
        assert_eq!(received.len(), count, "{received:#?}");
        received
    }

    /// Receives nothing.
    ///
    /// # Panics
    /// When something comes within a second.
    #[track_caller]
    pub fn receive_nothing(&self) {
        assert_eq!(self.ok(&["recv", "--json", "--timeout", "1"]), "");
    }
}
