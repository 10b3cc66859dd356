//! The servers as child processes on loopback, with directories that vanish.

mod peers;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use openssl::ssl::SslContext;
use sordino_core::suite::{Suite1, Suite2};
use tempfile::TempDir;

use crate::crowd::Crowd;
use crate::protocol::{Account, Entry, Goal, Irc, Mqtt, Protocol, Sordino, Tls};

/// How long a server takes to start.
const START: Duration = Duration::from_secs(20);
/// Handshakes at once.
const AT_ONCE: usize = 16;

/// Nothing is limited but by the machine; the password hash is the cheapest that there is, since it isn't measured.
const POLICY: &str = "
listen = '127.0.0.1:0'
[registration]
password_score = 0
[limits]
connections = 100000
connections_per_address = 100000
new_connections_per_second = 1000000
handshakes_waiting = 100000
registrations_per_minute = 10000000
accounts = 100000
mailbox = 100000
message_burst = 1000000
messages_per_second = 1000000
[timeouts]
handshake = 300
login = 300
ping = 3600
idle = 7200
[argon2]
memory = 8
passes = 1
";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sordino in a suite, its database on the disk.
    Sordino(u8),
    /// Sordino in suite 1, its database in memory (a directory in /dev/shm).
    Memory,
    /// Mosquitto, TLS 1.3, quality of service 0.
    Mosquitto,
    /// ngIRCd, TLS 1.3.
    Ngircd,
    /// InspIRCd, TLS 1.3.
    Inspircd,
}

impl Kind {
    /// Ours first.
    pub const ALL: [Self; 6] =
        [Self::Sordino(1), Self::Sordino(2), Self::Memory, Self::Mosquitto, Self::Ngircd, Self::Inspircd];

    /// For tables.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Sordino(1) => "Sordino, suite 1",
            Self::Sordino(_) => "Sordino, suite 2",
            Self::Memory => "Sordino, suite 1, in memory",
            Self::Mosquitto => "mosquitto",
            Self::Ngircd => "ngircd",
            Self::Inspircd => "inspircd",
        }
    }

    /// Whether it is somebody else's.
    #[must_use]
    pub const fn is_peer(self) -> bool {
        matches!(self, Self::Mosquitto | Self::Ngircd | Self::Inspircd)
    }

    /// How many connections are made at once.
    const fn at_once(self) -> usize {
        match self {
            // With more it nearly stands still, and drops some.
            Self::Ngircd => 4,
            // It looks at those who wait to come in once a second only.
            Self::Inspircd => 250,
            _ => AT_ONCE,
        }
    }

    /// Whether a sender receives its own messages to a room.
    #[must_use]
    pub const fn echoes(self) -> bool {
        matches!(self, Self::Mosquitto)
    }
}

/// The name of a client.
#[must_use]
pub fn name(number: usize) -> String {
    format!("m{number:06}")
}

enum People {
    Suite1(Vec<Arc<Account<Suite1>>>),
    Suite2(Vec<Arc<Account<Suite2>>>),
    /// The peers know everybody.
    Anybody(SslContext),
}

/// A server that runs.
pub struct Server {
    /// Which one.
    pub kind: Kind,
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    people: People,
    dir: TempDir,
}

impl Server {
    /// Starts a server.
    ///
    /// # Errors
    /// It isn't installed, or it doesn't start.
    pub fn start(kind: Kind) -> Result<Self> {
        let dir = directory(kind)?;
        let people = match kind {
            Kind::Sordino(1) | Kind::Memory => People::Suite1(Vec::new()),
            Kind::Sordino(_) => People::Suite2(Vec::new()),
            _ => People::Anybody(peers::client_context()?),
        };
        let (child, address) = spawn(kind, dir.path())?;
        Ok(Self { kind, address, child, people, dir })
    }

    /// Stops it and starts it again with the same data.
    ///
    /// # Errors
    /// It doesn't start.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        (self.child, self.address) = spawn(self.kind, self.dir.path())?;
        Ok(())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client that has said nothing yet.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn client(&self, number: usize, goal: Goal) -> Result<Box<dyn Protocol>> {
        Ok(match &self.people {
            People::Suite1(all) => Box::new(Sordino::new(Arc::clone(&all[number]), Entry::Device, goal)),
            People::Suite2(all) => Box::new(Sordino::new(Arc::clone(&all[number]), Entry::Device, goal)),
            People::Anybody(tls) => match self.kind {
                Kind::Mosquitto => Box::new(Tls::new(tls, goal.clone(), Mqtt::new(name(number), goal))?),
                _ => Box::new(Tls::new(tls, goal.clone(), Irc::new(name(number), goal))?),
            },
        })
    }

    /// Clients that have reached their goal.
    ///
    /// # Errors
    /// One of them failed.
    pub fn crowd(&self, clients: usize, goal: &Goal) -> Result<Crowd> {
        let mut crowd = Crowd::new()?;
        crowd.gather(
            self.address,
            (0..clients).map(|number| self.client(number, goal.clone())),
            self.kind.at_once(),
        )?;
        Ok(crowd)
    }

    /// Sees to it that so many clients have accounts.
    ///
    /// # Errors
    /// One of them failed.
    pub fn register(&mut self, clients: usize) -> Result<()> {
        let address = self.address;
        match &mut self.people {
            People::Suite1(all) => register(all, clients, address),
            People::Suite2(all) => register(all, clients, address),
            People::Anybody(_) => Ok(()),
        }
    }

    fn stop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn register<S: sordino_core::Suite>(
    all: &mut Vec<Arc<Account<S>>>,
    clients: usize,
    address: SocketAddr,
) -> Result<()> {
    let known = all.len();
    for number in known..clients {
        all.push(Arc::new(Account::new(name(number))?));
    }
    let newcomers = all[known..].iter().map(|account| -> Result<Box<dyn Protocol>> {
        Ok(Box::new(Sordino::new(Arc::clone(account), Entry::Register, Goal::Login)))
    });
    Crowd::new()?.gather(address, newcomers, AT_ONCE)
}

/// A directory for a server's data.
fn directory(kind: Kind) -> Result<TempDir> {
    let dir = match kind {
        Kind::Memory => TempDir::new_in("/dev/shm").context("/dev/shm")?,
        // Not /tmp, which may be in memory too.
        Kind::Sordino(_) => {
            let target = concat!(env!("CARGO_MANIFEST_DIR"), "/target");
            fs::create_dir_all(target)?;
            TempDir::new_in(target)?
        }
        _ => TempDir::new()?,
    };
    Ok(dir)
}

fn spawn(kind: Kind, dir: &Path) -> Result<(Child, SocketAddr)> {
    match kind {
        Kind::Sordino(_) | Kind::Memory => spawn_sordino(dir),
        _ => {
            let port = free_port()?;
            let child = peers::command(kind, dir, port)?
                .stdin(Stdio::null())
                .stdout(fs::File::create(dir.join("out"))?)
                .stderr(fs::File::create(dir.join("err"))?)
                .spawn()
                .with_context(|| format!("{} can't be started", kind.title()))?;
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            await_listener(kind, child, address, dir)
        }
    }
}

/// A port that nobody listens on. Somebody else may take it in between: then the server says so.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn await_listener(
    kind: Kind,
    mut child: Child,
    address: SocketAddr,
    dir: &Path,
) -> Result<(Child, SocketAddr)> {
    let late = Instant::now() + START;
    while TcpStream::connect(address).is_err() {
        if let Some(status) = child.try_wait()? {
            let said = ["out", "err"].map(|file| fs::read_to_string(dir.join(file)).unwrap_or_default());
            bail!("{} ended: {status}\n{}", kind.title(), said.concat());
        }
        ensure!(Instant::now() < late, "{} doesn't listen", kind.title());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((child, address))
}

fn spawn_sordino(dir: &Path) -> Result<(Child, SocketAddr)> {
    let policy = dir.join("policy.toml");
    fs::write(&policy, POLICY)?;
    let mut child = Command::new(program()?)
        .args(["--json", "--config"])
        .arg(&policy)
        .arg("--data-dir")
        .arg(dir.join("data"))
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut ready = String::new();
    BufReader::new(child.stdout.take().context("its output")?).read_line(&mut ready)?;
    let address = ready.split_once("\"listen\":\"").and_then(|(_, rest)| rest.split('"').next());
    let address = address.with_context(|| format!("sordino-server said: {ready}"))?.parse()?;
    Ok((child, address))
}

/// The server as people build it, or the one that SORDINO_SERVER names.
fn program() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("SORDINO_SERVER") {
        return Ok(program.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--release", "-p", "sordino-server"])
        .current_dir(&root)
        .env_remove("CARGO_TARGET_DIR")
        .status()?;
    ensure!(built.success(), "sordino-server can't be built");
    Ok(root.join("target/release/sordino-server"))
}
