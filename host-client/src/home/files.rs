//! Small private files that are whole or absent, whatever happens while they are written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::failure::{Failure, Result};

/// End of the name of a file that is being written.
pub const UNFINISHED: &str = ".new";

/// Opens a file for its lock or its content, made with mode 0600 when missing.
pub fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Reads a file; `None` when there is none.
pub fn read(path: &Path) -> Result<Option<Zeroizing<String>>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::failed(format!("{} can't be read: {e}", path.display()))),
    }
}

/// Replaces a file by content that is on the disk before the name points to it.
/// Callers hold the home's lock, so the temporary name has one writer.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    replace(path, content).map_err(|e| Failure::failed(format!("{} can't be written: {e}", path.display())))
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = temporary_name(path);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

/// Reads a TOML file; `None` when there is none.
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(text) = read(path)? else { return Ok(None) };
    // The parser's own message quotes the line, which in a key file is a secret.
    toml::from_str(&text).map(Some).map_err(|_| damaged(path))
}

/// A file that isn't as it was written.
pub fn damaged(path: &Path) -> Failure {
    let path = path.display();
    Failure::failed(format!("{path} is damaged; restore it from a backup, or move it away to start anew"))
}

/// Writes a TOML file.
pub fn write_toml<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = toml::to_string(value)
        .map(Zeroizing::new)
        .map_err(|e| Failure::failed(format!("{} can't be encoded: {e}", path.display())))?;
    write(path, text.as_bytes())
}
