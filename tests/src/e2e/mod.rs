//! The real `sordino-server` and `sordino`, from outside: started as processes on loopback, with directories that
//! vanish, under time limits, and always reaped.
//!
//! | what | module |
//! |---|---|
//! | a child process, what it has written so far, how it ends | [`process`] |
//! | a server: starting, killing, stopping, restarting it on the same port | [`host`] |
//! | a client's home and the commands run in it | [`client`] |
//! | a client under a terminal | [`terminal`] |
//! | the server's system calls | [`trace`] |
//! | a server that answers what a test wants | [`impostor`] |
//! | what clients send first, on the way to the server | [`tap`] |
//! | a disk that is full, read-only or failing | [`disk`] |
//! | many clients in one process, for load | [`crowd`] |
//! | a connection whose every record is seen | [`probe`] |
//!
//! Everything panics with the whole story when something isn't as expected: this is for tests.

pub mod client;
pub mod crowd;
pub mod disk;
pub mod host;
pub mod impostor;
pub mod probe;
pub mod process;
pub mod tap;
pub mod terminal;
pub mod trace;

use std::time::Duration;

pub use client::{Client, Line};
pub use host::Host;
pub use process::{Finished, Process};

/// Longer than anything should take, even on a loaded machine with debug builds.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A password that any policy takes.
pub const PASSWORD: &str = "walnut ferry copper 91 lantern";

/// The programs under test.
#[derive(Clone, Copy, Debug)]
pub struct Programs {
    /// Path of the server's executable.
    pub server: &'static str,
    /// Path of the client's executable.
    pub client: &'static str,
}
