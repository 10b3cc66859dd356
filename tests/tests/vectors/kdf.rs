//! HMAC, HKDF and Argon2id: RFC 4231, RFC 5869, RFC 9106 and Wycheproof.

use argon2::{Algorithm, Argon2, AssociatedData, ParamsBuilder, Version};
use sordino_core::bytes::Bytes;
use sordino_core::kdf;
use sordino_core::suite::{Suite, Suite1, Suite2};
use wycheproof::{hkdf as hkdf_sets, mac as mac_sets};

use crate::file::blocks;

fn hmac<S: Suite>(key: &[u8], data: &[u8]) -> Vec<u8> {
    kdf::hmac::<S>(key, &[data]).expose().to_vec()
}

#[test]
fn rfc_4231_hmac() {
    for block in blocks("rfc4231.txt", 7) {
        let (key, data) = (block.bytes("key"), block.bytes("data"));
        let (tag256, tag512) = (block.bytes("hmac_sha256"), block.bytes("hmac_sha512"));
        assert!(tag256.len() >= 16 && tag512.len() >= 16, "{}", block.name);
        assert_eq!(hmac::<Suite1>(&key, &data)[..tag256.len()], tag256, "{}", block.name);
        assert_eq!(hmac::<Suite2>(&key, &data)[..tag512.len()], tag512, "{}", block.name);
    }
}

fn run_hmac_set<S: Suite>(name: mac_sets::TestName) {
    let set = mac_sets::TestSet::load(name).expect("the set parses");
    let mut run = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            let computed = hmac::<S>(&test.key, &test.msg);
            let accepted = computed[..group.tag_size / 8] == test.tag[..];
            assert_eq!(accepted, !test.result.must_fail(), "tcId {}: {}", test.tc_id, test.comment);
            run += 1;
        }
    }
    assert_eq!(run, 174);
}

#[test]
fn wycheproof_hmac_sha256() {
    run_hmac_set::<Suite1>(mac_sets::TestName::HmacSha256);
}

#[test]
fn wycheproof_hmac_sha512() {
    run_hmac_set::<Suite2>(mac_sets::TestName::HmacSha512);
}

/// The core's HKDF: PRK and output. Its `expand` fills 255 hash lengths at most and no more is ever asked of it.
fn hkdf<S: Suite>(salt: &[u8], ikm: &[u8], info: &[u8], size: usize) -> (Vec<u8>, Vec<u8>) {
    let prk = kdf::extract::<S>(salt, &[ikm]);
    let mut okm = vec![0; size];
    kdf::expand::<S>(prk.expose(), info, &mut okm);
    (prk.expose().to_vec(), okm)
}

#[test]
fn rfc_5869_hkdf() {
    for block in blocks("rfc5869_appendix_a.txt", 3) {
        let expected = block.bytes("okm");
        let (prk, okm) =
            hkdf::<Suite1>(&block.bytes("salt"), &block.bytes("ikm"), &block.bytes("info"), expected.len());
        assert_eq!(prk, block.bytes("prk"), "{}", block.name);
        assert_eq!(okm, expected, "{}", block.name);
    }
}

fn run_hkdf_set<S: Suite>(name: hkdf_sets::TestName, expected: usize) {
    let set = hkdf_sets::TestSet::load(name).expect("the set parses");
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        // The invalid tests ask for more than 255 hash lengths.
        if test.result.must_fail() {
            assert!(test.size > 255 * S::Hash::LEN, "tcId {}: {}", test.tc_id, test.comment);
            continue;
        }
        let (_, okm) = hkdf::<S>(&test.salt, &test.ikm, &test.info, test.size);
        assert_eq!(okm, test.okm[..], "tcId {}: {}", test.tc_id, test.comment);
        run += 1;
    }
    assert_eq!(run, expected);
}

#[test]
fn wycheproof_hkdf_sha256() {
    run_hkdf_set::<Suite1>(hkdf_sets::TestName::HkdfSha256, 83);
}

#[test]
fn wycheproof_hkdf_sha512() {
    run_hkdf_set::<Suite2>(hkdf_sets::TestName::HkdfSha512, 80);
}

#[test]
fn rfc_9106_argon2id() {
    for block in blocks("rfc9106_section_5_3.txt", 1) {
        let data = AssociatedData::new(&block.bytes("associated_data")).expect("at most 32 bytes");
        let params = ParamsBuilder::new().m_cost(32).t_cost(3).p_cost(4).data(data).build().expect("valid");
        let secret = block.bytes("secret");
        let argon2 =
            Argon2::new_with_secret(&secret, Algorithm::Argon2id, Version::V0x13, params).expect("valid");
        let mut tag = [0; 32];
        argon2.hash_password_into(&block.bytes("password"), &block.bytes("salt"), &mut tag).expect("valid");
        assert_eq!(tag[..], block.bytes("tag"), "{}", block.name);
    }
}
