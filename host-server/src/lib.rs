//! The Sordino server as a library; the binary is a thin `main` over it.

pub mod accounts;
pub mod config;
pub mod hub;
pub mod keys;
pub mod limits;
pub mod store;
pub mod server;
pub mod session;
