//! Exponentiations with a secret exponent. The range check and the Jacobi symbol are of public values.

use crate::taint::{demand_hidden, hidden, show};
use sordino_core::Suite;
use sordino_core::bytes::Bytes;
use sordino_core::dh::Group;
use sordino_core::suite::{PublicKey, SecretKey};

/// A secret exponent, of bytes that are neither all equal nor without long runs of a bit.
pub fn exponent<S: Suite>(seed: u8) -> SecretKey<S> {
    let bytes: [u8; 64] =
        std::array::from_fn(|i| if i % 7 == 0 { 0 } else { seed.wrapping_mul(i as u8 | 1) });
    SecretKey::<S>::from_bytes(&hidden(bytes)[..SecretKey::<S>::LEN]).unwrap()
}

/// The public key of [`exponent`]: it goes to the wire, and so it is public.
pub fn public<S: Suite>(secret: &SecretKey<S>) -> PublicKey<S> {
    let public = secret.public();
    demand_hidden(public.as_bytes());
    show(public.as_bytes());
    public
}

#[inline(never)]
pub fn generator_power<S: Suite>() {
    let value = exponent::<S>(5).public();
    demand_hidden(value.as_bytes());
}

#[inline(never)]
pub fn power<S: Suite>() {
    let peer = public::<S>(&exponent::<S>(11));
    for scratch in scratches::<S>() {
        let shared = exponent::<S>(5).agree(&peer, &mut vec![0; scratch]).unwrap();
        demand_hidden(shared.expose());
    }
}

/// From the smallest table to the largest.
fn scratches<S: Suite>() -> [usize; 3] {
    [<S::Group as Group>::LEAST_SCRATCH, 7 * PublicKey::<S>::LEN, <S::Group as Group>::MOST_SCRATCH]
}

#[inline(never)]
pub fn powers<S: Suite>() {
    let peer = public::<S>(&exponent::<S>(11));
    let base = <S::Group as Group>::Public::copy_of(peer.as_bytes()).unwrap();
    let exponents = [5, 7].map(|seed| {
        let secret = exponent::<S>(seed);
        <S::Group as Group>::Exponent::copy_of(secret.expose()).unwrap()
    });
    for scratch in scratches::<S>() {
        let mut results = [(); 2].map(|()| <S::Group as Group>::Public::zeroed());
        let mut scratch = vec![0; scratch];
        <S::Group as Group>::powers(&base, exponents.each_ref(), results.each_mut(), &mut scratch).unwrap();
        results.iter().for_each(|result| demand_hidden(result.as_ref()));
    }
}
