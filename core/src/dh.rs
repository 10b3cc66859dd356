//! Finite-field Diffie-Hellman in the groups of RFC 7919 (`docs/PROTOCOL.md`, section 3).

use crate::bytes::{Bytes, Secret};
use crate::entropy::Entropy;
use crate::error::{Error, PeerFault};
use core::fmt;
use core::marker::PhantomData;
use crypto_bigint::modular::{ConstMontyForm, ConstMontyParams};
use crypto_bigint::{Choice, CtAssign, CtEq, U2048, U3072, Uint, const_monty_params};
use zeroize::Zeroize;

/// A safe-prime group with generator 2 and its exponent length.
pub trait Group: Copy + fmt::Debug + Eq + Send + Sync + 'static {
    /// Public keys and shared values, big endian.
    type Public: Bytes;
    /// Private exponents, big endian.
    type Exponent: Bytes;

    /// Whether 1 < `y` < p − 1. Variable time: `y` is public.
    fn in_range(y: &Self::Public) -> bool;

    /// Whether the Jacobi symbol of `y` is 1. Variable time: `y` is public.
    fn is_residue(y: &Self::Public) -> bool;

    /// base^exponent mod p. Constant time in both.
    fn power(base: &Self::Public, exponent: &Self::Exponent) -> Self::Public;

    /// 2^exponent mod p. Constant time.
    fn generator_power(exponent: &Self::Exponent) -> Self::Public;
}

const_monty_params!(
    Modulus2048,
    U2048,
    "FFFFFFFFFFFFFFFFADF85458A2BB4A9AAFDC5620273D3CF1D8B9C583CE2D3695A9E13641146433FBCC939DCE249B3EF97D2FE363630C75D8F681B202AEC4617AD3DF1ED5D5FD65612433F51F5F066ED0856365553DED1AF3B557135E7F57C935984F0C70E0E68B77E2A689DAF3EFE8721DF158A136ADE73530ACCA4F483A797ABC0AB182B324FB61D108A94BB2C8E3FBB96ADAB760D7F4681D4F42A3DE394DF4AE56EDE76372BB190B07A7C8EE0A6D709E02FCE1CDF7E2ECC03404CD28342F619172FE9CE98583FF8E4F1232EEF28183C3FE3B1B4C6FAD733BB5FCBC2EC22005C58EF1837D1683B2C6F34A26C1B2EFFA886B423861285C97FFFFFFFFFFFFFFFF",
    "The prime of ffdhe2048, RFC 7919 appendix A.1."
);

const_monty_params!(
    Modulus3072,
    U3072,
    "FFFFFFFFFFFFFFFFADF85458A2BB4A9AAFDC5620273D3CF1D8B9C583CE2D3695A9E13641146433FBCC939DCE249B3EF97D2FE363630C75D8F681B202AEC4617AD3DF1ED5D5FD65612433F51F5F066ED0856365553DED1AF3B557135E7F57C935984F0C70E0E68B77E2A689DAF3EFE8721DF158A136ADE73530ACCA4F483A797ABC0AB182B324FB61D108A94BB2C8E3FBB96ADAB760D7F4681D4F42A3DE394DF4AE56EDE76372BB190B07A7C8EE0A6D709E02FCE1CDF7E2ECC03404CD28342F619172FE9CE98583FF8E4F1232EEF28183C3FE3B1B4C6FAD733BB5FCBC2EC22005C58EF1837D1683B2C6F34A26C1B2EFFA886B4238611FCFDCDE355B3B6519035BBC34F4DEF99C023861B46FC9D6E6C9077AD91D2691F7F7EE598CB0FAC186D91CAEFE130985139270B4130C93BC437944F4FD4452E2D74DD364F2E21E71F54BFF5CAE82AB9C9DF69EE86D2BC522363A0DABC521979B0DEADA1DBF9A42D5C4484E0ABCD06BFA53DDEF3C1B20EE3FD59D7C25E41D2B66C62E37FFFFFFFFFFFFFFFF",
    "The prime of ffdhe3072, RFC 7919 appendix A.2."
);

macro_rules! group {
    ($(#[$doc:meta])* $name:ident, $modulus:ident, $uint:ident, $len:literal, $exponent_len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name;

        impl $name {
            /// The prime p, big endian.
            pub fn prime() -> [u8; $len] {
                encode($modulus::PARAMS.modulus().as_ref().to_be_bytes())
            }
        }

        const _: () = assert!($uint::BYTES == $len);

        impl Group for $name {
            type Public = [u8; $len];
            type Exponent = [u8; $exponent_len];

            fn in_range(y: &Self::Public) -> bool {
                let y = $uint::from_be_slice(y);
                let top = $modulus::PARAMS.modulus().as_ref().wrapping_sub(&$uint::ONE);
                y > $uint::ONE && y < top
            }

            fn is_residue(y: &Self::Public) -> bool {
                jacobi_is_one($uint::from_be_slice(y), *$modulus::PARAMS.modulus().as_ref())
            }

            fn power(base: &Self::Public, exponent: &Self::Exponent) -> Self::Public {
                let mut form = Self::enter(base);
                power(&mut form, exponent);
                Self::leave(&mut form)
            }

            fn generator_power(exponent: &Self::Exponent) -> Self::Public {
                let mut form = ConstMontyForm::<$modulus, { $uint::LIMBS }>::ONE;
                power_of_two(&mut form, exponent);
                Self::leave(&mut form)
            }
        }

        // Apart from the exponentiation, so that their temporaries don't stand below it on the stack.
        impl $name {
            /// Enters the Montgomery form.
            #[inline(never)]
            fn enter(value: &[u8; $len]) -> ConstMontyForm<$modulus, { $uint::LIMBS }> {
                ConstMontyForm::new(&$uint::from_be_slice(value))
            }

            /// Leaves the Montgomery form, and erases it.
            #[inline(never)]
            fn leave(form: &mut ConstMontyForm<$modulus, { $uint::LIMBS }>) -> [u8; $len] {
                let mut value = form.retrieve();
                form.zeroize();
                let mut bytes = value.to_be_bytes();
                let out = encode(&bytes);
                bytes.zeroize();
                value.zeroize();
                out
            }
        }
    };
}

group!(
    /// ffdhe2048 with 256-bit exponents: suite 1.
    Ffdhe2048, Modulus2048, U2048, 256, 32
);
group!(
    /// ffdhe3072 with 320-bit exponents: suite 2.
    Ffdhe3072, Modulus3072, U3072, 384, 40
);

/// Whether the Jacobi symbol (a/n) is 1, for odd n and a < n: the binary algorithm, which needs no division.
/// Variable time.
fn jacobi_is_one<const L: usize>(mut a: Uint<L>, mut n: Uint<L>) -> bool {
    let low = |x: &Uint<L>| x.as_limbs().first().map_or(0, |limb| limb.0 & 7);
    let mut negative = false;
    while a != Uint::ZERO {
        // (2/n) is −1 for n = ±3 mod 8.
        while low(&a) & 1 == 0 {
            a = a.wrapping_shr_vartime(1);
            negative ^= matches!(low(&n), 3 | 5);
        }
        if a < n {
            // Reciprocity: the sign turns when both are 3 mod 4.
            core::mem::swap(&mut a, &mut n);
            negative ^= low(&a) & low(&n) & 3 == 3;
        }
        a = a.wrapping_sub(&n);
    }
    n == Uint::ONE && !negative
}

/// Bits of the exponent that one multiplication takes. Three keep the table at 1.75 KiB in suite 1, for 3 percent
/// more multiplications than four would need.
const WINDOW: usize = 3;

/// Raises `value` to `exponent`, by a fixed window from the left. The same instructions for every exponent of a
/// length; the table is read as a whole each time, and erased.
#[inline(never)]
fn power<M: ConstMontyParams<L>, const L: usize>(value: &mut ConstMontyForm<M, L>, exponent: &[u8]) {
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
        select(&mut factor, &table, digit_at(exponent, digit));
        multiply(value, &factor);
    }
    table.zeroize();
    factor.zeroize();
}

/// Makes 2^exponent of a 1, by squaring and doubling: a doubling costs a fiftieth of a multiplication.
#[inline(never)]
fn power_of_two<M: ConstMontyParams<L>, const L: usize>(value: &mut ConstMontyForm<M, L>, exponent: &[u8]) {
    for bit in (0..exponent.len().saturating_mul(8)).rev() {
        square(value);
        let mut doubled = value.double();
        value.ct_assign(&doubled, bit_at(exponent, bit).ct_eq(&1));
        doubled.zeroize();
    }
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

/// [`WINDOW`] bits of a big endian number; digit 0 has the lowest ones.
fn digit_at(exponent: &[u8], digit: usize) -> u8 {
    let low = digit.saturating_mul(WINDOW);
    (0..WINDOW).rev().fold(0, |high, bit| (high << 1) | bit_at(exponent, low.saturating_add(bit)))
}

/// One bit of a big endian number, 0 beyond its end. The place is public, the bit is not.
fn bit_at(exponent: &[u8], bit: usize) -> u8 {
    let byte = exponent.iter().rev().nth(bit >> 3).copied().unwrap_or_default();
    (byte >> (bit & 7)) & 1
}

fn encode<B: Bytes>(repr: impl AsRef<[u8]>) -> B {
    B::copy_of(repr.as_ref()).unwrap_or_else(B::zeroed)
}

/// A public value that was checked to lie in 1 < Y < p − 1.
#[derive(Clone, PartialEq)]
pub struct PublicKey<G: Group>(G::Public);

impl<G: Group> PublicKey<G> {
    /// Length in bytes.
    pub const LEN: usize = G::Public::LEN;

    /// Checks length and range.
    ///
    /// # Errors
    /// [`PeerFault::Length`], [`PeerFault::DhRange`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let y = G::Public::copy_of(bytes).ok_or(Error::Peer(PeerFault::Length))?;
        if !G::in_range(&y) {
            return Err(Error::Peer(PeerFault::DhRange));
        }
        Ok(Self(y))
    }

    /// The check that a key must pass before it is stored for long: Jacobi symbol 1.
    ///
    /// # Errors
    /// [`PeerFault::DhResidue`].
    pub fn check_long_lived(&self) -> Result<(), Error> {
        if G::is_residue(&self.0) { Ok(()) } else { Err(Error::Peer(PeerFault::DhResidue)) }
    }

    /// Big endian, left-padded, [`Self::LEN`] bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl<G: Group> fmt::Debug for PublicKey<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} bytes)", Self::LEN)
    }
}

/// A clamped private exponent: even, highest bit set. Erased on drop.
#[derive(Clone)]
pub struct SecretKey<G: Group> {
    exponent: Secret<G::Exponent>,
    group: PhantomData<G>,
}

impl<G: Group> SecretKey<G> {
    /// Length in bytes.
    pub const LEN: usize = G::Exponent::LEN;

    /// A new long-lived exponent.
    ///
    /// # Errors
    /// [`Error::Entropy`].
    pub fn generate(rng: &mut dyn Entropy) -> Result<Self, Error> {
        let mut exponent = Secret::<G::Exponent>::zeroed();
        rng.fill(exponent.expose_mut())?;
        Ok(Self::clamp(exponent))
    }

    /// An exponent from [`Self::LEN`] stored bytes, clamped again.
    ///
    /// # Errors
    /// [`crate::error::Misuse::Parameter`] for another length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let exponent = G::Exponent::copy_of(bytes).ok_or(Error::Misuse(crate::error::Misuse::Parameter))?;
        Ok(Self::clamp(Secret::new(exponent)))
    }

    pub(crate) fn clamp(mut exponent: Secret<G::Exponent>) -> Self {
        if let Some(first) = exponent.expose_mut().first_mut() {
            *first |= 0x80;
        }
        if let Some(last) = exponent.expose_mut().last_mut() {
            *last &= 0xfe;
        }
        Self { exponent, group: PhantomData }
    }

    /// The exponent's bytes, big endian, for storage.
    pub fn expose(&self) -> &[u8] {
        self.exponent.expose()
    }

    /// g^x: one exponentiation.
    pub fn public(&self) -> PublicKey<G> {
        PublicKey(G::generator_power(self.exponent.array()))
    }

    /// Y^x: one exponentiation.
    pub fn agree(&self, peer: &PublicKey<G>) -> Secret<G::Public> {
        Secret::new(G::power(&peer.0, self.exponent.array()))
    }
}

impl<G: Group> fmt::Debug for SecretKey<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}
