//! Secrets as memory that Valgrind takes for undefined.

use std::ffi::{c_int, c_uint, c_void};
use std::hint::black_box;

unsafe extern "C" {
    safe fn ct_on_valgrind() -> c_uint;
    fn ct_hide(at: *const c_void, len: usize);
    fn ct_show(at: *const c_void, len: usize);
    fn ct_all_hidden(at: *const u8, len: usize) -> c_int;
}

/// Whether reports can be made at all.
pub fn is_watched() -> bool {
    ct_on_valgrind() != 0
}

/// From here on these bytes are secret, and everything that is computed from them.
///
/// Inlined, so that the compiler sees a foreign call that gets the address, and doesn't go on with values that it knows
/// from before.
#[inline(always)]
pub fn hide(secret: &[u8]) {
    // SAFETY: Valgrind marks the bytes; nobody reads or writes them.
    unsafe { ct_hide(black_box(secret.as_ptr()).cast(), secret.len()) }
}

/// From here on these bytes are public.
#[inline(always)]
pub fn show(public: &[u8]) {
    // SAFETY: as above.
    unsafe { ct_show(black_box(public.as_ptr()).cast(), public.len()) }
}

/// That a result is computed from the secret: else the case would show nothing.
pub fn demand_hidden(result: &[u8]) {
    let len = public(result.len());
    // SAFETY: the slice is valid for its length.
    let hidden = unsafe { ct_all_hidden(result.as_ptr(), len) } != 0;
    assert!(hidden && len > 0, "the result doesn't depend on the secret, or by jumps only");
}

/// A length that is public, though it was read from an authenticated plaintext.
#[inline(never)]
fn public(len: usize) -> usize {
    let bytes = Box::new(len.to_ne_bytes());
    show(&*bytes);
    usize::from_ne_bytes(*black_box(bytes))
}

/// A secret copy.
#[inline(never)]
pub fn hidden<const N: usize>(bytes: [u8; N]) -> Box<[u8; N]> {
    let secret = Box::new(bytes);
    hide(&*secret);
    secret
}
