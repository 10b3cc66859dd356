//! The message codec: type (1) ‖ body.

use sordino_core::Message;
use sordino_core::wire::{Overflow, Writer};

/// What decodes has one form, which needs exactly its room.
pub fn messages(data: &[u8]) {
    let Some((&kind, body)) = data.split_first() else { return };
    let Ok(message) = Message::decode(kind, body) else { return };
    assert_eq!(message.kind(), kind);
    let mut buf = vec![0; body.len()];
    let mut out = Writer::new(&mut buf);
    message.encode(&mut out).expect("room for what was decoded");
    assert_eq!(out.written(), body.len());
    assert_eq!(buf, body);
    if let Some(shorter) = body.len().checked_sub(1) {
        assert_eq!(message.encode(&mut Writer::new(&mut buf[..shorter])), Err(Overflow));
    }
    check_lists(&message);
}

/// A list yields as many items as it says.
fn check_lists(message: &Message<'_>) {
    let (count, items) = match message {
        Message::Policy(policy) => (policy.domains.len(), policy.domains.iter().count()),
        Message::Rooms(page) => (page.items.len(), page.items.iter().count()),
        Message::Users(page) => (page.items.len(), page.items.iter().count()),
        _ => return,
    };
    assert_eq!(count, items);
}
