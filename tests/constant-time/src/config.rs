//! What the server's hasher wants of the server's configuration.

/// Costs of Argon2id.
#[derive(Debug)]
pub struct Argon2 {
    pub memory: u32,
    pub passes: u32,
    pub lanes: u32,
}
