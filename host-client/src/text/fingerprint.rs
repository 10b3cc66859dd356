//! Fingerprints as people type them (PROTOCOL.md section 1).

/// The 32 bytes of a fingerprint; case, spaces and `-` are ignored.
///
/// # Errors
/// A sentence when it isn't 64 hexadecimal digits.
pub fn parse(text: &str) -> Result<[u8; 32], String> {
    let digits: String = text.chars().filter(|c| *c != ' ' && *c != '-').collect();
    let mut bytes = [0; 32];
    match hex::decode_to_slice(&digits, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(format!("a fingerprint is 64 hexadecimal digits, this has {}", digits.chars().count())),
    }
}
