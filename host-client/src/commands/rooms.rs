//! `rooms` and `who`.

use serde::Serialize;

use super::{PATIENCE, connect};
use crate::cli::{Json, RoomCommand};
use crate::failure::{Failure, Result};
use crate::session::{RoomInfo, UserInfo};
use crate::settings::Settings;
use crate::text::output;

/// Lists, joins or leaves.
pub async fn rooms(settings: &Settings, command: &RoomCommand) -> Result<()> {
    let mut session = connect(settings, PATIENCE).await?;
    let done = match command {
        RoomCommand::List(form) => session.rooms().await.and_then(|rooms| print_rooms(&rooms, *form)),
        RoomCommand::Join(room) => session.join(&room.room).await,
        RoomCommand::Leave(room) => session.leave(&room.room).await,
        RoomCommand::Members(args) => {
            session.members(&args.room.room).await.and_then(|members| print_users(&members, args.form))
        }
    };
    session.close().await;
    done
}

/// Lists who is connected.
pub async fn who(settings: &Settings, form: Json) -> Result<()> {
    let mut session = connect(settings, PATIENCE).await?;
    let done = session.who().await.and_then(|users| print_users(&users, form));
    session.close().await;
    done
}

#[derive(Serialize)]
struct RoomLine {
    room: String,
    members: u16,
    joined: bool,
}

#[derive(Serialize)]
struct UserLine {
    user: String,
    online: bool,
}

fn print_rooms(rooms: &[RoomInfo], form: Json) -> Result<()> {
    print_all(rooms.iter().map(|room| match form.json {
        true => {
            json(&RoomLine { room: format!("#{}", room.name), members: room.members, joined: room.joined })
        }
        false => Ok(describe_room(room)),
    }))
}

fn print_users(users: &[UserInfo], form: Json) -> Result<()> {
    print_all(users.iter().map(|user| match form.json {
        true => json(&UserLine { user: format!("@{}", user.name), online: user.online }),
        false => Ok(describe_user(user)),
    }))
}

/// Rooms for people, one a line.
pub(crate) fn room_list(rooms: &[RoomInfo]) -> String {
    let lines: Vec<String> = rooms.iter().map(describe_room).collect();
    if lines.is_empty() { "there are no rooms: /join makes one".into() } else { lines.join("\n") }
}

/// Users for people, one a line.
pub(crate) fn user_list(users: &[UserInfo]) -> String {
    let lines: Vec<String> = users.iter().map(describe_user).collect();
    lines.join("\n")
}

fn describe_room(room: &RoomInfo) -> String {
    let joined = if room.joined { "\tjoined" } else { "" };
    format!("#{}\t{}{joined}", room.name, room.members)
}

fn describe_user(user: &UserInfo) -> String {
    let online = if user.online { "\tonline" } else { "" };
    format!("@{}{online}", user.name)
}

fn json(line: &impl Serialize) -> Result<String> {
    serde_json::to_string(line).map_err(|e| Failure::failed(format!("a line can't be encoded: {e}")))
}

fn print_all(lines: impl Iterator<Item = Result<String>>) -> Result<()> {
    let lines: Vec<String> = lines.collect::<Result<_>>()?;
    if lines.is_empty() { Ok(()) } else { output::line(&lines.join("\n")) }
}
