//! What the example firmwares share. It is no part of the library: copy what you need.
#![no_std]
#![forbid(unsafe_code)]

mod console;
#[cfg(feature = "embassy")]
pub mod embassy;
mod entropy;

pub use console::{Console, Machine};
pub use entropy::HardwareRng;
