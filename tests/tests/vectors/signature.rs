//! Ed25519: RFC 8032, Wycheproof, and agreement with ed25519-dalek's strict verification.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sordino_core::signature::verify;
use wycheproof::eddsa::{TestName, TestSet};

use crate::file::blocks;

#[test]
fn rfc_8032() {
    for block in blocks("rfc8032_section_7_1.txt", 5) {
        let secret: [u8; 32] = block.bytes("secret_key").try_into().expect("32 bytes");
        let public: [u8; 32] = block.bytes("public_key").try_into().expect("32 bytes");
        let message = block.bytes("message");
        let signing = SigningKey::from_bytes(&secret);
        let signature = signing.sign(&message);
        assert_eq!(signing.verifying_key().to_bytes(), public, "{}", block.name);
        assert_eq!(signature.to_bytes()[..], block.bytes("signature"), "{}", block.name);
        assert!(verifies(&public, &message, &signature.to_bytes()), "{}", block.name);
    }
}

#[test]
fn wycheproof_ed25519() {
    let set = TestSet::load(TestName::Ed25519).expect("the set parses");
    let mut run = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            let accepted = verifies(&group.key.pk, &test.msg, &test.sig);
            assert_eq!(accepted, !test.result.must_fail(), "tcId {}: {}", test.tc_id, test.comment);
            run += 1;
        }
    }
    assert_eq!(run, 151);
}

/// What the core says, which is also what ed25519-dalek says.
fn verifies(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok(public) = <[u8; 32]>::try_from(public) else { return false };
    let Ok(signature) = <[u8; 64]>::try_from(signature) else { return false };
    let (start, end) = message.split_at(message.len() / 3);
    let accepted = verify(&public, &[start, end], &signature);
    let theirs = VerifyingKey::from_bytes(&public)
        .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(&signature)).is_ok());
    assert_eq!(accepted, theirs, "key {public:02x?}, signature {signature:02x?}");
    accepted
}

#[test]
fn no_other_bit() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let (public, message) = (key.verifying_key().to_bytes(), *b"statement");
    let signature = key.sign(&message).to_bytes();
    assert!(verifies(&public, &message, &signature));
    for bit in 0..8 * 64 {
        let mut other = signature;
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(!verifies(&public, &message, &other), "bit {bit} of the signature");
    }
    for bit in 0..8 * 32 {
        let mut other = public;
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(!verifies(&other, &message, &signature), "bit {bit} of the key");
    }
}

/// `s` + the group's order satisfies the equation, and every message has a signature of a key of small order.
#[test]
fn strict() {
    let key = SigningKey::from_bytes(&[9; 32]);
    let public = key.verifying_key().to_bytes();
    let mut signature = key.sign(b"statement").to_bytes();
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").expect("hex");
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    assert!(!verifies(&public, b"statement", &signature), "a second encoding of s");

    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut forged = [0; 64];
    forged[0] = 1;
    assert!(VerifyingKey::from_bytes(&neutral).expect("a point").is_weak());
    assert!(!verifies(&neutral, b"anything", &forged), "a key of small order");
    assert!(!verifies(&public, b"anything", &forged), "R of small order");
}
