//! Where settings come from: flags, then the environment, then the file, then what the last login left.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use directories::ProjectDirs;
use serde::Deserialize;

use crate::cli::Common;
use crate::failure::{Failure, Result};
use crate::home::{Account, Home};
use crate::text::address::Address;
use crate::text::fingerprint;

/// Name of the configuration file.
pub const FILE: &str = "config.toml";
/// The suite of a home that has no account yet.
const DEFAULT_SUITE: u8 = 2;

/// `config.toml`. A key that isn't known is an error.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    server: Option<String>,
    fingerprint: Option<String>,
    suite: Option<u8>,
}

/// What a command works with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The opened home.
    pub home: Home,
    /// The account of the home, if there is one.
    pub account: Option<Account>,
    /// Where to connect.
    pub server: Address,
    /// The fingerprint that was given, if one was.
    pub fingerprint: Option<[u8; 32]>,
    /// 1 or 2.
    pub suite: u8,
}

impl Settings {
    /// Puts the sources together. The environment is already in `common`, by clap.
    ///
    /// # Errors
    /// Exit code 2 for a malformed file, 1 when home or file can't be read.
    pub fn resolve(common: &Common) -> Result<Self> {
        let (home_dir, config) = directories(common.home.as_deref())?;
        let file = read_config(&config)?;
        let home = Home::open(&home_dir)?;
        let account = home.account()?;
        let malformed = |what: String| Failure::usage(format!("{}: {what}", config.display()));
        let server = match (&common.server, &file.server, &account) {
            (Some(server), ..) => server.clone(),
            (None, Some(text), _) => text.parse().map_err(malformed)?,
            (None, None, Some(account)) => account.server.parse().map_err(Failure::failed)?,
            (None, None, None) => Address::default(),
        };
        let from_file = file.fingerprint.as_deref().map(fingerprint::parse).transpose().map_err(malformed)?;
        if let Some(suite) = file.suite.filter(|suite| !(1..=2).contains(suite)) {
            return Err(malformed(format!("suite = {suite}: it is 1 or 2")));
        }
        let suite =
            common.suite.or(file.suite).or(account.as_ref().map(|a| a.suite)).unwrap_or(DEFAULT_SUITE);
        Ok(Self { home, account, server, fingerprint: common.fingerprint.or(from_file), suite })
    }
}

/// The home, and the configuration file: beside each other when the home was named, else by the XDG rules.
fn directories(named: Option<&Path>) -> Result<(PathBuf, PathBuf)> {
    if let Some(home) = named {
        return Ok((home.to_owned(), home.join(FILE)));
    }
    let dirs = ProjectDirs::from("", "", "sordino")
        .ok_or_else(|| Failure::usage("there is no home directory here: give --home or SORDINO_HOME"))?;
    Ok((dirs.data_dir().to_owned(), dirs.config_dir().join(FILE)))
}

fn read_config(path: &Path) -> Result<ConfigFile> {
    match fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display()))),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(ConfigFile::default()),
        Err(e) => Err(Failure::failed(format!("{} can't be read: {e}", path.display()))),
    }
}
