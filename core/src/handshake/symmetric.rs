//! Noise's symmetric state (`docs/PROTOCOL.md`, section 5.2).

use crate::aead::{KeyBlock, Opener, Sealer};
use crate::bytes::Secret;
use crate::config::VERSION;
use crate::error::{Error, PeerFault};
use crate::kdf;
use crate::suite::{PublicKey, SecretKey, Suite};
use sha2::Digest;

/// Transcript hash and chaining key.
#[derive(Clone)]
pub struct Symmetric<S: Suite> {
    h: S::Hash,
    ck: Secret<S::Hash>,
}

impl<S: Suite> Symmetric<S> {
    /// Protocol name, prologue and the server's static key.
    pub fn open(key_id: &[u8; 32], server: &PublicKey<S>) -> Self {
        let h = kdf::hash::<S>(&[S::PROTOCOL.as_bytes()]);
        let mut state = Self { ck: Secret::new(h.clone()), h };
        state.mix_hash(&[b"sordino", &[VERSION, S::ID], key_id]);
        state.mix_hash(&[server.as_bytes()]);
        state
    }

    /// h = HASH(h ‖ parts).
    pub fn mix_hash(&mut self, parts: &[&[u8]]) {
        let mut sha = S::Sha::new();
        sha.update(&self.h);
        for part in parts {
            sha.update(part);
        }
        self.h = sha.finalize().into();
    }

    /// Mixes a shared value into the chaining key; the keys that follow from it.
    pub fn mix_key(&mut self, shared: &[u8]) -> HandshakeKeys<S> {
        let (ck, k) = kdf::noise::<S>(&self.ck, shared);
        self.ck = ck;
        HandshakeKeys { block: KeyBlock::expand(&k, b"sordino/1 handshake keys"), n: 0 }
    }

    /// Agrees with `peer` twice, and mixes first what `a` shares with it, then what `b` does. What is hashed between
    /// the two doesn't matter, because it goes into `h` and not into `ck`. Apart, so that the shared values
    /// don't stand on the stack for longer.
    #[inline(never)]
    pub fn mix_both(
        &mut self,
        a: &SecretKey<S>,
        b: &SecretKey<S>,
        peer: &PublicKey<S>,
        scratch: &mut [u8],
    ) -> Result<[HandshakeKeys<S>; 2], Error> {
        let shared = a.agree_both(b, peer, scratch)?;
        Ok(shared.each_ref().map(|shared| self.mix_key(shared.expose())))
    }

    /// Seals the first `len` bytes of `buf`, which has just room for the result.
    ///
    /// `None` if it has not; all lengths are constants of the suite.
    pub fn encrypt_and_hash(
        &mut self,
        keys: &mut HandshakeKeys<S>,
        buf: &mut [u8],
        len: usize,
    ) -> Option<()> {
        let sealed = Sealer::new(&keys.block).seal(keys.n, self.h.as_ref(), buf, len)?;
        keys.n = keys.n.saturating_add(1);
        self.mix_hash(&[buf.get(..sealed)?]);
        (sealed == buf.len()).then_some(())
    }

    /// Opens `sealed` in place; its plaintext has exactly `len` bytes.
    pub fn decrypt_and_hash<'b>(
        &mut self,
        keys: &mut HandshakeKeys<S>,
        sealed: &'b mut [u8],
        len: usize,
    ) -> Result<&'b mut [u8], Error> {
        let before = self.h.clone();
        self.mix_hash(&[sealed]);
        let plain = Opener::new(&keys.block)
            .open(keys.n, before.as_ref(), sealed)
            .map_err(|_| Error::Peer(PeerFault::Handshake))?;
        keys.n = keys.n.saturating_add(1);
        if plain.len() == len { Ok(plain) } else { Err(Error::Peer(PeerFault::Handshake)) }
    }

    /// Epoch 0 secrets, client to server first.
    pub fn split(&self) -> (Secret<S::Hash>, Secret<S::Hash>) {
        kdf::noise::<S>(&self.ck, &[])
    }
}

/// Keys of the handshake and their counter.
pub struct HandshakeKeys<S: Suite> {
    block: KeyBlock<S>,
    n: u64,
}
