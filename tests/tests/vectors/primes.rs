//! The primes of RFC 7919: as printed there, as its formula gives them, as the core holds them, and prime.

use crypto_bigint::{U2048, U3072};
use crypto_primes::{Flavor, is_prime};
use num_bigint::BigUint;
use sordino_core::dh::{Ffdhe2048, Ffdhe3072};

use crate::file::{Block, blocks};

/// floor(2^bits · e), by e = Σ 1/k!. The guard bits take the rounding of the terms, less than one unit each.
fn scaled_e(bits: usize) -> BigUint {
    const GUARD: usize = 64;
    let mut term = BigUint::from(1u8) << (bits + GUARD);
    let mut sum = BigUint::ZERO;
    let mut k = 0u32;
    while term != BigUint::ZERO {
        sum += &term;
        k += 1;
        term /= k;
    }
    sum >> GUARD
}

/// RFC 7919, appendix A: p = 2^b − 2^(b−64) + (floor(2^(b−130)·e) + x)·2^64 − 1.
fn prime_by_formula(bits: usize, x: u32) -> BigUint {
    let one = BigUint::from(1u8);
    (&one << bits) - (&one << (bits - 64)) + ((scaled_e(bits - 130) + x) << 64) - one
}

fn check(block: &Block, bits: usize) -> Vec<u8> {
    let printed = block.bytes("p");
    let x = u32::from_be_bytes(block.bytes("x").try_into().expect("x has 4 bytes"));
    assert_eq!(prime_by_formula(bits, x).to_bytes_be(), printed, "{}", block.name);

    // g = 2 generates the subgroup of prime order q = (p − 1)/2, so every honest key has Jacobi symbol 1.
    let p = BigUint::from_bytes_be(&printed);
    let q = &p >> 1;
    assert_eq!(BigUint::from(2u8).modpow(&q, &p), BigUint::from(1u8), "{}: order of 2", block.name);
    printed
}

#[test]
fn ffdhe2048_is_rfc_7919_and_a_safe_prime() {
    let [ref block, _] = blocks("rfc7919_appendix_a.txt", 2)[..] else { unreachable!() };
    let p = check(block, 2048);
    assert_eq!(p, Ffdhe2048::prime());
    assert!(is_prime(Flavor::Safe, &U2048::from_be_slice(&p)));
}

#[test]
fn ffdhe3072_is_rfc_7919_and_a_safe_prime() {
    let [_, ref block] = blocks("rfc7919_appendix_a.txt", 2)[..] else { unreachable!() };
    let p = check(block, 3072);
    assert_eq!(p, Ffdhe3072::prime());
    assert!(is_prime(Flavor::Safe, &U3072::from_be_slice(&p)));
}
