//! AES-CBC with HMAC-SHA-2, encrypt-then-MAC: A128CBC-HS256 and A256CBC-HS512 of
//! RFC 7518 section 5.2, with an IV that both sides derive (`docs/PROTOCOL.md`, section 2.1).

use crate::bytes::{Bytes, Secret};
use crate::config::MAX_TAG;
use crate::kdf;
use crate::suite::{Suite, tag_len};
use aes::cipher::block_padding::{Padding, Pkcs7};
use aes::cipher::{
    Array, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockModeDecrypt, BlockSizeUser,
    InnerIvInit, consts::U16,
};
use hmac::Mac;

/// An AES block.
const BLOCK: usize = 16;
/// What is encrypted in turn with the MAC: not more than a block of a hash.
const STRETCH: usize = 64;

type Block = Array<u8, U16>;

/// Opening failed: wrong tag, length or padding. One error on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenError;

/// MAC key, encryption key and IV key of one direction, before they are expanded.
pub struct KeyBlock<S: Suite> {
    mac: Secret<S::Key>,
    encryption: Secret<S::Key>,
    iv: Secret<S::Key>,
}

impl<S: Suite> KeyBlock<S> {
    /// Cuts HKDF output in the order MAC key, encryption key, IV key.
    pub(crate) fn expand(prk: &Secret<S::Hash>, info: &[u8]) -> Self {
        const { assert!(S::Key::LEN <= MAX_TAG) };
        let mut okm = Secret::<[u8; 3 * MAX_TAG]>::zeroed();
        let out = okm.expose_mut().get_mut(..S::Key::LEN.saturating_mul(3)).unwrap_or_default();
        kdf::expand::<S>(prk.expose(), info, out);
        let mut block = Self { mac: Secret::zeroed(), encryption: Secret::zeroed(), iv: Secret::zeroed() };
        let keys = [&mut block.mac, &mut block.encryption, &mut block.iv];
        for (key, part) in keys.into_iter().zip(okm.expose().chunks_exact(S::Key::LEN)) {
            key.expose_mut().copy_from_slice(part);
        }
        block
    }

    /// Keys given one by one, each as long as the tag.
    ///
    /// `None` if one has another length.
    pub fn from_parts(mac: &[u8], encryption: &[u8], iv: &[u8]) -> Option<Self> {
        Some(Self {
            mac: Secret::new(S::Key::copy_of(mac)?),
            encryption: Secret::new(S::Key::copy_of(encryption)?),
            iv: Secret::new(S::Key::copy_of(iv)?),
        })
    }
}

/// Encrypts: expanded keys and HMAC midstate, made once for each key.
pub struct Sealer<S: Suite> {
    mac: S::Mac,
    cipher: S::Enc,
    iv_cipher: S::Enc,
}

impl<S: Suite> Sealer<S> {
    /// Expands the keys.
    pub fn new(keys: &KeyBlock<S>) -> Self {
        Self {
            mac: S::mac(keys.mac.expose()),
            cipher: S::enc(keys.encryption.array()),
            iv_cipher: S::enc(keys.iv.array()),
        }
    }

    /// Seals under the IV of counter `n`. See [`Self::seal_with_iv`].
    pub fn seal(&self, n: u64, aad: &[u8], buf: &mut [u8], len: usize) -> Option<usize> {
        self.seal_with_iv(&counter_iv(&self.iv_cipher, n), aad, buf, len)
    }

    /// Pads the first `len` bytes of `buf` by PKCS#7, encrypts them in place and appends the tag.
    ///
    /// Returns the bytes of ciphertext and tag; `None` if `buf` has no room for them. The IV enters the
    /// MAC, but not the output. No IV may serve twice under one key.
    pub fn seal_with_iv(&self, iv: &[u8; BLOCK], aad: &[u8], buf: &mut [u8], len: usize) -> Option<usize> {
        let padding = BLOCK.checked_sub(len.checked_rem(BLOCK)?)?;
        let padded = len.checked_add(padding)?;
        let total = padded.checked_add(tag_len::<S>())?;
        let (ciphertext, tag) = buf.get_mut(..total)?.split_at_mut_checked(padded)?;
        ciphertext.get_mut(len..)?.fill(u8::try_from(padding).ok()?);
        let mut mac = self.mac.clone();
        absorb::<S>(&mut mac, aad);
        absorb::<S>(&mut mac, iv);
        // In turns: each waits for results of its own, and a processor that finds both in sight does them at once. The
        // MAC gets whole blocks of its hash, which it takes where they stand.
        let mut chain = Block::from(*iv);
        let block = hash_block::<S>();
        let head = aad.len().saturating_add(BLOCK).checked_rem(block)?;
        let (mut hashed, mut end) = (0, block.checked_sub(head)?);
        for start in (0..padded).step_by(STRETCH) {
            let stretch = ciphertext.get_mut(start..start.saturating_add(STRETCH).min(padded))?;
            let blocks = Block::slice_as_chunks_mut(stretch).0;
            self.cipher.encrypt_with_backend(Chained { chain: &mut chain, blocks });
            if end <= start {
                absorb::<S>(&mut mac, ciphertext.get(hashed..end)?);
                (hashed, end) = (end, end.saturating_add(block));
            }
        }
        absorb::<S>(&mut mac, ciphertext.get(hashed..)?);
        absorb::<S>(&mut mac, &bits(aad));
        tag.copy_from_slice(mac.finalize().into_bytes().get(..tag_len::<S>())?);
        Some(total)
    }
}

/// CBC's encryption (NIST SP 800-38A section 6.2) of the next blocks. `cbc::Encryptor` has the chain in memory, where
/// each block waits for the one before to be written and read back: a sixth of the time. Here it is in a register.
struct Chained<'a> {
    chain: &'a mut Block,
    blocks: &'a mut [Block],
}

impl BlockSizeUser for Chained<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Chained<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let mut chain = *self.chain;
        for block in self.blocks {
            chain.iter_mut().zip(block.iter()).for_each(|(chained, plain)| *chained ^= plain);
            backend.encrypt_block((&mut chain).into());
            *block = chain;
        }
        *self.chain = chain;
    }
}

/// Decrypts: expanded keys and HMAC midstate, made once for each key.
pub struct Opener<S: Suite> {
    mac: S::Mac,
    cipher: S::Dec,
    iv_cipher: S::Enc,
}

impl<S: Suite> Opener<S> {
    /// Expands the keys.
    pub fn new(keys: &KeyBlock<S>) -> Self {
        Self {
            mac: S::mac(keys.mac.expose()),
            cipher: S::dec(keys.encryption.array()),
            iv_cipher: S::enc(keys.iv.array()),
        }
    }

    /// Opens under the IV of counter `n`. See [`Self::open_with_iv`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open<'b>(&self, n: u64, aad: &[u8], sealed: &'b mut [u8]) -> Result<&'b mut [u8], OpenError> {
        self.open_with_iv(&counter_iv(&self.iv_cipher, n), aad, sealed)
    }

    /// Verifies the tag at the end of `sealed` in constant time, then decrypts in place.
    ///
    /// Returns the plaintext without its PKCS#7 padding. Nothing is decrypted before the tag is right.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_with_iv<'b>(
        &self,
        iv: &[u8; BLOCK],
        aad: &[u8],
        sealed: &'b mut [u8],
    ) -> Result<&'b mut [u8], OpenError> {
        let len = sealed.len().checked_sub(tag_len::<S>()).ok_or(OpenError)?;
        let (ciphertext, tag) = sealed.split_at_mut_checked(len).ok_or(OpenError)?;
        let mut mac = self.mac.clone();
        for part in [aad, iv, ciphertext, &bits(aad)] {
            absorb::<S>(&mut mac, part);
        }
        // The tag has its full length here: `split_at` above saw to it.
        mac.verify_truncated_left(tag).map_err(|_| OpenError)?;
        let (blocks, rest) = Block::slice_as_chunks_mut(ciphertext);
        cbc::Decryptor::<&S::Dec>::inner_iv_init(&self.cipher, &Block::from(*iv)).decrypt_blocks(blocks);
        // `decrypt_padded` would keep a panic in firmware.
        let last = blocks.last().filter(|_| rest.is_empty()).ok_or(OpenError)?;
        let tail = Pkcs7::unpad(last).map_err(|_| OpenError)?.len();
        let padding = BLOCK.checked_sub(tail).ok_or(OpenError)?;
        let plain = len.checked_sub(padding).ok_or(OpenError)?;
        ciphertext.get_mut(..plain).ok_or(OpenError)
    }
}

/// Apart, so that it stands in firmware once. What is hashed is aad ‖ IV ‖ ciphertext ‖ bits of aad
/// (RFC 7518 section 5.2.2.1).
#[inline(never)]
fn absorb<S: Suite>(mac: &mut S::Mac, part: &[u8]) {
    mac.update(part);
}

/// SHA-2 takes in twice as many bytes as it puts out.
const fn hash_block<S: Suite>() -> usize {
    S::Hash::LEN.saturating_mul(2)
}

fn bits(aad: &[u8]) -> [u8; 8] {
    (aad.len() as u64).saturating_mul(8).to_be_bytes()
}

/// IV = AES(IV key, n): unpredictable and unique without randomness.
fn counter_iv<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>>(cipher: &C, n: u64) -> [u8; BLOCK] {
    let mut block = Block::from(u128::from(n).to_be_bytes());
    cipher.encrypt_block(&mut block);
    block.into()
}
