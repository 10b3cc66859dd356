//! The exponentiation against crypto-bigint's own, at the edges of base and exponent.
#![expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test may panic")]

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{JacobiSymbol, Odd, U256, U320, U2048, U3072};
use sordino_core::dh::{Ffdhe2048, Ffdhe3072, Group};

/// Not random: a counter through SplitMix64.
fn fill(state: &mut u64, out: &mut [u8]) {
    for byte in out {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        *byte = (z >> 32) as u8;
    }
}

/// All zeros, one, the clamped extremes, a run of each digit of the widest window, and some without pattern.
fn exponents<const N: usize>() -> Vec<[u8; N]> {
    let mut one = [0; N];
    one[N - 1] = 1;
    let mut lowest = [0; N];
    lowest[0] = 0x80;
    let mut highest = [0xff; N];
    highest[N - 1] = 0xfe;
    let mut all = vec![[0; N], one, lowest, highest, [0xff; N]];
    all.extend((1..16).map(|digit: u8| {
        let bits = (0..8 * N).map(|bit| (digit >> (bit % 4)) & 1);
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
            // Below, at and above what the tables of 3, 7 and 15 entries take, at any alignment and never clean.
            let sizes = [3, 4, 7, 14, 15, 20].map(|entries| entries * $len);
            let (mut memory, mut more) = (vec![0; 21 * $len], vec![0; 21 * $len]);
            let power = |base: &[u8; $len], exponent: &[u8; $exponent_len], scratch: &mut [u8]| {
                scratch.fill(0xff);
                let mut power = [0xff; $len];
                $group::power(base, exponent, &mut power, scratch).unwrap();
                assert!(scratch.iter().all(|&byte| byte == 0 || byte == 0xff), "a table is left");
                power
            };
            for (turn, exponent) in exponents::<$exponent_len>().iter().enumerate() {
                let scratch = &mut memory[turn % 9..][..sizes[turn % 6]];
                for base in [&two, &top, &any] {
                    let power = power(base, exponent, scratch);
                    assert_eq!($uint::from_be_slice(&power), reference(base, exponent), "{exponent:x?}");
                }
                let other = &exponents::<$exponent_len>()[exponent[3] as usize % 5];
                let each = [power(&any, exponent, scratch), power(&any, other, scratch)];
                for size in sizes {
                    let scratch = &mut more[turn % 9..][..size];
                    scratch.fill(0xff);
                    let mut both = [[0xff; $len]; 2];
                    $group::powers(&any, [exponent, other], both.each_mut(), scratch).unwrap();
                    assert_eq!(both, each, "{exponent:x?}");
                    assert!(scratch.iter().all(|&byte| byte == 0 || byte == 0xff), "a bucket is left");
                }
                assert_eq!(
                    $group::generator_power(exponent),
                    power(&two, exponent, scratch),
                    "{exponent:x?}"
                );
            }
            let short = &mut memory[..$group::LEAST_SCRATCH - 1];
            let mut untouched = [[7; $len]; 2];
            assert_eq!($group::power(&any, &[0xff; $exponent_len], &mut untouched[0], short), None);
            assert_eq!($group::powers(&any, [&[0xff; $exponent_len]; 2], untouched.each_mut(), short), None);
            assert_eq!(untouched, [[7; $len]; 2]);
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
