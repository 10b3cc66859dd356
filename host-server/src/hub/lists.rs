//! Pages of lists, cut so that each fits into a record.

use std::sync::Arc;

use super::State;
use crate::store::{AccountId, Board};

/// tag, more and count before the items (PROTOCOL.md section 7).
const HEAD: usize = 7;

/// Part of a list in ascending order of names.
#[derive(Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Whether there is more behind the last item.
    pub more: bool,
    /// The items.
    pub items: Vec<T>,
}

/// A room in LIST_ROOMS.
#[derive(Debug, PartialEq, Eq)]
pub struct RoomLine {
    /// Without sigil.
    pub name: Arc<str>,
    /// How many.
    pub members: u16,
    /// Whether the asking account is one of them.
    pub joined: bool,
}

/// A user in WHO or LIST_MEMBERS.
#[derive(Debug, PartialEq, Eq)]
pub struct UserLine {
    /// Without sigil.
    pub name: Arc<str>,
    /// Whether a device is connected.
    pub online: bool,
}

/// A board in LIST_BOARDS.
#[derive(Debug, PartialEq, Eq)]
pub struct BoardLine {
    /// Without sigil.
    pub name: Arc<str>,
    /// Whether it was revoked.
    pub disabled: bool,
    /// The rest.
    pub board: Board,
}

impl State {
    /// A member's boards behind a name, in a body of at most `bytes`.
    #[must_use]
    pub fn boards_page(&self, owner: AccountId, after: &str, bytes: usize) -> Page<BoardLine> {
        let lines = self.directory.boards_after(owner, after).map(|(person, board)| BoardLine {
            name: Arc::clone(&person.account.name),
            disabled: person.account.disabled,
            board: board.clone(),
        });
        cut(lines, bytes, |line| line.name.len() + 1 + 1 + 8 + 32 + 32)
    }

    /// Rooms behind a name, in a body of at most `bytes`.
    #[must_use]
    pub fn rooms_page(&self, account: AccountId, after: &str, bytes: usize) -> Page<RoomLine> {
        let joined = self.directory.person(account).map(|p| &p.rooms);
        let lines = self.directory.rooms_after(after).map(|room| RoomLine {
            name: Arc::clone(&room.room.name),
            members: u16::try_from(room.members.len()).unwrap_or(u16::MAX),
            joined: joined.is_some_and(|rooms| rooms.contains(&room.room.id)),
        });
        cut(lines, bytes, |line| line.name.len() + 4)
    }

    /// Connected users behind a name, in a body of at most `bytes`.
    #[must_use]
    pub fn online_page(&self, after: &str, bytes: usize) -> Page<UserLine> {
        let lines =
            self.presence.online_after(after).map(|name| UserLine { name: Arc::clone(name), online: true });
        cut(lines, bytes, |line| line.name.len() + 2)
    }

    /// Members of a room behind a name, in a body of at most `bytes`.
    #[must_use]
    pub fn members_page(&self, room: &super::Assembly, after: &str, bytes: usize) -> Page<UserLine> {
        let names = room.members.range::<str, _>(super::directory::behind(after)).map(|(name, _)| name);
        let lines =
            names.map(|name| UserLine { name: Arc::clone(name), online: self.presence.is_online(name) });
        cut(lines, bytes, |line| line.name.len() + 2)
    }
}

fn cut<T>(lines: impl Iterator<Item = T>, bytes: usize, size: impl Fn(&T) -> usize) -> Page<T> {
    let mut page = Page { more: false, items: Vec::new() };
    let mut used = HEAD;
    for line in lines {
        used += size(&line);
        if used > bytes {
            page.more = true;
            break;
        }
        page.items.push(line);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_cut_at_its_last_byte() {
        let names = ["alice", "bob", "carol"];
        let page = |bytes| cut(names.into_iter(), bytes, |n| n.len() + 2);
        assert_eq!(page(HEAD + 7 + 5 + 7), Page { more: false, items: names.to_vec() });
        assert_eq!(page(HEAD + 7 + 5 + 6), Page { more: true, items: names[..2].to_vec() });
        assert_eq!(page(HEAD), Page { more: true, items: vec![] });
    }
}
