//! A server for one test: the core's real state machine over a socket, with a memory for a store, and with faults
//! that the real server would not commit.
#![allow(dead_code, reason = "each test program uses a part of it")]

mod conversation;

use std::collections::{BTreeSet, HashMap};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::thread;

use getrandom::SysRng;
use sordino_core::identity::{ServerIdentity, StaticKey};
use sordino_core::suite::{SecretKey, Suite1, Suite2};
use tempfile::TempDir;

use sordino::text::target::Target;

/// A message as the server keeps it.
#[derive(Clone)]
pub struct Stored {
    pub number: u64,
    pub id: [u8; 16],
    pub sender: String,
    pub target: Target,
    pub body: Vec<u8>,
}

/// What the server knows, open to the tests.
#[derive(Default)]
pub struct State {
    pub passwords: HashMap<String, String>,
    pub devices: HashMap<Vec<u8>, String>,
    pub messages: Vec<Stored>,
    /// Highest number that a user has acknowledged.
    pub acked: HashMap<String, u64>,
    pub rooms: HashMap<String, BTreeSet<String>>,
    /// Every id that came with a SEND, repeated ones too.
    pub sends: Vec<[u8; 16]>,
}

/// Faults to commit, each so many times.
#[derive(Default)]
pub struct Faults {
    /// Cut the connection instead of answering a SEND, after it was stored.
    pub cut_after_send: AtomicU32,
    /// Cut the connection instead of taking an ACK.
    pub cut_before_ack: AtomicU32,
    /// Refuse a login as rate limited.
    pub rate_limit_login: AtomicU32,
}

impl Faults {
    fn take(count: &AtomicU32) -> bool {
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
    }
}

pub struct Shared {
    pub identity: RwLock<Arc<ServerIdentity>>,
    pub state: Mutex<State>,
    pub faults: Faults,
    pub connections: AtomicU32,
}

impl Shared {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// A listening server; its threads end with the test's process.
pub struct TestServer {
    pub shared: Arc<Shared>,
    pub address: String,
}

/// An identity with fresh static keys under the root of `seed`.
pub fn identity(seed: u8, version: u32) -> Arc<ServerIdentity> {
    let one = StaticKey::<Suite1>::new(SecretKey::<Suite1>::generate(&mut SysRng).unwrap());
    let two = StaticKey::<Suite2>::new(SecretKey::<Suite2>::generate(&mut SysRng).unwrap());
    Arc::new(ServerIdentity::sign(&[seed; 32], version, 0, Some(one), Some(two)).unwrap())
}

impl TestServer {
    pub fn start(identity: Arc<ServerIdentity>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            identity: RwLock::new(identity),
            state: Mutex::default(),
            faults: Faults::default(),
            connections: AtomicU32::new(0),
        });
        let serving = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let shared = serving.clone();
                thread::spawn(move || conversation::serve(&shared, stream));
            }
        });
        Self { shared, address }
    }

    pub fn fingerprint(&self) -> String {
        hex::encode(self.shared.identity.read().unwrap().fingerprint())
    }

    /// New static keys under the same root.
    pub fn rotate(&self, seed: u8, version: u32) {
        *self.shared.identity.write().unwrap() = identity(seed, version);
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Puts a message into a user's mailbox.
    pub fn deliver(&self, sender: &str, target: &str, text: &str) {
        let mut state = self.state();
        let number = state.messages.len() as u64 * 3 + 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let (sender, target) = (sender.to_owned(), target.parse().unwrap());
        state.messages.push(Stored { number, id, sender, target, body: text.into() });
    }
}

/// A home directory and the command run in it.
pub struct Client {
    pub dir: TempDir,
    pub server: String,
}

/// A command that runs on, and ends with its test whatever happens.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Client {
    pub fn new(server: &TestServer) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), server: server.address.clone() }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sordino"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SORDINO_") {
                command.env_remove(name);
            }
        }
        command.arg("--home").arg(self.dir.path().join("home")).args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.command(arguments).output().unwrap().into()
    }

    pub fn password_file(&self, password: &str) -> String {
        let path = self.dir.path().join("password");
        std::fs::write(&path, format!("{password}\n")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn register(&self, user: &str, more: &[&str]) -> Ended {
        let file = self.password_file("correct horse battery staple");
        let fixed = [
            "register",
            "--server",
            &self.server,
            "--user",
            user,
            "--email",
            "a@example.org",
            "--password-file",
            &file,
        ];
        self.run(&[&fixed, more].concat())
    }

    /// A registered client.
    pub fn registered(server: &TestServer, user: &str) -> Self {
        let client = Self::new(server);
        let ended = client.register(user, &[]);
        assert_eq!(ended.code, 0, "{ended:?}");
        client
    }
}

/// A port where nobody listens.
pub fn closed_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn timed(stream: &TcpStream) {
    stream.set_read_timeout(Some(std::time::Duration::from_millis(10))).unwrap();
    stream.set_nodelay(true).unwrap();
}
