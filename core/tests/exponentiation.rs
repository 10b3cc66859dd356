//! The exponentiation against crypto-bigint's own, at the edges of base and exponent.
#![expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test may panic")]

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{JacobiSymbol, Odd, U256, U320, U2048, U3072};
use sordino_core::dh::{FAST, Ffdhe2048, Ffdhe3072, Group, SMALL};

/// Not random: a counter through SplitMix64.
fn fill(state: &mut u64, out: &mut [u8]) {
    for byte in out {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        *byte = (z >> 32) as u8;
    }
}

/// All zeros, one, the clamped extremes, a run of each digit of a window, and some without pattern.
fn exponents<const N: usize>() -> Vec<[u8; N]> {
    let mut one = [0; N];
    one[N - 1] = 1;
    let mut lowest = [0; N];
    lowest[0] = 0x80;
    let mut highest = [0xff; N];
    highest[N - 1] = 0xfe;
    let mut all = vec![[0; N], one, lowest, highest, [0xff; N]];
    all.extend((1..8).map(|digit: u8| {
        let bits = (0..8 * N).map(|bit| (digit >> (bit % 3)) & 1);
        let mut number = [0; N];
        bits.enumerate().for_each(|(bit, value)| number[N - 1 - bit / 8] |= value << (bit % 8));
        number
    }));
    let mut state = 1;
    all.extend((0..4).map(|_| {
        let mut number = [0; N];
        fill(&mut state, &mut number);
        number
    }));
    all
}

macro_rules! agrees {
    ($name:ident, $group:ident, $uint:ident, $exponent:ident, $len:literal, $exponent_len:literal) => {
        #[test]
        fn $name() {
            let prime = Odd::new($uint::from_be_slice(&$group::prime())).unwrap();
            let params = FixedMontyParams::new_vartime(prime);
            let reference = |base: &[u8], exponent: &[u8]| {
                let form = FixedMontyForm::new(&$uint::from_be_slice(base), &params);
                form.pow_bounded_exp(&$exponent::from_be_slice(exponent), $exponent::BITS).retrieve()
            };
            let [mut two, mut top, mut any] = [[0; $len], $group::prime(), [0; $len]];
            two[$len - 1] = 2;
            top[$len - 1] -= 2;
            fill(&mut 7, &mut any[1..]);
            for exponent in exponents::<$exponent_len>() {
                for base in [&two, &top, &any] {
                    let power = $group::power(base, &exponent);
                    assert_eq!($uint::from_be_slice(&power), reference(base, &exponent), "{exponent:x?}");
                }
                let other = exponents::<$exponent_len>()[exponent[3] as usize % 5];
                let each = [$group::power(&any, &exponent), $group::power(&any, &other)];
                let (mut small, mut fast) = ([[0; $len]; 2], [[0; $len]; 2]);
                $group::powers::<SMALL>(&any, [&exponent, &other], small.each_mut());
                $group::powers::<FAST>(&any, [&exponent, &other], fast.each_mut());
                assert_eq!([small, fast], [each, each], "{exponent:x?}");
                assert_eq!(
                    $group::generator_power(&exponent),
                    $group::power(&two, &exponent),
                    "{exponent:x?}"
                );
            }
        }
    };
}

agrees!(suite_1, Ffdhe2048, U2048, U256, 256, 32);
agrees!(suite_2, Ffdhe3072, U3072, U320, 384, 40);

/// The Jacobi symbol against crypto-bigint's, and its rules: squares and g = 2 (p = 7 mod 8) have 1, −1 has −1.
macro_rules! residues {
    ($name:ident, $group:ident, $uint:ident, $len:literal) => {
        #[test]
        fn $name() {
            let prime = Odd::new($uint::from_be_slice(&$group::prime())).unwrap();
            let mut state = 3;
            let (mut ones, mut any) = (0, [0; $len]);
            for _ in 0..100 {
                fill(&mut state, &mut any[1..]);
                let one = $uint::from_be_slice(&any).jacobi_symbol_vartime(&prime) == JacobiSymbol::One;
                assert_eq!($group::is_residue(&any), one);
                ones += i32::from(one);
            }
            assert!((20..80).contains(&ones));
            let [mut one, mut two, mut minus_one] = [[0; $len], [0; $len], $group::prime()];
            (one[$len - 1], two[$len - 1]) = (1, 2);
            minus_one[$len - 1] -= 1;
            assert!($group::is_residue(&one) && $group::is_residue(&two) && !$group::is_residue(&minus_one));
        }
    };
}

residues!(residues_1, Ffdhe2048, U2048, 256);
residues!(residues_2, Ffdhe3072, U3072, 384);
