//! The data directory and the server's identity in it.
//!
//! | file | holds |
//! |---|---|
//! | `root.key` | seed of the Ed25519 root, hexadecimal |
//! | `suite1.key`, `suite2.key` | static exponents, hexadecimal |
//! | `statement` | the key statement in force and its signature, hexadecimal |
//! | `sordino.db` | everything else (see [`crate::store`]) |
//! | `lock` | held by the running server; the kernel releases it however the server ends |

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use getrandom::SysRng;
use sordino_core::{
    Suite, Suite1, Suite2,
    config::MAX_HANDSHAKE_LEN,
    identity::{ServerIdentity, Statement, StaticKey},
    suite::SecretKey,
    wire::{Field as _, Reader, Writer},
};
use zeroize::Zeroizing;

use crate::hub::unix_now;

const ROOT: &str = "root.key";
const STATEMENT: &str = "statement";
const LOCK: &str = "lock";
const SIGNATURE: usize = 64;

/// Group and others.
const LOOSE: u32 = 0o077;

/// A data directory that belongs to this process.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory (mode 0700) if needed and locks it.
    ///
    /// # Errors
    /// It can't be made or opened, or another server uses it.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("can't make the data directory {shown}"))?;
        tighten(path)?;
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path.join(LOCK))
            .with_context(|| format!("can't write to {shown}"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!("another server is running on {shown}"),
            Err(TryLockError::Error(e)) => Err(e).with_context(|| format!("can't lock {shown}")),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity with static keys for `suites`; made if there is none. The root stays; a change of the
    /// suites gives a new statement.
    ///
    /// # Errors
    /// A key file can't be read or written, is open to others, or isn't a key.
    pub fn identity(&self, suites: &[u8]) -> Result<ServerIdentity> {
        let seed = self.root_seed()?;
        let suite1 = suites.contains(&Suite1::ID).then(|| self.static_key::<Suite1>()).transpose()?;
        let suite2 = suites.contains(&Suite2::ID).then(|| self.static_key::<Suite2>()).transpose()?;
        let listed: Vec<_> =
            [suite1.as_ref().map(|k| (Suite1::ID, *k.id())), suite2.as_ref().map(|k| (Suite2::ID, *k.id()))]
                .into_iter()
                .flatten()
                .collect();
        let version = match self.statement()? {
            Some((statement, signature)) if statement.keys() == listed => {
                let root = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().to_bytes();
                return ServerIdentity::from_parts(root, statement, signature, suite1, suite2).map_err(|e| {
                    anyhow!("the statement in {} doesn't fit the keys: {e}", self.path.display())
                });
            }
            Some((statement, _)) => {
                statement.version.checked_add(1).context("the key statement has the last version")?
            }
            None => 1,
        };
        let identity = ServerIdentity::sign(&seed, version, unix_now() / 1000, suite1, suite2)
            .map_err(|e| anyhow!("{e}"))?;
        self.store_statement(&identity)?;
        Ok(identity)
    }

    /// Makes new static keys for the suites of the present statement and signs them with a higher version; the old
    /// keys are gone then. If the power fails in between, the next start signs the keys that it finds.
    ///
    /// # Errors
    /// There are no keys yet, the version isn't higher, or a key file can't be read or written.
    pub fn rotate(&self, version: Option<u32>) -> Result<ServerIdentity> {
        let Some((present, _)) = self.statement()? else {
            bail!("there are no keys in {} yet: start the server once", self.path.display())
        };
        let next = present.version.checked_add(1).context("the key statement has the last version")?;
        let version = version.unwrap_or(next);
        ensure!(version >= next, "the present version is {}: the new one must be higher", present.version);
        let seed = self.root_seed()?;
        let lists = |suite| present.key_id(suite).is_some();
        let suite1 = lists(Suite1::ID).then(|| self.new_static_key::<Suite1>()).transpose()?;
        let suite2 = lists(Suite2::ID).then(|| self.new_static_key::<Suite2>()).transpose()?;
        let identity = ServerIdentity::sign(&seed, version, unix_now() / 1000, suite1, suite2)
            .map_err(|e| anyhow!("{e}"))?;
        self.store_statement(&identity)?;
        Ok(identity)
    }

    fn root_seed(&self) -> Result<Zeroizing<[u8; 32]>> {
        let bytes = self.read_or_make(ROOT, || random(32))?;
        let seed = bytes.as_slice().try_into().map_err(|_| self.not_a_key(ROOT))?;
        Ok(Zeroizing::new(seed))
    }

    fn static_key<S: Suite>(&self) -> Result<StaticKey<S>> {
        let name = static_key_file::<S>();
        let make = || Ok(Zeroizing::new(generate::<S>()?.expose().to_vec()));
        let bytes = self.read_or_make(&name, make)?;
        let key = SecretKey::<S>::from_bytes(&bytes).map_err(|_| self.not_a_key(&name))?;
        Ok(StaticKey::new(key))
    }

    fn new_static_key<S: Suite>(&self) -> Result<StaticKey<S>> {
        let key = generate::<S>()?;
        self.write(&static_key_file::<S>(), key.expose())?;
        Ok(StaticKey::new(key))
    }

    fn statement(&self) -> Result<Option<(Statement, [u8; SIGNATURE])>> {
        let Some(bytes) = self.read(STATEMENT)? else { return Ok(None) };
        let mut input = Reader::new(&bytes);
        let parsed = Statement::decode(&mut input).ok().zip(input.array().ok());
        let (statement, signature) = parsed.ok_or_else(|| self.not_a_key(STATEMENT))?;
        input.finish().map_err(|_| self.not_a_key(STATEMENT))?;
        Ok(Some((statement, signature)))
    }

    fn store_statement(&self, identity: &ServerIdentity) -> Result<()> {
        let mut bytes = [0; MAX_HANDSHAKE_LEN];
        let mut out = Writer::new(&mut bytes);
        let written = identity.statement().encode(&mut out).and_then(|()| out.put(identity.signature()));
        written.map_err(|_| anyhow!("the key statement is too long"))?;
        let len = out.written();
        self.write(STATEMENT, &bytes[..len])
    }

    fn read_or_make(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>>,
    ) -> Result<Zeroizing<Vec<u8>>> {
        if let Some(bytes) = self.read(name)? {
            return Ok(bytes);
        }
        let bytes = make()?;
        self.write(name, &bytes)?;
        Ok(bytes)
    }

    fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let path = self.path.join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("can't read {}", path.display())),
        };
        let mode = fs::metadata(&path)?.permissions().mode();
        ensure!(mode & LOOSE == 0, "others can read {0}: do `chmod 600 {0}`", path.display());
        let bytes = hex::decode(text.trim()).map_err(|_| self.not_a_key(name))?;
        Ok(Some(Zeroizing::new(bytes)))
    }

    /// Whole or not at all, also when the power fails.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        let new = self.path.join(format!("{name}.new"));
        let text = Zeroizing::new(format!("{}\n", hex::encode(bytes)));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .with_context(|| format!("can't write {}", new.display()))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&self.path)?.sync_all()?;
        Ok(())
    }

    fn not_a_key(&self, name: &str) -> anyhow::Error {
        anyhow!("{} is damaged", self.path.join(name).display())
    }
}

/// The fingerprint that people compare, 64 hexadecimal digits.
#[must_use]
pub fn fingerprint(identity: &ServerIdentity) -> String {
    hex::encode(identity.fingerprint())
}

/// A directory that is ours alone is closed to others; in one that holds other things we touch nothing but warn.
fn tighten(path: &Path) -> Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & LOOSE == 0 {
        return Ok(());
    }
    let ours = path.join(ROOT).exists() || fs::read_dir(path)?.next().is_none();
    if ours {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("can't close {} to others", path.display()))?;
    } else {
        tracing::warn!(directory = %path.display(), "others can enter the data directory: do `chmod 700`");
    }
    Ok(())
}

fn static_key_file<S: Suite>() -> String {
    format!("suite{}.key", S::ID)
}

fn generate<S: Suite>() -> Result<SecretKey<S>> {
    SecretKey::<S>::generate(&mut SysRng).map_err(|e| anyhow!("{e}"))
}

fn random(len: usize) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; len]);
    getrandom::fill(&mut bytes).map_err(|e| anyhow!("no randomness: {e}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn keys_are_made_once_and_closed_to_others() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("data");
        let dir = DataDir::open(&path).unwrap();
        let first = dir.identity(&[1, 2]).unwrap();
        let again = dir.identity(&[1, 2]).unwrap();
        assert_eq!(fingerprint(&first), fingerprint(&again));
        assert_eq!(first.statement(), again.statement());
        assert_eq!(mode(&path), 0o700);
        for file in ["root.key", "suite1.key", "suite2.key", "statement", "lock"] {
            assert_eq!(mode(&path.join(file)), 0o600, "{file}");
        }
    }

    #[test]
    fn another_set_of_suites_is_a_new_statement_of_the_same_root() {
        let home = tempfile::tempdir().unwrap();
        let dir = DataDir::open(home.path()).unwrap();
        let both = dir.identity(&[1, 2]).unwrap();
        let one = dir.identity(&[2]).unwrap();
        assert_eq!(fingerprint(&both), fingerprint(&one));
        assert_eq!((both.statement().version, one.statement().version), (1, 2));
        assert_eq!(both.statement().key_id(2), one.statement().key_id(2));
        assert_eq!(one.statement().key_id(1), None);
    }

    #[test]
    fn a_rotation_replaces_the_static_keys_and_keeps_the_root() {
        let home = tempfile::tempdir().unwrap();
        let dir = DataDir::open(home.path()).unwrap();
        assert!(dir.rotate(None).err().unwrap().to_string().contains("no keys"));
        let first = dir.identity(&[1, 2]).unwrap();
        let second = dir.rotate(None).unwrap();
        assert_eq!(fingerprint(&first), fingerprint(&second));
        assert_eq!(second.statement().version, 2);
        for suite in [1, 2] {
            assert_ne!(first.statement().key_id(suite), second.statement().key_id(suite));
        }
        assert_eq!(dir.identity(&[1, 2]).unwrap().statement(), second.statement());
        assert!(dir.rotate(Some(2)).err().unwrap().to_string().contains("higher"));
        assert_eq!(dir.rotate(Some(9)).unwrap().statement().version, 9);
        assert_eq!(mode(&home.path().join("suite1.key")), 0o600);
    }

    #[test]
    fn a_rotation_that_was_cut_short_is_ended_by_the_next_start() {
        let home = tempfile::tempdir().unwrap();
        let dir = DataDir::open(home.path()).unwrap();
        let first = dir.identity(&[1, 2]).unwrap();
        dir.new_static_key::<Suite1>().unwrap();
        let next = dir.identity(&[1, 2]).unwrap();
        assert_eq!(next.statement().version, 2);
        assert_ne!(first.statement().key_id(1), next.statement().key_id(1));
        assert_eq!(first.statement().key_id(2), next.statement().key_id(2));
    }

    #[test]
    fn two_servers_dont_share_a_directory_and_a_left_lock_stops_nobody() {
        let home = tempfile::tempdir().unwrap();
        let first = DataDir::open(home.path()).unwrap();
        assert!(DataDir::open(home.path()).unwrap_err().to_string().contains("another server"));
        drop(first);
        assert!(home.path().join("lock").exists());
        assert!(DataDir::open(home.path()).is_ok());
    }

    #[test]
    fn an_open_key_file_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let dir = DataDir::open(home.path()).unwrap();
        dir.identity(&[1]).unwrap();
        fs::set_permissions(home.path().join("root.key"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(dir.identity(&[1]).err().unwrap().to_string().contains("chmod 600"));
    }

    #[test]
    fn a_damaged_key_is_never_replaced() {
        let home = tempfile::tempdir().unwrap();
        let dir = DataDir::open(home.path()).unwrap();
        dir.identity(&[1]).unwrap();
        for damage in ["", "zz", "00ff"] {
            fs::write(home.path().join("suite1.key"), damage).unwrap();
            assert!(dir.identity(&[1]).err().unwrap().to_string().contains("damaged"));
            assert_eq!(fs::read_to_string(home.path().join("suite1.key")).unwrap(), damage);
        }
    }
}
