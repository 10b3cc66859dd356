//! Sealing and opening under secret keys, and the proofs around a board's code.

use crate::taint::{demand_hidden, hidden, hide, show};
use sordino_core::Suite;
use sordino_core::aead::{KeyBlock, Opener, Sealer};
use sordino_core::board;
use sordino_core::bytes::{Bytes, Secret};
use sordino_core::record::{Direction, Inbound, Outbound};
use sordino_core::suite::tag_len;

const AAD: &[u8] = b"additional data";
const BODY: usize = 100;

fn keys<S: Suite>() -> KeyBlock<S> {
    let [mac, encryption, iv] = [1, 2, 3].map(|n: u8| hidden([n.wrapping_mul(73); 32]));
    let len = S::Key::LEN;
    KeyBlock::from_parts(&mac[..len], &encryption[..len], &iv[..len]).unwrap()
}

/// A sealed secret of 63 bytes, as it came over the network.
fn sealed<S: Suite>() -> Vec<u8> {
    let mut buf = vec![0; 64 + tag_len::<S>()];
    buf[..63].copy_from_slice(&*hidden([7; 63]));
    Sealer::<S>::new(&keys()).seal(5, AAD, &mut buf, 63).unwrap();
    demand_hidden(&buf);
    arrived(buf)
}

/// What goes over the wire is public.
fn arrived(wire: Vec<u8>) -> Vec<u8> {
    show(&wire);
    wire
}

#[inline(never)]
pub fn seal<S: Suite>() {
    sealed::<S>();
}

#[inline(never)]
pub fn wrong_first<S: Suite>() {
    refuse::<S>(64);
}

#[inline(never)]
pub fn wrong_last<S: Suite>() {
    refuse::<S>(63 + tag_len::<S>());
}

fn refuse<S: Suite>(altered: usize) {
    let mut buf = sealed::<S>();
    buf[altered] ^= 1;
    assert!(Opener::<S>::new(&keys()).open(5, AAD, &mut buf).is_err());
}

#[inline(never)]
pub fn open<S: Suite>() {
    let mut buf = sealed::<S>();
    assert!(Opener::<S>::new(&keys()).open(5, AAD, &mut buf).is_ok());
    demand_hidden(&buf[..63]);
}

fn epoch<S: Suite>() -> Secret<S::Hash> {
    let mut secret = Secret::zeroed();
    secret.expose_mut().fill(0x5a);
    hide(secret.expose());
    secret
}

fn record<S: Suite>(body: [u8; BODY]) -> Vec<u8> {
    let mut buf = vec![0; 1024];
    buf[Outbound::<S>::BODY..][..BODY].copy_from_slice(&*hidden(body));
    let mut out = Outbound::<S>::new(Direction::ToServer, &epoch::<S>(), 0);
    let len = out.seal(&mut buf, 32, BODY).unwrap();
    buf.truncate(len);
    arrived(buf)
}

fn inbound<S: Suite>() -> Inbound<S> {
    Inbound::<S>::new(Direction::ToServer, &epoch::<S>(), 0, 1024)
}

fn read<S: Suite>(body: [u8; BODY]) {
    let mut buf = record::<S>(body);
    assert!(inbound::<S>().open(&mut buf).is_ok());
    demand_hidden(&buf[Outbound::<S>::BODY..][..BODY]);
}

#[inline(never)]
pub fn zeros<S: Suite>() {
    read::<S>([0; BODY]);
}

#[inline(never)]
pub fn mixed<S: Suite>() {
    read::<S>(std::array::from_fn(|i| 255 - i as u8));
}

#[inline(never)]
pub fn forged<S: Suite>() {
    let mut buf = record::<S>([1; BODY]);
    *buf.last_mut().unwrap() ^= 1;
    assert!(inbound::<S>().open(&mut buf).is_err());
}

/// A proof from the server that is wrong in its last byte.
fn guess(right: &Secret<[u8; 32]>) -> [u8; 32] {
    demand_hidden(right.expose());
    show(right.expose());
    let mut guess = *right.array();
    guess[31] ^= 1;
    guess
}

#[inline(never)]
pub fn board_proof() {
    let secret = hidden([3; board::SECRET_LEN]);
    let guess = guess(&board::board_proof(&*secret, &[4; 32]));
    assert!(!board::is_board_proof(&*secret, &[4; 32], &guess));
}

#[inline(never)]
pub fn owner_proof() {
    let secret = hidden([3; board::SECRET_LEN]);
    let guess = guess(&board::owner_proof(&*secret, "greenhouse", "alice"));
    assert!(!board::is_owner_proof(&*secret, "greenhouse", "alice", &guess));
}
