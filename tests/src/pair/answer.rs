//! Key answers as somebody who holds some root could write them, and those that a client must refuse.

use ed25519_dalek::{Signer, SigningKey};
use sordino_core::Suite;
use sordino_core::error::Distrust;
use sordino_core::identity::{Fingerprint, Statement, key_id};
use sordino_core::suite::PublicKey;
use sordino_core::wire::{Field, Writer};

use super::forge::{exponent, framed};

/// Type of a key answer.
const KEY_ANSWER: u8 = 2;
/// Seed of a root that nobody trusts.
pub const OTHER_ROOT: [u8; 32] = [0x66; 32];

/// The parts of a key answer's body.
#[derive(Clone)]
pub struct Answer {
    /// Ed25519 public key.
    pub root: [u8; 32],
    /// The encoded statement.
    pub statement: Vec<u8>,
    /// Over the statement.
    pub signature: [u8; 64],
    /// Static key.
    pub key: Vec<u8>,
}

impl Answer {
    /// A right one for these keys.
    ///
    /// # Panics
    /// When they don't make a statement.
    #[must_use]
    pub fn signed(seed: &[u8; 32], version: u32, listed: &[(u8, Fingerprint)], key: &[u8]) -> Self {
        let statement = Statement::new(version, 1_790_000_000, listed).expect("a statement");
        let mut bytes = [0; 512];
        let mut out = Writer::new(&mut bytes);
        statement.encode(&mut out).expect("room for a statement");
        let len = out.written();
        Self::over(seed, bytes[..len].to_vec(), key)
    }

    /// One whose root has signed these bytes.
    #[must_use]
    pub fn over(seed: &[u8; 32], statement: Vec<u8>, key: &[u8]) -> Self {
        let root = SigningKey::from_bytes(seed);
        let signature = root.sign(&[b"sordino/1 key statement", &statement[..]].concat()).to_bytes();
        Self { root: root.verifying_key().to_bytes(), statement, signature, key: key.into() }
    }

    /// The body.
    ///
    /// # Panics
    /// When the statement is too long.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let length = u16::try_from(self.statement.len()).expect("a short statement").to_be_bytes();
        [&self.root[..], &length, &self.statement, &self.signature, &self.key].concat()
    }

    /// Header and body.
    #[must_use]
    pub fn message<S: Suite>(&self) -> Vec<u8> {
        framed(KEY_ANSWER, S::ID, &self.body())
    }
}

/// A wrong answer: what is wrong with it, and what the client must say.
pub struct Forgery {
    /// What is wrong.
    pub name: &'static str,
    /// What it is.
    pub answer: Answer,
    /// Why it is refused.
    pub refused: Distrust,
    /// Whether only a client that knows the statement in force can tell.
    pub needs_pin: bool,
}

/// All kinds of wrong answers to a client that trusts the root of `seed` and has seen `statement`, in which `key` is
/// listed.
///
/// # Panics
/// When the statement has version 0, or lists one suite only.
#[must_use]
pub fn forgeries<S: Suite>(seed: &[u8; 32], statement: &Statement, key: &PublicKey<S>) -> Vec<Forgery> {
    let (version, listed) = (statement.version, statement.keys());
    let thief = exponent::<S>(&[0x66; 64][..sordino_core::suite::SecretKey::<S>::LEN]).public();
    let with_his: Vec<_> =
        listed.iter().map(|l| if l.0 == S::ID { (S::ID, key_id::<S>(&thief)) } else { *l }).collect();
    let only = |own: bool| -> Vec<_> { listed.iter().filter(|l| (l.0 == S::ID) == own).copied().collect() };
    let key = key.as_bytes();
    let right = Answer::signed(seed, version, listed, key);
    let with = |change: &dyn Fn(&mut Answer)| {
        let mut answer = right.clone();
        change(&mut answer);
        answer
    };
    let signed = |version, listed: &[_], key: &[u8]| Answer::signed(seed, version, listed, key);
    let other = Answer::signed(&OTHER_ROOT, version + 1, &with_his, thief.as_bytes());
    let rows = [
        ("a flipped signature", with(&|a| a.signature[9] ^= 1), Distrust::Signature, false),
        ("a version raised by nobody", with(&|a| a.statement[3] ^= 0x40), Distrust::Signature, false),
        ("another's signature", with(&|a| a.signature = other.signature), Distrust::Signature, false),
        ("an old statement", signed(version - 1, listed, key), Distrust::Stale, true),
        (
            "an old statement with its old key",
            signed(version - 1, &with_his, thief.as_bytes()),
            Distrust::Stale,
            true,
        ),
        (
            "two statements of one version",
            signed(version, &with_his, thief.as_bytes()),
            Distrust::Stale,
            true,
        ),
        ("a suite stripped in the same version", signed(version, &only(true), key), Distrust::Stale, true),
        ("the suite in use stripped", signed(version + 1, &only(false), key), Distrust::Key, false),
        ("a key that isn't listed", with(&|a| a.key = thief.as_bytes().into()), Distrust::Key, false),
        ("another root", other.clone(), Distrust::Root, false),
        (
            "another root over the right keys",
            Answer::signed(&OTHER_ROOT, version, listed, key),
            Distrust::Root,
            false,
        ),
    ];
    let forgery = |(name, answer, refused, needs_pin)| Forgery { name, answer, refused, needs_pin };
    rows.into_iter().map(forgery).collect()
}
