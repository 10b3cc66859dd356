#![no_std]
//! Sordino for firmware: a board that talks with people.
//!
//! The maker supplies flash ([`Storage`]), randomness ([`rand_core::TryCryptoRng`]), a clock ([`Clock`]) and
//! sockets ([`Connect`] or [`blocking::Connect`]). The crate does the rest: keys made on the board, enrolment by a
//! code, the server's pin, login, sending from an outbox that survives a reboot, receiving and acknowledging,
//! keep-alive, and reconnecting. It never allocates, and nothing of it is bound to an executor or a TCP stack.
//!
//! ```no_run
//! # use sordino_embedded::{Board, Clock, Code, Connect, Event, Memory, Storage, Target, rand_core::TryCryptoRng};
//! # async fn app(flash: impl Storage, rng: impl TryCryptoRng, clock: impl Clock, mut socket: impl Connect, typed: &str) -> Option<()> {
//! let board: Board<_, _> = Board::open(flash, rng).ok()?;
//! board.enrol(&Code::parse(typed).ok()?).ok()?;                  // once
//! board.send(Target::parse("#greenhouse")?, "23.4 °C").ok()?;     // into the outbox, from any task
//! let mut memory = Memory::new();
//! board.run(&mut socket, &clock, &mut memory, |event| {
//!     if let Event::Message(message) = event { /* obey */ }
//!     core::ops::ControlFlow::Continue(())
//! }).await;
//! # Some(()) }
//! ```

mod backoff;
pub mod blocking;
mod board;
mod code;
mod connection;
mod event;
mod journal;
mod run;
mod session;
mod signal;
mod state;
mod storage;

pub use board::{Board, BoardError, Enrolment, Memory, Status};
pub use code::{BadCode, Code};
pub use event::{Event, Message, Offline};
pub use rand_core;
pub use run::Connect;
pub use sordino_core::drive::Clock;
pub use sordino_core::messages::Code as RefusalCode;
pub use sordino_core::name::Target;
pub use sordino_core::suite::{Suite, Suite1, Suite2};
#[cfg(feature = "embedded-storage")]
pub use storage::NorBlocks;
pub use storage::{Block, Storage};

/// Longest text that a board sends in one message, in bytes.
pub const MAX_TEXT: usize = 512;
/// Messages that the outbox holds; the oldest one makes room for a new one.
pub const OUTBOX: usize = 16;
/// Longest `HOST:PORT`, in bytes.
pub const MAX_ADDRESS: usize = 64;
