//! The one task that decides and writes: requests come in by a bounded queue, are decided in their order,
//! made durable together, and only then answered. What comes while the disk syncs makes the next batch.

use std::{collections::HashMap, sync::Arc, time::Duration};

use smol::{
    Timer,
    channel::{Receiver, Sender, TryRecvError},
    future::FutureExt as _,
};
use sordino_core::messages::Code;

use super::{
    Hub, Now,
    outlet::Outgoing,
    presence::ConnectionId,
    state::{Promised, Submission},
};
use crate::store::{AccountId, Batch, Change, DeviceId, MessageId, Sent, Writer};

/// Requests that are committed together at most.
const BATCH: usize = 512;
/// From this batch size on, many are sending: the next batch waits a little for more of them, which costs
/// each little and saves the disk much.
const BUSY: usize = 4;
const GATHER: Duration = Duration::from_millis(1);
/// Acknowledgements alone aren't urgent: lost ones are only given again.
const UNSAVED: Duration = Duration::from_millis(100);
/// What a client is asked to wait when the disk refuses, in seconds.
const RETRY: u32 = 5;

/// JOIN or LEAVE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomChange {
    /// Creates the room if needed.
    Join,
    /// Removes the room if nobody is left.
    Leave,
}

/// Something to decide.
#[derive(Debug)]
pub(super) enum Request {
    Submit(Submission),
    Room {
        origin: ConnectionId,
        account: AccountId,
        tag: u32,
        room: Box<str>,
        change: RoomChange,
    },
    /// Decides with the state as it is then, and answers whether it is durable.
    Change(Decision, Sender<Result<(), Unavailable>>),
    /// Something that waits to be made durable.
    Unsaved,
    /// Drops what is older than a time (Unix milliseconds).
    Expire(u64),
    /// Everything before it is durable when this is answered.
    Flush(Sender<()>),
}

impl Request {
    /// Whether somebody waits for it.
    const fn is_urgent(&self) -> bool {
        !matches!(self, Self::Unsaved)
    }
}

/// What a change of accounts or devices needs, decided in the committer's order.
pub(super) struct Decision(pub Box<Decide>);

type Decide = dyn FnOnce(&super::State) -> Vec<Change> + Send;

impl std::fmt::Debug for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decision")
    }
}

/// The database refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

/// See the module.
pub(super) struct Committer {
    pub hub: Arc<Hub>,
    pub writer: Writer,
    pub requests: Receiver<Request>,
    pub now: Now,
}

impl Committer {
    /// Runs until every [`Hub`] handle that sends is gone or the queue is closed, then closes the database.
    pub async fn run(mut self) -> sqlx::Result<()> {
        let mut last = 0;
        while let Some(batch) = self.gather(last).await {
            last = batch.len();
            self.process(batch).await;
        }
        self.save().await;
        self.writer.close().await
    }

    /// Waits for requests and takes those that are there.
    async fn gather(&self, last: usize) -> Option<Vec<Request>> {
        let mut batch = vec![self.requests.recv().await.ok()?];
        let mut urgent = batch[0].is_urgent();
        let mut timer = Timer::after(if urgent { GATHER } else { UNSAVED });
        loop {
            while batch.len() < BATCH {
                match self.requests.try_recv() {
                    Ok(request) => batch.push(request),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Closed) => return Some(batch),
                }
            }
            if !urgent && batch.iter().any(Request::is_urgent) {
                urgent = true;
                timer.set_after(GATHER);
            }
            if batch.len() >= BATCH || (urgent && last < BUSY) {
                return Some(batch);
            }
            let more = async { self.requests.recv().await.ok() };
            let late = async {
                (&mut timer).await;
                None
            };
            match more.or(late).await {
                Some(request) => batch.push(request),
                None => return Some(batch),
            }
        }
    }

    /// Runs of messages are committed together, everything else by itself, all in the order of arrival.
    async fn process(&mut self, batch: Vec<Request>) {
        let mut run = Vec::new();
        for request in batch {
            match request {
                Request::Submit(submission) => run.push(submission),
                Request::Unsaved => {}
                other => {
                    self.submit(std::mem::take(&mut run)).await;
                    self.single(other).await;
                }
            }
        }
        self.submit(run).await;
    }

    async fn single(&mut self, request: Request) {
        match request {
            Request::Room { origin, account, tag, room, change } => {
                let code = self.change_room(origin, account, &room, change).await;
                let retry = if code == Code::Unavailable { RETRY } else { 0 };
                self.hub.state().tell(origin, Outgoing::Done(tag, code, retry));
            }
            Request::Change(decision, answer) => {
                let changes = (decision.0)(&self.hub.state());
                let result = self.commit_changes(changes, None).await;
                // Whoever asked may be gone; the change stands.
                let _ = answer.try_send(result);
            }
            Request::Expire(before) => {
                self.hub.state().expire(before);
                self.save().await;
                match self.writer.forget_sent_before(before).await {
                    // Behind what has come in meanwhile; when the queue is full, the next hour is soon enough.
                    Ok(true) => drop(self.hub.requests.try_send(Request::Expire(before))),
                    Ok(false) => {}
                    Err(error) => tracing::error!(%error, "can't forget old message ids"),
                }
            }
            Request::Flush(answer) => {
                self.save().await;
                let _ = answer.try_send(());
            }
            Request::Submit(_) | Request::Unsaved => {}
        }
    }

    async fn change_room(
        &mut self,
        origin: ConnectionId,
        account: AccountId,
        room: &str,
        change: RoomChange,
    ) -> Code {
        let decided = match change {
            RoomChange::Join => self.hub.state().join(account, room, (self.now)()),
            RoomChange::Leave => self.hub.state().leave(account, room),
        };
        match decided {
            Err(code) => code,
            Ok(changes) => {
                self.commit_changes(changes, Some(origin)).await.map_or(Code::Unavailable, |()| Code::Ok)
            }
        }
    }

    async fn commit_changes(
        &mut self,
        changes: Vec<Change>,
        cause: Option<ConnectionId>,
    ) -> Result<(), Unavailable> {
        if changes.is_empty() {
            return Ok(());
        }
        let batch = Batch { changes, ..Batch::default() };
        self.commit(&batch).await?;
        let mut state = self.hub.state();
        batch.changes.iter().for_each(|change| state.apply(change, cause));
        Ok(())
    }

    /// Makes durable what waits for it.
    async fn save(&mut self) {
        self.submit(Vec::new()).await;
    }

    async fn submit(&mut self, submissions: Vec<Submission>) {
        let mut known = match self.known(&submissions).await {
            Ok(known) => known,
            Err(Unavailable) => return self.refuse_all(&submissions),
        };
        let mut batch = Batch::default();
        let mut drafts = Vec::new();
        let mut repeated = Vec::new();
        {
            let mut state = self.hub.state();
            let now = (self.now)();
            let mut promised = Promised::default();
            state.drain_unsaved(&mut batch);
            for submission in submissions {
                let key = (submission.device, submission.id);
                if let Some(sent) = known.get(&key) {
                    repeated.push((submission.origin, *sent));
                    continue;
                }
                match state.accept(&submission, now, &mut promised) {
                    Ok(draft) => {
                        let place = draft.message.place;
                        let sent = Sent {
                            device: place.device,
                            id: place.id,
                            number: place.number,
                            time: place.time,
                            delivered: 0,
                        };
                        known.insert(key, sent);
                        batch.sent.push(sent);
                        batch.last_number = Some(place.number);
                        if !draft.takers.is_empty() {
                            batch.messages.push(Arc::clone(&draft.message));
                        }
                        drafts.push(draft);
                    }
                    Err(code) => state.tell(submission.origin, Outgoing::Refused(submission.id, code, 0)),
                }
            }
        }
        if !batch.is_empty() && self.commit(&batch).await.is_err() {
            let mut state = self.hub.state();
            state.restore_unsaved(&mut batch);
            for draft in &drafts {
                state.tell(draft.origin, Outgoing::Refused(draft.message.place.id, Code::Unavailable, RETRY));
            }
            for (origin, sent) in repeated {
                state.tell(origin, Outgoing::Refused(sent.id, Code::Unavailable, RETRY));
            }
            return;
        }
        let mut state = self.hub.state();
        drafts.into_iter().for_each(|draft| state.publish(draft));
        for (origin, sent) in repeated {
            state.repeat(sent.number, origin);
            state.tell(origin, Outgoing::Accepted(sent.id, sent.number, sent.time));
            if sent.delivered > 0 {
                state.tell(origin, Outgoing::Delivered(sent.id, sent.delivered));
            }
        }
    }

    /// The earlier answers to ids that come again.
    async fn known(
        &mut self,
        submissions: &[Submission],
    ) -> Result<HashMap<(DeviceId, MessageId), Sent>, Unavailable> {
        let keys: Vec<_> = submissions.iter().map(|s| (s.device, s.id)).collect();
        let sent = self.writer.sent(&keys).await.map_err(|error| {
            tracing::error!(%error, "can't read the database");
            Unavailable
        })?;
        Ok(sent.into_iter().map(|sent| ((sent.device, sent.id), sent)).collect())
    }

    fn refuse_all(&self, submissions: &[Submission]) {
        let state = self.hub.state();
        for submission in submissions {
            state.tell(submission.origin, Outgoing::Refused(submission.id, Code::Unavailable, RETRY));
        }
    }

    async fn commit(&mut self, batch: &Batch) -> Result<(), Unavailable> {
        self.writer.commit(batch).await.map_err(|error| {
            tracing::error!(%error, "can't write to the database");
            Unavailable
        })
    }
}
