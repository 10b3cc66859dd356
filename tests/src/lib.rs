//! What the tests of Sordino share.

#[cfg(feature = "e2e")]
pub mod e2e;
pub mod fuzz_bodies;
pub mod pair;
pub mod python;
pub mod transcript;
