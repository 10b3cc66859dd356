#![no_std]
//! The Sordino protocol: a sans-IO, allocation-free state machine.
//!
//! `docs/PROTOCOL.md` is the specification; each module names the section that it implements.
//!
//! | the way of the data | module |
//! |---|---|
//! | caller's buffers, clock and randomness | [`buf`], [`io`], [`entropy`] |
//! | server: first header, key requests | [`acceptor`] |
//! | client: key request, pin | [`key_request`], [`identity`] |
//! | phases, dispatch, deadlines | [`conn`], [`event`] |
//! | Noise XK | `handshake` |
//! | records in place | [`record`], [`aead`] |
//! | enrolment of boards | [`board`] |
//! | messages and their fields | [`messages`], [`name`], [`wire`] |
//! | primitives | [`suite`], [`dh`], [`kdf`], [`bytes`] |
//! | async client driver (feature `drive`) | `drive` |
//! | limits, errors | [`config`], [`error`] |
//!
//! Nothing here allocates, reads a clock, draws its own randomness or panics on input.

pub mod acceptor;
pub mod aead;
pub mod board;
pub mod buf;
pub mod bytes;
pub mod config;
pub mod conn;
pub mod dh;
#[cfg(feature = "drive")]
pub mod drive;
pub mod entropy;
pub mod error;
pub mod event;
pub(crate) mod handshake;
pub mod identity;
pub mod io;
pub mod kdf;
pub mod key_request;
pub mod messages;
pub mod name;
mod power;
pub mod record;
pub mod signature;
mod square;
pub mod suite;
pub mod wire;

pub use acceptor::{Accept, Acceptor};
pub use buf::{RxBuf, TxBuf};
pub use conn::{Client, Conn, Encoded, Sendable, Server};
pub use error::Error;
pub use event::{Answer, Closed, Event, Peer, Step, Ticket};
pub use handshake::client::{ClientConfig, ServerHello};
pub use handshake::server::ServerConfig;
pub use io::Io;
pub use messages::Message;
pub use suite::{Suite, Suite1, Suite2, SuiteList};
