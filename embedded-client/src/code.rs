//! Enrolment codes (`docs/PROTOCOL.md`, section 14).

use crate::MAX_ADDRESS;
use core::fmt;
use heapless::String;
use sordino_core::board::SECRET_LEN;
use sordino_core::bytes::Secret;
use sordino_core::identity::Fingerprint;

const SCHEME: &str = "sordino://";
const PATH: &str = "board";

/// What a member's client gives for a board: where the server is, how to know it, and a secret that lets one key
/// in, once.
///
/// `sordino://HOST:PORT/board/SECRET/EXPIRES#FINGERPRINT`: 32 and 64 hexadecimal digits, Unix time in seconds.
#[derive(Clone)]
pub struct Code {
    pub(crate) address: String<MAX_ADDRESS>,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) secret: Secret<[u8; SECRET_LEN]>,
    /// Unix time in seconds after which the server refuses it.
    pub expires: u64,
}

/// The text is not an enrolment code, or was damaged on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCode;

impl fmt::Display for BadCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is not an enrolment code")
    }
}

impl Code {
    /// Reads a code.
    ///
    /// # Errors
    /// [`BadCode`].
    pub fn parse(text: &str) -> Result<Self, BadCode> {
        Self::read(text.trim_ascii()).ok_or(BadCode)
    }

    fn read(text: &str) -> Option<Self> {
        let (place, fingerprint) = cut(text.strip_prefix(SCHEME)?, b'#')?;
        let (address, rest) = cut(place, b'/')?;
        let (path, rest) = cut(rest, b'/')?;
        let (secret, expires) = cut(rest, b'/')?;
        let (host, port) = split_address(address)?;
        let mut code = Self {
            address: String::try_from(address).ok()?,
            fingerprint: [0; 32],
            secret: Secret::zeroed(),
            expires: expires.parse().ok()?,
        };
        unhex(fingerprint, &mut code.fingerprint)?;
        unhex(secret, code.secret.expose_mut())?;
        (path == PATH && !host.is_empty() && port != 0).then_some(code)
    }
}

/// `split_once` at an ASCII character: a tenth of the code of the general one, and nothing that panics.
fn cut(text: &str, at: u8) -> Option<(&str, &str)> {
    let place = text.bytes().position(|b| b == at)?;
    Some((text.get(..place)?, text.get(place.checked_add(1)?..)?))
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Host and port of `HOST:PORT`, where HOST may be an IPv6 address in brackets.
pub(crate) fn split_address(address: &str) -> Option<(&str, u16)> {
    let colon = address.bytes().rposition(|b| b == b':')?;
    let (host, port) = (address.get(..colon)?, address.get(colon.checked_add(1)?..)?);
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?))
}

fn unhex(text: &str, out: &mut [u8]) -> Option<()> {
    let mut digits = text.chars();
    for byte in out {
        let (high, low) = (digits.next()?.to_digit(16)?, digits.next()?.to_digit(16)?);
        *byte = u8::try_from((high << 4) | low).ok()?;
    }
    digits.next().is_none().then_some(())
}

/// Lower-case hexadecimal digits of `bytes`; at most `N`.
pub(crate) fn hex<const N: usize>(bytes: &[u8]) -> String<N> {
    let digits = bytes.iter().flat_map(|b| [b >> 4, b & 15]);
    let text = digits.filter_map(|d| char::from_digit(u32::from(d), 16));
    let mut out = String::new();
    for digit in text {
        let _truncated = out.push(digit);
    }
    out
}
