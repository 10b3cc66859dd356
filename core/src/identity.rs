//! The server's identity: root, key statement, static keys; and how a client comes to trust it
//! (`docs/PROTOCOL.md`, section 4).

use crate::error::{Distrust, Error, Mismatch, Misuse};
use crate::handshake::{Header, Kind, Symmetric};
use crate::io::Io;
use crate::kdf;
use crate::signature;
use crate::suite::{PublicKey, SecretKey, Suite, Suite1, Suite2, SuiteList};
use crate::wire::{Field, Malformed, Overflow, Reader, Writer};
use ed25519_dalek::{Signer, SigningKey};

/// Ed25519 public key of a server, in bytes.
pub const ROOT_LEN: usize = 32;
/// Suites that a statement may list.
pub const MAX_SUITES: usize = 8;
/// Longest key statement, in bytes.
pub const MAX_STATEMENT: usize = 4 + 8 + 1 + MAX_SUITES * 33;
/// Longest stored [`Pin`], in bytes.
pub const MAX_PIN: usize = ROOT_LEN + MAX_STATEMENT;

const STATEMENT_LABEL: &[u8] = b"sordino/1 key statement";

/// SHA-256 of a server's root, of a static key, or of a device key.
pub type Fingerprint = [u8; 32];

/// Suite 1's hash, whatever the suite.
fn sha256(parts: &[&[u8]]) -> Fingerprint {
    kdf::hash::<Suite1>(parts)
}

/// The fingerprint under which people know a server.
pub fn server_fingerprint(root: &[u8; ROOT_LEN]) -> Fingerprint {
    sha256(&[b"sordino/1 server root", root])
}

/// Identifies a static key of a server in statements and in the prologue.
pub fn key_id<S: Suite>(key: &PublicKey<S>) -> Fingerprint {
    id_of(S::ID, key.as_bytes())
}

fn id_of(suite: u8, key: &[u8]) -> Fingerprint {
    sha256(&[b"sordino/1 static key", &[suite], key])
}

/// Identifies a device key.
pub fn device_fingerprint<S: Suite>(key: &PublicKey<S>) -> Fingerprint {
    sha256(&[b"sordino/1 device key", &[S::ID], key.as_bytes()])
}

/// What the root signs: which static keys are current.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Grows with each rotation.
    pub version: u32,
    /// Unix time in seconds, for display.
    pub date: u64,
    keys: [(u8, Fingerprint); MAX_SUITES],
    count: u8,
}

impl Statement {
    /// A statement over at most [`MAX_SUITES`] keys, in strictly ascending order of the suites.
    pub fn new(version: u32, date: u64, keys: &[(u8, Fingerprint)]) -> Option<Self> {
        let mut statement =
            Self { version, date, keys: [(0, [0; 32]); MAX_SUITES], count: u8::try_from(keys.len()).ok()? };
        statement.keys.get_mut(..keys.len())?.copy_from_slice(keys);
        let valid = keys.is_sorted_by(|a, b| a.0 < b.0) && keys.first().is_some_and(|k| k.0 != 0);
        valid.then_some(statement)
    }

    /// The listed suites and the ids of their keys.
    pub fn keys(&self) -> &[(u8, Fingerprint)] {
        self.keys.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// The id of a suite's key.
    pub fn key_id(&self, suite: u8) -> Option<Fingerprint> {
        self.keys().iter().find(|k| k.0 == suite).map(|k| k.1)
    }
}

impl Field<'_> for Statement {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
        self.version.encode(out)?;
        self.date.encode(out)?;
        self.count.encode(out)?;
        self.keys().iter().try_for_each(|(suite, id)| suite.encode(out).and_then(|()| id.encode(out)))
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let version = u32::decode(input)?;
        let date = u64::decode(input)?;
        let count = u8::decode(input)?;
        let mut keys = [(0, [0; 32]); MAX_SUITES];
        let listed = keys.get_mut(..usize::from(count)).ok_or(Malformed)?;
        for key in listed.iter_mut() {
            *key = (u8::decode(input)?, <[u8; 32]>::decode(input)?);
        }
        Self::new(version, date, listed).ok_or(Malformed)
    }
}

/// What a client remembers of a server: its root and the newest statement seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Ed25519 public key.
    pub root: [u8; ROOT_LEN],
    /// Version floor, and the key of each suite.
    pub statement: Statement,
}

impl Pin {
    /// Fingerprint of the pinned root.
    pub fn fingerprint(&self) -> Fingerprint {
        server_fingerprint(&self.root)
    }
}

/// For storage: root ‖ statement, at most [`MAX_PIN`] bytes.
impl Field<'_> for Pin {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
        self.root.encode(out)?;
        self.statement.encode(out)
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { root: Field::decode(input)?, statement: Field::decode(input)? })
    }
}

/// What a client knows of a server before it asks for its key.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// The server was met before.
    Pinned(&'a Pin),
    /// A fingerprint came by another way, perhaps with the lowest version to accept (else 0).
    Fingerprint(Fingerprint, u32),
    /// Nothing: any root is taken. Show its fingerprint and pin it.
    FirstUse,
}

impl Trust<'_> {
    fn check_root(&self, root: &[u8; ROOT_LEN]) -> Result<(), Error> {
        let known = match self {
            Self::Pinned(pin) => pin.root == *root,
            Self::Fingerprint(print, _) => server_fingerprint(root) == *print,
            Self::FirstUse => true,
        };
        if known { Ok(()) } else { Err(Error::Untrusted(Distrust::Root)) }
    }

    fn check_version(&self, statement: &Statement) -> Result<(), Error> {
        let current = match self {
            Self::Pinned(Pin { statement: old, .. }) => {
                statement.version > old.version
                    || (statement.version == old.version && statement.keys() == old.keys())
            }
            Self::Fingerprint(_, floor) => statement.version >= *floor,
            Self::FirstUse => true,
        };
        if current { Ok(()) } else { Err(Error::Untrusted(Distrust::Stale)) }
    }
}

/// A server's static key that a trusted root has signed.
#[derive(Clone, Debug)]
pub struct ServerKey<S: Suite> {
    key: PublicKey<S>,
    id: Fingerprint,
}

impl<S: Suite> ServerKey<S> {
    /// A key that was stored beside its pin.
    ///
    /// # Errors
    /// [`Distrust::Key`] if it is not the one that the pin lists.
    pub fn from_pin(pin: &Pin, key: PublicKey<S>) -> Result<Self, Error> {
        let id = key_id::<S>(&key);
        if pin.statement.key_id(S::ID) != Some(id) {
            return Err(Error::Untrusted(Distrust::Key));
        }
        Ok(Self { key, id })
    }

    /// The key.
    pub const fn public(&self) -> &PublicKey<S> {
        &self.key
    }

    /// Its id.
    pub const fn id(&self) -> &Fingerprint {
        &self.id
    }
}

/// Checks the body of a key answer in the order of section 4; the pin to keep from now on, and the key.
///
/// # Errors
/// [`Error::Untrusted`] says which check failed; a static key out of range or subgroup is
/// [`Error::Peer`].
pub fn check_key_answer<S: Suite>(body: &[u8], trust: Trust<'_>) -> Result<(Pin, ServerKey<S>), Error> {
    let malformed = |_| Error::Untrusted(Distrust::Malformed);
    let mut input = Reader::new(body);
    let root: [u8; ROOT_LEN] = input.array().map_err(malformed)?;
    let signed = <&[u8]>::decode(&mut input).map_err(malformed)?;
    let signature: [u8; 64] = input.array().map_err(malformed)?;
    let key = input.take(PublicKey::<S>::LEN).map_err(malformed)?;
    input.finish().map_err(malformed)?;
    let mut inner = Reader::new(signed);
    let statement = Statement::decode(&mut inner).map_err(malformed)?;
    inner.finish().map_err(malformed)?;

    trust.check_root(&root)?;
    verify(&root, signed, &signature)?;
    trust.check_version(&statement)?;
    let pin = Pin { root, statement };
    if pin.statement.key_id(S::ID) != Some(id_of(S::ID, key)) {
        return Err(Error::Untrusted(Distrust::Key));
    }
    let key = ServerKey::from_pin(&pin, PublicKey::<S>::from_bytes(key)?)?;
    key.public().check_long_lived()?;
    Ok((pin, key))
}

fn verify(root: &[u8; ROOT_LEN], statement: &[u8], signature: &[u8; 64]) -> Result<(), Error> {
    let good = signature::verify(root, &[STATEMENT_LABEL, statement], signature);
    if good { Ok(()) } else { Err(Error::Untrusted(Distrust::Signature)) }
}

/// A server's static key of one suite, with what every handshake needs of it made ready.
pub struct StaticKey<S: Suite> {
    pub(crate) secret: SecretKey<S>,
    pub(crate) gate_key: S::Hash,
    pub(crate) opening: Symmetric<S>,
    public: PublicKey<S>,
    id: Fingerprint,
}

impl<S: Suite> StaticKey<S> {
    /// Makes the public key (one exponentiation) and the opening of the transcript.
    pub fn new(secret: SecretKey<S>) -> Self {
        let public = secret.public();
        let id = key_id::<S>(&public);
        Self { gate_key: gate_key::<S>(&public), opening: Symmetric::open(&id, &public), secret, public, id }
    }

    /// What clients receive.
    pub const fn public(&self) -> &PublicKey<S> {
        &self.public
    }

    /// Its id in the statement.
    pub const fn id(&self) -> &Fingerprint {
        &self.id
    }
}

/// The key of message 1's gate.
pub(crate) fn gate_key<S: Suite>(key: &PublicKey<S>) -> S::Hash {
    kdf::hash::<S>(&[b"sordino/1 gate", key.as_bytes()])
}

/// All that a server shows of itself, and the static keys. About 2 KiB; made once, shared by all connections.
pub struct ServerIdentity {
    root: [u8; ROOT_LEN],
    statement: Statement,
    signature: [u8; 64],
    suites: SuiteList,
    suite1: Option<StaticKey<Suite1>>,
    suite2: Option<StaticKey<Suite2>>,
}

impl ServerIdentity {
    /// Signs a statement over the given static keys with the root's secret seed.
    ///
    /// # Errors
    /// [`Misuse::Parameter`] if no suite is given.
    pub fn sign(
        root_seed: &[u8; 32],
        version: u32,
        date: u64,
        suite1: Option<StaticKey<Suite1>>,
        suite2: Option<StaticKey<Suite2>>,
    ) -> Result<Self, Error> {
        let listed =
            [suite1.as_ref().map(|k| (Suite1::ID, k.id)), suite2.as_ref().map(|k| (Suite2::ID, k.id))];
        let mut keys = [(0, [0; 32]); 2];
        let count = keys.iter_mut().zip(listed.iter().flatten()).map(|(to, from)| *to = *from).count();
        let keys = keys.get(..count).unwrap_or_default();
        let statement = Statement::new(version, date, keys).ok_or(Error::Misuse(Misuse::Parameter))?;

        let mut message = [0; STATEMENT_LABEL.len() + MAX_STATEMENT];
        let mut out = Writer::new(&mut message);
        out.put(STATEMENT_LABEL)
            .and_then(|()| statement.encode(&mut out))
            .map_err(|Overflow| Error::Misuse(Misuse::Parameter))?;
        let len = out.written();
        let root = SigningKey::from_bytes(root_seed);
        let signature = root.sign(message.get(..len).unwrap_or_default()).to_bytes();
        Self::from_parts(root.verifying_key().to_bytes(), statement, signature, suite1, suite2)
    }

    /// An identity whose root is kept elsewhere: checks that the statement is signed and lists just these keys.
    ///
    /// # Errors
    /// [`Distrust::Signature`], [`Distrust::Key`], [`Misuse::Parameter`].
    pub fn from_parts(
        root: [u8; ROOT_LEN],
        statement: Statement,
        signature: [u8; 64],
        suite1: Option<StaticKey<Suite1>>,
        suite2: Option<StaticKey<Suite2>>,
    ) -> Result<Self, Error> {
        let mut bytes = [0; MAX_STATEMENT];
        let mut out = Writer::new(&mut bytes);
        statement.encode(&mut out).map_err(|Overflow| Error::Misuse(Misuse::Parameter))?;
        let len = out.written();
        verify(&root, bytes.get(..len).unwrap_or_default(), &signature)?;
        let mut held =
            [suite1.as_ref().map(|k| (Suite1::ID, k.id)), suite2.as_ref().map(|k| (Suite2::ID, k.id))]
                .into_iter()
                .flatten();
        let all_listed = statement.keys().iter().all(|key| held.next() == Some(*key));
        if !all_listed || held.next().is_some() {
            return Err(Error::Untrusted(Distrust::Key));
        }
        let mut list = [0; MAX_SUITES];
        for (to, (suite, _)) in list.iter_mut().zip(statement.keys()) {
            *to = *suite;
        }
        let suites = SuiteList::from_wire(list).ok_or(Error::Misuse(Misuse::Parameter))?;
        Ok(Self { root, statement, signature, suites, suite1, suite2 })
    }

    /// Ed25519 public key.
    pub const fn root(&self) -> &[u8; ROOT_LEN] {
        &self.root
    }

    /// What people compare.
    pub fn fingerprint(&self) -> Fingerprint {
        server_fingerprint(&self.root)
    }

    /// The signed statement.
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The root's signature over [`Self::statement`].
    pub const fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// The suites that this server offers.
    pub const fn suites(&self) -> SuiteList {
        self.suites
    }

    /// Appends the key answer for a suite to the output.
    pub(crate) fn put_key_answer(&self, suite: u8, io: &mut Io<'_, '_>) -> Result<(), Error> {
        let key = match suite {
            Suite1::ID => Suite1::key(self).map(|k| k.public.as_bytes()),
            Suite2::ID => Suite2::key(self).map(|k| k.public.as_bytes()),
            _ => None,
        };
        let key = key.ok_or(Error::Incompatible(Mismatch::Suite))?;
        let mut count = Writer::counting();
        self.statement.encode(&mut count).map_err(|Overflow| Error::Misuse(Misuse::Parameter))?;
        let statement = count.written();
        let parts = [ROOT_LEN, 2, statement, self.signature.len(), key.len()];
        let length = parts.iter().fold(0, |sum: usize, n| sum.saturating_add(*n));
        let header = Header::new(Kind::KeyAnswer, suite, length).encode();
        io.put(|out| {
            out.put(&header)?;
            out.put(&self.root)?;
            u16::try_from(statement).map_err(|_| Overflow)?.encode(out)?;
            self.statement.encode(out)?;
            out.put(&self.signature)?;
            out.put(key)
        })
    }
}

/// A suite that a [`ServerIdentity`] may have a key of.
pub trait ServedSuite: Suite {
    /// The server's static key of this suite.
    fn key(identity: &ServerIdentity) -> Option<&StaticKey<Self>>;
}

impl ServedSuite for Suite1 {
    fn key(identity: &ServerIdentity) -> Option<&StaticKey<Self>> {
        identity.suite1.as_ref()
    }
}

impl ServedSuite for Suite2 {
    fn key(identity: &ServerIdentity) -> Option<&StaticKey<Self>> {
        identity.suite2.as_ref()
    }
}
