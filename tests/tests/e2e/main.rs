//! The programs as people and scripts use them: two real processes and more on loopback.
//!
//! The crash test's long forms are ignored here; each has its command above it.

mod account;
mod boards;
mod chat;
mod console;
mod crash;
mod disk;
mod durable;
mod equal;
mod flood;
mod interop;
mod keys;
mod limits;
mod protocol;
mod recv;
mod restore;
mod rooms;
mod send;
mod server;
mod trust;
mod tty;

use sordino_tests::e2e::Programs;

/// Built by cargo for this test.
const PROGRAMS: Programs = Programs {
    server: env!("CARGO_BIN_EXE_server-under-test"),
    client: env!("CARGO_BIN_EXE_client-under-test"),
};
