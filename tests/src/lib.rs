//! What the tests of Sordino share.

pub mod fuzz_bodies;
pub mod transcript;
