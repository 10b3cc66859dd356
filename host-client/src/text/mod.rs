//! Text from and for people: who is addressed, secrets, and what a terminal may be shown.

pub mod address;
pub mod ask;
pub mod fingerprint;
pub mod output;
pub mod secret;
pub mod target;
