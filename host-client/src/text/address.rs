//! Where a server listens: `HOST`, `HOST:PORT`, `[v6]:PORT` or a bare IPv6 address.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use sordino_core::config::DEFAULT_PORT;

/// A host name or address, with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Default for Address {
    fn default() -> Self {
        Self { host: "localhost".into(), port: DEFAULT_PORT }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} isn't an address: HOST, HOST:PORT or [IPV6]:PORT");
        if text.parse::<Ipv6Addr>().is_ok() {
            return Ok(Self { host: text.into(), port: DEFAULT_PORT });
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                rest.split_once(']').map(|(host, port)| (host, port.strip_prefix(':'))).ok_or_else(wrong)?
            }
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|p| *p != 0).ok_or_else(wrong)?,
            None => DEFAULT_PORT,
        };
        let bracketed = text.starts_with('[');
        let plausible = |c: char| {
            !c.is_whitespace() && !c.is_control() && (bracketed || c != ':') && c != '@' && c != '#'
        };
        if host.is_empty() || !host.chars().all(plausible) {
            return Err(wrong());
        }
        Ok(Self { host: host.into(), port })
    }
}
