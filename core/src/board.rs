//! Proofs around a board's enrolment code (`docs/PROTOCOL.md`, section 14). All are over SHA-256, whatever the
//! suite of a connection.

use crate::bytes::Secret;
use crate::identity::Fingerprint;
use crate::kdf;
use crate::suite::Suite1;

/// Bytes of a code's secret.
pub const SECRET_LEN: usize = 16;
/// Bytes of a code's lookup id.
pub const LOOKUP_LEN: usize = 16;

/// Under which the server finds a code: the first half of a hash of its secret.
pub fn lookup_id(secret: &[u8]) -> [u8; LOOKUP_LEN] {
    let hash = kdf::hash::<Suite1>(&[b"sordino/1 board lookup", secret]);
    let mut id = [0; LOOKUP_LEN];
    id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    id
}

/// What the server keeps of a lookup id.
pub fn lookup_hash(id: &[u8; LOOKUP_LEN]) -> [u8; 32] {
    kdf::hash::<Suite1>(&[id])
}

/// What the board shows its owner: that the holder of this device key knows the secret.
pub fn board_proof(secret: &[u8], device: &Fingerprint) -> Secret<[u8; 32]> {
    kdf::hmac::<Suite1>(secret, &board_parts(device))
}

/// Whether `proof` is the [`board_proof`], in constant time: it comes from the server, which may guess.
pub fn is_board_proof(secret: &[u8], device: &Fingerprint, proof: &[u8; 32]) -> bool {
    kdf::is_hmac::<Suite1>(secret, &board_parts(device), proof)
}

fn board_parts(device: &Fingerprint) -> [&[u8]; 2] {
    [b"sordino/1 board key", device]
}

/// What the owner shows the board: under which name, and by whom, it was enrolled.
pub fn owner_proof(secret: &[u8], board: &str, owner: &str) -> Secret<[u8; 32]> {
    kdf::hmac::<Suite1>(secret, &owner_parts(board, owner, &lengths(board, owner)))
}

/// Whether `proof` is the [`owner_proof`], in constant time: it comes from the server, which may guess.
pub fn is_owner_proof(secret: &[u8], board: &str, owner: &str, proof: &[u8; 32]) -> bool {
    kdf::is_hmac::<Suite1>(secret, &owner_parts(board, owner, &lengths(board, owner)), proof)
}

fn owner_parts<'a>(board: &'a str, owner: &'a str, lengths: &'a [[u8; 1]; 2]) -> [&'a [u8]; 5] {
    let [board_len, owner_len] = lengths;
    [b"sordino/1 board owner", board_len, board.as_bytes(), owner_len, owner.as_bytes()]
}

fn lengths(board: &str, owner: &str) -> [[u8; 1]; 2] {
    [board, owner].map(|name| [u8::try_from(name.len()).unwrap_or(u8::MAX)])
}
