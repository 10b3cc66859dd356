//! Who is where, and how a message gets from one to the others.
//!
//! ```text
//! session ── submit ──▶ committer: decide, one transaction, one sync
//!                           │ durable
//!                           ▼
//!            numbers into the mailbox of each device ──▶ wake receiving sessions
//!                                                             │
//! session ◀── deliveries: shared bytes, or the store ◀────────┘
//! session ── acknowledge ──▶ out of the mailbox; durable soon; then DELIVERED to the sender
//! ```
//!
//! [`state`] decides and knows no time, socket or database; [`committer`] makes decisions durable in one
//! order; [`Hub`] is what sessions hold.

mod answers;
mod committer;
mod decaying;
mod directory;
mod due;
mod lists;
mod mailbox;
mod outlet;
mod patience;
mod presence;
mod recent;
mod state;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use smol::channel::{self, Sender};
use sordino_core::messages::CloseReason;

use committer::{Committer, Decision, Request};
pub use committer::{RoomChange, Unavailable};
pub use directory::{Assembly, Directory, Person};
pub use lists::{BoardLine, Page, RoomLine, UserLine};
pub use mailbox::{Mailboxes, Released, Waiting};
pub use outlet::{Outgoing, Outlet, Signal, Wakes};
pub use presence::{Connected, ConnectionId, Presence};
pub use recent::Recent;
pub use state::{Attached, Confirmation, Deliveries, Draft, Promised, Recipient, State, Submission};

use crate::{
    config::Limits,
    store::{AccountId, Change, DeviceId, Message, Reader, Snapshot, Writer},
};

/// Requests that wait for the committer; sessions wait in turn when it is full.
const QUEUE: usize = 1024;

/// Unix time in milliseconds.
pub type Now = fn() -> u64;

/// The system's clock.
#[must_use]
pub fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// See the module.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
    requests: Sender<Request>,
    reader: Reader,
    commits: Arc<AtomicU64>,
}

impl Hub {
    /// The hub, and its committer to be run until [`Hub::finish`], on a thread of its own: it blocks while it writes.
    pub fn new(
        snapshot: Snapshot,
        limits: Limits,
        writer: Writer,
        reader: Reader,
        now: Now,
    ) -> (Arc<Self>, impl Future<Output = rusqlite::Result<()>> + Send) {
        let (requests, queue) = channel::bounded(QUEUE);
        let hub = Arc::new(Self {
            state: Mutex::new(State::new(snapshot, limits)),
            requests,
            reader,
            commits: writer.commits(),
        });
        let committer = Committer::new(Arc::clone(&hub), writer, queue, now);
        (hub, committer.run())
    }

    /// The state, for as long as no `await` is crossed.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // A panic in a session must not end the others; the state is consistent between its operations.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Transactions committed since the start.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Hands in a message. The answer comes by the origin's outlet. Waits while the committer has too much to do.
    ///
    /// # Errors
    /// The hub has finished.
    pub async fn submit(&self, submission: Submission) -> Result<(), Unavailable> {
        self.request(Request::Submit(submission)).await
    }

    /// JOIN or LEAVE. The answer comes by the origin's outlet.
    ///
    /// # Errors
    /// The hub has finished.
    pub async fn change_room(
        &self,
        origin: ConnectionId,
        account: AccountId,
        tag: u32,
        room: &str,
        change: RoomChange,
    ) -> Result<(), Unavailable> {
        self.request(Request::Room { origin, account, tag, room: room.into(), change }).await
    }

    /// Decides about accounts and devices in the committer's order, and waits until it is durable.
    ///
    /// # Errors
    /// The database refused or the hub has finished.
    pub async fn change(
        &self,
        decide: impl FnOnce(&State) -> Vec<Change> + Send + 'static,
    ) -> Result<(), Unavailable> {
        let (answer, answered) = channel::bounded(1);
        self.request(Request::Change(Decision(Box::new(decide)), answer)).await?;
        answered.recv().await.unwrap_or(Err(Unavailable))
    }

    /// A device has acknowledged everything up to a number.
    pub fn acknowledge(&self, id: ConnectionId, number: u64) {
        if self.state().acknowledge(id, number, unix_now()) {
            // When the queue is full, the committer is about to save anyway.
            let _ = self.requests.try_send(Request::Unsaved);
        }
    }

    /// The next deliveries of a receiving connection from behind a number, in ascending order, at most `most`;
    /// and whether there may be more. Numbers that have been dropped meanwhile are left out.
    ///
    /// # Errors
    /// The database's.
    pub async fn deliveries(
        &self,
        id: ConnectionId,
        after: u64,
        most: usize,
    ) -> sqlx::Result<(Vec<Arc<Message>>, bool)> {
        let Deliveries { stored, ready } = self.state().deliveries(id, after, most);
        let more = stored.len() + ready.len() == most;
        if stored.is_empty() {
            return Ok((ready, more));
        }
        let mut messages = self.reader.messages(&stored).await?;
        let more = more || messages.len() < stored.len();
        messages.extend(ready);
        Ok((messages, more))
    }

    /// A device has logged in: its connection, its user's name, and how many messages wait for it.
    pub fn attach(&self, device: DeviceId, outlet: &Arc<Outlet>) -> Option<Attached> {
        self.state().attach(device, Arc::clone(outlet), unix_now())
    }

    /// RECEIVE with a window above 0: this connection of the device receives from now on.
    pub fn receive(&self, id: ConnectionId) {
        self.state().receive(id);
    }

    /// RECEIVE with window 0.
    pub fn stop(&self, id: ConnectionId, device: DeviceId) {
        self.state().presence.stop(id, device);
    }

    /// A connection has ended.
    pub fn detach(&self, id: ConnectionId) {
        self.state().presence.detach(id);
    }

    /// Closes a user's connections; how many there were.
    pub fn kick(&self, username: &str) -> usize {
        let state = self.state();
        state
            .presence
            .of_user(username)
            .map(|(_, connected)| connected.outlet.close(CloseReason::Revoked))
            .count()
    }

    /// Drops messages and ids that were accepted before a time (Unix milliseconds).
    ///
    /// # Errors
    /// The hub has finished.
    pub async fn expire(&self, before: u64) -> Result<(), Unavailable> {
        self.request(Request::Expire(before)).await
    }

    /// Unbinds the devices that were not here since a time (Unix milliseconds), and tells their owners.
    ///
    /// # Errors
    /// The database refused or the hub has finished.
    pub async fn drop_unseen(&self, since: u64) -> Result<(), Unavailable> {
        for device in self.reader.unseen_since(since).await.map_err(|_| Unavailable)? {
            let id = device.id;
            self.change(move |_| vec![Change::NoDevice(id)]).await?;
            tracing::info!(device = id.0, "a device was not seen for long and is dropped");
            let name = if device.label.is_empty() { "without a name" } else { &device.label };
            self.state()
                .remark(device.account, format!("Your device {name} was not here for long and is removed."));
        }
        Ok(())
    }

    /// Waits until everything that was handed in or acknowledged before is durable.
    pub async fn flush(&self) {
        let (answer, answered) = channel::bounded(1);
        if self.request(Request::Flush(answer)).await.is_ok() {
            let _ = answered.recv().await;
        }
    }

    /// Takes nothing more; the committer ends when it has done what it was given.
    pub fn finish(&self) {
        self.requests.close();
    }

    async fn request(&self, request: Request) -> Result<(), Unavailable> {
        self.requests.send(request).await.map_err(|_| Unavailable)
    }
}
