//! The operator's policy: a TOML file in which every key is optional and an unknown one is an error.

mod check;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// The file that `config default` prints; it holds the values of [`Config::default`].
pub const DEFAULT: &str = include_str!("default.toml");

/// A server's whole policy.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `HOST:PORT` to listen on.
    pub listen: String,
    /// The server's name for people, at most 64 bytes.
    pub name: String,
    /// Text that people see before they register.
    pub rules: String,
    /// Suites offered, strictly ascending.
    pub suites: Vec<u8>,
    /// Days for which an unfetched message is kept.
    pub mailbox_days: u32,
    /// Who may register, and how.
    pub registration: Registration,
    /// Everything that is bounded.
    pub limits: Limits,
    /// Seconds.
    pub timeouts: Timeouts,
    /// The password hash.
    pub argon2: Argon2,
}

/// Who may register, and with what.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Registration {
    /// Whether accounts can be made.
    pub open: bool,
    /// Characters, at least 3.
    pub username_min: u8,
    /// Characters, at most 32.
    pub username_max: u8,
    /// Usernames that can't be registered, besides the operator's.
    pub reserved: Vec<String>,
    /// Characters.
    pub password_min: u8,
    /// zxcvbn score, 0 to 4.
    pub password_score: u8,
    /// Allowed domains, compared exactly without regard to ASCII case; empty allows any.
    pub email_domains: Vec<String>,
}

/// Bounds on memory, work and rates.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections in total.
    pub connections: u32,
    /// Connections from one address (IPv6: one /64).
    pub connections_per_address: u32,
    /// New connections a second from one address.
    pub new_connections_per_second: u32,
    /// Handshakes that compute at the same time.
    pub handshakes: u32,
    /// Handshakes that wait for their turn.
    pub handshakes_waiting: u32,
    /// Registrations a minute from one address.
    pub registrations_per_minute: u32,
    /// Failed logins in a row for one account, from devices it doesn't know.
    pub login_failures_account: u32,
    /// Failed logins in a row from one address.
    pub login_failures_address: u32,
    /// Failed logins in a row on the whole server.
    pub login_failures_server: u32,
    /// Failed logins in a row from the devices that an account knows.
    pub login_failures_known_device: u32,
    /// Seconds after which an account's bucket gets an attempt back.
    pub login_interval_account: u32,
    /// Seconds after which an address's bucket gets an attempt back.
    pub login_interval_address: u32,
    /// Seconds after which the server's bucket gets an attempt back.
    pub login_interval_server: u32,
    /// Seconds after which a known device's bucket gets an attempt back.
    pub login_interval_known_device: u32,
    /// Argon2id runs at the same time.
    pub password_jobs: u32,
    /// Argon2id runs that wait.
    pub password_queue: u32,
    /// Accounts in total.
    pub accounts: u32,
    /// Devices of one account.
    pub devices_per_account: u32,
    /// Messages that wait for one device.
    pub mailbox: u32,
    /// Members of one room.
    pub room_members: u16,
    /// Rooms that one account is in.
    pub rooms_per_account: u32,
    /// Rooms in total.
    pub rooms: u32,
    /// Messages of one account at once.
    pub message_burst: u32,
    /// Messages of one account a second, after the burst.
    pub messages_per_second: u32,
    /// Bytes of a message's body.
    pub body: u16,
}

/// Deadlines in seconds (PROTOCOL.md section 10).
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// From the connection's start to the handshake's end.
    pub handshake: u32,
    /// From the handshake's end to AUTH_RESULT 0.
    pub login: u32,
    /// Nothing received: PING.
    pub ping: u32,
    /// Nothing received: CLOSE 7.
    pub idle: u32,
    /// From the handshake's end to CLOSE 2.
    pub lifetime: u32,
}

/// Argon2id parameters.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Argon2 {
    /// KiB.
    pub memory: u32,
    /// Iterations.
    pub passes: u32,
    /// Parallelism.
    pub lanes: u32,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The file can't be read, isn't TOML, has an unknown key, or a value out of its range.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a valid policy", path.display()))
    }

    /// Parses and checks a policy.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text)?;
        config.check()?;
        Ok(config)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "localhost:12345".into(),
            name: "Sordino".into(),
            rules: "Be kind. The operator can see who talks to whom.".into(),
            suites: vec![1, 2],
            mailbox_days: 30,
            registration: Registration::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            argon2: Argon2::default(),
        }
    }
}

impl Default for Registration {
    fn default() -> Self {
        let reserved = ["admin", "administrator", "operator", "root", "support", "system"];
        Self {
            open: true,
            username_min: 3,
            username_max: 32,
            reserved: reserved.map(String::from).to_vec(),
            password_min: 8,
            password_score: 2,
            email_domains: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 1_000,
            new_connections_per_second: 20,
            handshakes: 4,
            handshakes_waiting: 256,
            registrations_per_minute: 30,
            login_failures_account: 10,
            login_failures_address: 30,
            login_failures_server: 300,
            login_failures_known_device: 10,
            login_interval_account: 60,
            login_interval_address: 20,
            login_interval_server: 1,
            login_interval_known_device: 30,
            password_jobs: 2,
            password_queue: 64,
            accounts: 10_000,
            devices_per_account: 16,
            mailbox: 5_000,
            room_members: 500,
            rooms_per_account: 100,
            rooms: 1_000,
            message_burst: 200,
            messages_per_second: 50,
            body: 15_360,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { handshake: 10, login: 60, ping: 60, idle: 150, lifetime: 86_400 }
    }
}

impl Default for Argon2 {
    fn default() -> Self {
        Self { memory: 19_456, passes: 2, lanes: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_default_is_the_default() {
        assert_eq!(Config::parse(DEFAULT).unwrap(), Config::default());
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        for text in
            ["listne = 'x:1'", "[limits]\nbodies = 3", "[registration]\nopne = true", "[argon]\nmemory = 1"]
        {
            assert!(Config::parse(text).is_err(), "{text}");
        }
    }
}
