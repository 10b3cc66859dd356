//! Squares modulo p in Montgomery form: crypto-bigint's square, and a reduction that is made of its products.
//!
//! crypto-bigint's own square is its multiplication, which takes each product of two different words twice, and
//! multiplies word by word. Numbers of four words are multiplied in the processor's registers.

use crypto_bigint::modular::ConstMontyParams;
use crypto_bigint::{CtAssign, Limb, Uint};

/// Words of a digit of the reduction.
const DIGIT: usize = 4;

/// Replaces a by a² · 2^−bits mod p: the square of a number in Montgomery form. a < p, and so is the square. Apart, so
/// that its temporaries stand on the stack once.
#[inline(never)]
pub fn montgomery<M: ConstMontyParams<L>, const L: usize>(a: &mut Uint<L>) {
    const { assert!(L.is_multiple_of(DIGIT)) }
    let p = M::PARAMS.modulus().as_ref();
    let (low, high) = a.widening_square();
    let mut wide = [low.to_limbs(), high.to_limbs()];
    let carry = reduce(
        wide.as_flattened_mut().as_chunks_mut().0,
        p.as_limbs().as_chunks().0,
        &const { minus_inverse(M::PARAMS.modulus().as_ref()) },
    );
    let [_, high] = &wide;
    *a = Uint::new(*high);
    wide = [[Limb::ZERO; L]; 2];
    zeroize::optimization_barrier(&wide);
    // Less p, which has a carry unless a is below p: faster than a subtraction.
    let (less, over) = a.carrying_add(&const { M::PARAMS.modulus().as_ref().wrapping_neg() }, Limb::ZERO);
    a.ct_assign(&less, (carry | over).lsb_to_choice());
}

/// Adds the multiple of p that makes the lower half zero, digit by digit. Returns the carry, 0 or 1 (Menezes, van
/// Oorschot and Vanstone, "Handbook of Applied Cryptography", algorithm 14.32).
#[inline(always)]
fn reduce(wide: &mut [[Limb; DIGIT]], p: &[[Limb; DIGIT]], minus_inverse: &Uint<DIGIT>) -> Limb {
    let mut carry = Limb::ZERO;
    let mut rest = wide;
    for _ in p {
        let Some(lowest) = rest.first() else { break };
        let factor = Uint::new(*lowest).wrapping_mul(minus_inverse);
        // The product has a chain of carries of its own, which ends in its highest digit. That is B − 2 at most, for digits
        // below B, and so takes in the last row's carry, too.
        let (mut above, mut of_product, mut of_sum) = (Uint::ZERO, Limb::ZERO, Limb::ZERO);
        let mut digits = rest.iter_mut();
        for (p, digit) in p.iter().zip(&mut digits) {
            let (low, high) = factor.widening_mul(&Uint::new(*p));
            let (product, sum);
            (product, of_product) = low.carrying_add(&above, of_product);
            (sum, of_sum) = Uint::new(*digit).carrying_add(&product, of_sum);
            *digit = sum.to_limbs();
            above = high;
        }
        if let Some(digit) = digits.next() {
            let (above, _) = above.carrying_add(&Uint::from_word(carry.0), of_product);
            let sum;
            (sum, carry) = Uint::new(*digit).carrying_add(&above, of_sum);
            *digit = sum.to_limbs();
        }
        rest = rest.get_mut(1..).unwrap_or_default();
    }
    carry
}

/// −1/p modulo a digit's range, for an odd p.
const fn minus_inverse<const L: usize>(p: &Uint<L>) -> Uint<DIGIT> {
    let low = p.resize::<DIGIT>();
    match low.invert_mod2k_vartime(Uint::<DIGIT>::BITS).into_option_copied() {
        Some(inverse) => inverse.wrapping_neg(),
        None => Uint::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::montgomery;
    use crate::dh::{Modulus2048, Modulus3072};
    use crypto_bigint::Uint;
    use crypto_bigint::modular::{ConstMontyForm, ConstMontyParams};

    /// Against crypto-bigint's own square, which is always below p.
    fn agrees<M: ConstMontyParams<L>, const L: usize>() {
        let p = *M::PARAMS.modulus().as_ref();
        // The last one's square is p + 1 with its multiple of p, which has no carry.
        let root = Uint::<L>::ONE.shl_vartime(Uint::<L>::BITS / 2);
        let edges = [Uint::ZERO, Uint::ONE, p.wrapping_sub(&Uint::ONE), root, p.wrapping_sub(&root)];
        // Squares of squares have no pattern.
        let others = core::iter::successors(Some(ConstMontyForm::<M, L>::new(&Uint::from_u8(3))), |form| {
            Some(form.square())
        });
        for value in edges.into_iter().chain(others.take(1000).map(|form| *form.as_montgomery())) {
            let mut square = value;
            montgomery::<M, L>(&mut square);
            assert_eq!(&square, ConstMontyForm::<M, L>::from_montgomery(value).square().as_montgomery());
        }
    }

    #[test]
    fn as_crypto_bigint_squares() {
        agrees::<Modulus2048, 32>();
        agrees::<Modulus3072, 48>();
    }
}
