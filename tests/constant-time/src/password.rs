//! The server's check of a password against a stored Argon2id hash.

use crate::config::Argon2;
use crate::hasher::Hasher;
use crate::taint::hide;
use zeroize::Zeroizing;

#[inline(never)]
pub fn wrong() {
    assert!(!check("correct horse battery stapler"));
}

#[inline(never)]
pub fn right() {
    assert!(check("correct horse battery staple"));
}

/// The hash is made from a public password, so that its text can be read; the password that is checked is secret.
fn check(attempt: &str) -> bool {
    let hasher = Hasher::new(&Argon2 { memory: 64, passes: 1, lanes: 1 }, 1, 1).unwrap();
    smol::block_on(async {
        let stored = hasher.hash(Zeroizing::new("correct horse battery staple".into())).await.unwrap();
        let attempt = Zeroizing::new(attempt.to_owned());
        hide(attempt.as_bytes());
        hasher.check(attempt, Some(stored)).await.unwrap().right
    })
}
