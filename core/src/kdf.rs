//! Hash, HMAC and HKDF (RFC 5869) over parts, in the forms that the key schedule uses.
//!
//! HKDF stands here rather than from a crate because this form has no error path and erases its
//! intermediate values; RFC 5869's vectors check it.

use crate::bytes::{Bytes, Secret};
use crate::suite::Suite;
use hmac::Mac;
use sha2::Digest;
use zeroize::Zeroize;

/// HASH(a ‖ b ‖ …).
pub fn hash<S: Suite>(parts: &[&[u8]]) -> S::Hash {
    let mut sha = S::Sha::new();
    for part in parts {
        sha.update(part);
    }
    sha.finalize().into()
}

/// HMAC(key, a ‖ b ‖ …), RFC 2104.
pub fn hmac<S: Suite>(key: &[u8], parts: &[&[u8]]) -> Secret<S::Hash> {
    let mut output = fed::<S>(key, parts).finalize().into_bytes();
    let secret = Secret::new(output.clone().into());
    output.zeroize();
    secret
}

/// Whether `tag` is HMAC(key, a ‖ b ‖ …) in its full length. Compared in constant time.
pub fn is_hmac<S: Suite>(key: &[u8], parts: &[&[u8]], tag: &[u8]) -> bool {
    fed::<S>(key, parts).verify_slice(tag).is_ok()
}

fn fed<S: Suite>(key: &[u8], parts: &[&[u8]]) -> S::Mac {
    let mut mac = S::mac(key);
    for part in parts {
        mac.update(part);
    }
    mac
}

/// HKDF-Extract.
pub fn extract<S: Suite>(salt: &[u8], ikm: &[&[u8]]) -> Secret<S::Hash> {
    hmac::<S>(salt, ikm)
}

/// HKDF-Expand. Fills at most 255 hash lengths of `out`; the protocol needs three.
pub fn expand<S: Suite>(prk: &[u8], info: &[u8], out: &mut [u8]) {
    let mut previous: Option<Secret<S::Hash>> = None;
    for (number, block) in (1..=u8::MAX).zip(out.chunks_mut(S::Hash::LEN)) {
        let before = previous.as_ref().map_or(&[][..], Secret::expose);
        let t = hmac::<S>(prk, &[before, info, &[number]]);
        for (to, from) in block.iter_mut().zip(t.expose()) {
            *to = *from;
        }
        previous = Some(t);
    }
}

/// `HKDF(ck, ikm, 2)` of Noise revision 34, section 4.3.
pub fn noise<S: Suite>(ck: &Secret<S::Hash>, ikm: &[u8]) -> (Secret<S::Hash>, Secret<S::Hash>) {
    let t = hmac::<S>(ck.expose(), &[ikm]);
    let first = hmac::<S>(t.expose(), &[&[1]]);
    let second = hmac::<S>(t.expose(), &[first.expose(), &[2]]);
    (first, second)
}
