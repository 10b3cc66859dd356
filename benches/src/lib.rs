//! What the benchmarks share.
//!
//! | what | module |
//! |---|---|
//! | CPU time and memory of a process, from the kernel | [`accounting`] |
//! | medians, ratios, tables | [`figures`] |
//! | the servers as child processes | [`servers`] |
//! | what a client says, without a socket | [`protocol`] |
//! | many clients on one thread | [`crowd`] |
//! | OpenSSL with a prepared key | [`openssl_hmac`] |
//! | messages at a load, and what they cost | [`load`] |

pub mod accounting;
pub mod crowd;
pub mod figures;
pub mod load;
pub mod openssl_hmac;
pub mod protocol;
pub mod servers;
