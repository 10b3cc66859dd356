//! The official test vectors of every primitive: those printed in the standards (`tests/vectors/`) and the C2SP
//! Wycheproof sets.

mod aead;
mod dh;
mod file;
mod kdf;
mod primes;
mod signature;
