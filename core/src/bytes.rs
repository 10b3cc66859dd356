//! Fixed-size byte arrays, and the wrapper that erases them.

use core::fmt;
use zeroize::Zeroize;

/// A byte array whose length is part of its type.
pub trait Bytes: AsRef<[u8]> + AsMut<[u8]> + Clone + Zeroize + PartialEq + Send + Sync + 'static {
    /// Length in bytes.
    const LEN: usize;

    /// All zeros.
    fn zeroed() -> Self;

    /// Copies `slice`, if it has exactly [`Self::LEN`] bytes.
    fn copy_of(slice: &[u8]) -> Option<Self> {
        if slice.len() != Self::LEN {
            return None;
        }
        let mut out = Self::zeroed();
        out.as_mut().copy_from_slice(slice);
        Some(out)
    }
}

impl<const N: usize> Bytes for [u8; N] {
    const LEN: usize = N;

    fn zeroed() -> Self {
        [0; N]
    }
}

/// Bytes that are erased on drop and never printed.
///
/// Copies that the compiler makes when a value moves are outside of its reach; states are therefore changed in
/// place, and a board wipes its stack after the handshake.
#[derive(Clone)]
pub struct Secret<B: Bytes>(B);

impl<B: Bytes> Secret<B> {
    /// Takes ownership of secret bytes.
    pub const fn new(bytes: B) -> Self {
        Self(bytes)
    }

    /// All zeros, to be filled through [`Self::expose_mut`].
    pub fn zeroed() -> Self {
        Self(B::zeroed())
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// The bytes, to fill them.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        self.0.as_mut()
    }

    /// The array itself.
    pub const fn array(&self) -> &B {
        &self.0
    }

    /// The array itself, to fill it.
    pub const fn array_mut(&mut self) -> &mut B {
        &mut self.0
    }
}

impl<B: Bytes> Drop for Secret<B> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<B: Bytes> fmt::Debug for Secret<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
