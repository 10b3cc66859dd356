//! The operator's terminal: a device of the reserved account, in the same hub as everybody else's.

use std::{
    collections::HashMap,
    future::poll_fn,
    io::{self, Write as _},
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow};
use smol::{
    Unblock,
    future::FutureExt as _,
    io::{AsyncBufReadExt as _, BufReader},
    stream::StreamExt as _,
};
use sordino_core::{
    config::{MAX_BODY, OPERATOR},
    messages::{Code, Deliver, RoomEventKind},
    name::Target,
};

use crate::{
    accounts,
    hub::{Attached, Hub, Outgoing, Outlet, Recipient, RoomChange, Signal, Submission},
    server::Server,
    store::{DeviceId, MessageId},
};

/// The key that no client can have: nothing has this hash.
const FINGERPRINT: [u8; 32] = [0; 32];
/// Messages fetched at once.
const FETCH: usize = 64;
const HELP: &str = "\
@user text   a message to a user
#room text   a message to a room (which the operator joins)
who          who is connected
rooms        the rooms
kick USER    close a user's connections
disable USER let nobody in to an account, a board's too
enable USER  let its devices in again
help         this
exit         stop the server";

/// See the module.
pub struct Console {
    hub: Arc<Hub>,
    outlet: Arc<Outlet>,
    attached: Attached,
    device: DeviceId,
    shown: u64,
    /// To whom messages were that have no answer yet.
    sent: HashMap<MessageId, String>,
    body: usize,
}

/// What the operator wants.
#[derive(Debug, PartialEq, Eq)]
enum Command<'l> {
    Say(&'l str, &'l str),
    Who,
    Rooms,
    Kick(&'l str),
    Disable(&'l str),
    Enable(&'l str),
    Help,
    Exit,
    Nothing,
    Unknown,
}

impl Console {
    /// Makes the operator's device at first use. Messages to the operator wait for it between two consoles.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn open(server: &Server) -> Result<Self> {
        let hub = Arc::clone(server.hub());
        let account =
            hub.state().directory.person_named(OPERATOR).map(|p| p.account.id).context("no operator")?;
        let bind = move |state: &_| accounts::bind(state, account, FINGERPRINT, "console".into());
        hub.change(bind).await.map_err(|_| anyhow!("can't write to the database"))?;
        let device = hub.state().directory.device_with(&FINGERPRINT).map(|d| d.id).context("no operator")?;
        let outlet = Arc::new(Outlet::default());
        let attached = hub.attach(device, &outlet).context("the operator is disabled")?;
        hub.receive(attached.id);
        let body = usize::from(server.config().limits.body).min(MAX_BODY);
        Ok(Self { hub, outlet, attached, device, shown: 0, sent: HashMap::new(), body })
    }

    /// Until `exit`. The end of the input is no reason to stop a server.
    pub async fn run(mut self) {
        let mut lines = BufReader::new(Unblock::new(io::stdin())).lines();
        let mut open = true;
        loop {
            let typed = async {
                if !open {
                    smol::future::pending::<()>().await;
                }
                Some(lines.next().await)
            };
            let told = async {
                poll_fn(|context| self.outlet.poll(context)).await;
                None
            };
            match typed.or(told).await {
                None => self.show().await,
                Some(Some(Ok(line))) => {
                    if self.obey(&line).await {
                        return;
                    }
                }
                Some(_) => open = false,
            }
        }
    }

    /// True at `exit`.
    async fn obey(&mut self, line: &str) -> bool {
        match parse(line) {
            Command::Say(to, text) => self.say(to, text).await,
            Command::Who => self.who(),
            Command::Rooms => self.rooms(),
            Command::Kick(user) => match self.hub.kick(user) {
                0 => say(&format!("@{user} is not connected")),
                _ => say(&format!("@{user} is out")),
            },
            Command::Disable(user) => self.set_disabled(user, true).await,
            Command::Enable(user) => self.set_disabled(user, false).await,
            Command::Help => say(HELP),
            Command::Exit => return true,
            Command::Nothing => {}
            Command::Unknown => say("that's no command: try help"),
        }
        false
    }

    async fn set_disabled(&self, user: &str, disabled: bool) {
        match accounts::set_disabled(&self.hub, user, disabled).await {
            Ok(()) if disabled => say(&format!("@{user} is disabled")),
            Ok(()) => say(&format!("@{user} is enabled")),
            Err(unfit) => say(&format!("@{user}: {unfit}")),
        }
    }

    async fn say(&mut self, to: &str, text: &str) {
        if text.len() > self.body {
            return say("that is too long");
        }
        let recipient = match to.strip_prefix('#') {
            Some(room) => {
                if self.hub.state().directory.room_named(room).is_none() {
                    return say(&format!("{to}: no such room"));
                }
                let Attached { id, account, .. } = self.attached;
                if self.hub.change_room(id, account, 0, room, RoomChange::Join).await.is_err() {
                    return;
                }
                Recipient::Room(room.into())
            }
            None => Recipient::User(to.trim_start_matches('@').into()),
        };
        let mut id = MessageId::default();
        if getrandom::fill(&mut id).is_err() {
            return say("no randomness");
        }
        self.sent.insert(id, to.to_owned());
        let Attached { id: origin, account, .. } = self.attached;
        let body = text.as_bytes().into();
        let submission = Submission { origin, account, device: self.device, id, recipient, format: 0, body };
        if self.hub.submit(submission).await.is_err() {
            say("the server is stopping");
        }
    }

    fn who(&self) {
        let state = self.hub.state();
        let names: Vec<_> = state.presence.online_after("").map(|name| format!("@{name}")).collect();
        say(&names.join("\n"));
    }

    fn rooms(&self) {
        let state = self.hub.state();
        let lines: Vec<_> = state
            .directory
            .rooms_after("")
            .map(|r| format!("#{} {}", r.room.name, r.members.len()))
            .collect();
        say(&if lines.is_empty() { "no rooms".into() } else { lines.join("\n") });
    }

    async fn show(&mut self) {
        while let Some(signal) = self.outlet.take() {
            match signal {
                Signal::Mail => self.show_messages().await,
                Signal::Event(event) => self.show_event(event),
                Signal::Close(_) => {}
            }
        }
    }

    fn show_event(&mut self, event: Outgoing) {
        match event {
            Outgoing::Accepted(id, ..) => {
                self.sent.remove(&id);
            }
            Outgoing::Refused(id, code, _) => {
                let to = self.sent.remove(&id).unwrap_or_default();
                say(&format!("{to}: {}", reason(code)));
            }
            Outgoing::Done(_, code, _) if code != Code::Ok => say(&format!("can't join: {}", reason(code))),
            Outgoing::RoomEvent(RoomEventKind::Joined, room, user) => {
                say(&format!("#{room} @{user} has joined"))
            }
            Outgoing::RoomEvent(RoomEventKind::Left, room, user) => say(&format!("#{room} @{user} has left")),
            Outgoing::Notice(_, text) => say(&text),
            Outgoing::Done(..) | Outgoing::Delivered(..) => {}
        }
    }

    async fn show_messages(&mut self) {
        loop {
            match self.hub.deliveries(self.attached.id, self.shown, FETCH).await {
                Ok((messages, more)) => {
                    messages.iter().filter_map(|m| m.deliver()).for_each(|message| say(&line(&message)));
                    if let Some(last) = messages.last() {
                        self.shown = last.place.number;
                        self.hub.acknowledge(self.attached.id, self.shown);
                    }
                    if !more {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "can't read messages");
                    return;
                }
            }
        }
    }
}

fn parse(line: &str) -> Command<'_> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match (word, rest.trim()) {
        ("", _) => Command::Nothing,
        (to, text) if to.starts_with(['@', '#']) && to.len() > 1 && !text.is_empty() => {
            Command::Say(to, text)
        }
        ("kick", user) if !user.is_empty() => Command::Kick(user.trim_start_matches('@')),
        ("disable", user) if !user.is_empty() => Command::Disable(user.trim_start_matches('@')),
        ("enable", user) if !user.is_empty() => Command::Enable(user.trim_start_matches('@')),
        ("who", "") => Command::Who,
        ("rooms", "") => Command::Rooms,
        ("help", _) => Command::Help,
        ("exit", "") => Command::Exit,
        _ => Command::Unknown,
    }
}

fn line(message: &Deliver<'_>) -> String {
    let from = message.sender.as_str();
    let text = match message.format {
        0 => printable(&String::from_utf8_lossy(message.part.0)),
        other => format!("({} bytes of format {other})", message.total),
    };
    match message.target {
        Target::User(_) => format!("@{from}: {text}"),
        Target::Room(room) => format!("#{} @{from}: {text}", room.as_str()),
    }
}

/// What others send must not command the operator's terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

const fn reason(code: Code) -> &'static str {
    match code {
        Code::NotFound => "no such user or room",
        Code::MailboxFull => "the mailbox is full",
        Code::RoomFull => "the room is full",
        Code::TooManyRooms => "too many rooms",
        Code::TooLarge => "too large",
        _ => "can't be done now",
    }
}

/// A terminal that has gone away is no reason to stop a server.
fn say(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        assert_eq!(parse("@alice  hello there "), Command::Say("@alice", "hello there"));
        assert_eq!(parse("#lobby hi"), Command::Say("#lobby", "hi"));
        assert_eq!(parse("kick @alice"), Command::Kick("alice"));
        assert_eq!(parse("disable @alice"), Command::Disable("alice"));
        assert_eq!(parse("enable alice"), Command::Enable("alice"));
        assert_eq!(parse(" exit "), Command::Exit);
        assert_eq!(parse("  "), Command::Nothing);
        for unknown in ["exit now", "@ hi", "@alice", "dance", "kick", "disable", "enable"] {
            assert_eq!(parse(unknown), Command::Unknown, "{unknown}");
        }
    }

    #[test]
    fn escapes_are_not_shown() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{9b}"), "a\u{fffd}[2Jb\nc\u{fffd}");
    }
}
