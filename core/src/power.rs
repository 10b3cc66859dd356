//! Exponentiation: loops over crypto-bigint's multiplication and the squares of [`square`]. Each executes the same
//! instructions for all exponents of a length, reads its table as a whole, and erases it. Tables of powers stand in
//! scratch that the caller lends: the more there is, the fewer multiplications are left.

use crate::square;
use crypto_bigint::modular::{ConstMontyForm, ConstMontyParams};
use crypto_bigint::{CtAssign, CtEq, Uint, Word};
use zeroize::Zeroize;

/// A machine word of a table, as bytes, because lent memory is bytes.
pub type Cell = [u8; size_of::<Word>()];

/// Bytes of scratch without which there is no power: three entries.
pub const fn least_scratch<const L: usize>() -> usize {
    Uint::<L>::BYTES.saturating_mul(3)
}

/// Bytes of scratch of which more doesn't help: fifteen entries.
pub const fn most_scratch<const L: usize>() -> usize {
    Uint::<L>::BYTES.saturating_mul(15)
}

/// Entries 1 to 2^bits − 1, in lent bytes. Erased on drop.
struct Table<'s, const L: usize> {
    cells: &'s mut [Cell],
    bits: usize,
}

impl<'s, const L: usize> Table<'s, L> {
    /// Takes as many bits as there is room for, of those that `choice` names; `None` if there is room for none.
    fn lent(scratch: &'s mut [u8], choice: &[usize]) -> Option<Self> {
        let (cells, _) = scratch.as_chunks_mut();
        let len = |bits: usize| L.saturating_mul((1_usize << bits).saturating_sub(1));
        let bits = choice.iter().copied().filter(|&bits| len(bits) <= cells.len()).max()?;
        Some(Self { cells: cells.get_mut(..len(bits))?, bits })
    }

    fn entries(&mut self) -> impl Iterator<Item = &mut [Cell]> {
        self.cells.chunks_exact_mut(L)
    }
}

impl<const L: usize> Drop for Table<'_, L> {
    fn drop(&mut self) {
        self.cells.as_flattened_mut().zeroize();
    }
}

/// Raises `value` to `exponent`, by a fixed window from the left: as many bits as the table takes for each
/// multiplication. `None`, with nothing changed, if `scratch` has less than [`least_scratch`].
#[inline(never)]
pub fn of<M: ConstMontyParams<L>, const L: usize>(
    value: &mut ConstMontyForm<M, L>,
    exponent: &[u8],
    scratch: &mut [u8],
) -> Option<()> {
    let mut table = Table::<L>::lent(scratch, &[2, 3, 4])?;
    let mut factor = *value;
    for entry in table.entries() {
        entry.copy_from_slice(&cells(&factor));
        multiply(&mut factor, value);
    }
    let mut digits = (0..digits(exponent, table.bits)).rev();
    let first = digits.next().unwrap_or_default();
    select(value, table.cells, digit_at(exponent, first, table.bits));
    for digit in digits {
        for _ in 0..table.bits {
            square(value, &mut factor);
        }
        select(&mut factor, table.cells, digit_at(exponent, digit, table.bits));
        multiply(value, &factor);
    }
    factor.zeroize();
    Some(())
}

/// Raises `first` to the exponent `a`, and puts its power by `b` into `second`; the exponents have the same length.
/// One row of squarings serves both: from the right, each power of the base goes into the bucket of the two digits
/// that stand there (Yao, "On the evaluation of powers", SIAM J. Comput. 5, 1976). Digits of one bit, with three
/// buckets, take 1.5 times the work of one power; of two bits, with fifteen, 1.2 times.
/// `None`, with nothing changed, if `scratch` has less than [`least_scratch`].
pub fn both<M: ConstMontyParams<L>, const L: usize>(
    first: &mut ConstMontyForm<M, L>,
    second: &mut ConstMontyForm<M, L>,
    a: &[u8],
    b: &[u8],
    scratch: &mut [u8],
) -> Option<()> {
    // Two digits name a bucket; there is none for two zeros.
    let mut buckets = Table::<L>::lent(scratch, &[2, 4])?;
    let width = buckets.bits >> 1;
    for bucket in buckets.entries() {
        bucket.copy_from_slice(&cells(&ConstMontyForm::<M, L>::ONE));
    }
    for digit in 0..digits(a, width) {
        for _ in 0..if digit == 0 { 0 } else { width } {
            square(first, second);
        }
        let bucket = digit_at(a, digit, width) << width | digit_at(b, digit, width);
        select(second, buckets.cells, bucket);
        multiply(second, first);
        store(second, &mut buckets, bucket);
    }
    gather(first, &buckets, width);
    gather(second, &buckets, 0);
    Some(())
}

/// The product of all buckets, each to the power of the digit that stands `shift` bits from the right of its number.
#[inline(never)]
fn gather<M: ConstMontyParams<L>, const L: usize>(
    result: &mut ConstMontyForm<M, L>,
    buckets: &Table<'_, L>,
    shift: usize,
) {
    *result = ConstMontyForm::ONE;
    // Those with the highest digit are in it from the first round on, and so count as often as their digit says.
    let mut factor = ConstMontyForm::ONE;
    let mut entry = ConstMontyForm::ONE;
    let digits = 1_u8 << (buckets.bits >> 1);
    for digit in (1..digits).rev() {
        for bucket in
            (1..1_u8 << buckets.bits).filter(|bucket| bucket >> shift & digits.wrapping_sub(1) == digit)
        {
            select(&mut entry, buckets.cells, bucket);
            multiply(&mut factor, &entry);
        }
        multiply(result, &factor);
    }
    factor.zeroize();
    entry.zeroize();
}

/// Rows of [`of_two`].
const ROWS: usize = 4;

/// The products of each choice of these three, but for the choice of none.
pub const fn teeth<M: ConstMontyParams<L>, const L: usize>(rows: [Uint<L>; 3]) -> [[Cell; L]; 7] {
    let [a, b, c] = &rows;
    let (a, b, c) = (ConstMontyForm::<M, L>::new(a), ConstMontyForm::new(b), ConstMontyForm::new(c));
    let ab = a.mul(&b);
    let (ac, bc, abc) = (a.mul(&c), b.mul(&c), ab.mul(&c));
    [cells(&a), cells(&b), cells(&ab), cells(&c), cells(&ac), cells(&bc), cells(&abc)]
}

const fn cells<M: ConstMontyParams<L>, const L: usize>(form: &ConstMontyForm<M, L>) -> [Cell; L] {
    let mut cells = [[0; size_of::<Word>()]; L];
    let mut places: &mut [Cell] = &mut cells;
    let mut words: &[Word] = form.as_montgomery().as_words();
    while let Some((place, behind)) = places.split_first_mut() {
        let Some((word, rest)) = words.split_first() else { break };
        *place = word.to_ne_bytes();
        (places, words) = (behind, rest);
    }
    cells
}

/// Makes 2^exponent of a 1, by a comb: the exponent stands in four rows that share the squarings (Lim and Lee,
/// "More flexible exponentiation with precomputation", CRYPTO 1994). The lowest row is a doubling, which costs a
/// fiftieth of a multiplication; `teeth` has those of the others, 2^(2^(row · columns)).
#[inline(never)]
pub fn of_two<M: ConstMontyParams<L>, const L: usize>(
    value: &mut ConstMontyForm<M, L>,
    exponent: &[u8],
    teeth: &[[Cell; L]; 7],
) {
    let columns = exponent.len().saturating_mul(8) / ROWS;
    let mut factor = ConstMontyForm::ONE;
    for column in (0..columns).rev() {
        let row = |row: usize| bit_at(exponent, columns.saturating_mul(row).saturating_add(column));
        square(value, &mut factor);
        select(&mut factor, teeth.as_flattened(), row(3) << 2 | row(2) << 1 | row(1));
        multiply(value, &factor);
        factor = value.double();
        value.ct_assign(&factor, row(0).ct_eq(&1));
    }
    factor.zeroize();
}

/// Puts the entry of this digit into `factor`, and 1 for digit 0; entries begin with that of digit 1.
#[inline(never)]
fn select<M: ConstMontyParams<L>, const L: usize>(
    factor: &mut ConstMontyForm<M, L>,
    table: &[Cell],
    digit: u8,
) {
    *factor = ConstMontyForm::ONE;
    for (number, entry) in (1..=u8::MAX).zip(table.chunks_exact(L)) {
        let mask = mask(number, digit);
        for (word, cell) in factor.as_montgomery_mut().as_mut_words().iter_mut().zip(entry) {
            *word ^= (*word ^ Word::from_ne_bytes(*cell)) & mask;
        }
    }
}

/// Puts `factor` into the entry of this digit, and nowhere for digit 0.
fn store<M: ConstMontyParams<L>, const L: usize>(
    factor: &ConstMontyForm<M, L>,
    table: &mut Table<'_, L>,
    digit: u8,
) {
    for (number, entry) in (1..=u8::MAX).zip(table.entries()) {
        let mask = mask(number, digit);
        for (cell, word) in entry.iter_mut().zip(factor.as_montgomery().as_words()) {
            let old = Word::from_ne_bytes(*cell);
            *cell = (old ^ (old ^ word) & mask).to_ne_bytes();
        }
    }
}

/// All ones if the two are equal, and else zeros. Of a choice, so that the compiler knows of no two cases.
fn mask(number: u8, digit: u8) -> Word {
    Word::from(number.ct_eq(&digit).to_u8()).wrapping_neg()
}

/// Apart, so that its temporaries stand on the stack once.
#[inline(never)]
fn multiply<M: ConstMontyParams<L>, const L: usize>(a: &mut ConstMontyForm<M, L>, b: &ConstMontyForm<M, L>) {
    *a = a.mul(b);
}

/// Uses `copy` up. With words of 64 bits a square has a faster way; with smaller ones it takes a board's flash.
fn square<M: ConstMontyParams<L>, const L: usize>(
    a: &mut ConstMontyForm<M, L>,
    copy: &mut ConstMontyForm<M, L>,
) {
    if Word::BITS == 64 {
        square::montgomery::<M, L>(a.as_montgomery_mut());
    } else {
        *copy = *a;
        multiply(a, copy);
    }
}

/// Digits of `width` bits. `div_ceil` would keep a panic in firmware.
fn digits(exponent: &[u8], width: usize) -> usize {
    let rounded = exponent.len().saturating_mul(8).saturating_add(width).saturating_sub(1);
    rounded.checked_div(width).unwrap_or_default()
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
