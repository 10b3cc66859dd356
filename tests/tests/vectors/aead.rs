//! AES-CBC by itself (SP 800-38A, Wycheproof) and AES-CBC with HMAC (RFC 7518, Wycheproof).

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::block_padding::{NoPadding, Pkcs7};
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use wycheproof::cipher::{TestName, TestSet};

use crate::file::blocks;

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
    let set = TestSet::load(TestName::AesCbcPkcs5).expect("the set parses");
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
