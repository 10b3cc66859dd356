//! Verification of Ed25519 signatures, strictly: a canonical `s`, and neither key nor `R` of small order.
//!
//! The equation of RFC 8032, section 5.1.7, over curve25519-dalek's group. `ed25519_dalek::VerifyingKey` decides the
//! same, but its multiplication in variable time keeps a panic in
//! firmware.

use core::ops::{Mul, Sub};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use sha2::{Digest, Sha512};

/// Whether the owner of an Ed25519 key has signed the parts of a message, one after the other.
pub fn verify(key: &[u8; 32], message: &[&[u8]], signature: &[u8; 64]) -> bool {
    check(key, message, signature).is_some()
}

fn check(key: &[u8; 32], message: &[&[u8]], signature: &[u8; 64]) -> Option<()> {
    let (r, s) = signature.split_first_chunk::<32>()?;
    let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(*s.first_chunk()?))?;
    let a = large_order(key)?;
    large_order(r)?;
    let mut hash = Sha512::new();
    hash.update(r);
    hash.update(key);
    message.iter().for_each(|part| hash.update(part));
    let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let expected = EdwardsPoint::mul_base(&s).sub(a.mul(&k));
    (expected.compress().as_bytes() == r).then_some(())
}

fn large_order(encoded: &[u8; 32]) -> Option<EdwardsPoint> {
    CompressedEdwardsY(*encoded).decompress().filter(|point| !point.is_small_order())
}
