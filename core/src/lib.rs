#![no_std]
//! draft
pub mod aead;
pub mod buf;
pub mod bytes;
pub mod config;
pub mod dh;
pub mod entropy;
pub mod error;
pub mod kdf;
pub mod messages;
pub mod name;
pub mod record;
pub mod suite;
pub mod wire;
