//! The other end as an attacker would write it: the handshake and the records once more, from the core's
//! primitives and the document, with every field free to choose. Also tells which keys an honest pair has.

use super::setup::{CLIENT_COUNTER, SERVER_COUNTER, Seeded, device, static_secret};
use sordino_core::aead::{KeyBlock, Opener, Sealer};
use sordino_core::bytes::{Bytes, Secret};
use sordino_core::config::{HEADER_LEN, VERSION};
use sordino_core::dh::Group;
use sordino_core::entropy::Entropy;
use sordino_core::identity::key_id;
use sordino_core::kdf;
use sordino_core::record::Direction;
use sordino_core::suite::{PublicKey, SecretKey, dh_len, tag_len};
use sordino_core::{Suite, SuiteList};

const GATE: usize = 16;

/// Types of handshake messages.
pub const MESSAGE_1: u8 = 3;
/// See [`MESSAGE_1`].
pub const MESSAGE_2: u8 = 4;
/// See [`MESSAGE_1`].
pub const MESSAGE_3: u8 = 5;

/// A header and its body.
pub fn framed(kind: u8, suite: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[b'S', b'O', VERSION, kind, suite, 0, high, low], body].concat()
}

/// An exponent from its bytes.
pub fn exponent<S: Suite>(bytes: &[u8]) -> SecretKey<S> {
    SecretKey::<S>::from_bytes(bytes).unwrap()
}

/// What two keys share: the power, in scratch that is not clean.
pub fn shared_value<S: Suite>(
    own: &SecretKey<S>,
    peer: &PublicKey<S>,
) -> Secret<<S::Group as Group>::Public> {
    own.agree(peer, &mut [0xff; 2048]).unwrap()
}

/// MAC key, encryption key and IV key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// MAC key.
    pub mac: Vec<u8>,
    /// Encryption key.
    pub encryption: Vec<u8>,
    /// IV key.
    pub iv: Vec<u8>,
}

impl Keys {
    /// Cuts the keys from a secret.
    pub fn expand<S: Suite>(secret: &[u8], info: &[u8]) -> Self {
        let len = S::Key::LEN;
        let mut okm = vec![0; 3 * len];
        kdf::expand::<S>(secret, info, &mut okm);
        Self { mac: okm[..len].into(), encryption: okm[len..2 * len].into(), iv: okm[2 * len..].into() }
    }

    /// Keys of the epoch that `secret` opens.
    pub fn of_epoch<S: Suite>(secret: &[u8]) -> Self {
        Self::expand::<S>(secret, b"sordino/1 record keys")
    }

    fn block<S: Suite>(&self) -> KeyBlock<S> {
        KeyBlock::from_parts(&self.mac, &self.encryption, &self.iv).unwrap()
    }

    /// Seals a plaintext. Honest ones have 16k − 1 bytes.
    pub fn seal<S: Suite>(&self, n: u64, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut out = plain.to_vec();
        out.resize(plain.len() / 16 * 16 + 16 + tag_len::<S>(), 0);
        Sealer::new(&self.block::<S>()).seal(n, aad, &mut out, plain.len()).unwrap();
        out
    }

    /// Opens what [`Self::seal`] made.
    pub fn open<S: Suite>(&self, n: u64, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut out = sealed.to_vec();
        Opener::new(&self.block::<S>()).open(n, aad, &mut out).ok().map(|plain| plain.to_vec())
    }
}

/// The secret of the epoch after the one that `secret` opens.
pub fn next_epoch<S: Suite>(secret: &[u8]) -> Vec<u8> {
    let mut next = vec![0; S::Hash::LEN];
    kdf::expand::<S>(secret, b"sordino/1 next epoch", &mut next);
    next
}

/// Additional data of a record.
pub fn aad(direction: Direction, sequence: u64, length: usize) -> Vec<u8> {
    let epoch = u32::try_from(sequence / 4096).unwrap();
    let length = u16::try_from(length).unwrap();
    [&[direction as u8][..], &epoch.to_be_bytes(), &sequence.to_be_bytes(), &length.to_be_bytes()].concat()
}

/// A record of epoch 0 around any inner plaintext.
pub fn record<S: Suite>(secret: &[u8], direction: Direction, sequence: u64, inner: &[u8]) -> Vec<u8> {
    let length = inner.len() / 16 * 16 + 16 + tag_len::<S>();
    let sealed = Keys::of_epoch::<S>(secret).seal::<S>(sequence, &aad(direction, sequence, length), inner);
    [&u16::try_from(length).unwrap().to_be_bytes()[..], &sealed].concat()
}

/// Type, body length, body and zeros to a bucket of so many bytes.
pub fn inner(kind: u8, body: &[u8], bucket: usize) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    let mut inner = [&[kind], &length[..], body].concat();
    inner.resize(bucket - 1, 0);
    inner
}

/// Noise's symmetric state.
#[derive(Clone)]
pub struct Schedule {
    /// Transcript hash.
    pub h: Vec<u8>,
    /// Chaining key.
    pub ck: Vec<u8>,
    /// Keys after the latest MixKey.
    pub keys: Option<Keys>,
    n: u64,
}

impl Schedule {
    /// Protocol name, prologue and the server's static key.
    pub fn open<S: Suite>(server: &PublicKey<S>) -> Self {
        let h = kdf::hash::<S>(&[S::PROTOCOL.as_bytes()]).as_ref().to_vec();
        let mut state = Self { ck: h.clone(), h, keys: None, n: 0 };
        state.mix_hash::<S>(&[b"sordino", &[VERSION, S::ID][..], &key_id::<S>(server)].concat());
        state.mix_hash::<S>(server.as_bytes());
        state
    }

    /// MixHash.
    pub fn mix_hash<S: Suite>(&mut self, data: &[u8]) {
        self.h = kdf::hash::<S>(&[&self.h, data]).as_ref().to_vec();
    }

    /// MixKey.
    pub fn mix_key<S: Suite>(&mut self, shared: &[u8]) {
        let ck = Secret::new(S::Hash::copy_of(&self.ck).unwrap());
        let (ck, k) = kdf::noise::<S>(&ck, shared);
        self.ck = ck.expose().to_vec();
        self.keys = Some(Keys::expand::<S>(k.expose(), b"sordino/1 handshake keys"));
        self.n = 0;
    }

    /// EncryptAndHash.
    pub fn seal<S: Suite>(&mut self, plain: &[u8]) -> Vec<u8> {
        let sealed = self.keys.as_ref().unwrap().seal::<S>(self.n, &self.h, plain);
        self.n += 1;
        self.mix_hash::<S>(&sealed);
        sealed
    }

    /// DecryptAndHash.
    pub fn unseal<S: Suite>(&mut self, sealed: &[u8]) -> Option<Vec<u8>> {
        let plain = self.keys.as_ref().unwrap().open::<S>(self.n, &self.h, sealed);
        self.n += 1;
        self.mix_hash::<S>(sealed);
        plain
    }

    /// Epoch 0 secrets, client to server first.
    pub fn split<S: Suite>(&self) -> [Vec<u8>; 2] {
        let ck = Secret::new(S::Hash::copy_of(&self.ck).unwrap());
        let (to_server, to_client) = kdf::noise::<S>(&ck, &[]);
        [to_server.expose().to_vec(), to_client.expose().to_vec()]
    }
}

/// Payload 1, or the front of payload 2: max record and suites, filled with zeros to `len`.
pub fn offer(max_record: u16, suites: &[u8; 8], len: usize) -> Vec<u8> {
    let mut payload = [&max_record.to_be_bytes()[..], &[0; 4], suites].concat();
    payload.resize(len, 0);
    payload
}

/// Payload 1 of an honest client that lists only `S`.
pub fn honest_offer<S: Suite>() -> Vec<u8> {
    offer(1024, SuiteList::new(&[S::ID]).unwrap().as_bytes(), 31)
}

/// Message 1's gate.
pub fn gate<S: Suite>(server: &PublicKey<S>, header: &[u8], e: &[u8]) -> Vec<u8> {
    let key = kdf::hash::<S>(&[b"sordino/1 gate", server.as_bytes()]);
    kdf::hmac::<S>(key.as_ref(), &[header, e]).expose()[..GATE].to_vec()
}

/// A Diffie-Hellman value on the wire, and what its receiver makes of it with its own exponent.
#[derive(Clone, Debug)]
pub struct Value {
    /// The bytes on the wire.
    pub bytes: Vec<u8>,
    /// The receiver's shared value.
    pub shared: Vec<u8>,
}

impl Value {
    /// The value of an exponent that its sender holds.
    pub fn honest<S: Suite>(own: &SecretKey<S>, peer: &PublicKey<S>) -> Self {
        Self { bytes: own.public().as_bytes().into(), shared: shared_value::<S>(own, peer).expose().into() }
    }
}

/// A client whose every value is free to choose.
pub struct FreeClient<S: Suite> {
    /// The key schedule.
    pub schedule: Schedule,
    e: SecretKey<S>,
    server_e: Option<PublicKey<S>>,
}

impl<S: Suite> FreeClient<S> {
    /// Message 1 of an honest client with the exponent `e`.
    pub fn start(server: &PublicKey<S>, e: &SecretKey<S>) -> (Self, Vec<u8>) {
        Self::message_1(server, e, &Value::honest::<S>(e, server), &honest_offer::<S>())
    }

    /// Message 1 to a server with this key; `value` stands for g^e and es.
    pub fn message_1(
        server: &PublicKey<S>,
        e: &SecretKey<S>,
        value: &Value,
        payload: &[u8],
    ) -> (Self, Vec<u8>) {
        let e_bytes = &value.bytes;
        let length = GATE + e_bytes.len() + payload.len() + 1 + tag_len::<S>();
        let header = framed(MESSAGE_1, S::ID, &vec![0; length])[..HEADER_LEN].to_vec();
        let gate = gate::<S>(server, &header, e_bytes);
        let mut schedule = Schedule::open::<S>(server);
        for part in [&header, &gate, e_bytes] {
            schedule.mix_hash::<S>(part);
        }
        schedule.mix_key::<S>(&value.shared);
        let sealed = schedule.seal::<S>(payload);
        let message = [&header, &gate, e_bytes, &sealed[..]].concat();
        (Self { schedule, e: e.clone(), server_e: None }, message)
    }

    /// Reads message 2; payload 2, if it is authentic.
    pub fn read_2(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let (header, body) = message.split_at(HEADER_LEN);
        let (e, sealed) = body.split_at(dh_len::<S>());
        let server_e = PublicKey::<S>::from_bytes(e).ok()?;
        self.schedule.mix_hash::<S>(header);
        self.schedule.mix_hash::<S>(e);
        self.schedule.mix_key::<S>(shared_value::<S>(&self.e, &server_e).expose());
        self.server_e = Some(server_e);
        self.schedule.unseal::<S>(sealed)
    }

    /// The device key as an honest client sends it in message 3.
    pub fn honest_device(&self, device: &SecretKey<S>) -> Value {
        Value::honest::<S>(device, self.server_e.as_ref().unwrap())
    }

    /// Message 3: `device` stands for the device key and se, `pad` follows the key.
    pub fn message_3(&mut self, device: &Value, pad: &[u8; 15]) -> Vec<u8> {
        let length = dh_len::<S>() + 16 + tag_len::<S>() + 32 + tag_len::<S>();
        let header = framed(MESSAGE_3, S::ID, &vec![0; length])[..HEADER_LEN].to_vec();
        self.schedule.mix_hash::<S>(&header);
        let sealed = self.schedule.seal::<S>(&[&device.bytes[..], pad].concat());
        self.schedule.mix_key::<S>(&device.shared);
        let payload = self.schedule.seal::<S>(&[0; 31]);
        [header, sealed, payload].concat()
    }
}

/// A server whose every value is free to choose.
pub struct FreeServer<S: Suite> {
    /// The key schedule.
    pub schedule: Schedule,
    /// Payload 1, if it was authentic.
    pub payload_1: Option<Vec<u8>>,
    /// The client's ephemeral key.
    pub client_e: PublicKey<S>,
}

impl<S: Suite> FreeServer<S> {
    /// Reads message 1 with the static exponent `secret`, as the server whose key is `server`.
    pub fn read_1(server: &PublicKey<S>, secret: &SecretKey<S>, message: &[u8]) -> Self {
        let (header, body) = message.split_at(HEADER_LEN);
        let (gate, rest) = body.split_at(GATE);
        let (e, sealed) = rest.split_at(dh_len::<S>());
        let client_e = PublicKey::<S>::from_bytes(e).unwrap();
        let mut schedule = Schedule::open::<S>(server);
        for part in [header, gate, e] {
            schedule.mix_hash::<S>(part);
        }
        schedule.mix_key::<S>(shared_value::<S>(secret, &client_e).expose());
        let payload_1 = schedule.unseal::<S>(sealed);
        Self { schedule, payload_1, client_e }
    }

    /// Message 2; `value` stands for g^e and ee.
    pub fn message_2(&mut self, value: &Value, payload: &[u8]) -> Vec<u8> {
        let e_bytes = &value.bytes;
        let length = e_bytes.len() + payload.len() + 1 + tag_len::<S>();
        let header = framed(MESSAGE_2, S::ID, &vec![0; length])[..HEADER_LEN].to_vec();
        self.schedule.mix_hash::<S>(&header);
        self.schedule.mix_hash::<S>(e_bytes);
        self.schedule.mix_key::<S>(&value.shared);
        let sealed = self.schedule.seal::<S>(payload);
        [&header, e_bytes, &sealed[..]].concat()
    }

    /// Reads message 3; the device key, if it is authentic.
    pub fn read_3(&mut self, e: &SecretKey<S>, message: &[u8]) -> Option<Vec<u8>> {
        let (header, body) = message.split_at(HEADER_LEN);
        let (sealed, payload) = body.split_at(dh_len::<S>() + 16 + tag_len::<S>());
        self.schedule.mix_hash::<S>(header);
        let mut device = self.schedule.unseal::<S>(sealed)?;
        device.truncate(dh_len::<S>());
        self.schedule.mix_key::<S>(shared_value::<S>(e, &PublicKey::<S>::from_bytes(&device).ok()?).expose());
        self.schedule.unseal::<S>(payload).map(|_| device)
    }
}

/// The ephemeral exponent that a side derives from its random numbers.
pub fn ephemeral<S: Suite>(seed: u64, own: &SecretKey<S>, counter: u64) -> SecretKey<S> {
    let mut random = [0; 32];
    Seeded(seed).fill(&mut random).unwrap();
    let prk = kdf::extract::<S>(b"sordino/1 ephemeral", &[&random, own.expose(), &counter.to_be_bytes()]);
    let mut bytes = <S::Group as Group>::Exponent::zeroed();
    kdf::expand::<S>(prk.expose(), b"", bytes.as_mut());
    exponent::<S>(bytes.as_ref())
}

/// Every secret of an honest pair's handshake, derived again from its seeds and its bytes on the wire.
pub struct Known<S: Suite> {
    /// The client's ephemeral exponent.
    pub client_e: SecretKey<S>,
    /// The server's ephemeral exponent.
    pub server_e: SecretKey<S>,
    /// Chaining key and handshake keys after each MixKey: es, ee, se.
    pub stages: Vec<(Vec<u8>, Keys)>,
    /// Epoch 0 secrets, client to server first.
    pub epoch_0: [Vec<u8>; 2],
}

impl<S: Suite> Known<S> {
    /// From the seeds of both sides and messages 1 to 3.
    ///
    /// # Panics
    /// If the messages don't follow from the seeds.
    pub fn derive(server: &PublicKey<S>, seeds: [u64; 2], messages: [&[u8]; 3]) -> Self {
        let own = static_secret::<S>();
        let client_e = ephemeral::<S>(seeds[0], &device::<S>().0, CLIENT_COUNTER);
        let server_e = ephemeral::<S>(seeds[1], &own, SERVER_COUNTER);
        let [first, second, third] = messages;
        let mut reader = FreeServer::<S>::read_1(server, &own, first);
        assert!(reader.payload_1.is_some() && client_e.public() == reader.client_e);
        let stage = |schedule: &Schedule| (schedule.ck.clone(), schedule.keys.clone().unwrap());
        let mut stages = vec![stage(&reader.schedule)];

        let (header, body) = second.split_at(HEADER_LEN);
        let (e, sealed) = body.split_at(dh_len::<S>());
        reader.schedule.mix_hash::<S>(header);
        reader.schedule.mix_hash::<S>(e);
        reader.schedule.mix_key::<S>(shared_value::<S>(&server_e, &reader.client_e).expose());
        assert!(reader.schedule.unseal::<S>(sealed).is_some());
        stages.push(stage(&reader.schedule));

        assert!(reader.read_3(&server_e, third).is_some());
        stages.push(stage(&reader.schedule));
        let epoch_0 = reader.schedule.split::<S>();
        Self { client_e, server_e, stages, epoch_0 }
    }
}
