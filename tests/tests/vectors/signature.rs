//! Ed25519: RFC 8032 and Wycheproof, verified strictly, as the core verifies a key statement.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
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

fn verifies(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok(public) = <[u8; 32]>::try_from(public) else { return false };
    let Ok(signature) = Signature::from_slice(signature) else { return false };
    VerifyingKey::from_bytes(&public).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}
