//! Sordino's client as a library: what the `sordino` command is made of, and what tests and load generators drive.
//!
//! - [`cli`] the command line, [`settings`] its sources, [`failure`] its exit codes
//! - [`home`] keys, pinned server and account on disk; [`history`] what was said
//! - [`text`] people's input and output

pub mod cli;
pub mod failure;
pub mod history;
pub mod home;
pub mod settings;
pub mod text;
