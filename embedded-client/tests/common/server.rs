//! A server in memory, on the core's own server side: one board, its code, its mailbox.

use super::{SECRET, Splitmix};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use sordino_core::config::Timeouts;
use sordino_core::entropy::Entropy;
use sordino_core::identity::{ServerIdentity, StaticKey, device_fingerprint};
use sordino_core::messages::{
    Accepted, AuthCode, AuthMethod, AuthResult, CloseReason, Code, Deliver, Done, MessageId, Refused, Welcome,
};
use sordino_core::name::{Target, Username};
use sordino_core::suite::{PublicKey, SecretKey};
use sordino_core::wire::Opaque;
use sordino_core::{
    Accept, Acceptor, Answer, Conn, Error, Event, Io, Message, Peer, RxBuf, Server, ServerConfig, Step,
    Suite1, Suite2, TxBuf,
};
use std::collections::HashSet;

const BUFFER: usize = 20_000;

pub struct Random(Splitmix);

impl Entropy for Random {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        out.iter_mut().for_each(|b| *b = self.0.next() as u8);
        Ok(())
    }
}

/// What outlives a connection.
pub struct World {
    pub identity: ServerIdentity,
    pub random: Random,
    /// First bytes of every ephemeral key of a client.
    pub ephemerals: HashSet<Vec<u8>>,
    pub reused: usize,
    /// The key that claimed the code.
    pub claimed: Option<Vec<u8>>,
    pub revoked: bool,
    /// Somebody who does not know the secret answers claims.
    pub impostor: bool,
    pub joined: bool,
    pub accepted: Vec<(MessageId, String)>,
    /// Bodies for the board; the number of a message is its place + 1.
    pub mailbox: Vec<Vec<u8>>,
    pub acked: u64,
    pub logins: usize,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random(Splitmix(seed));
        let one = StaticKey::new(SecretKey::<Suite1>::generate(&mut random).unwrap());
        let two = StaticKey::new(SecretKey::<Suite2>::generate(&mut random).unwrap());
        Self {
            identity: ServerIdentity::sign(&[9; 32], 1, 1_700_000_000, Some(one), Some(two)).unwrap(),
            random,
            ephemerals: HashSet::new(),
            reused: 0,
            claimed: None,
            revoked: false,
            impostor: false,
            joined: false,
            accepted: Vec::new(),
            mailbox: Vec::new(),
            acked: 0,
            logins: 0,
        }
    }

    /// An enrolment code of this server.
    pub fn code(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        format!(
            "sordino://server.example:12345/board/{}/1800000000#{}",
            hex(&SECRET),
            hex(&self.identity.fingerprint())
        )
    }

    fn note_ephemeral(&mut self, received: &[u8]) {
        // Header, gate, then e; type 3 is message 1.
        if received.len() >= 8 + 16 + 32
            && received[3] == 3
            && !self.ephemerals.insert(received[24..56].to_vec())
        {
            self.reused += 1;
        }
    }
}

fn hmac(secret: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

enum Stage {
    Accepting(Acceptor),
    Open(Box<Conn<Server, Suite1>>),
    Over,
}

/// One connection's server side.
pub struct Link {
    stage: Stage,
    rx: RxBuf<'static>,
    tx: TxBuf<'static>,
    device: Vec<u8>,
    window: usize,
    delivered: u64,
    noted: bool,
}

impl Link {
    pub fn new(now: u64) -> Self {
        let config =
            ServerConfig { max_record: 16_384, bundles: true, counter: now, time: 1_700_000_000_000 };
        Self {
            stage: Stage::Accepting(Acceptor::new(config, Timeouts::SERVER, now)),
            rx: RxBuf::new(vec![0; BUFFER].leak()),
            tx: TxBuf::new(vec![0; BUFFER].leak()),
            device: Vec::new(),
            window: 0,
            delivered: 0,
            noted: false,
        }
    }

    /// Takes bytes from the board.
    pub fn feed(&mut self, bytes: &[u8], world: &mut World, now: u64) {
        self.rx.spare()[..bytes.len()].copy_from_slice(bytes);
        self.rx.commit(bytes.len());
        self.work(world, now);
    }

    /// Gives at most `limit` bytes to the board; `None`: the stream is over.
    pub fn take(&mut self, limit: usize, world: &mut World, now: u64) -> Option<Vec<u8>> {
        self.work(world, now);
        let pending = self.tx.pending();
        let part = pending[..pending.len().min(limit)].to_vec();
        self.tx.consume(part.len());
        if part.is_empty() && matches!(self.stage, Stage::Over) { None } else { Some(part) }
    }

    pub fn has_output(&mut self, world: &mut World, now: u64) -> bool {
        self.work(world, now);
        !self.tx.is_empty() || matches!(self.stage, Stage::Over)
    }

    fn work(&mut self, world: &mut World, now: u64) {
        while self.step(world, now) {}
        self.deliver(world, now);
    }

    fn step(&mut self, world: &mut World, now: u64) -> bool {
        let mut io = Io { now, tx: &mut self.tx, rng: &mut world.random };
        match &mut self.stage {
            Stage::Over => false,
            Stage::Accepting(acceptor) => match acceptor.step(&world.identity, &mut self.rx, &mut io) {
                Ok(Accept::NeedInput) => false,
                Ok(_) => {
                    let conn = acceptor.connection::<Suite1>(&world.identity).unwrap();
                    self.stage = Stage::Open(Box::new(conn));
                    true
                }
                Err(_) => {
                    self.stage = Stage::Over;
                    false
                }
            },
            Stage::Open(conn) => {
                if !self.noted && self.rx.unconsumed().len() >= 328 {
                    self.noted = true;
                    let received = self.rx.unconsumed().to_vec();
                    world.note_ephemeral(&received);
                    return true;
                }
                match conn.step(&mut self.rx, &mut io) {
                    Ok(Step::NeedInput | Step::NeedOutput(_)) => false,
                    Ok(Step::Progressed) => true,
                    Ok(Step::Event(id)) => {
                        self.event(id, world, now);
                        true
                    }
                    Ok(Step::Closed(_)) | Err(_) => {
                        self.stage = Stage::Over;
                        false
                    }
                }
            }
        }
    }

    fn event(&mut self, id: sordino_core::event::EventId, world: &mut World, now: u64) {
        let Stage::Open(conn) = &mut self.stage else { return };
        let answer = match conn.event(&self.rx, id).unwrap() {
            Event::Admit { ticket, .. } => {
                let mut io = Io { now, tx: &mut self.tx, rng: &mut world.random };
                conn.answer(ticket, Answer::Admit, &mut io).unwrap();
                return;
            }
            Event::Established(Peer::Device(key)) => {
                self.device = key.to_vec();
                return;
            }
            Event::Auth { request, ticket } => {
                let lookup: [u8; 32] = Sha256::new()
                    .chain_update(b"sordino/1 board lookup")
                    .chain_update(SECRET)
                    .finalize()
                    .into();
                let device =
                    device_fingerprint::<Suite1>(&PublicKey::<Suite1>::from_bytes(&self.device).unwrap());
                let proof = hmac(&SECRET, &[b"sordino/1 board key", &device]);
                let claims = request.method == AuthMethod::Claim;
                let good = match request.method {
                    AuthMethod::Claim => {
                        request.invite == hex(&lookup[..16])
                            && request.password == hex(&proof)
                            && world.claimed.as_ref().is_none_or(|key| *key == self.device)
                    }
                    AuthMethod::Device => world.claimed.as_ref() == Some(&self.device),
                    _ => panic!("{request:?}"),
                };
                let good = good && !world.revoked;
                let result = if good {
                    world.claimed = Some(self.device.clone());
                    world.logins += 1;
                    AuthResult {
                        code: AuthCode::Ok,
                        retry_after: 0,
                        device: 1,
                        pending: 0,
                        username: "greenhouse",
                    }
                } else {
                    AuthResult::refusal(AuthCode::Denied, 0)
                };
                let mut io = Io { now, tx: &mut self.tx, rng: &mut world.random };
                conn.answer(ticket, Answer::Auth(result), &mut io).unwrap();
                if good && claims {
                    let secret = if world.impostor { [1; 16] } else { SECRET };
                    let names: [&[u8]; 5] = [b"sordino/1 board owner", &[10], b"greenhouse", &[5], b"alice"];
                    let proof = hmac(&secret, &names);
                    let welcome = Welcome { owner: Username::new("alice").unwrap(), proof };
                    conn.send(&Message::Welcome(welcome), &mut io).unwrap();
                }
                return;
            }
            Event::Message(Message::Send(send)) => {
                let time = 1_700_000_000_000;
                if let Target::Room(room) = send.target
                    && !world.joined
                {
                    // This one exists; others are made by a JOIN.
                    let code = if room.as_str() == "greenhouse" { Code::NotMember } else { Code::NotFound };
                    Message::Refused(Refused { id: send.id, code, retry_after: 0 })
                } else {
                    let known = world.accepted.iter().position(|(id, _)| *id == send.id);
                    let number = known.unwrap_or_else(|| {
                        world.accepted.push((send.id, String::from_utf8(send.body.0.to_vec()).unwrap()));
                        world.accepted.len() - 1
                    });
                    Message::Accepted(Accepted { id: send.id, number: number as u64, time })
                }
            }
            Event::Message(Message::Join(join)) => {
                world.joined = true;
                Message::Done(Done { tag: join.tag, code: Code::Ok, retry_after: 0 })
            }
            Event::Message(Message::Receive(receive)) => {
                self.window = usize::from(receive.window);
                self.delivered = world.acked;
                return;
            }
            Event::Message(Message::Ack(ack)) => {
                assert!(ack.number <= self.delivered, "acknowledged before delivery");
                world.acked = world.acked.max(ack.number);
                return;
            }
            other => panic!("{other:?}"),
        };
        let mut io = Io { now, tx: &mut self.tx, rng: &mut world.random };
        conn.send(&answer, &mut io).unwrap();
    }

    fn deliver(&mut self, world: &mut World, now: u64) {
        let Stage::Open(conn) = &mut self.stage else { return };
        while self.window > 0
            && self.delivered < world.mailbox.len() as u64
            && self.delivered - world.acked < self.window as u64
            && self.tx.free() > 4 * 1200
        {
            let body = &world.mailbox[self.delivered as usize];
            self.delivered += 1;
            // In parts, as for any device with records of 1 KiB.
            for (index, part) in body.chunks(900).enumerate() {
                let deliver = Deliver {
                    number: self.delivered,
                    id: [7; 16],
                    time: 1_700_000_000_000,
                    sender: Username::new("alice").unwrap(),
                    target: Target::User(Username::new("greenhouse").unwrap()),
                    format: 0,
                    total: body.len() as u16,
                    offset: (index * 900) as u16,
                    part: Opaque(part),
                };
                let mut io = Io { now, tx: &mut self.tx, rng: &mut world.random };
                conn.send(&Message::Deliver(deliver), &mut io).unwrap();
            }
        }
    }

    /// The operator ends the connection.
    pub fn close(&mut self, reason: CloseReason, world: &mut World, now: u64) {
        if let Stage::Open(conn) = &mut self.stage {
            let mut io = Io { now, tx: &mut self.tx, rng: &mut world.random };
            conn.close(reason, &mut io);
            self.stage = Stage::Over;
        }
    }
}
