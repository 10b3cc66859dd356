//! OpenSSL's HMAC with its key prepared once, which the `openssl` crate has no safe call for.

use std::ptr;

use anyhow::{Result, ensure};
use openssl_sys as ffi;

/// SHA-256 for keys of 16 bytes, SHA-512 for longer ones, as the suites have it.
#[derive(Debug)]
pub struct Hmac(*mut ffi::HMAC_CTX);

impl Hmac {
    /// Prepares a key.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn new(key: &[u8]) -> Result<Self> {
        // SAFETY: the context is freed by drop, and the key is read during the call.
        unsafe {
            let context = Self(ffi::HMAC_CTX_new());
            ensure!(!context.0.is_null(), "no memory");
            let hash = if key.len() > 16 { ffi::EVP_sha512() } else { ffi::EVP_sha256() };
            let done = ffi::HMAC_Init_ex(
                context.0,
                key.as_ptr().cast(),
                key.len().try_into()?,
                hash,
                ptr::null_mut(),
            );
            ensure!(done == 1, "HMAC_Init_ex");
            Ok(context)
        }
    }

    /// The tag of some parts, untruncated; what is behind it is zero.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn of(&mut self, parts: &[&[u8]]) -> Result<[u8; 64]> {
        let mut tag = [0; 64];
        let mut len = 0;
        // SAFETY: the context is alive, and 64 bytes hold the tag of any of the two.
        unsafe {
            // Without a key: the prepared one again.
            ensure!(
                ffi::HMAC_Init_ex(self.0, ptr::null(), 0, ptr::null(), ptr::null_mut()) == 1,
                "HMAC_Init_ex"
            );
            for part in parts {
                ensure!(ffi::HMAC_Update(self.0, part.as_ptr(), part.len()) == 1, "HMAC_Update");
            }
            ensure!(ffi::HMAC_Final(self.0, tag.as_mut_ptr(), &mut len) == 1, "HMAC_Final");
        }
        Ok(tag)
    }
}

impl Drop for Hmac {
    fn drop(&mut self) {
        // SAFETY: it was made by HMAC_CTX_new, or is null.
        unsafe { ffi::HMAC_CTX_free(self.0) }
    }
}
