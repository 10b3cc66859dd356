//! The Sordino server as a library; the binary is a thin `main` over it.
//!
//! | the way of a message | module |
//! |---|---|
//! | socket, handshake, records | [`session`] |
//! | who may come, who may log in | [`limits`], [`accounts`] |
//! | deciding, numbering, mailboxes, fan-out | [`hub`] |
//! | durable before acknowledged | [`store`] |
//! | start, listening, stop | [`server`], [`keys`], [`config`], [`cli`], [`console`] |

pub mod accounts;
pub mod cli;
pub mod config;
pub mod console;
pub mod hub;
pub mod keys;
pub mod limits;
pub mod server;
pub mod session;
pub mod store;
