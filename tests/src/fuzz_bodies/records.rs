//! Records, from strangers and from a peer who holds the keys: suite (1) ‖ bytes.

use sordino_core::aead::{KeyBlock, Sealer};
use sordino_core::bytes::{Bytes, Secret};
use sordino_core::config::MAX_RECORD;
use sordino_core::kdf;
use sordino_core::record::{Direction, Inbound, bucket_for};
use sordino_core::suite::{Suite, Suite1, Suite2, tag_len};

/// Takes the bytes as they come from the wire, then as the plaintext of an authentic record.
pub fn records(data: &[u8]) {
    match data.split_first() {
        Some((0, bytes)) => run::<Suite1>(bytes),
        Some((_, bytes)) => run::<Suite2>(bytes),
        None => {}
    }
}

fn run<S: Suite>(bytes: &[u8]) {
    from_a_stranger::<S>(bytes);
    from_the_peer::<S>(bytes);
}

fn secret<S: Suite>() -> Secret<S::Hash> {
    Secret::new(S::Hash::zeroed())
}

fn inbound<S: Suite>() -> Inbound<S> {
    Inbound::new(Direction::ToServer, &secret::<S>(), 0, MAX_RECORD)
}

/// Nobody without the keys makes a record.
fn from_a_stranger<S: Suite>(bytes: &[u8]) {
    let mut inbound = inbound::<S>();
    if let Ok(Some(total)) = inbound.frame(bytes) {
        assert!(total <= 2 + usize::from(MAX_RECORD) + tag_len::<S>());
        if let Some(record) = bytes.get(..total) {
            assert!(inbound.open(&mut record.to_vec()).is_err());
            assert_eq!(inbound.sequence(), 0);
        }
    }
}

/// Of what the peer seals, exactly the records in their one form are opened.
fn from_the_peer<S: Suite>(plain: &[u8]) {
    let Some(mut record) = seal::<S>(plain) else { return };
    let mut inbound = inbound::<S>();
    let bucket = record.len() - 2 - tag_len::<S>();
    let framed = inbound.frame(&record);
    assert_eq!(framed.is_ok(), is_bucket(bucket), "bucket {bucket}");
    if let Ok(total) = framed {
        assert_eq!(total, Some(record.len()));
    }
    let opened = inbound.open(&mut record);
    assert_eq!(opened.is_ok(), is_canonical(plain));
    if let Ok(opened) = opened {
        let body_len = usize::from(u16::from_be_bytes([plain[1], plain[2]]));
        assert_eq!(opened.kind, plain[0]);
        assert_eq!(record[opened.body], plain[3..3 + body_len]);
    }
    assert_eq!(inbound.sequence(), u64::from(is_canonical(plain)));
}

/// Any plaintext under the keys of epoch 0, by PROTOCOL.md sections 2.1 and 6. `None` above 65,535 bytes.
fn seal<S: Suite>(plain: &[u8]) -> Option<Vec<u8>> {
    let mut okm = vec![0; 3 * S::Key::LEN];
    kdf::expand::<S>(secret::<S>().expose(), b"sordino/1 record keys", &mut okm);
    let (mac, rest) = okm.split_at(S::Key::LEN);
    let (encryption, iv) = rest.split_at(S::Key::LEN);
    let sealer = Sealer::<S>::new(&KeyBlock::from_parts(mac, encryption, iv)?);

    let padded = (plain.len() / 16 + 1) * 16;
    let length = u16::try_from(padded + tag_len::<S>()).ok()?.to_be_bytes();
    let mut aad = vec![Direction::ToServer as u8];
    aad.extend([0; 4 + 8]);
    aad.extend(length);
    let mut sealed = plain.to_vec();
    sealed.resize(padded + tag_len::<S>(), 0);
    sealer.seal(0, &aad, &mut sealed, plain.len())?;
    Some([&length[..], &sealed].concat())
}

fn is_bucket(size: usize) -> bool {
    matches!(size, 64 | 128 | 256 | 512) || (size.is_multiple_of(1024) && (1024..=16_384).contains(&size))
}

/// PROTOCOL.md section 6: body length, zeros, the smallest bucket, one byte of padding by PKCS#7.
fn is_canonical(plain: &[u8]) -> bool {
    let [_, high, low, rest @ ..] = plain else { return false };
    let body_len = usize::from(u16::from_be_bytes([*high, *low]));
    rest.get(body_len..).is_some_and(|padding| padding.iter().all(|&b| b == 0))
        && bucket_for(body_len) == Some(plain.len() + 1)
}
