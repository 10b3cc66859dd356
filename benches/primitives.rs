//! The core's primitives beside OpenSSL's, in turn, in the same process.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench primitives`. Prints Markdown. A ratio is OpenSSL's time by
//! ours, taken round by round: above 1, ours is faster. Times are CPU time of the thread.

use std::hint::black_box;
use std::time::Duration;

use aes::cipher::{Array, BlockCipherEncrypt};
use anyhow::{Context as _, Result, anyhow, ensure};
use hmac::Mac;
use openssl::bn::{BigNum, BigNumContext};
use openssl::cipher::{Cipher, CipherRef};
use openssl::cipher_ctx::CipherCtx;
use openssl::memcmp;
use sordino_benches::accounting::own_thread;
use sordino_benches::figures::{Table, median, short};
use sordino_benches::openssl_hmac::Hmac;
use sordino_core::aead::{KeyBlock, Opener, Sealer};
use sordino_core::bytes::Bytes;
use sordino_core::dh::{Ffdhe2048, Ffdhe3072, Group};
use sordino_core::suite::{Suite, Suite1, Suite2, tag_len};

/// Rounds of which the medians are printed.
const ROUNDS: usize = 31;
/// How long one side works in one round, at least.
const ROUND: Duration = Duration::from_millis(10);
/// A record's additional data: direction, epoch, sequence, length.
const AAD: [u8; 15] = [7; 15];
/// An IV.
const IV: [u8; 16] = [9; 16];
/// Plaintexts of records, padded.
const SIZES: [usize; 3] = [64, 1024, 16 * 1024];
/// Receivers of one plaintext.
const RECEIVERS: usize = 8;

/// Runs both in turn: the medians of both in microseconds, and that of the ratios.
fn pair(mut ours: impl FnMut(), mut theirs: impl FnMut()) -> [f64; 3] {
    let times = |f: &mut dyn FnMut()| {
        f();
        let start = own_thread();
        f();
        (ROUND.as_nanos() / (own_thread() - start).as_nanos().max(1)).clamp(1, 1 << 20) as u32
    };
    let (our_times, their_times) = (times(&mut ours), times(&mut theirs));
    let round = |f: &mut dyn FnMut(), times: u32| {
        let start = own_thread();
        (0..times).for_each(|_| f());
        (own_thread() - start).as_secs_f64() * 1e6 / f64::from(times)
    };
    let mut figures: [Vec<f64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        let (a, b) = (round(&mut ours, our_times), round(&mut theirs, their_times));
        figures[0].push(a);
        figures[1].push(b);
        figures[2].push(b / a);
    }
    figures.map(|figures| median(&figures))
}

fn row(name: &str, [ours, theirs, ratio]: [f64; 3]) -> Vec<String> {
    vec![name.to_owned(), short(ours), short(theirs), short(ratio)]
}

fn main() -> Result<()> {
    println!("OpenSSL: {}\n", openssl::version::version());
    println!("### exponentiation\n");
    let mut table = Table::new(&["one exponentiation", "ours, µs", "OpenSSL, µs", "ratio"]);
    exponentiations::<Ffdhe2048>("ffdhe2048, 256 bits", &Ffdhe2048::prime(), &mut table)?;
    exponentiations::<Ffdhe3072>("ffdhe3072, 320 bits", &Ffdhe3072::prime(), &mut table)?;
    table.print();

    println!("### records\n");
    let mut table = Table::new(&["operation", "ours, µs", "OpenSSL, µs", "ratio"]);
    records::<Suite1>(Cipher::aes_128_cbc(), &mut table)?;
    records::<Suite2>(Cipher::aes_256_cbc(), &mut table)?;
    table.print();

    println!("### one plaintext for {RECEIVERS} receivers\n");
    println!(
        "Times are for all {RECEIVERS}, each with keys of its own: a block of each chain in turn, then the MACs; and a \
         record after the other, as the server seals them.\n"
    );
    let mut table = Table::new(&["seal", "in turn, µs", "one after the other, µs", "ratio"]);
    receivers::<Suite1>(&mut table)?;
    receivers::<Suite2>(&mut table)?;
    table.print();
    Ok(())
}

/// Something without pattern: a counter through SplitMix64.
fn fill(out: &mut [u8]) {
    let mut state = 1_u64;
    for byte in out {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        *byte = (z >> 32) as u8;
    }
}

fn exponentiations<G: Group>(name: &str, prime: &[u8], table: &mut Table) -> Result<()>
where
    G::Public: AsMut<[u8]>,
{
    let zeroed = <G::Public as sordino_core::bytes::Bytes>::zeroed;
    let (mut base, mut two) = (zeroed(), zeroed());
    fill(&mut base.as_mut()[1..]);
    *two.as_mut().last_mut().context("a number")? = 2;
    let mut exponent = <G::Exponent as sordino_core::bytes::Bytes>::zeroed();
    fill(exponent.as_mut());
    exponent.as_mut()[0] |= 0x80;

    let modulus = BigNum::from_slice(prime)?;
    let mut context = BigNumContext::new()?;
    for constant in [true, false] {
        let function = if constant { "BN_mod_exp_mont_consttime" } else { "BN_mod_exp" };
        let mut power = BigNum::from_slice(exponent.as_ref())?;
        if constant {
            power.set_const_time();
        }
        for (what, base) in [("any base", &base), ("base 2", &two)] {
            let number = BigNum::from_slice(base.as_ref())?;
            let mut result = BigNum::new()?;
            result.mod_exp(&number, &power, &modulus, &mut context)?;
            let mut scratch = vec![0; G::MOST_SCRATCH];
            let mut ours = |exponent: &G::Exponent| match what {
                "base 2" => G::generator_power(exponent),
                _ => {
                    let mut power = zeroed();
                    G::power(base, exponent, &mut power, &mut scratch).expect("enough scratch");
                    power
                }
            };
            ensure!(BigNum::from_slice(ours(&exponent).as_ref())? == result, "the results differ");
            let figures = pair(
                || drop(black_box(ours(black_box(&exponent)))),
                || result.mod_exp(&number, black_box(&power), &modulus, &mut context).expect("a power"),
            );
            table.row(row(&format!("{name}, {what}, {function}"), figures));
        }
    }
    Ok(())
}

fn keys<S: Suite>(seed: u8) -> Result<([Vec<u8>; 3], KeyBlock<S>)> {
    let len = sordino_core::suite::tag_len::<S>();
    let parts = [1, 2, 3].map(|part| vec![seed ^ part; len]);
    let block = KeyBlock::from_parts(&parts[0], &parts[1], &parts[2]).context("keys")?;
    Ok((parts, block))
}

/// Encrypt-then-MAC by OpenSSL, both keys prepared.
struct TwoPasses {
    encrypt: CipherCtx,
    decrypt: CipherCtx,
    mac: Hmac,
    tag: usize,
}

impl TwoPasses {
    fn new(cipher: &CipherRef, mac: &[u8], key: &[u8]) -> Result<Self> {
        let (mut encrypt, mut decrypt) = (CipherCtx::new()?, CipherCtx::new()?);
        encrypt.encrypt_init(Some(cipher), Some(key), None)?;
        decrypt.decrypt_init(Some(cipher), Some(key), None)?;
        encrypt.set_padding(false);
        decrypt.set_padding(false);
        Ok(Self { encrypt, decrypt, mac: Hmac::new(mac)?, tag: mac.len() })
    }

    fn tag(&mut self, iv: &[u8; 16], ciphertext: &[u8], tag: &mut [u8]) -> Result<()> {
        let bits = (8 * AAD.len() as u64).to_be_bytes();
        let full = self.mac.of(&[&AAD, iv, ciphertext, &bits])?;
        tag.copy_from_slice(&full[..self.tag]);
        Ok(())
    }

    fn seal(&mut self, iv: &[u8; 16], plain: &[u8], out: &mut [u8]) -> Result<()> {
        self.encrypt.encrypt_init(None, None, Some(iv))?;
        // The call wants room for another block, which the tag's place is.
        self.encrypt.cipher_update(plain, Some(out))?;
        let (ciphertext, tag) = out.split_at_mut(plain.len());
        self.tag(iv, ciphertext, tag)
    }

    fn open(&mut self, iv: &[u8; 16], sealed: &[u8], out: &mut [u8]) -> Result<()> {
        let (ciphertext, tag) = sealed.split_at(sealed.len() - self.tag);
        let mut computed = [0; 32];
        let computed = &mut computed[..self.tag];
        self.tag(iv, ciphertext, computed)?;
        ensure!(memcmp::eq(computed, tag), "a wrong tag");
        self.decrypt.decrypt_init(None, None, Some(iv))?;
        self.decrypt.cipher_update(ciphertext, Some(out))?;
        Ok(())
    }
}

fn records<S: Suite>(cipher: &CipherRef, table: &mut Table) -> Result<()> {
    let ([mac, key, _], block) = keys::<S>(0x40)?;
    let (sealer, opener) = (Sealer::<S>::new(&block), Opener::<S>::new(&block));
    let mut theirs = TwoPasses::new(cipher, &mac, &key)?;
    let iv = [9; 16];
    for size in SIZES {
        let mut plain = vec![0; size - 1];
        fill(&mut plain);
        let mut buffer = vec![0; size + mac.len()];
        let sealed = {
            buffer[..size - 1].copy_from_slice(&plain);
            sealer.seal_with_iv(&iv, &AAD, &mut buffer, size - 1).context("room")?;
            buffer.clone()
        };
        let padded = [&plain[..], &[1]].concat();
        let (mut other, mut opened) = (vec![0; sealed.len()], vec![0; size + 16]);
        theirs.seal(&iv, &padded, &mut other)?;
        ensure!(sealed == other, "the records differ");

        let mut n = 0;
        let figures = pair(
            || {
                n += 1;
                black_box(sealer.seal(n, &AAD, &mut buffer, size - 1));
            },
            || theirs.seal(&iv, black_box(&padded), &mut other).expect("sealing"),
        );
        table.row(row(&format!("suite {}, seal {size} B", S::ID), figures));

        // Opening is in place: what is opened must be brought there first, on both sides.
        let mut own = sealed.clone();
        let figures = pair(
            || {
                own.copy_from_slice(black_box(&sealed));
                black_box(
                    opener.open_with_iv(&iv, &AAD, &mut own).map_err(|e| anyhow!("{e:?}")).expect("opening"),
                );
            },
            || {
                other.copy_from_slice(black_box(&sealed));
                theirs.open(&iv, &other, &mut opened).expect("opening");
            },
        );
        ensure!(own[..size - 1] == plain && opened[..size] == padded, "the plaintexts differ");
        table.row(row(&format!("suite {}, open {size} B", S::ID), figures));
    }
    Ok(())
}

/// What sealing the same plaintext for many receivers needs of each.
struct Receiver<S: Suite> {
    sealer: Sealer<S>,
    cipher: S::Enc,
    mac: S::Mac,
}

impl<S: Suite> Receiver<S> {
    fn new(seed: u8) -> Result<Self> {
        let ([mac, encryption, _], block) = keys::<S>(seed)?;
        let encryption = S::Key::copy_of(&encryption).context("a key")?;
        Ok(Self { sealer: Sealer::new(&block), cipher: S::enc(&encryption), mac: S::mac(&mac) })
    }
}

/// Seals all buffers by turns, a block of each: CBC waits for its own chain only. The padding stands in them already.
fn interleave<S: Suite>(receivers: &[Receiver<S>], buffers: &mut [Vec<u8>], size: usize) {
    let mut chains = [Array::from(IV); RECEIVERS];
    for from in (0..size).step_by(IV.len()) {
        for ((receiver, chain), buffer) in receivers.iter().zip(&mut chains).zip(&mut *buffers) {
            let block = &mut buffer[from..from + IV.len()];
            chain.iter_mut().zip(&*block).for_each(|(chained, plain)| *chained ^= plain);
            receiver.cipher.encrypt_block(chain);
            block.copy_from_slice(chain);
        }
    }
    for (receiver, buffer) in receivers.iter().zip(buffers) {
        let (ciphertext, tag) = buffer.split_at_mut(size);
        let mut mac = receiver.mac.clone();
        for part in [&AAD[..], &IV, ciphertext, &(AAD.len() as u64 * 8).to_be_bytes()] {
            mac.update(part);
        }
        let len = tag_len::<S>();
        tag[..len].copy_from_slice(&mac.finalize().into_bytes()[..len]);
    }
}

fn one_by_one<S: Suite>(receivers: &[Receiver<S>], buffers: &mut [Vec<u8>], size: usize) {
    for (receiver, buffer) in receivers.iter().zip(buffers) {
        black_box(receiver.sealer.seal_with_iv(&IV, &AAD, buffer, size - 1));
    }
}

fn receivers<S: Suite>(table: &mut Table) -> Result<()> {
    let receivers = (0..RECEIVERS).map(|seed| Receiver::<S>::new(seed as u8)).collect::<Result<Vec<_>>>()?;
    for size in SIZES {
        let plain = |byte| vec![vec![byte; size + S::Key::LEN]; RECEIVERS];
        let (mut buffers, mut turns) = (plain(0), plain(0));
        for buffer in &mut turns {
            buffer[size - 1] = 1;
        }
        one_by_one(&receivers, &mut buffers, size);
        interleave(&receivers, &mut turns, size);
        ensure!(turns == buffers, "the results differ");
        let figures = pair(
            || interleave(&receivers, black_box(&mut turns), size),
            || one_by_one(&receivers, black_box(&mut buffers), size),
        );
        table.row(row(&format!("suite {}, {size} B", S::ID), figures));
    }
    Ok(())
}
