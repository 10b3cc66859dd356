//! AUTH and AUTH_RESULT, which have one fixed size each (`docs/PROTOCOL.md`, section 8).

use super::{AuthCode, AuthMethod};
use crate::config::{AUTH_LEN, AUTH_RESULT_LEN};
use crate::config::{MAX_CODE, MAX_EMAIL, MAX_INVITE, MAX_LABEL, MAX_PASSWORD, MAX_USERNAME};
use crate::name::Username;
use crate::wire::{Field, Malformed, Overflow, Reader, Writer};

/// AUTH: credentials. Always 508 bytes on the wire.
#[derive(Clone, Copy, PartialEq)]
pub struct Auth<'a> {
    /// How.
    pub method: AuthMethod,
    /// At most 32 bytes, as typed; the server folds and checks it.
    pub username: &'a str,
    /// At most 254 bytes.
    pub email: &'a str,
    /// At most 128 bytes.
    pub password: &'a str,
    /// Reserved, at most 32 bytes.
    pub invite: &'a str,
    /// Reserved for the second factor, at most 8 bytes.
    pub code: &'a str,
    /// Name of the device for its owner, at most 32 bytes.
    pub label: &'a str,
}

impl<'a> Auth<'a> {
    /// Login by the device key that the handshake has proven.
    pub const DEVICE: Self = Self {
        method: AuthMethod::Device,
        username: "",
        email: "",
        password: "",
        invite: "",
        code: "",
        label: "",
    };

    const fn texts(&self) -> [(&'a str, usize); 6] {
        [
            (self.username, MAX_USERNAME),
            (self.email, MAX_EMAIL),
            (self.password, MAX_PASSWORD),
            (self.invite, MAX_INVITE),
            (self.code, MAX_CODE),
            (self.label, MAX_LABEL),
        ]
    }
}

impl core::fmt::Debug for Auth<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // People type passwords into the wrong field.
        f.debug_struct("Auth").field("method", &self.method).finish_non_exhaustive()
    }
}

impl<'a> Field<'a> for Auth<'a> {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
        let end = out.written().saturating_add(AUTH_LEN);
        self.method.encode(out)?;
        for (text, max) in self.texts() {
            if text.len() > max {
                return Err(Overflow);
            }
            text.encode(out)?;
        }
        out.pad_to(end)
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut body = Reader::new(input.take(AUTH_LEN)?);
        let auth = Self {
            method: Field::decode(&mut body)?,
            username: Field::decode(&mut body)?,
            email: Field::decode(&mut body)?,
            password: Field::decode(&mut body)?,
            invite: Field::decode(&mut body)?,
            code: Field::decode(&mut body)?,
            label: Field::decode(&mut body)?,
        };
        body.finish_zeros()?;
        let fits = auth.texts().iter().all(|(text, max)| text.len() <= *max);
        if fits { Ok(auth) } else { Err(Malformed) }
    }
}

/// AUTH_RESULT. Always 124 bytes on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AuthResult<'a> {
    /// The result; the other fields are zero and empty unless it is [`AuthCode::Ok`].
    pub code: AuthCode,
    /// Seconds to wait; only with [`AuthCode::RateLimited`] and [`AuthCode::Unavailable`].
    pub retry_after: u32,
    /// The server's number for this device.
    pub device: u64,
    /// Messages that wait for this device.
    pub pending: u32,
    /// The account, in canonical form.
    pub username: &'a str,
}

impl AuthResult<'_> {
    /// A refusal: `code` must not be [`AuthCode::Ok`].
    pub const fn refusal(code: AuthCode, retry_after: u32) -> Self {
        Self { code, retry_after, device: 0, pending: 0, username: "" }
    }

    /// Success has a username, a refusal nothing; only two codes may ask for a pause.
    fn is_sound(&self) -> bool {
        let empty = self.device == 0 && self.pending == 0 && self.username.is_empty();
        match self.code {
            AuthCode::Ok => self.retry_after == 0 && Username::new(self.username).is_some(),
            AuthCode::RateLimited | AuthCode::Unavailable => empty,
            _ => empty && self.retry_after == 0,
        }
    }
}

impl<'a> Field<'a> for AuthResult<'a> {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
        if !self.is_sound() {
            return Err(Overflow);
        }
        let end = out.written().saturating_add(AUTH_RESULT_LEN);
        self.code.encode(out)?;
        self.retry_after.encode(out)?;
        self.device.encode(out)?;
        self.pending.encode(out)?;
        self.username.encode(out)?;
        out.pad_to(end)
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut body = Reader::new(input.take(AUTH_RESULT_LEN)?);
        let result = Self {
            code: Field::decode(&mut body)?,
            retry_after: Field::decode(&mut body)?,
            device: Field::decode(&mut body)?,
            pending: Field::decode(&mut body)?,
            username: Field::decode(&mut body)?,
        };
        body.finish_zeros()?;
        if result.is_sound() { Ok(result) } else { Err(Malformed) }
    }
}
