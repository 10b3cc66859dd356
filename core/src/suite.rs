//! Suites: one number decides every primitive (`docs/PROTOCOL.md`, section 2).

use crate::bytes::Bytes;
use crate::dh::{Ffdhe2048, Ffdhe3072, Group};
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};
use hmac::digest::{Output, OutputSizeUser};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};

/// A set of primitives. An embedded build carries only the suites that it names.
pub trait Suite: Copy + core::fmt::Debug + Eq + Send + Sync + 'static {
    /// Number on the wire.
    const ID: u8;
    /// Hashed into the transcript first.
    const PROTOCOL: &'static str;

    /// Diffie-Hellman group.
    type Group: Group;
    /// Hash function of transcript and key schedule.
    type Sha: Digest;
    /// Output of [`Self::Sha`] and of [`Self::Mac`].
    type Hash: Bytes + From<Output<Self::Sha>> + From<Output<Self::Mac>>;
    /// HMAC over [`Self::Sha`].
    type Mac: Mac + OutputSizeUser + Clone + Send + Sync;
    /// Block cipher, encryption half.
    type Enc: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + Send + Sync;
    /// Block cipher, decryption half.
    type Dec: BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync;
    /// MAC key, encryption key and IV key each have this form; the tag has its length too.
    type Key: Bytes;

    /// Zeros to write over the state of a connection: exactly as large.
    type Cover: Bytes;

    /// HMAC keyed with `key`, of any length.
    fn mac(key: &[u8]) -> Self::Mac;
    /// Expands an encryption key.
    fn enc(key: &Self::Key) -> Self::Enc;
    /// Expands a decryption key.
    fn dec(key: &Self::Key) -> Self::Dec;
}

/// Public key of a suite's group.
pub type PublicKey<S> = crate::dh::PublicKey<<S as Suite>::Group>;
/// Private exponent of a suite's group.
pub type SecretKey<S> = crate::dh::SecretKey<<S as Suite>::Group>;

/// Bytes of a public key or shared value (DHLEN).
pub const fn dh_len<S: Suite>() -> usize {
    <S::Group as Group>::Public::LEN
}

/// Bytes of free output without which no step of a handshake is taken: the table of an exponentiation stands there.
pub(crate) const fn least_scratch<S: Suite>() -> usize {
    <S::Group as Group>::LEAST_SCRATCH
}

/// Bytes of a tag.
pub const fn tag_len<S: Suite>() -> usize {
    S::Key::LEN
}

macro_rules! suite {
    ($(#[$doc:meta])* $name:ident = $id:literal, $protocol:literal, $group:ident, $sha:ident / $hash:literal, $enc:ident, $dec:ident / $key:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name;

        impl Suite for $name {
            const ID: u8 = $id;
            const PROTOCOL: &'static str = $protocol;
            type Group = $group;
            type Sha = $sha;
            type Hash = [u8; $hash];
            type Mac = Hmac<$sha>;
            type Enc = aes::$enc;
            type Dec = aes::$dec;
            type Key = [u8; $key];
            type Cover = [u8; crate::conn::open_size::<$name>()];

            fn mac(key: &[u8]) -> Self::Mac {
                // HMAC takes a key of any length (RFC 2104): there is no error to report.
                hmac::KeyInit::new_from_slice(key).unwrap_or_else(|_| hmac::KeyInit::new(&Default::default()))
            }

            fn enc(key: &Self::Key) -> Self::Enc {
                aes::$enc::new(key.into())
            }

            fn dec(key: &Self::Key) -> Self::Dec {
                aes::$dec::new(key.into())
            }
        }
    };
}

suite!(
    /// Suite 1, for microcontrollers: ffdhe2048, A128CBC-HS256, SHA-256. About 103 bits.
    Suite1 = 1, "SordinoXK/1 ffdhe2048 A128CBC-HS256 SHA-256", Ffdhe2048, Sha256 / 32, Aes128Enc, Aes128Dec / 16
);
suite!(
    /// Suite 2, for desktops: ffdhe3072, A256CBC-HS512, SHA-512. About 125 bits.
    Suite2 = 2, "SordinoXK/1 ffdhe3072 A256CBC-HS512 SHA-512", Ffdhe3072, Sha512 / 64, Aes256Enc, Aes256Dec / 32
);

/// The suites that a side would use on a connection, in ascending order, filled with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuiteList([u8; 8]);

impl SuiteList {
    /// A list of at most 8 suites, strictly ascending.
    ///
    /// `None` if the order is wrong, the list is empty or too long, or a number is 0.
    pub fn new(suites: &[u8]) -> Option<Self> {
        let mut list = [0; 8];
        list.get_mut(..suites.len())?.copy_from_slice(suites);
        Self::from_wire(list)
    }

    /// Checks the form of a received list.
    pub fn from_wire(list: [u8; 8]) -> Option<Self> {
        let used = list.iter().position(|&s| s == 0).unwrap_or(list.len());
        let (head, rest) = list.split_at_checked(used)?;
        let ascending = head.is_sorted_by(|a, b| a < b);
        (!head.is_empty() && ascending && rest.iter().all(|&s| s == 0)).then_some(Self(list))
    }

    /// As on the wire: 8 bytes.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// Whether the list has this suite.
    pub fn contains(&self, suite: u8) -> bool {
        suite != 0 && self.0.contains(&suite)
    }

    /// The highest suite in both lists.
    pub fn best_common(&self, other: &Self) -> Option<u8> {
        self.0.iter().copied().filter(|&s| other.contains(s)).max()
    }
}
