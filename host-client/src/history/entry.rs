//! A message as the history holds it and as people and scripts see it.

use serde::Serialize;
pub use sordino_core::messages::MessageId as Id;

use crate::failure::{Failure, Result};
use crate::text::output;
use crate::text::target::Target;

/// How far an own message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not answered by the server yet.
    Queued,
    /// Durable on the server.
    Accepted,
    /// Acknowledged by a device of the addressee, or of another member of the room.
    Delivered,
    /// Refused, or given up.
    Failed,
}

impl State {
    /// The word for it, in the database, in JSON and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Queued, Self::Accepted, Self::Delivered, Self::Failed]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Username of the sender.
    pub sender: String,
    /// Unique for the sender.
    pub id: Id,
    /// Where people look for it: the peer or the room.
    pub conversation: Target,
    /// As addressed.
    pub target: Target,
    /// The server's number; `None` until it accepted.
    pub number: Option<u64>,
    /// Unix milliseconds.
    pub time: u64,
    /// 0 is UTF-8 text.
    pub format: u8,
    /// The body as it travelled.
    pub body: Vec<u8>,
    /// Own messages only.
    pub state: Option<State>,
}

impl Entry {
    /// The body as text, whatever is no UTF-8 replaced. Not made safe for a terminal.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The line of `--json`: id in hexadecimal, time in Unix milliseconds. `format` stands there only when it isn't
    /// text, `state` only if it is asked for and the message is an own one.
    pub fn json(&self, with_state: bool) -> String {
        let line = Line {
            id: hex::encode(self.id),
            time: self.time,
            from: &self.sender,
            to: self.target.to_string(),
            text: self.text(),
            format: (self.format != 0).then_some(self.format),
            state: self.state.filter(|_| with_state).map(State::name),
        };
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// The line for people, safe for a terminal.
    pub fn line(&self) -> String {
        let (time, sender, target) = (output::clock(self.time), &self.sender, &self.target);
        let body = match self.format {
            0 => output::sanitise(&self.text()).into_owned(),
            format => {
                format!("({} bytes of format {format}, which this version can't show)", self.body.len())
            }
        };
        match self.state {
            Some(state @ (State::Queued | State::Failed)) => {
                format!("{time} {sender} → {target}: {body} ({})", state.name())
            }
            _ => format!("{time} {sender} → {target}: {body}"),
        }
    }
}

/// The fields of a JSON line, in their order.
#[derive(Serialize)]
struct Line<'a> {
    id: String,
    time: u64,
    from: &'a str,
    to: String,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
}

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    sender: String,
    id: Vec<u8>,
    conversation: String,
    target: String,
    place: i64,
    numbered: bool,
    time: i64,
    format: i64,
    body: Vec<u8>,
    state: Option<String>,
}

impl TryFrom<Row> for Entry {
    type Error = Failure;

    fn try_from(row: Row) -> Result<Self> {
        let damaged =
            || Failure::failed("the local history is damaged: a row has a value that no version writes");
        let state = match &row.state {
            Some(name) => Some(State::from_name(name).ok_or_else(damaged)?),
            None => None,
        };
        Ok(Self {
            sender: row.sender,
            id: row.id.try_into().map_err(|_| damaged())?,
            conversation: row.conversation.parse().map_err(|_| damaged())?,
            target: row.target.parse().map_err(|_| damaged())?,
            number: row.numbered.then_some(row.place as u64),
            time: row.time as u64,
            format: u8::try_from(row.format).map_err(|_| damaged())?,
            body: row.body,
            state,
        })
    }
}
