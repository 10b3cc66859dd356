//! The client's side: sends message 1, answers message 2 with message 3.

use super::{
    Finished, GATE_LEN, HandshakeKeys, Header, Kind, OFFER_LEN, Offer, PAYLOAD1, PAYLOAD2, PAYLOAD3,
    Receives, STATIC_PAD, Symmetric, ephemeral, message1_len, message2_len, message3_len, public, static_len,
};
use super::{Handshake, Outcome};
use crate::config::HEADER_LEN;
use crate::error::{Error, Misuse, PeerFault};
use crate::identity::{ServerKey, gate_key};
use crate::io::Io;
use crate::kdf;
use crate::suite::{PublicKey, SecretKey, Suite, SuiteList, dh_len};

/// What a client needs for a connection.
pub struct ClientConfig<S: Suite> {
    /// The server's static key, from [`crate::identity::check_key_answer`] or from storage.
    pub server: ServerKey<S>,
    /// The device key.
    pub device: SecretKey<S>,
    /// Its public key, stored beside it so that no exponentiation is spent on it.
    pub device_public: PublicKey<S>,
    /// The suites that this client is willing to use; must contain `S`.
    pub suites: SuiteList,
    /// Largest record to receive: a multiple of 1,024 from 1,024 to 16,384 bytes.
    pub max_record: u16,
    /// Whether to receive several messages in one record: cheaper for both sides when many come at once.
    pub bundles: bool,
    /// A number that never repeats for this device key: makes the ephemeral key unique even if the
    /// random numbers repeat.
    pub counter: u64,
}

/// The states of a client.
pub enum ClientHandshake<S: Suite> {
    Start(Start<S>),
    Wait2(Wait2<S>),
}

/// About to send message 1.
pub struct Start<S: Suite> {
    config: ClientConfig<S>,
    offer: Offer,
}

/// Message 1 is sent.
pub struct Wait2<S: Suite> {
    state: Symmetric<S>,
    e: SecretKey<S>,
    device: SecretKey<S>,
    device_public: PublicKey<S>,
    offer: Offer,
}

impl<S: Suite> ClientHandshake<S> {
    pub fn new(config: ClientConfig<S>) -> Result<Self, Error> {
        if !config.suites.contains(S::ID) {
            return Err(Error::Misuse(Misuse::Parameter));
        }
        let receives = Receives::new(config.max_record, config.bundles);
        let offer = Offer::new(receives, config.suites)?;
        Ok(Self::Start(Start { config, offer }))
    }
}

impl<S: Suite> Handshake<S> for ClientHandshake<S> {
    fn expects(&self) -> Option<(Kind, usize)> {
        match self {
            Self::Start(_) => None,
            Self::Wait2(_) => Some((Kind::Message2, message2_len::<S>())),
        }
    }

    fn handle(&mut self, message: &mut [u8], io: &mut Io<'_, '_>) -> Result<Outcome<Self, S>, Error> {
        match self {
            Self::Start(start) => start.send(io).map(|wait| Outcome::Continue(Self::Wait2(wait))),
            Self::Wait2(wait) => wait.handle(message, io),
        }
    }
}

impl<S: Suite> Start<S> {
    /// One and a third of an exponentiation: e and es.
    fn send(&self, io: &mut Io<'_, '_>) -> Result<Wait2<S>, Error> {
        let ClientConfig { server, device, device_public, counter, .. } = &self.config;
        let e = ephemeral::<S>(io.rng, device, *counter)?;
        let e_public = e.public();
        let header = Header::new(Kind::Message1, S::ID, message1_len::<S>()).encode();
        let gate_key = gate_key::<S>(server.public());
        let gate = kdf::hmac::<S>(gate_key.as_ref(), &[&header, e_public.as_bytes()]);
        let gate = gate.expose().get(..GATE_LEN).unwrap_or_default();

        let mut state = Symmetric::open(server.id(), server.public());
        state.mix_hash(&[&header]);
        state.mix_hash(&[gate]);
        state.mix_hash(&[e_public.as_bytes()]);
        let mut keys = state.mix_key(e.agree(server.public(), io.scratch())?.expose());

        io.put(|out| {
            out.put(&header)?;
            out.put(gate)?;
            out.put(e_public.as_bytes())
        })?;
        let offer = self.offer.encode();
        io.put_sealed::<S>(
            PAYLOAD1,
            |plain| copy(plain, &offer),
            |buf| state.encrypt_and_hash(&mut keys, buf, PAYLOAD1),
        )?;
        Ok(Wait2 {
            state,
            e,
            device: device.clone(),
            device_public: device_public.clone(),
            offer: self.offer,
        })
    }
}

impl<S: Suite> Wait2<S> {
    /// One and a half exponentiations: ee and se together.
    fn handle<H>(&mut self, message: &mut [u8], io: &mut Io<'_, '_>) -> Result<Outcome<H, S>, Error> {
        let (header, body) = message.split_at_mut_checked(HEADER_LEN).ok_or(LENGTH)?;
        let (re, payload) = body.split_at_mut_checked(dh_len::<S>()).ok_or(LENGTH)?;
        let server_e = public::<S>(re)?;
        self.state.mix_hash(&[header]);
        self.state.mix_hash(&[re]);
        let [mut keys, mut next_keys] =
            self.state.mix_both(&self.e, &self.device, &server_e, io.scratch())?;
        let payload = self.state.decrypt_and_hash(&mut keys, payload, PAYLOAD2)?;
        let peer = Offer::decode(payload.first_chunk().ok_or(LENGTH)?)?;
        self.offer.check_suite::<S>(&peer)?;

        self.send_static(&mut keys, io)?;
        let state = &mut self.state;
        io.put_sealed::<S>(PAYLOAD3, |_| (), |buf| state.encrypt_and_hash(&mut next_keys, buf, PAYLOAD3))?;

        let start = HEADER_LEN.saturating_add(dh_len::<S>());
        let (to_server, to_client) = self.state.split();
        Ok(Outcome::Done {
            finished: Finished { to_server, to_client, own: self.offer.receives, peer: peer.receives },
            peer: start..start.saturating_add(PAYLOAD2),
        })
    }

    /// Header of message 3, and the device key under the key of message 2.
    fn send_static(&mut self, keys: &mut HandshakeKeys<S>, io: &mut Io<'_, '_>) -> Result<(), Error> {
        let header = Header::new(Kind::Message3, S::ID, message3_len::<S>()).encode();
        self.state.mix_hash(&[&header]);
        io.put(|out| out.put(&header))?;
        let plain = dh_len::<S>().saturating_add(STATIC_PAD);
        debug_assert_eq!(static_len::<S>(), super::sealed_len::<S>(plain));
        let device = self.device_public.as_bytes();
        let state = &mut self.state;
        io.put_sealed::<S>(plain, |out| copy(out, device), |buf| state.encrypt_and_hash(keys, buf, plain))
    }
}

const LENGTH: Error = Error::Peer(PeerFault::Length);

fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// What the server says of itself in message 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// Largest record that the server receives, in bytes.
    pub max_record: u16,
    /// The suites that the server offers.
    pub suites: SuiteList,
    /// Random, for logs.
    pub connection: [u8; 16],
    /// The server's clock, Unix time in milliseconds. For display only.
    pub time: u64,
}

impl ServerHello {
    /// Reads payload 2.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Error> {
        let (offer, rest) = payload.split_first_chunk::<OFFER_LEN>().ok_or(LENGTH)?;
        let (connection, rest) = rest.split_first_chunk::<16>().ok_or(LENGTH)?;
        let time = rest.first_chunk::<8>().ok_or(LENGTH)?;
        let offer = Offer::decode(offer)?;
        Ok(Self {
            max_record: offer.receives.max_record,
            suites: offer.suites,
            connection: *connection,
            time: u64::from_be_bytes(*time),
        })
    }
}
