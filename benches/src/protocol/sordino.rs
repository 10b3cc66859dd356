//! Sordino, by the core's own client: asks for the server's key, shakes hands, logs in.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail};
use getrandom::SysRng;
use sordino_core::config::{MAX_RECORD, Timeouts};
use sordino_core::event::{Event, EventId, Peer, Step};
use sordino_core::identity::Trust;
use sordino_core::key_request::KeyRequest;
use sordino_core::messages::{Ack, Auth, AuthCode, AuthMethod, Code, Message, Receive, RoomRequest, Send};
use sordino_core::name::{RoomName, Target, Username};
use sordino_core::suite::{PublicKey, SecretKey, Suite, SuiteList};
use sordino_core::wire::Opaque;
use sordino_core::{Client, ClientConfig, Conn, Error, Io, RxBuf, TxBuf};

use super::{Goal, Protocol, Seen, Whom, number};

/// Messages that may be unacknowledged.
const WINDOW: u16 = 256;
/// As the `sordino` command does it: an acknowledgement covers what came since the last one, which is so long ago, or
/// so many deliveries.
const PAUSE: Duration = Duration::from_millis(200);
const MANY: usize = WINDOW as usize / 2;
/// What one read brings, and what was left of the one before.
const SCRATCH: usize = 256 * 1024;

thread_local! {
    static MEMORY: RefCell<[Vec<u8>; 2]> = RefCell::new([vec![0; SCRATCH], vec![0; SCRATCH]]);
}

/// A user and its device.
pub struct Account<S: Suite> {
    /// Username.
    pub name: String,
    secret: SecretKey<S>,
    public: PublicKey<S>,
}

impl<S: Suite> Account<S> {
    /// A new device key: one exponentiation.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn new(name: String) -> Result<Self> {
        let secret = SecretKey::<S>::generate(&mut SysRng).map_err(failed)?;
        Ok(Self { name, public: secret.public(), secret })
    }
}

/// How somebody comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Makes the account.
    Register,
    /// By the device key.
    Device,
}

enum Stage<S: Suite> {
    New,
    Asking(KeyRequest<S>),
    Open(Box<Conn<Client, S>>),
}

/// See the module.
pub struct Sordino<S: Suite> {
    stage: Stage<S>,
    account: Arc<Account<S>>,
    entry: Entry,
    goal: Goal,
    /// Received and not consumed.
    rest: Vec<u8>,
    /// The last number that was delivered, and how many were since the last acknowledgement.
    delivered: (u64, usize),
    acknowledged: Option<Instant>,
}

fn failed(error: Error) -> anyhow::Error {
    anyhow!("{error:?}")
}

/// Never the same twice, also over restarts of the benchmark.
fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let first = u64::try_from(since.as_nanos()).unwrap_or_default();
    let _ = NEXT.compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn now() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or_default()
}

impl<S: Suite> Sordino<S> {
    /// A client that has said nothing yet.
    #[must_use]
    pub fn new(account: Arc<Account<S>>, entry: Entry, goal: Goal) -> Self {
        Self {
            stage: Stage::New,
            account,
            entry,
            goal,
            rest: Vec::new(),
            delivered: (0, 0),
            acknowledged: None,
        }
    }

    fn asked(&mut self, rx: &mut RxBuf<'_>) -> Result<bool> {
        let Stage::Asking(request) = &self.stage else { return Ok(false) };
        let Some((_, server)) = request.receive(rx, Trust::FirstUse).map_err(failed)? else {
            return Ok(false);
        };
        let config = ClientConfig {
            server,
            device: self.account.secret.clone(),
            device_public: self.account.public.clone(),
            suites: SuiteList::new(&[1, 2][..usize::from(S::ID)]).context("a list of suites")?,
            max_record: MAX_RECORD,
            bundles: true,
            counter: unique(),
        };
        self.stage = Stage::Open(Box::new(Conn::client(config, Timeouts::CLIENT, now()).map_err(failed)?));
        Ok(true)
    }

    /// Until more input is needed.
    fn work(&mut self, rx: &mut RxBuf<'_>, tx: &mut TxBuf<'_>, seen: &mut Vec<Seen>) -> Result<()> {
        if !matches!(self.stage, Stage::Open(_)) && !self.asked(rx)? {
            return Ok(());
        }
        loop {
            let mut io = Io { now: now(), tx, rng: &mut SysRng };
            let Stage::Open(conn) = &mut self.stage else { bail!("no connection") };
            match conn.step(rx, &mut io).map_err(failed)? {
                Step::NeedInput => return Ok(()),
                Step::Progressed => {}
                Step::Event(id) => self.event(rx, id, tx, seen)?,
                other => bail!("{other:?}"),
            }
        }
    }

    fn event(&mut self, rx: &RxBuf<'_>, id: EventId, tx: &mut TxBuf<'_>, seen: &mut Vec<Seen>) -> Result<()> {
        let Stage::Open(conn) = &self.stage else { bail!("no connection") };
        match conn.event(rx, id).map_err(failed)? {
            Event::Established(Peer::Server(_)) if self.goal == Goal::Handshake => seen.push(Seen::Ready),
            Event::Established(_) => self.log_in(tx)?,
            Event::Message(Message::AuthResult(result)) if result.code == AuthCode::Ok => {
                self.enter(tx, seen)?
            }
            Event::Message(Message::AuthResult(result)) => bail!("{result:?}"),
            Event::Message(Message::Done(done)) if done.code == Code::Ok => self.listen(tx, seen)?,
            Event::Message(Message::Deliver(deliver)) => {
                self.delivered = (deliver.number, self.delivered.1 + 1);
                seen.push(Seen::Message(number(deliver.part.0).context("a message of another sender")?));
            }
            Event::Message(Message::Refused(refused)) => bail!("{refused:?}"),
            _ => {}
        }
        Ok(())
    }

    fn put(&mut self, message: &Message<'_>, tx: &mut TxBuf<'_>) -> Result<()> {
        let Stage::Open(conn) = &mut self.stage else { bail!("no connection") };
        let mut io = Io { now: now(), tx, rng: &mut SysRng };
        conn.send(message, &mut io).map_err(|error| anyhow!("{error:?}"))
    }

    fn log_in(&mut self, tx: &mut TxBuf<'_>) -> Result<()> {
        let account = Arc::clone(&self.account);
        self.put(
            &Message::Auth(match self.entry {
                Entry::Device => Auth::DEVICE,
                Entry::Register => Auth {
                    method: AuthMethod::Register,
                    username: &account.name,
                    email: "somebody@example.org",
                    password: "walnut ferry copper 91 lantern",
                    ..Auth::DEVICE
                },
            }),
            tx,
        )
    }

    fn enter(&mut self, tx: &mut TxBuf<'_>, seen: &mut Vec<Seen>) -> Result<()> {
        match self.goal.clone() {
            Goal::Handshake | Goal::Login => seen.push(Seen::Ready),
            Goal::Direct => self.listen(tx, seen)?,
            Goal::Room(room) => {
                let room = RoomName::new(&room).context("a room's name")?;
                self.put(&Message::Join(RoomRequest { tag: 1, room }), tx)?;
            }
        }
        Ok(())
    }

    fn listen(&mut self, tx: &mut TxBuf<'_>, seen: &mut Vec<Seen>) -> Result<()> {
        seen.push(Seen::Ready);
        self.put(&Message::Receive(Receive { window: WINDOW }), tx)
    }
}

impl<S: Suite> Protocol for Sordino<S> {
    fn open(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let mut memory = [0; 2048];
        let mut tx = TxBuf::new(&mut memory);
        let mut io = Io { now: now(), tx: &mut tx, rng: &mut SysRng };
        self.stage = Stage::Asking(KeyRequest::send(&mut io).map_err(failed)?);
        out.extend_from_slice(tx.pending());
        Ok(())
    }

    fn receive(&mut self, input: &[u8], out: &mut Vec<u8>, seen: &mut Vec<Seen>) -> Result<()> {
        MEMORY.with_borrow_mut(|[rx, tx]| {
            let all = self.rest.len() + input.len();
            rx[..self.rest.len()].copy_from_slice(&self.rest);
            rx[self.rest.len()..all].copy_from_slice(input);
            let (mut rx, mut tx) = (RxBuf::resume(rx, all), TxBuf::new(tx));
            self.work(&mut rx, &mut tx, seen)?;
            self.rest.clear();
            self.rest.extend_from_slice(rx.unconsumed());
            let (number, count) = self.delivered;
            let waits = self.acknowledged.is_some_and(|last| last.elapsed() < PAUSE);
            if count >= MANY || (count > 0 && !waits) {
                self.put(&Message::Ack(Ack { number }), &mut tx)?;
                (self.delivered, self.acknowledged) = ((number, 0), Some(Instant::now()));
            }
            out.extend_from_slice(tx.pending());
            Ok(())
        })
    }

    fn say(&mut self, to: Whom<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&unique().to_be_bytes());
        let target = match to {
            Whom::Room(room) => Target::Room(RoomName::new(room).context("a room's name")?),
            Whom::User(user) => Target::User(Username::new(user).context("a username")?),
        };
        MEMORY.with_borrow_mut(|[_, tx]| {
            let mut tx = TxBuf::new(tx);
            self.put(&Message::Send(Send { id, target, format: 0, body: Opaque(body) }), &mut tx)?;
            out.extend_from_slice(tx.pending());
            Ok(())
        })
    }
}
