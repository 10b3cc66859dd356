//! What each fuzz target does with its input. `fuzz/` searches with these, and the corpora run through them as
//! ordinary tests. A body panics on a fault and says nothing otherwise.

pub mod connection;
pub mod conversation;
mod identity;
mod messages;
mod peers;
mod records;
mod session;
mod transcript;

pub use connection::connection;
pub use conversation::{client, server};
pub use identity::identity;
pub use messages::messages;
pub use records::records;
pub use session::session;
pub use transcript::transcript;

/// A target: its name, which is that of its corpus too, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 8] = [
    ("client", client),
    ("connection", connection),
    ("identity", identity),
    ("messages", messages),
    ("records", records),
    ("server", server),
    ("session", session),
    ("transcript", transcript),
];
