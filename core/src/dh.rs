//! Finite-field Diffie-Hellman in the groups of RFC 7919 (`docs/PROTOCOL.md`, section 3).

use crate::bytes::{Bytes, Secret};
use crate::entropy::Entropy;
use crate::error::{Error, Misuse, PeerFault};
use crate::power;
use core::fmt;
use core::marker::PhantomData;
use crypto_bigint::modular::{ConstMontyForm, ConstMontyParams};
use crypto_bigint::{U2048, U3072, Uint, const_monty_params};
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

    /// Bytes of scratch that [`Self::power`] and [`Self::powers`] need.
    const LEAST_SCRATCH: usize;
    /// Bytes of scratch with which they are fastest.
    const MOST_SCRATCH: usize;

    /// Puts base^exponent mod p into `result`. Constant time in both. The table of powers stands in `scratch`, which
    /// may hold anything; what was used of it is erased.
    ///
    /// `None`, with nothing done, below [`Self::LEAST_SCRATCH`].
    fn power(
        base: &Self::Public,
        exponent: &Self::Exponent,
        result: &mut Self::Public,
        scratch: &mut [u8],
    ) -> Option<()>;

    /// Puts base^a and base^b mod p into `results`, for little more than one of them. As [`Self::power`].
    fn powers(
        base: &Self::Public,
        exponents: [&Self::Exponent; 2],
        results: [&mut Self::Public; 2],
        scratch: &mut [u8],
    ) -> Option<()>;

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

/// 2^(2^64), 2^(2^128) and 2^(2^192) mod p, and their products.
static TEETH_2048: [[power::Cell; U2048::LIMBS]; 7] = power::teeth::<Modulus2048, _>([
    U2048::from_be_hex(
        "21B2CFD65D1182EE00972DEDD284458B62E52861D25EB28BECF720716198D72D590EDBB5C36AE3B7DA49748B68CBD58B5C44A7766470AC64770F5A69F05887696270F726AF13418680A970898C9800393EDB5C4F748D3FEA6886375A4995303443246FF6C628F30208914A2516E5993BECB993B71360F68F201C9E8BA941B7EC71DC934E373D9A73440B122FB35B9E9787A9BD870D9C5838472620156D194C0EE5C9C788B2DD9137B5A339A72E00C5620315B17623348BA3042E8B90BEE0BCC97FEB9E8AC0AD897FAF637B027CB2BE41B5B93A1F67A75F04754E53A208015BC576FB4812B8E71169BAE1AA285152372635C835C2583A24092890B7595DED1F70",
    ),
    U2048::from_be_hex(
        "7B6F401A474EC072BD916BC58CBBA39DCA6B1720F11ADC50F1916E275CF9E23A53546D96F0C3F5619CC06217FC3FD46B4DFD9266EB9EB98A77D46B614C5745EAD1EB361397EADE5A003437B739841D4BEB621D9174C39C89FBC1E12D5AF9A603BB112DCF5EE90462FA1366D285CF2A349B264E0382F4A0BC3DFC15566237E5D82397C6667A082E0CD7A7DB29AD7F63409B45F17253ACCC127934C47457324231756C2C604EC1091069391948AFF6798490DE8D68FCAC2F5AF4D6BFD4FDB6EF2AB1F79D0CE906E80D8BD3929CE0537448728653F57C710F50A1ED5EAF9F32829A79CBF90180C375FA08D878E7DBBE5E99F94E82580F3475C5FA32B2E1E7886E18",
    ),
    U2048::from_be_hex(
        "B72FB5E60C1C5E1A86D6E9CA9B564806202B10848D9E01F725D54B0FAB5A95483132D69B40FA801DD28D37BC6B074BA3838BD132A3A848B059EE09D3307594D65BCE7D2C2DF6079982D6DE2B6FA9F623E569EB1599753AFF22C806E3610F615C637B584A1EB6490BF2BF6F50BDF5AB08D45A1A56B9D9DA01B222BC69EC26897A67C505B624E6E88A765A308EE948666E522ED2D926CC7B0CF8C8156811B65516BD2D5B87D246DEBCFEF529DE9F6EF4FE91B1706981D8DC255C81CAF000DC8B47ACE22210C959D6782FD12B066EE6AC4B159C318E02762713B3224BDC6E992CC4F8839AFE2C9D2F9D12CB0440AE74138648B008F4DCA2096721A083E5E9602071",
    ),
]);

/// 2^(2^80), 2^(2^160) and 2^(2^240) mod p, and their products.
static TEETH_3072: [[power::Cell; U3072::LIMBS]; 7] = power::teeth::<Modulus3072, _>([
    U3072::from_be_hex(
        "CFE278A79E579AE63343957520315D29D49A2B4F7C16DC52881BAFAD3E930B9814CA64FA2EFC2481826F69FB8D21A24AFD763E765522A25D515319C3912DD766C16781E8C728D5E12B95CF9FEAD1B451C3AEA57C7112CF5091061A2B9D81C389F4EC08539A3DE4F4D3CE85B3B070E0CCBD7797A35DC2AA0DA211C8FCA7B5E641FDD3BCA5A600155DBC1550941B79650882E91989D2E428FBAD87060314E331029BF8FAEF9DC1920DFC408E0AD357EB5AE65B1BC38E232EBA29E09B3685E375ED6421F3715F7B0C2D2909CEE4B9519B6BC52D00884E68AE97AA462ABB40216EF6D6029076A53C247996C2862F162814DD4BC227FA604D700981E69306D2922B23558BDD523857142A0FCD502583C4688B2990BD46DA955516318501E7108BD41EC15A079FF793513B648A0EFA1ACE100734BBC4A2DAB28CBDC6EF3E19232FC836CA5F5AB2E9CB2DC3E7F8B30F784621F2DD5095C5D298AAD3EC04EB0E9DC3C84D99A3D91AE77F1FD55189E58493FEC495B298F38CEA13E7A989CB96BABC678703",
    ),
    U3072::from_be_hex(
        "057BB3B510212C326BBBA6D3E12B0093B53B19547820423EA7E909B40B0D63801961C1A2A60ED8E040D223D790832A2F53668C5962D5E2DF7B6BC095B8D3071FE3A02C18971D542F113AEBC48D71E8E15E3B8F75063E9F8D831AE2F08792CFBD1AD0D20D78E40EE0267B8B9C9221419C2C317EA3F5F16267EA7B733ABA2E9DDDFA6CF6ED6E00C58C0A9FB9DC2E040B556D5AF41F7ACFF7937BD712D37930278D058712787EBC822524F811DEAFA15B14D34ED5F0E2576BD117840C1FCF17D9B92BEC90C8A62210BE2ACF5283C8DF433E2E72DA9CDB20AEC87E68988814C476EAC0522A8C5DEAD1D51F363E0EBD1C47CE302C8E0A081A1D5A81562E84F998460300CD571216A2B6311ED0F0FD18140432A7FB9D234BD8F3CC8C3723C0F0DAE026D55BEEA492F3D9B133B5A2079165031D8F66C94835F7E21D2CFFA43CE1229A1E824946BF8874393339013571EEDD089CCF784C3E471F5F6D8CF9FB386BDC6B9C66E6688993B4CE3ED6E91F1FDBBEF66B885D43E11BA88A01093FEE73B62C58AF",
    ),
    U3072::from_be_hex(
        "7C2C1259BB11F6A0FB475548BAC52E353F6471BA4F9C1E630F2B7B1C0A3C91C339A3E8744B4F7DD4E4FC31E7DD9F9231E4B8116E3140439E023DDA14B38BF4C0E42554C19DDBD9DDA09561AFAF5075F97A308CE0BFB499E4A6FB800D85177EA089B5614ACCB42C6261999D5133ECB759EFB530FB4A1C11CE6396852D0D30A463DFA460A5C3E125D91E94FB9C0AFF81C1A6E71001937F6374E76C80A592C8EC79F31F0783E2A8919CDA78AD9C5B5A61F7348933EC40FC44698B08401E5C295FE1C645677D8EC6A3C76124DA729E03EBD53674B4D6CB4F8A340B1C7D66304D458D187F4E3BACDAB5A9DB31E4C545584F90EC1D823F03C9BE4BDCE3D9FD38F62C69B1254DA186BED67625397DFDCC29134CAB3210865A1BAAE828950649FF529F03D2AAB8D0A755E39EBF52E11829A00EF65AD39CBEA844FDC33CEDFDDCF37D2F70A12E248DE21ECC493B01DE5B83239CBD25065CCF041EA63E6ED10D6FFF917BB82240B926927997EA0F9495BE789DD1701804971C8815778D98BA982D5E686CDD",
    ),
]);

macro_rules! group {
    ($(#[$doc:meta])* $name:ident, $modulus:ident, $teeth:ident, $uint:ident, $len:literal, $exponent_len:literal) => {
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
                // Both halves rounded down, so that p − 1 = 2q becomes q, and 1 becomes 0.
                let y = $uint::from_be_slice(y).wrapping_shr_vartime(1);
                let q = $modulus::PARAMS.modulus().as_ref().wrapping_shr_vartime(1);
                y.as_words().iter().any(|word| *word != 0) && y < q
            }

            fn is_residue(y: &Self::Public) -> bool {
                jacobi_is_one($uint::from_be_slice(y), *$modulus::PARAMS.modulus().as_ref())
            }

            const LEAST_SCRATCH: usize = power::least_scratch::<{ $uint::LIMBS }>();
            const MOST_SCRATCH: usize = power::most_scratch::<{ $uint::LIMBS }>();

            fn power(
                base: &Self::Public,
                exponent: &Self::Exponent,
                result: &mut Self::Public,
                scratch: &mut [u8],
            ) -> Option<()> {
                let mut form = Self::enter(base);
                power::of(&mut form, exponent, scratch)?;
                Self::leave(&mut form, result);
                Some(())
            }

            // In its caller's frame, also when there are several callers: one of its own costs a board 350 bytes of stack.
            #[inline(always)]
            fn powers(
                base: &Self::Public,
                [a, b]: [&Self::Exponent; 2],
                [to_a, to_b]: [&mut Self::Public; 2],
                scratch: &mut [u8],
            ) -> Option<()> {
                let mut first = Self::enter(base);
                let mut second = ConstMontyForm::ONE;
                Self::both(&mut first, &mut second, a, b, scratch)?;
                Self::leave(&mut first, to_a);
                Self::leave(&mut second, to_b);
                Some(())
            }

            fn generator_power(exponent: &Self::Exponent) -> Self::Public {
                let mut form = ConstMontyForm::<$modulus, { $uint::LIMBS }>::ONE;
                power::of_two(&mut form, exponent, &$teeth);
                let mut result = [0; $len];
                Self::leave(&mut form, &mut result);
                result
            }
        }

        // Apart from the exponentiation, so that their temporaries don't stand below it on the stack.
        impl $name {
            /// Of this crate's own build, whoever calls: optimised also where its caller isn't.
            #[inline(never)]
            fn both(
                first: &mut ConstMontyForm<$modulus, { $uint::LIMBS }>,
                second: &mut ConstMontyForm<$modulus, { $uint::LIMBS }>,
                a: &[u8],
                b: &[u8],
                scratch: &mut [u8],
            ) -> Option<()> {
                power::both(first, second, a, b, scratch)
            }

            /// Enters the Montgomery form.
            #[inline(never)]
            fn enter(value: &[u8; $len]) -> ConstMontyForm<$modulus, { $uint::LIMBS }> {
                ConstMontyForm::new(&$uint::from_be_slice(value))
            }

            /// Leaves the Montgomery form, and erases it.
            #[inline(never)]
            fn leave(form: &mut ConstMontyForm<$modulus, { $uint::LIMBS }>, out: &mut [u8; $len]) {
                let mut value = form.retrieve();
                form.zeroize();
                let mut bytes = value.to_be_bytes();
                value.zeroize();
                out.copy_from_slice(bytes.as_ref());
                bytes.zeroize();
            }
        }
    };
}

group!(
    /// ffdhe2048 with 256-bit exponents: suite 1.
    Ffdhe2048, Modulus2048, TEETH_2048, U2048, 256, 32
);
group!(
    /// ffdhe3072 with 320-bit exponents: suite 2.
    Ffdhe3072, Modulus3072, TEETH_3072, U3072, 384, 40
);

/// Whether the Jacobi symbol (a/n) is 1, for odd n and a < n: the binary algorithm, which needs no division.
/// Variable time.
fn jacobi_is_one<const L: usize>(mut a: Uint<L>, mut n: Uint<L>) -> bool {
    let low = |x: &Uint<L>| x.as_limbs().first().map_or(0, |limb| limb.0 & 7);
    let mut negative = false;
    while !a.is_zero_vartime() {
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
    n.bits_vartime() == 1 && !negative
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
    /// [`Misuse::Parameter`] for another length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let exponent = G::Exponent::copy_of(bytes).ok_or(Error::Misuse(Misuse::Parameter))?;
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

    /// Y^x: one exponentiation. `scratch` has [`Group::LEAST_SCRATCH`] bytes, and up to [`Group::MOST_SCRATCH`] make
    /// it faster; it may hold anything, and what was used of it is erased.
    ///
    /// # Errors
    /// [`Misuse::BufferTooSmall`].
    pub fn agree(&self, peer: &PublicKey<G>, scratch: &mut [u8]) -> Result<Secret<G::Public>, Error> {
        let mut shared = Secret::zeroed();
        G::power(&peer.0, self.exponent.array(), shared.array_mut(), scratch).ok_or(TOO_SMALL)?;
        Ok(shared)
    }

    /// Y^x of this key and of another; as [`Self::agree`].
    pub(crate) fn agree_both(
        &self,
        other: &Self,
        peer: &PublicKey<G>,
        scratch: &mut [u8],
    ) -> Result<[Secret<G::Public>; 2], Error> {
        let mut shared = [Secret::zeroed(), Secret::zeroed()];
        let [first, second] = shared.each_mut();
        let results = [first.array_mut(), second.array_mut()];
        G::powers(&peer.0, [self.exponent.array(), other.exponent.array()], results, scratch)
            .ok_or(TOO_SMALL)?;
        Ok(shared)
    }
}

const TOO_SMALL: Error = Error::Misuse(Misuse::BufferTooSmall);

impl<G: Group> fmt::Debug for SecretKey<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}
