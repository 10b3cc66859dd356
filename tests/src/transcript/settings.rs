//! The settings of a transcript, by side.

use super::side::SideName;
use super::{Failure, Statement};
use sordino_core::identity::{Fingerprint, Pin};
use std::collections::{BTreeMap, VecDeque};

/// What one side is given. The README beside the transcripts explains each setting.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The suite of the client.
    pub suite: u8,
    pub max_record: u16,
    pub bundles: bool,
    pub suites: Vec<u8>,
    pub counter: u64,
    /// Suite to device exponent, or to static exponent.
    pub long_lived: BTreeMap<u8, Vec<u8>>,
    pub pin: Option<Pin>,
    pub fingerprint: Option<Fingerprint>,
    pub floor: u32,
    pub server_key: Option<Vec<u8>>,
    pub root: [u8; 32],
    pub version: u32,
    pub date: u64,
    pub unix_time: u64,
    randoms: Vec<(String, Vec<u8>)>,
    randoms_used: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            suite: 1,
            max_record: 16_384,
            bundles: false,
            suites: vec![],
            counter: 0,
            long_lived: BTreeMap::new(),
            pin: None,
            fingerprint: None,
            floor: 0,
            server_key: None,
            root: [0; 32],
            version: 0,
            date: 0,
            unix_time: 0,
            randoms: vec![],
            randoms_used: true,
        }
    }
}

impl Config {
    /// The draws of a connection. The core takes the token of a PING from its clock.
    pub fn draws(&self) -> VecDeque<Vec<u8>> {
        self.randoms.iter().filter(|(name, _)| name != "token").map(|(_, bytes)| bytes.clone()).collect()
    }

    /// A connection begins: `random` lines from here on are those of the next one.
    pub fn connection(&mut self) {
        self.randoms_used = true;
    }

    fn add_random(&mut self, statement: &Statement) -> Result<(), Failure> {
        if self.randoms_used {
            self.randoms.clear();
            self.randoms_used = false;
        }
        self.randoms.push((statement.word(2).into(), statement.bytes_from(3)?));
        Ok(())
    }

    fn set_static_key(&mut self, statement: &Statement) -> Result<(), Failure> {
        let suite = statement.number(2)?;
        if statement.word(3) == "none" {
            self.long_lived.remove(&suite);
        } else {
            self.long_lived.insert(suite, statement.bytes_from(3)?);
        }
        Ok(())
    }

    fn set_trust(&mut self, statement: &Statement) -> Result<(), Failure> {
        (self.pin, self.fingerprint) = (None, None);
        match statement.word(2) {
            "first" => {}
            "fingerprint" => self.fingerprint = Some(array(&statement.bytes_from(3)?)?),
            "pin" => self.pin = Some(pin(statement)?),
            other => return Err(Failure::new(format!("no kind of trust: {other}"))),
        }
        Ok(())
    }

    /// Applies a setting of one side; false if the statement is none.
    pub fn set(&mut self, statement: &Statement) -> Result<bool, Failure> {
        match statement.word(1) {
            "device-key" => {
                self.long_lived.insert(self.suite, statement.bytes_from(2)?);
            }
            "suites" => {
                self.suites =
                    (2..statement.words.len()).map(|i| statement.number(i)).collect::<Result<_, _>>()?
            }
            "max-record" => self.max_record = statement.number(2)?,
            "bundles" => self.bundles = true,
            "counter" => self.counter = statement.number(2)?,
            "random" => self.add_random(statement)?,
            "trust" => self.set_trust(statement)?,
            "floor" => self.floor = statement.number(2)?,
            "server-key" => self.server_key = Some(statement.bytes_from(2)?),
            "root-key" => self.root = array(&statement.bytes_from(2)?)?,
            "static-key" => self.set_static_key(statement)?,
            "statement" => (self.version, self.date) = (statement.number(2)?, statement.number(3)?),
            "time" => self.unix_time = statement.number(2)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Failure> {
    bytes.try_into().map_err(|_| Failure::new(format!("{} bytes, not {N}", bytes.len())))
}

fn pin(statement: &Statement) -> Result<Pin, Failure> {
    let field =
        |name: &str| statement.field(name).ok_or_else(|| Failure::new(format!("the pin has no {name}")));
    let mut keys = vec![];
    for suite in 1..=8 {
        if let Some(id) = statement.field(&format!("suite-{suite}")) {
            keys.push((suite, array(id)?));
        }
    }
    let version = u32::from_be_bytes(array(field("version")?)?);
    let statement = sordino_core::identity::Statement::new(version, 0, &keys);
    let statement = statement.ok_or_else(|| Failure::new("the pin lists no suites"))?;
    Ok(Pin { root: array(field("root")?)?, statement })
}

/// The settings of both sides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub client: Config,
    pub server: Config,
}

impl Settings {
    pub fn of(&mut self, side: SideName) -> &mut Config {
        match side {
            SideName::Client => &mut self.client,
            SideName::Server => &mut self.server,
        }
    }

    /// Applies a setting; false if the statement is none.
    pub fn set(&mut self, statement: &Statement) -> Result<bool, Failure> {
        if statement.word(0) == "suite" {
            self.client.suite = statement.number(1)?;
            return Ok(true);
        }
        SideName::parse(statement.word(0)).map_or(Ok(false), |side| self.of(side).set(statement))
    }
}
