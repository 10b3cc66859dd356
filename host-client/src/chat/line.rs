//! What a typed line means.

use crate::text::target::{self, Target};

/// What `/help` shows.
pub const HELP: &str = "\
@bob hi        a message to a user         #room hi                   a message to a room
@bob, #room    plain text goes there now   hi                         a message to there
/msg @bob hi   like @bob hi                /to @bob                   like @bob
/join #room    join a room, or make it     /leave [#room]             leave a room
/rooms         all rooms                   /members [#room]           who is in a room
/who           who is connected            /history [@bob|#room] [N]  what was said
//text         text that begins with /     /help                      this
exit or /quit  leave";

/// Messages that `/history` shows when no number is given.
const HISTORY: u32 = 20;

/// A line's meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// An empty line.
    Nothing,
    /// Leave.
    Quit,
    /// Show the help.
    Help,
    /// Plain text goes there from now on.
    To(Target),
    /// A message, to the current target if none is named.
    Say(Option<Target>, String),
    /// Join a room.
    Join(String),
    /// Leave a room, the current one if none is named.
    Leave(Option<String>),
    /// List the rooms.
    Rooms,
    /// List a room's members.
    Members(Option<String>),
    /// List who is connected.
    Who,
    /// Show so many messages of a conversation.
    History(Option<Target>, u32),
    /// Something that isn't understood, with the sentence to say so.
    Wrong(String),
}

/// Reads a line.
pub fn parse(line: &str) -> Line {
    let line = line.trim();
    match line.as_bytes() {
        [] => Line::Nothing,
        b"exit" => Line::Quit,
        [b'/', b'/', ..] => Line::Say(None, line[1..].to_owned()),
        [b'/', ..] => command(&line[1..]).unwrap_or_else(Line::Wrong),
        [b'@' | b'#', ..] => message(line).unwrap_or_else(Line::Wrong),
        _ => Line::Say(None, line.to_owned()),
    }
}

fn message(line: &str) -> Result<Line, String> {
    let (to, text) = word(line);
    let to: Target = to.parse()?;
    Ok(if text.is_empty() { Line::To(to) } else { Line::Say(Some(to), text.to_owned()) })
}

fn command(line: &str) -> Result<Line, String> {
    let (name, rest) = word(line);
    Ok(match (name, rest) {
        ("help" | "?", _) => Line::Help,
        ("quit" | "exit", _) => Line::Quit,
        ("rooms", _) => Line::Rooms,
        ("who", _) => Line::Who,
        ("leave", "") => Line::Leave(None),
        ("members", "") => Line::Members(None),
        ("join" | "msg" | "to", "") => return Err(format!("/{name} needs a name: see /help")),
        ("join", room) => Line::Join(target::room(room)?),
        ("leave", room) => Line::Leave(Some(target::room(room)?)),
        ("members", room) => Line::Members(Some(target::room(room)?)),
        ("to", to) => Line::To(to.parse()?),
        ("msg", rest) => match message(rest)? {
            Line::To(_) => return Err("/msg needs a text: see /help".into()),
            say => say,
        },
        ("history", rest) => history(rest)?,
        _ => return Err(format!("there is no /{name}: see /help")),
    })
}

fn history(rest: &str) -> Result<Line, String> {
    let mut words = rest.split_whitespace().peekable();
    let with = words.next_if(|w| w.starts_with(['@', '#'])).map(str::parse).transpose()?;
    let count = match words.next() {
        Some(number) => number.parse().map_err(|_| format!("{number:?} isn't a number of messages"))?,
        None => HISTORY,
    };
    match words.next() {
        Some(_) => Err("/history takes a conversation and a number".into()),
        None => Ok(Line::History(with, count)),
    }
}

/// The first word, and what follows it.
fn word(line: &str) -> (&str, &str) {
    line.split_once(char::is_whitespace).map_or((line, ""), |(word, rest)| (word, rest.trim()))
}
