//! A server on loopback with a data directory of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use serde::Deserialize;
use tempfile::TempDir;

use super::{Client, Finished, PATIENCE, Process, Programs};

/// The first line on the server's standard output.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// Always `ready`.
    pub event: String,
    /// `IP:PORT`.
    pub listen: String,
    /// 64 hexadecimal digits.
    pub fingerprint: String,
}

/// Limits for tests in which many clients come from one address at once.
pub const WIDE_LIMITS: &str = "\
[limits]
new_connections_per_second = 5000
registrations_per_minute = 5000
message_burst = 5000
messages_per_second = 5000
[argon2]
memory = 64
passes = 1
";

/// A server, and the directory in which it and its clients live.
pub struct Host {
    dir: TempDir,
    programs: Programs,
    /// Arguments beside the fixed ones.
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// Put before the server's command line: a tracer.
    pub wrapper: Vec<String>,
    server: Option<Process>,
    ready: Ready,
}

impl Host {
    /// Starts a server with an empty directory and no configuration.
    #[must_use]
    pub fn start(programs: Programs) -> Self {
        let mut host = Self::new(programs);
        host.up();
        host
    }

    /// Starts a server with this configuration file.
    #[must_use]
    pub fn start_with(programs: Programs, config: &str) -> Self {
        let mut host = Self::new(programs);
        host.configure(config);
        host.up();
        host
    }

    /// A server that isn't started yet, and gets a free port when it is.
    ///
    /// # Panics
    /// Without a temporary directory.
    #[must_use]
    pub fn new(programs: Programs) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let ready = Ready { event: String::new(), listen: "127.0.0.1:0".into(), fingerprint: String::new() };
        Self {
            dir,
            programs,
            arguments: Vec::new(),
            environment: Vec::new(),
            wrapper: Vec::new(),
            server: None,
            ready,
        }
    }

    /// Writes a configuration file for the next start.
    ///
    /// # Panics
    /// When the file can't be written.
    pub fn configure(&mut self, config: &str) {
        let file = self.path("server.toml");
        fs::write(&file, config).expect("the configuration is written");
        self.argument("--config");
        self.argument(&file.display().to_string());
    }

    /// Adds an argument for the next start.
    pub fn argument(&mut self, argument: &str) {
        self.arguments.push(argument.into());
    }

    /// Sets a variable for the next start.
    pub fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// The server's command line.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut line = self.wrapper.clone();
        line.push(self.programs.server.into());
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).arg("--data-dir").arg(self.data_dir());
        command.args(["--listen", &self.ready.listen, "--json"]).args(&self.arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.environment.iter().cloned());
        command
    }

    /// Starts the server, on the port that it had before, and waits until it is ready.
    ///
    /// # Panics
    /// When it doesn't get ready, or writes another first line than the documented one.
    #[track_caller]
    pub fn up(&mut self) {
        let server = Process::start(&mut self.command());
        let line = server.stdout.wait_for(PATIENCE, |text| text.split_once('\n').map(|(l, _)| l.to_owned()));
        let Some(line) = line else {
            panic!("the server isn't ready:\n{}\n{}", server.stdout.text(), server.stderr.text())
        };
        self.ready = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
        assert_eq!(self.ready.event, "ready");
        self.server = Some(server);
    }

    /// The running server.
    ///
    /// # Panics
    /// When it isn't running.
    #[must_use]
    pub fn server(&mut self) -> &mut Process {
        self.server.as_mut().expect("the server was started")
    }

    /// `kill -9`, and waits for the end. It may be that the server was wrapped: then the wrapper ends with it.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.signal(Signal::KILL);
            server.ended(PATIENCE);
        }
    }

    /// SIGTERM, and how the server ended.
    ///
    /// # Panics
    /// When it doesn't end in time.
    #[must_use]
    #[track_caller]
    pub fn terminate(&mut self) -> Finished {
        let server = self.server.take().expect("the server was started");
        server.signal(Signal::TERM);
        server.finish(PATIENCE)
    }

    /// `IP:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.ready.listen
    }

    /// 64 hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.ready.fingerprint
    }

    /// The programs under test.
    #[must_use]
    pub fn programs(&self) -> Programs {
        self.programs
    }

    /// The server's directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    /// A path in the directory of server and clients.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A client with a new home, which isn't logged in.
    #[must_use]
    pub fn client(&self, home: &str) -> Client {
        Client::new(self, self.path(home))
    }

    /// A client that has registered under this name.
    #[track_caller]
    pub fn member(&self, name: &str) -> Client {
        let client = self.client(name);
        client.register(name);
        client
    }

    /// A directory's or file's mode bits.
    ///
    /// # Panics
    /// When there is no such file.
    #[must_use]
    pub fn mode(path: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt;
        let meta = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        meta.permissions().mode() & 0o777
    }
}
