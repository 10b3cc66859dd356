//! From the server to the reader, once: show, record as shown, acknowledge; in this order.

use crate::failure::Result;
use crate::history::{Entry, History, State};
use crate::session::{Delivery, Event, Session};
use crate::text::target::Target;
use crate::wait;

/// Messages that are shown, recorded and acknowledged together at most.
const BATCH: usize = 64;

/// Takes a message and those that came right behind it, at most `limit`: passes the new ones to `show`, and when that
/// has succeeded records and acknowledges all of them. The number of new ones.
///
/// # Errors
/// What `show` or the history fails with. What was not shown is not acknowledged.
pub async fn take(
    session: &mut Session,
    history: &History,
    first: Delivery,
    limit: u64,
    show: impl FnOnce(&[Entry]) -> Result<()>,
) -> Result<u64> {
    let batch = collect(session, first, usize::try_from(limit).map_or(BATCH, |limit| limit.min(BATCH))).await;
    let count = batch.len();
    let last = batch.iter().map(|delivery| delivery.number).max().unwrap_or(0);
    let entries: Vec<Entry> = batch.into_iter().map(|delivery| entry(delivery, session.user())).collect();
    let unseen = history.unseen(&entries).await?;
    let fresh: Vec<Entry> =
        entries.into_iter().zip(unseen).filter_map(|(entry, new)| new.then_some(entry)).collect();
    show(&fresh)?;
    history.record_shown(&fresh).await?;
    // A connection that is over says so again at the next call; what was shown counts all the same.
    let _ = session.ack(last, count).await;
    Ok(fresh.len() as u64)
}

async fn collect(session: &mut Session, first: Delivery, limit: usize) -> Vec<Delivery> {
    let mut batch = vec![first];
    while batch.len() < limit {
        match wait::at_once(session.next()).await {
            Some(Ok(Event::Message(delivery))) => batch.push(delivery),
            Some(Ok(other)) => {
                session.put_back(other);
                break;
            }
            // An error comes again at the next call.
            Some(Err(_)) | None => break,
        }
    }
    batch
}

fn entry(delivery: Delivery, me: &str) -> Entry {
    let own = delivery.sender == me;
    let conversation = match &delivery.target {
        Target::User(_) if !own => Target::User(delivery.sender.clone()),
        target => target.clone(),
    };
    Entry {
        sender: delivery.sender,
        id: delivery.id,
        conversation,
        target: delivery.target,
        number: Some(delivery.number),
        time: delivery.time,
        format: delivery.format,
        body: delivery.body,
        state: own.then_some(State::Accepted),
    }
}
