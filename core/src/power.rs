//! Exponentiation: loops over crypto-bigint's multiplication. Each executes the same instructions for all exponents
//! of a length, reads its tables as a whole, and erases them.

use crypto_bigint::modular::{ConstMontyForm, ConstMontyParams};
use crypto_bigint::{Choice, CtAssign, CtEq, Uint};
use zeroize::Zeroize;

/// Bits of the exponent that one multiplication takes. Three keep the table at 1.75 KiB in suite 1, for 3 percent
/// more multiplications than four would need.
const WINDOW: usize = 3;

/// Raises `value` to `exponent`, by a fixed window from the left.
#[inline(never)]
pub fn of<M: ConstMontyParams<L>, const L: usize>(value: &mut ConstMontyForm<M, L>, exponent: &[u8]) {
    // value^1 to value^7.
    let mut table = [*value; (1 << WINDOW) - 1];
    let mut factor = *value;
    for entry in table.iter_mut().skip(1) {
        multiply(&mut factor, value);
        *entry = factor;
    }
    *value = ConstMontyForm::ONE;
    for digit in (0..exponent.len().saturating_mul(8).div_ceil(WINDOW)).rev() {
        for _ in 0..WINDOW {
            square(value);
        }
        select(&mut factor, &table, digit_at(exponent, digit, WINDOW));
        multiply(value, &factor);
    }
    table.zeroize();
    factor.zeroize();
}

/// Buckets of [`both`] that take 768 bytes in suite 1: 1.5 times the work of one power.
pub const SMALL: usize = 3;
/// Buckets of [`both`] that take 3.75 KiB in suite 1: 1.2 times the work of one power.
pub const FAST: usize = 15;

/// Raises `first` to the exponent `a`, and puts its power by `b` into `second`; the exponents have the same length.
/// One row of squarings serves both: from the right, each power of the base goes into the bucket of the two digits
/// that stand there (Yao, "On the evaluation of powers", SIAM J. Comput. 5, 1976).
#[inline(never)]
pub fn both<M: ConstMontyParams<L>, const L: usize, const BUCKETS: usize>(
    first: &mut ConstMontyForm<M, L>,
    second: &mut ConstMontyForm<M, L>,
    a: &[u8],
    b: &[u8],
) {
    const { assert!(BUCKETS == SMALL || BUCKETS == FAST) };
    // Two digits of so many bits name a bucket; there is none for two zeros.
    let width = if BUCKETS == SMALL { 1 } else { 2 };
    let mut buckets = [ConstMontyForm::ONE; BUCKETS];
    for digit in 0..a.len().saturating_mul(8).div_ceil(width) {
        let bucket = digit_at(a, digit, width) << width | digit_at(b, digit, width);
        select(second, &buckets, bucket);
        multiply(second, first);
        store(second, &mut buckets, bucket);
        for _ in 0..width {
            square(first);
        }
    }
    gather(first, &buckets, width, width);
    gather(second, &buckets, width, 0);
    buckets.zeroize();
}

/// The product of all buckets, each to the power of the digit that stands `shift` bits from the right of its number.
#[inline(never)]
fn gather<M: ConstMontyParams<L>, const L: usize>(
    result: &mut ConstMontyForm<M, L>,
    buckets: &[ConstMontyForm<M, L>],
    width: usize,
    shift: usize,
) {
    *result = ConstMontyForm::ONE;
    // Those with the highest digit are in it from the first round on, and so count as often as their digit says.
    let mut factor = ConstMontyForm::ONE;
    let digit_of = |bucket: u8| bucket >> shift & !(u8::MAX << width);
    for digit in (1..1_u8 << width).rev() {
        for (_, entry) in (1..=u8::MAX).zip(buckets).filter(|(bucket, _)| digit_of(*bucket) == digit) {
            multiply(&mut factor, entry);
        }
        multiply(result, &factor);
    }
    factor.zeroize();
}

/// Rows of [`of_two`].
const ROWS: usize = 4;

/// The products of each choice of these three, but for the choice of none.
pub const fn teeth<M: ConstMontyParams<L>, const L: usize>(rows: [Uint<L>; 3]) -> [ConstMontyForm<M, L>; 7] {
    let [a, b, c] = &rows;
    let (a, b, c) = (ConstMontyForm::new(a), ConstMontyForm::new(b), ConstMontyForm::new(c));
    let ab = a.mul(&b);
    [a, b, ab, c, a.mul(&c), b.mul(&c), ab.mul(&c)]
}

/// Makes 2^exponent of a 1, by a comb: the exponent stands in four rows that share the squarings (Lim and Lee,
/// "More flexible exponentiation with precomputation", CRYPTO 1994). The lowest row is a doubling, which costs a
/// fiftieth of a multiplication; `teeth` has those of the others, 2^(2^(row · columns)).
#[inline(never)]
pub fn of_two<M: ConstMontyParams<L>, const L: usize>(
    value: &mut ConstMontyForm<M, L>,
    exponent: &[u8],
    teeth: &[ConstMontyForm<M, L>; 7],
) {
    let columns = exponent.len().saturating_mul(8) / ROWS;
    let mut factor = ConstMontyForm::ONE;
    for column in (0..columns).rev() {
        let row = |row: usize| bit_at(exponent, columns.saturating_mul(row).saturating_add(column));
        square(value);
        select(&mut factor, teeth, row(3) << 2 | row(2) << 1 | row(1));
        multiply(value, &factor);
        factor = value.double();
        value.ct_assign(&factor, row(0).ct_eq(&1));
    }
    factor.zeroize();
}

/// Puts table[digit − 1] into `factor`, and 1 for digit 0.
fn select<M: ConstMontyParams<L>, const L: usize>(
    factor: &mut ConstMontyForm<M, L>,
    table: &[ConstMontyForm<M, L>],
    digit: u8,
) {
    *factor = ConstMontyForm::ONE;
    for (number, entry) in (1..=u8::MAX).zip(table) {
        let chosen: Choice = number.ct_eq(&digit);
        factor.ct_assign(entry, chosen);
    }
}

/// Puts `factor` into table[digit − 1], and nowhere for digit 0.
fn store<M: ConstMontyParams<L>, const L: usize>(
    factor: &ConstMontyForm<M, L>,
    table: &mut [ConstMontyForm<M, L>],
    digit: u8,
) {
    for (number, entry) in (1..=u8::MAX).zip(table) {
        entry.ct_assign(factor, number.ct_eq(&digit));
    }
}
/// Apart, so that its temporaries stand on the stack once.
#[inline(never)]
fn multiply<M: ConstMontyParams<L>, const L: usize>(a: &mut ConstMontyForm<M, L>, b: &ConstMontyForm<M, L>) {
    *a = a.mul(b);
}

/// crypto-bigint's multiplication is faster here than its squaring, which is the same loop.
fn square<M: ConstMontyParams<L>, const L: usize>(a: &mut ConstMontyForm<M, L>) {
    let mut factor = *a;
    multiply(a, &factor);
    factor.zeroize();
}

/// `width` bits of a big endian number; digit 0 has the lowest ones.
fn digit_at(exponent: &[u8], digit: usize, width: usize) -> u8 {
    let low = digit.saturating_mul(width);
    (0..width).rev().fold(0, |high, bit| (high << 1) | bit_at(exponent, low.saturating_add(bit)))
}

/// One bit of a big endian number, 0 beyond its end. The place is public, the bit is not.
fn bit_at(exponent: &[u8], bit: usize) -> u8 {
    let byte = exponent.iter().rev().nth(bit >> 3).copied().unwrap_or_default();
    (byte >> (bit & 7)) & 1
}
