//! HMAC, HKDF and Argon2id: RFC 4231, RFC 5869, RFC 9106 and Wycheproof.

use argon2::{Algorithm, Argon2, AssociatedData, ParamsBuilder, Version};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};
use wycheproof::{hkdf as hkdf_sets, mac as mac_sets};

use crate::file::blocks;

fn hmac_sha256(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("any length");
    mac.chain_update(data).finalize().into_bytes().to_vec()
}

fn hmac_sha512(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mac = <Hmac<Sha512> as KeyInit>::new_from_slice(key).expect("any length");
    mac.chain_update(data).finalize().into_bytes().to_vec()
}

#[test]
fn rfc_4231_hmac() {
    for block in blocks("rfc4231.txt", 7) {
        let (key, data) = (block.bytes("key"), block.bytes("data"));
        let (tag256, tag512) = (block.bytes("hmac_sha256"), block.bytes("hmac_sha512"));
        assert!(tag256.len() >= 16 && tag512.len() >= 16, "{}", block.name);
        assert_eq!(hmac_sha256(&key, &data)[..tag256.len()], tag256, "{}", block.name);
        assert_eq!(hmac_sha512(&key, &data)[..tag512.len()], tag512, "{}", block.name);
    }
}

fn run_hmac_set(name: mac_sets::TestName, hmac: fn(&[u8], &[u8]) -> Vec<u8>) {
    let set = mac_sets::TestSet::load(name).expect("the set parses");
    let mut run = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            let computed = hmac(&test.key, &test.msg);
            let accepted = computed[..group.tag_size / 8] == test.tag[..];
            assert_eq!(accepted, !test.result.must_fail(), "tcId {}: {}", test.tc_id, test.comment);
            run += 1;
        }
    }
    assert_eq!(run, 174);
}

#[test]
fn wycheproof_hmac_sha256() {
    run_hmac_set(mac_sets::TestName::HmacSha256, hmac_sha256);
}

#[test]
fn wycheproof_hmac_sha512() {
    run_hmac_set(mac_sets::TestName::HmacSha512, hmac_sha512);
}

#[test]
fn rfc_5869_hkdf() {
    for block in blocks("rfc5869_appendix_a.txt", 3) {
        let (prk, hkdf) = Hkdf::<Sha256>::extract(Some(&block.bytes("salt")), &block.bytes("ikm"));
        assert_eq!(prk[..], block.bytes("prk"), "{}", block.name);
        let mut okm = vec![0; block.bytes("okm").len()];
        hkdf.expand(&block.bytes("info"), &mut okm).expect("within 255 hashes");
        assert_eq!(okm, block.bytes("okm"), "{}", block.name);
    }
}

/// Extract and expand; `None` where the output would be longer than 255 hashes.
type HkdfFn = fn(salt: &[u8], ikm: &[u8], info: &[u8], size: usize) -> Option<Vec<u8>>;

fn hkdf_sha256(salt: &[u8], ikm: &[u8], info: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut okm = vec![0; size];
    Hkdf::<Sha256>::new(Some(salt), ikm).expand(info, &mut okm).ok().map(|()| okm)
}

fn hkdf_sha512(salt: &[u8], ikm: &[u8], info: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut okm = vec![0; size];
    Hkdf::<Sha512>::new(Some(salt), ikm).expand(info, &mut okm).ok().map(|()| okm)
}

fn run_hkdf_set(name: hkdf_sets::TestName, hkdf: HkdfFn, expected: usize) {
    let set = hkdf_sets::TestSet::load(name).expect("the set parses");
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let okm = hkdf(&test.salt, &test.ikm, &test.info, test.size);
        match okm {
            Some(okm) => assert_eq!(okm, test.okm[..], "tcId {}: {}", test.tc_id, test.comment),
            None => assert!(test.result.must_fail(), "tcId {}: {}", test.tc_id, test.comment),
        }
        run += 1;
    }
    assert_eq!(run, expected);
}

#[test]
fn wycheproof_hkdf_sha256() {
    run_hkdf_set(hkdf_sets::TestName::HkdfSha256, hkdf_sha256, 86);
}

#[test]
fn wycheproof_hkdf_sha512() {
    run_hkdf_set(hkdf_sets::TestName::HkdfSha512, hkdf_sha512, 83);
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
