//! Exponentiation against an independent implementation. No standard has vectors for these groups with exponents of
//! these lengths.

use num_bigint::BigUint;
use proptest::prelude::*;
use sordino_core::dh::{Ffdhe2048, Ffdhe3072, Group, PublicKey, SecretKey};

/// `bytes` as a public key: any value, brought into 1 < y < p − 1.
fn in_range(bytes: &[u8], p: &BigUint) -> BigUint {
    BigUint::from_bytes_be(bytes) % (p - 3u8) + 2u8
}

/// Big endian, left-padded to `len` bytes.
fn padded(value: &BigUint, len: usize) -> Vec<u8> {
    let digits = value.to_bytes_be();
    [vec![0; len - digits.len()], digits].concat()
}

fn check<G: Group>(p: &BigUint, y: &BigUint, exponent: &[u8]) {
    let len = PublicKey::<G>::LEN;
    let secret = SecretKey::<G>::from_bytes(&exponent[..SecretKey::<G>::LEN]).expect("the group's length");
    let x = BigUint::from_bytes_be(secret.expose());
    let public = PublicKey::<G>::from_bytes(&padded(y, len)).expect("in range");
    let mut scratch = vec![0xff; G::MOST_SCRATCH];
    let shared = secret.agree(&public, &mut scratch).expect("enough scratch");
    assert_eq!(shared.expose(), padded(&y.modpow(&x, p), len), "agree");
    assert_eq!(secret.public().as_bytes(), padded(&BigUint::from(2u8).modpow(&x, p), len), "public");
}

fn check_both(y: &[u8], exponent: &[u8]) {
    let p = BigUint::from_bytes_be(&Ffdhe2048::prime());
    check::<Ffdhe2048>(&p, &in_range(y, &p), exponent);
    let p = BigUint::from_bytes_be(&Ffdhe3072::prime());
    check::<Ffdhe3072>(&p, &in_range(y, &p), exponent);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn powers_are_those_of_another_implementation(
        y in prop::collection::vec(any::<u8>(), 384),
        exponent: [u8; 40],
    ) {
        check_both(&y, &exponent);
    }
}

#[test]
fn powers_at_the_edges() {
    let ones = [0xff; 384];
    for exponent in [[0; 40], [0xff; 40], [0x0f; 40], [0xf0; 40]] {
        for y in [&[0][..], &[1], &ones] {
            check_both(y, &exponent);
        }
        let p = BigUint::from_bytes_be(&Ffdhe2048::prime());
        check::<Ffdhe2048>(&p, &(&p - 2u8), &exponent);
        let p = BigUint::from_bytes_be(&Ffdhe3072::prime());
        check::<Ffdhe3072>(&p, &(&p - 2u8), &exponent);
    }
}

/// PROTOCOL.md section 3: the highest bit of an exponent is set, the lowest isn't, and the others are as they were.
#[test]
fn exponents_are_clamped() {
    fn run<G: Group>() {
        let len = SecretKey::<G>::LEN;
        for byte in [0, 0xff, 0x55, 0xaa] {
            let mut clamped = vec![byte; len];
            clamped[0] = byte | 0x80;
            clamped[len - 1] = byte & 0xfe;
            let secret = SecretKey::<G>::from_bytes(&vec![byte; len]).expect("the group's length");
            assert_eq!(secret.expose(), clamped);
        }
    }
    run::<Ffdhe2048>();
    run::<Ffdhe3072>();
}

/// Red if a log of a key has an exponent, or a page of digits.
#[test]
fn keys_are_not_shown() {
    let secret = SecretKey::<Ffdhe2048>::from_bytes(&[7; 32]).expect("the group's length");
    assert_eq!(format!("{secret:?}, {:?}", secret.public()), "SecretKey(..), PublicKey(256 bytes)");
}

/// The numbers that PROTOCOL.md section 3 shuts out, and their neighbours.
#[test]
fn the_range_is_open_on_both_sides() {
    fn run<G: Group>(p: &BigUint) {
        let len = PublicKey::<G>::LEN;
        let accepted = |y: BigUint| PublicKey::<G>::from_bytes(&padded(&y, len)).is_ok();
        let largest = (BigUint::from(1u8) << (8 * len)) - 1u8;
        for outside in [BigUint::ZERO, 1u8.into(), p - 1u8, p.clone(), p + 1u8, largest] {
            assert!(!accepted(outside.clone()), "{outside}");
        }
        assert!(accepted(2u8.into()) && accepted(p - 2u8));
    }
    run::<Ffdhe2048>(&BigUint::from_bytes_be(&Ffdhe2048::prime()));
    run::<Ffdhe3072>(&BigUint::from_bytes_be(&Ffdhe3072::prime()));
}
