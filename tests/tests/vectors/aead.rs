//! AES-CBC by itself (SP 800-38A, Wycheproof) and the core's AES-CBC with HMAC (RFC 7518, Wycheproof).

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::block_padding::{NoPadding, Pkcs7};
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use sordino_core::aead::{KeyBlock, Opener, Sealer};
use sordino_core::suite::{Suite, Suite1, Suite2, tag_len};
use wycheproof::{aead as aead_sets, cipher as cipher_sets};

use crate::file::blocks;

/// The core's keys for a vector, which names its IV: the IV key goes unused.
fn keys<S: Suite>(mac: &[u8], encryption: &[u8]) -> KeyBlock<S> {
    KeyBlock::from_parts(mac, encryption, &vec![0; tag_len::<S>()]).expect("lengths of the suite")
}

fn seal<S: Suite>(keys: &KeyBlock<S>, iv: &[u8; 16], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut buf = plaintext.to_vec();
    buf.resize(plaintext.len() + 16 + tag_len::<S>(), 0xaa);
    let sealed = Sealer::new(keys).seal_with_iv(iv, aad, &mut buf, plaintext.len()).expect("room");
    buf.truncate(sealed);
    buf
}

fn open<S: Suite>(keys: &KeyBlock<S>, iv: &[u8; 16], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let mut buf = sealed.to_vec();
    Opener::new(keys).open_with_iv(iv, aad, &mut buf).ok().map(|plain| plain.to_vec())
}

fn run_rfc_7518<S: Suite>(index: usize) {
    let block = &blocks("rfc7518_appendix_b.txt", 2)[index];
    let keys = keys::<S>(&block.bytes("mac_key"), &block.bytes("enc_key"));
    let iv = block.bytes("iv").try_into().expect("16 bytes");
    let (aad, plaintext) = (block.bytes("aad"), block.bytes("plaintext"));
    let expected = [block.bytes("ciphertext"), block.bytes("tag")].concat();
    assert_eq!(seal(&keys, &iv, &aad, &plaintext), expected, "{}", block.name);
    assert_eq!(open(&keys, &iv, &aad, &expected), Some(plaintext), "{}", block.name);
}

#[test]
fn rfc_7518_a128cbc_hs256() {
    run_rfc_7518::<Suite1>(0);
}

#[test]
fn rfc_7518_a256cbc_hs512() {
    run_rfc_7518::<Suite2>(1);
}

fn run_aead_set<S: Suite>(name: aead_sets::TestName) {
    let set = aead_sets::TestSet::load(name).expect("the set parses");
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let (mac, encryption) = test.key.split_at(tag_len::<S>());
        let keys = keys::<S>(mac, encryption);
        let iv = test.nonce[..].try_into().expect("16 bytes");
        let sealed = [&test.ct[..], &test.tag[..]].concat();
        let opened = open(&keys, &iv, &test.aad, &sealed);
        if test.result.must_fail() {
            assert_eq!(opened, None, "tcId {}: {}", test.tc_id, test.comment);
        } else {
            assert_eq!(seal(&keys, &iv, &test.aad, &test.pt), sealed, "tcId {}", test.tc_id);
            assert_eq!(opened.as_deref(), Some(&test.pt[..]), "tcId {}", test.tc_id);
        }
        run += 1;
    }
    assert_eq!(run, 94);
}

#[test]
fn wycheproof_a128cbc_hs256() {
    run_aead_set::<Suite1>(aead_sets::TestName::Aes128CbcHmacSha256);
}

#[test]
fn wycheproof_a256cbc_hs512() {
    run_aead_set::<Suite2>(aead_sets::TestName::Aes256CbcHmacSha512);
}

#[test]
fn sp_800_38a_cbc() {
    for block in blocks("sp800_38a_f2.txt", 2) {
        let (key, iv) = (block.bytes("key"), block.bytes("iv"));
        let (plaintext, ciphertext) = (block.bytes("plaintext"), block.bytes("ciphertext"));
        let (encrypted, decrypted) = match key.len() {
            16 => unpadded::<Aes128>(&key, &iv, &plaintext, &ciphertext),
            32 => unpadded::<Aes256>(&key, &iv, &plaintext, &ciphertext),
            other => panic!("{}: key of {other} bytes", block.name),
        };
        assert_eq!(encrypted, ciphertext, "{}", block.name);
        assert_eq!(decrypted, plaintext, "{}", block.name);
    }
}

fn unpadded<C>(key: &[u8], iv: &[u8], plaintext: &[u8], ciphertext: &[u8]) -> (Vec<u8>, Vec<u8>)
where
    cbc::Encryptor<C>: KeyIvInit + BlockModeEncrypt,
    cbc::Decryptor<C>: KeyIvInit + BlockModeDecrypt,
    C: aes::cipher::BlockCipherEncrypt + aes::cipher::BlockCipherDecrypt,
{
    let encryptor = cbc::Encryptor::<C>::new_from_slices(key, iv).expect("lengths");
    let decryptor = cbc::Decryptor::<C>::new_from_slices(key, iv).expect("lengths");
    let decrypted = decryptor.decrypt_padded_vec::<NoPadding>(ciphertext).expect("whole blocks");
    (encryptor.encrypt_padded_vec::<NoPadding>(plaintext), decrypted)
}

/// Encrypts with PKCS#7 and takes the ciphertext as it is; `None` where decryption refuses the padding or length.
fn padded<C>(key: &[u8], iv: &[u8], plaintext: &[u8], ciphertext: &[u8]) -> (Vec<u8>, Option<Vec<u8>>)
where
    cbc::Encryptor<C>: KeyIvInit + BlockModeEncrypt,
    cbc::Decryptor<C>: KeyIvInit + BlockModeDecrypt,
    C: aes::cipher::BlockCipherEncrypt + aes::cipher::BlockCipherDecrypt,
{
    let encryptor = cbc::Encryptor::<C>::new_from_slices(key, iv).expect("lengths");
    let decryptor = cbc::Decryptor::<C>::new_from_slices(key, iv).expect("lengths");
    let decrypted = decryptor.decrypt_padded_vec::<Pkcs7>(ciphertext).ok();
    (encryptor.encrypt_padded_vec::<Pkcs7>(plaintext), decrypted)
}

#[test]
fn wycheproof_aes_cbc_pkcs5() {
    let set = cipher_sets::TestSet::load(cipher_sets::TestName::AesCbcPkcs5).expect("the set parses");
    let mut run = 0;
    for group in &set.test_groups {
        let cipher = match group.key_size {
            128 => padded::<Aes128>,
            192 => padded::<Aes192>,
            256 => padded::<Aes256>,
            other => panic!("key of {other} bits"),
        };
        for test in &group.tests {
            let (encrypted, decrypted) = cipher(&test.key, &test.nonce, &test.pt, &test.ct);
            if test.result.must_fail() {
                assert_eq!(decrypted, None, "tcId {}: {}", test.tc_id, test.comment);
            } else {
                assert_eq!(encrypted, test.ct[..], "tcId {}: {}", test.tc_id, test.comment);
                assert_eq!(decrypted.as_deref(), Some(&test.pt[..]), "tcId {}: {}", test.tc_id, test.comment);
            }
            run += 1;
        }
    }
    assert_eq!(run, 216);
}
