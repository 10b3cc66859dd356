//! The server's side: gate, admission, message 2, message 3.

use super::{
    Finished, GATE_LEN, HandshakeKeys, Header, Kind, Offer, PAYLOAD1, PAYLOAD2, PAYLOAD3, Receives,
    STATIC_PAD, Symmetric, ephemeral, message1_len, message2_len, message3_len, public, static_len,
};
use super::{Handshake, Outcome};
use crate::bytes::Bytes;
use crate::config::HEADER_LEN;
use crate::error::{Error, ErrorCode, Misuse, PeerFault};
use crate::identity::StaticKey;
use crate::io::Io;
use crate::suite::{SecretKey, Suite, SuiteList, dh_len};
use hmac::Mac;

/// What a server's connections have in common, and what is special to one.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    /// Largest record to receive: a multiple of 1,024 from 1,024 to 16,384 bytes.
    pub max_record: u16,
    /// Whether to receive several messages in one record: cheaper for both sides when many come at once.
    pub bundles: bool,
    /// A number that never repeats for this server: makes the ephemeral key unique even if the
    /// random numbers repeat.
    pub counter: u64,
    /// Unix time in milliseconds, told to the client.
    pub time: u64,
}

/// The states of a server.
pub enum ServerHandshake<S: Suite> {
    Gate(Start<S>),
    Admitted(Start<S>),
    Wait3(Wait3<S>),
}

/// Message 1 is awaited, or there and not answered.
#[derive(Clone)]
pub struct Start<S: Suite> {
    secret: SecretKey<S>,
    gate_key: S::Hash,
    state: Symmetric<S>,
    offer: Offer,
    counter: u64,
    time: u64,
}

/// Message 2 is sent.
pub struct Wait3<S: Suite> {
    state: Symmetric<S>,
    keys: HandshakeKeys<S>,
    e: SecretKey<S>,
    own: Receives,
    peer: Receives,
}

const LENGTH: Error = Error::Peer(PeerFault::Length);

impl<S: Suite> ServerHandshake<S> {
    pub fn new(key: &StaticKey<S>, suites: SuiteList, config: ServerConfig) -> Result<Self, Error> {
        Ok(Self::Gate(Start {
            secret: key.secret.clone(),
            gate_key: key.gate_key.clone(),
            state: key.opening.clone(),
            offer: Offer::new(Receives::new(config.max_record, config.bundles), suites)?,
            counter: config.counter,
            time: config.time,
        }))
    }
}

impl<S: Suite> Handshake<S> for ServerHandshake<S> {
    fn expects(&self) -> Option<(Kind, usize)> {
        Some(match self {
            Self::Gate(_) | Self::Admitted(_) => (Kind::Message1, message1_len::<S>()),
            Self::Wait3(_) => (Kind::Message3, message3_len::<S>()),
        })
    }

    fn handle(&mut self, message: &mut [u8], io: &mut Io<'_, '_>) -> Result<Outcome<Self, S>, Error> {
        match self {
            Self::Gate(start) => {
                start.check_gate(message, io)?;
                let from = HEADER_LEN.saturating_add(GATE_LEN);
                let ephemeral = from..from.saturating_add(dh_len::<S>());
                Ok(Outcome::Admit { next: Self::Admitted(start.clone()), ephemeral })
            }
            Self::Admitted(start) => {
                start.handle(message, io).map(|wait| Outcome::Continue(Self::Wait3(wait)))
            }
            Self::Wait3(wait) => wait.handle(message, io),
        }
    }
}

impl<S: Suite> Start<S> {
    /// No exponentiation: turns away those who did not ask for the key, and values out of range.
    fn check_gate(&self, message: &[u8], io: &mut Io<'_, '_>) -> Result<(), Error> {
        let (header, body) = message.split_at_checked(HEADER_LEN).ok_or(LENGTH)?;
        let (gate, rest) = body.split_first_chunk::<GATE_LEN>().ok_or(LENGTH)?;
        let e = rest.get(..dh_len::<S>()).ok_or(LENGTH)?;
        let mut mac = S::mac(self.gate_key.as_ref());
        mac.update(header);
        mac.update(e);
        if mac.verify_truncated_left(gate).is_err() {
            io.put_error(S::ID, ErrorCode::UnknownKey)?;
            return Err(Error::Peer(PeerFault::Gate));
        }
        public::<S>(e).map(|_| ())
    }

    /// One and two thirds of an exponentiation: es and ee together, and e.
    fn handle(&mut self, message: &mut [u8], io: &mut Io<'_, '_>) -> Result<Wait3<S>, Error> {
        let (header, body) = message.split_at_mut_checked(HEADER_LEN).ok_or(LENGTH)?;
        let (gate, rest) = body.split_at_mut_checked(GATE_LEN).ok_or(LENGTH)?;
        let (re, payload) = rest.split_at_mut_checked(dh_len::<S>()).ok_or(LENGTH)?;
        let client_e = public::<S>(re)?;
        self.state.mix_hash(&[header]);
        self.state.mix_hash(&[gate]);
        self.state.mix_hash(&[re]);
        let e = ephemeral::<S>(io.rng, &self.secret, self.counter)?;
        let [mut keys, mut next_keys] = self.state.mix_both(&self.secret, &e, &client_e, io.scratch())?;
        let payload = self.state.decrypt_and_hash(&mut keys, payload, PAYLOAD1)?;
        let peer = Offer::decode(payload.first_chunk().ok_or(LENGTH)?)?;
        self.offer.check_suite::<S>(&peer)?;

        let e_public = e.public();
        let header = Header::new(Kind::Message2, S::ID, message2_len::<S>()).encode();
        self.state.mix_hash(&[&header]);
        self.state.mix_hash(&[e_public.as_bytes()]);
        let hello = self.hello(io)?;
        io.put(|out| {
            out.put(&header)?;
            out.put(e_public.as_bytes())
        })?;
        let state = &mut self.state;
        io.put_sealed::<S>(
            PAYLOAD2,
            |plain| plain.copy_from_slice(&hello),
            |buf| state.encrypt_and_hash(&mut next_keys, buf, PAYLOAD2),
        )?;
        Ok(Wait3 {
            state: self.state.clone(),
            keys: next_keys,
            e,
            own: self.offer.receives,
            peer: peer.receives,
        })
    }

    /// Payload 2.
    fn hello(&self, io: &mut Io<'_, '_>) -> Result<[u8; PAYLOAD2], Error> {
        let mut connection = [0; 16];
        io.rng.fill(&mut connection)?;
        let mut hello = [0; PAYLOAD2];
        let mut out = crate::wire::Writer::new(&mut hello);
        out.put(&self.offer.encode())
            .and_then(|()| out.put(&connection))
            .and_then(|()| out.put(&self.time.to_be_bytes()))
            .map_err(|_| Error::Misuse(Misuse::Parameter))?;
        Ok(hello)
    }
}

impl<S: Suite> Wait3<S> {
    /// One exponentiation: se.
    fn handle<H>(&mut self, message: &mut [u8], io: &mut Io<'_, '_>) -> Result<Outcome<H, S>, Error> {
        let (header, body) = message.split_at_mut_checked(HEADER_LEN).ok_or(LENGTH)?;
        let (sealed, payload) = body.split_at_mut_checked(static_len::<S>()).ok_or(LENGTH)?;
        self.state.mix_hash(&[header]);
        let plain = dh_len::<S>().saturating_add(STATIC_PAD);
        let plain = self.state.decrypt_and_hash(&mut self.keys, sealed, plain)?;
        let (device, zeros) = plain.split_at_checked(dh_len::<S>()).ok_or(LENGTH)?;
        if zeros != <[u8; STATIC_PAD]>::zeroed() {
            return Err(Error::Peer(PeerFault::Handshake));
        }
        let device = public::<S>(device)?;
        let mut keys = self.state.mix_key(self.e.agree(&device, io.scratch())?.expose());
        self.state.decrypt_and_hash(&mut keys, payload, PAYLOAD3)?;
        let (to_server, to_client) = self.state.split();
        Ok(Outcome::Done {
            finished: Finished { to_server, to_client, own: self.own, peer: self.peer },
            peer: HEADER_LEN..HEADER_LEN.saturating_add(dh_len::<S>()),
        })
    }
}
