//! The client's directory: device keys, the pinned server, the account. Several processes may share it.

mod device;
pub(crate) mod files;
mod server;

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use files::open_private;
pub use server::KnownServer;

use crate::failure::{Failure, Result};
use crate::text::output::note;

/// File whose advisory lock orders every read-modify-write in the home.
const LOCK: &str = "lock";
/// File whose advisory lock is held by the one process that receives.
const RECEIVE_LOCK: &str = "receive.lock";
const ACCOUNT: &str = "account.toml";
/// Beginning of the names of the histories' files, one for each account.
const HISTORY: &str = "history-";

/// Who is logged in here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Username in canonical form.
    pub user: String,
    /// `HOST:PORT` of the server.
    pub server: String,
    /// Suite of the device key that is bound to the account.
    pub suite: u8,
}

/// Whether a file of this name is one that this program makes in its home, or that its owner puts there for it.
fn is_ours(name: &str) -> bool {
    let names =
        [LOCK, RECEIVE_LOCK, ACCOUNT, server::FILE, device::FILE, device::COUNTER, crate::settings::FILE];
    names.contains(&name.strip_suffix(files::UNFINISHED).unwrap_or(name)) || name.starts_with(HISTORY)
}

/// An open home directory.
#[derive(Clone, Debug)]
pub struct Home {
    dir: PathBuf,
}

/// The right to receive with a home; given up when dropped or when the process ends.
#[derive(Debug)]
pub struct ReceiveLock(#[expect(dead_code, reason = "held for its lock")] File);

impl Home {
    /// Opens the directory, making it with mode 0700 when it is missing.
    ///
    /// # Errors
    /// Exit code 1 when it can't be made or entered.
    pub fn open(dir: &Path) -> Result<Self> {
        let fail = |e| Failure::failed(format!("the directory {} can't be used: {e}", dir.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail)?;
        let home = Self { dir: dir.to_owned() };
        home.tighten().map_err(fail)?;
        Ok(home)
    }

    /// A directory that is ours alone loses its loose modes; one that holds other things is left as it is.
    fn tighten(&self) -> std::io::Result<()> {
        let mode = fs::metadata(&self.dir)?.permissions().mode() & 0o777;
        if mode & 0o077 == 0 {
            return Ok(());
        }
        let mut ours = true;
        for entry in fs::read_dir(&self.dir)? {
            ours &= is_ours(&entry?.file_name().to_string_lossy());
        }
        if ours {
            fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o700))
        } else {
            note(&format!(
                "warning: others may enter {} (mode {mode:04o}); chmod 700 it",
                self.dir.display()
            ));
            Ok(())
        }
    }

    /// Where the history of an account stands.
    pub fn history_path(&self, user: &str) -> PathBuf {
        self.path(&format!("{HISTORY}{user}.sqlite"))
    }

    /// A path inside of the home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The account that is logged in here, if there is one.
    ///
    /// # Errors
    /// Exit code 1 when the file is unreadable or damaged.
    pub fn account(&self) -> Result<Option<Account>> {
        files::read_toml(&self.path(ACCOUNT))
    }

    /// Remembers who is logged in.
    ///
    /// # Errors
    /// Exit code 1 when the disk refuses.
    pub fn set_account(&self, account: &Account) -> Result<()> {
        let _lock = self.lock()?;
        files::write_toml(&self.path(ACCOUNT), account)
    }

    /// This device's key of a suite, private exponent ‖ public key. `make` is called once in a home's life for each
    /// suite.
    ///
    /// # Errors
    /// Exit code 1 when the file is damaged or the disk refuses.
    pub fn device_key(
        &self,
        suite: u8,
        make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>>,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let _lock = self.lock()?;
        device::key(&self.path(device::FILE), suite, make)
    }

    /// Reserves counters for ephemeral keys (PROTOCOL.md section 3): no two calls, in any processes, share a value.
    ///
    /// # Errors
    /// Exit code 1 when the disk refuses.
    pub fn reserve_counters(&self, count: u64) -> Result<std::ops::Range<u64>> {
        let _lock = self.lock()?;
        device::reserve_counters(&self.path(device::COUNTER), count)
    }

    /// The pinned server, if there is one.
    ///
    /// # Errors
    /// Exit code 1 when the file is unreadable or damaged.
    pub fn server(&self) -> Result<Option<KnownServer>> {
        server::read(&self.path(server::FILE))
    }

    /// Pins a server, or follows its key rotation. A pin of another root, or of a newer version, isn't overwritten.
    ///
    /// # Errors
    /// Exit code 4 for another root; 1 when the disk refuses.
    pub fn pin(&self, known: &KnownServer) -> Result<()> {
        let _lock = self.lock()?;
        server::pin(&self.path(server::FILE), known)
    }

    /// Takes the right to receive.
    ///
    /// # Errors
    /// Exit code 1 when another process of this home is receiving.
    pub fn lock_receiving(&self) -> Result<ReceiveLock> {
        let file = self.open_lock(RECEIVE_LOCK)?;
        match file.try_lock() {
            Ok(()) => Ok(ReceiveLock(file)),
            Err(TryLockError::WouldBlock) => Err(Failure::failed(format!(
                "another sordino already receives for {}: a device receives in one place at a time. \
                 End it, or log in as a second device with another --home",
                self.dir.display()
            ))),
            Err(TryLockError::Error(e)) => Err(self.lock_failure(&e)),
        }
    }

    /// Orders this process's change of the home after those of others, until the file is dropped.
    ///
    /// # Errors
    /// Exit code 1 when the file system refuses.
    pub fn lock(&self) -> Result<File> {
        let file = self.open_lock(LOCK)?;
        file.lock().map_err(|e| self.lock_failure(&e))?;
        Ok(file)
    }

    fn open_lock(&self, name: &str) -> Result<File> {
        files::open_private(&self.path(name)).map_err(|e| self.lock_failure(&e))
    }

    fn lock_failure(&self, error: &std::io::Error) -> Failure {
        Failure::failed(format!("a lock in {} can't be taken: {error}", self.dir.display()))
    }
}
