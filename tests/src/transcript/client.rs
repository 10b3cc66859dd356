//! The client of a transcript: key request, then the connection.

use super::Failure;
use super::settings::Config;
use super::side::{Side, Wire, close, ended_as, run_conn, send, tick_conn};
use sordino_core::config::{Millis, Timeouts};
use sordino_core::conn::Client;
use sordino_core::error::{Error, PeerFault};
use sordino_core::identity::{Pin, ServerKey, Statement, Trust, key_id, server_fingerprint};
use sordino_core::key_request::KeyRequest;
use sordino_core::suite::{PublicKey, SecretKey};
use sordino_core::{ClientConfig, Conn, Suite, Suite1, Suite2, SuiteList};
use std::cell::RefCell;
use std::rc::Rc;

/// A client of the suite that its settings name. A pin that it learns goes into `learned`.
pub(crate) fn new(
    config: &Config,
    now: Millis,
    learned: Rc<RefCell<Option<Pin>>>,
) -> Result<Box<dyn Side>, Failure> {
    Ok(match config.suite {
        1 => Box::new(ClientSide::<Suite1>::new(config, now, learned)?),
        2 => Box::new(ClientSide::<Suite2>::new(config, now, learned)?),
        other => return Err(Failure::new(format!("the core has no suite {other}"))),
    })
}

struct ClientSide<S: Suite> {
    config: Config,
    wire: Wire,
    server: Option<ServerKey<S>>,
    state: State<S>,
    learned: Rc<RefCell<Option<Pin>>>,
}

enum State<S: Suite> {
    Idle,
    Asked(KeyRequest<S>),
    Open(Box<Conn<Client, S>>),
}

impl<S: Suite> ClientSide<S> {
    fn new(config: &Config, now: Millis, learned: Rc<RefCell<Option<Pin>>>) -> Result<Self, Failure> {
        let server = match &config.server_key {
            Some(bytes) => Some(stored_key(bytes)?),
            None => None,
        };
        Ok(Self { config: config.clone(), wire: Wire::new(config, now), server, state: State::Idle, learned })
    }

    fn start(&mut self) -> Result<(), Failure> {
        let config = &self.config;
        let missing = |what: &str| Failure::new(format!("the client has no {what}"));
        let bytes = config.long_lived.get(&S::ID).ok_or_else(|| missing("device key"))?;
        let device = SecretKey::<S>::from_bytes(bytes).map_err(|e| Failure::new(e.to_string()))?;
        let suites = if config.suites.is_empty() { &[S::ID][..] } else { &config.suites };
        let client = ClientConfig {
            server: self.server.clone().ok_or_else(|| missing("static key of the server"))?,
            device_public: device.public(),
            device,
            suites: SuiteList::new(suites).ok_or_else(|| missing("valid suite list"))?,
            max_record: config.max_record,
            bundles: config.bundles,
            counter: config.counter,
        };
        let conn = Conn::client(client, Timeouts::CLIENT, self.wire.opened);
        self.state = State::Open(Box::new(conn.map_err(|e| Failure::new(e.to_string()))?));
        Ok(())
    }

    fn receive_key(&mut self) {
        let State::Asked(request) = &self.state else { return };
        let trust = match (&self.config.pin, self.config.fingerprint) {
            (Some(pin), _) => Trust::Pinned(pin),
            (None, Some(print)) => Trust::Fingerprint(print, self.config.floor),
            (None, None) => Trust::FirstUse,
        };
        match self.wire.lend(|rx, _| request.receive(rx, trust)) {
            Ok(None) => {}
            Ok(Some((pin, key))) => {
                let version = pin.statement.version.to_be_bytes().to_vec();
                let print = server_fingerprint(&pin.root).to_vec();
                self.wire.see("key", vec![("fingerprint", print), ("version", version)]);
                self.config.pin = Some(pin.clone());
                *self.learned.borrow_mut() = Some(pin);
                self.server = Some(key);
                self.state = State::Idle;
            }
            Err(Error::Peer(PeerFault::DhRange | PeerFault::DhResidue)) => self.wire.end("untrusted key"),
            Err(error) => self.wire.end(ended_as(error)),
        }
    }

    fn conn(&mut self) -> Result<(&mut Conn<Client, S>, &mut Wire), Failure> {
        match &mut self.state {
            State::Open(conn) => Ok((conn, &mut self.wire)),
            _ => Err(Failure::new("the client has not started")),
        }
    }
}

/// A static key that the client holds from before, whatever its pin says of it now.
fn stored_key<S: Suite>(bytes: &[u8]) -> Result<ServerKey<S>, Failure> {
    let failed = |e: Error| Failure::new(e.to_string());
    let key = PublicKey::<S>::from_bytes(bytes).map_err(failed)?;
    let statement = Statement::new(0, 0, &[(S::ID, key_id::<S>(&key))]);
    let statement = statement.ok_or_else(|| Failure::new("no statement of one suite"))?;
    ServerKey::from_pin(&Pin { root: [0; 32], statement }, key).map_err(failed)
}

impl<S: Suite> Side for ClientSide<S> {
    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn run(&mut self) {
        match &mut self.state {
            State::Idle => {}
            State::Asked(_) => self.receive_key(),
            State::Open(conn) => {
                let ticket = run_conn(conn, &mut self.wire);
                assert!(ticket.is_none(), "nobody asks a client for anything");
            }
        }
    }

    fn tick(&mut self) {
        match &mut self.state {
            State::Open(conn) => tick_conn(conn, &mut self.wire),
            _ if self.wire.now >= self.wire.opened + Millis::from(Timeouts::CLIENT.handshake) => {
                self.wire.end("timeout")
            }
            _ => {}
        }
    }

    fn act(&mut self, verb: &str, argument: &str, body: &[u8]) -> Result<(), Failure> {
        match verb {
            "ask" => {
                let request = self.wire.lend(|_, io| KeyRequest::send(io));
                self.state = State::Asked(request.map_err(|e| Failure::new(e.to_string()))?);
                Ok(())
            }
            "start" => self.start(),
            "send" => self.conn().and_then(|(conn, wire)| send(conn, wire, argument, body)),
            "close" => self.conn().and_then(|(conn, wire)| close(conn, wire, argument)),
            _ => Err(Failure::new(format!("a client can't {verb}"))),
        }
    }
}
