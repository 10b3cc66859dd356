//! The server of a transcript: acceptor, then a connection of the suite that the client chose.

use super::Failure;
use super::settings::Config;
use super::side::{Side, Wire, close, decode, ended_as, run_conn, send, tick_conn};
use sordino_core::config::{Millis, Timeouts};
use sordino_core::conn::Server;
use sordino_core::error::{Error, Mismatch};
use sordino_core::event::AnswerError;
use sordino_core::identity::{ServerIdentity, StaticKey};
use sordino_core::suite::SecretKey;
use sordino_core::{Accept, Acceptor, Answer, Conn, Message, ServerConfig, Suite, Suite1, Suite2, Ticket};

/// The server with the keys that its settings name.
pub(crate) struct ServerSide {
    wire: Wire,
    identity: ServerIdentity,
    state: State,
    /// Who waits for the application.
    ticket: Option<Ticket>,
}

enum State {
    Accepting(Acceptor),
    Open1(Box<Conn<Server, Suite1>>),
    Open2(Box<Conn<Server, Suite2>>),
}

/// The same with a connection of either suite.
macro_rules! with_conn {
    ($side:ident, |$conn:ident| $call:expr, else $other:expr) => {
        match &mut $side.state {
            State::Accepting(_) => $other,
            State::Open1($conn) => $call,
            State::Open2($conn) => $call,
        }
    };
}

impl ServerSide {
    pub fn new(config: &Config, now: Millis) -> Result<Self, Failure> {
        let server = ServerConfig {
            max_record: config.max_record,
            bundles: config.bundles,
            counter: config.counter,
            time: config.unix_time + now,
        };
        Ok(Self {
            wire: Wire::new(config, now),
            identity: identity(config).map_err(|e| Failure::new(e.to_string()))?,
            state: State::Accepting(Acceptor::new(server, Timeouts::SERVER, now)),
            ticket: None,
        })
    }

    fn accept(&mut self) {
        while let State::Accepting(acceptor) = &mut self.state {
            let identity = &self.identity;
            let next = match self.wire.lend(|rx, io| acceptor.step(identity, rx, io)) {
                Ok(Accept::Progressed) => continue,
                Ok(Accept::NeedInput | Accept::NeedOutput(_)) => return,
                Ok(Accept::Suite1) => acceptor.connection(identity).map(|conn| State::Open1(Box::new(conn))),
                Ok(Accept::Suite2) => acceptor.connection(identity).map(|conn| State::Open2(Box::new(conn))),
                Err(error) => Err(error),
            };
            match next {
                Ok(open) => self.state = open,
                Err(error) => return self.wire.end(refused_as(error)),
            }
        }
    }

    fn answer(&mut self, answer: Answer<'_>) -> Result<(), Failure> {
        let ticket = self.ticket.take().ok_or_else(|| Failure::new("nobody waits for an answer"))?;
        let wire = &mut self.wire;
        let answered =
            with_conn!(self, |conn| wire.lend(|_, io| conn.answer(ticket, answer, io)), else return Ok(()));
        answered.map_err(|error| match error {
            AnswerError::NoRoom(..) => Failure::new("no room for the answer"),
            AnswerError::Ended => Failure::new("the connection has ended"),
            AnswerError::Failed(error) => Failure::new(error.to_string()),
        })
    }

    fn send(&mut self, name: &str, body: &[u8]) -> Result<(), Failure> {
        if name == "AUTH_RESULT"
            && let Message::AuthResult(result) = decode(name, body)?
        {
            return self.answer(Answer::Auth(result));
        }
        let wire = &mut self.wire;
        with_conn!(self, |conn| send(conn, wire, name, body), else Err(Failure::new("no connection yet")))
    }

    fn close(&mut self, reason: &str) -> Result<(), Failure> {
        let wire = &mut self.wire;
        with_conn!(self, |conn| close(conn, wire, reason), else Err(Failure::new("no connection yet")))
    }
}

/// How a transcript names an error of the acceptor.
fn refused_as(error: Error) -> String {
    match error {
        Error::Incompatible(Mismatch::Suite) => "refused 1".into(),
        Error::Incompatible(Mismatch::Version) => "refused 2".into(),
        other => ended_as(other),
    }
}

fn identity(config: &Config) -> Result<ServerIdentity, Error> {
    ServerIdentity::sign(
        &config.root,
        config.version,
        config.date,
        static_key::<Suite1>(config)?,
        static_key::<Suite2>(config)?,
    )
}

fn static_key<S: Suite>(config: &Config) -> Result<Option<StaticKey<S>>, Error> {
    let Some(bytes) = config.long_lived.get(&S::ID) else { return Ok(None) };
    SecretKey::<S>::from_bytes(bytes).map(|secret| Some(StaticKey::new(secret)))
}

impl Side for ServerSide {
    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn run(&mut self) {
        self.accept();
        // A step would take a ticket that waits for refused.
        if self.ticket.is_none() {
            let wire = &mut self.wire;
            self.ticket = with_conn!(self, |conn| run_conn(conn, wire), else None);
        }
    }

    fn tick(&mut self) {
        let wire = &mut self.wire;
        match &mut self.state {
            State::Accepting(acceptor) => {
                if let Err(error) = acceptor.handle_timeout(wire.now) {
                    wire.end(ended_as(error));
                }
            }
            State::Open1(conn) => tick_conn(conn, wire),
            State::Open2(conn) => tick_conn(conn, wire),
        }
    }

    fn act(&mut self, verb: &str, argument: &str, body: &[u8]) -> Result<(), Failure> {
        match verb {
            "admit" => self.answer(Answer::Admit),
            "refuse" if argument == "4" => {
                self.answer(Answer::Busy)?;
                self.wire.end("refused 4");
                Ok(())
            }
            "send" => self.send(argument, body),
            "close" => self.close(argument),
            _ => Err(Failure::new(format!("a server can't {verb} {argument}"))),
        }
    }
}
