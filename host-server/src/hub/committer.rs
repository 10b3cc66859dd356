//! The one task that decides and writes: requests come in by a bounded queue, are decided in their order,
//! made durable together, and only then answered. What comes while the disk syncs makes the next batch. It blocks its
//! thread while the disk works.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use smol::{
    channel::{Receiver, Sender, TryRecvError},
    future::FutureExt as _,
};
use sordino_core::messages::Code;

use super::{
    Hub, Now,
    answers::TICK,
    decaying::Decaying,
    due::Due,
    outlet::{Outgoing, Outlet, Wakes},
    patience::Patience,
    presence::ConnectionId,
    state::{Draft, Promised, Submission},
};
use crate::store::{AccountId, Batch, Change, DeviceId, MessageId, NotCommitted, Sent, Writer};

/// Requests that are committed together at most.
const BATCH: usize = 512;
/// While so many messages come and so many deliveries go, a single message in each wait is worth the next: deliveries to
/// a connection that are written together cost a fraction.
const CROWD: (usize, usize) = (4, 128);
/// Acknowledgements alone aren't urgent: lost ones are only given again. Their senders are told when they are durable,
/// so that each hears of many at once.
const UNSAVED: Duration = Duration::from_millis(100);
/// What a client is asked to wait when the disk refuses, in seconds.
const RETRY: u32 = 5;
/// What isn't urgent waits as long then.
const DISK: Duration = Duration::from_secs(RETRY as u64);

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
    hub: Arc<Hub>,
    writer: Writer,
    requests: Receiver<Request>,
    now: Now,
    /// Requests of a batch lately: those of each one before count half.
    lately: usize,
    /// Messages and their deliveries lately.
    accepted: Decaying,
    deliveries: Decaying,
    /// When what isn't urgent must be made durable.
    saving: Due,
    /// When the database must be tidied up, whatever happens until then.
    tidying: Due,
    /// Connections whose answers are held back, and when they are looked at next.
    holding: Vec<Arc<Outlet>>,
    looking: Due,
}

impl Committer {
    pub fn new(hub: Arc<Hub>, writer: Writer, requests: Receiver<Request>, now: Now) -> Self {
        Self {
            hub,
            writer,
            requests,
            now,
            lately: 0,
            accepted: Decaying::default(),
            deliveries: Decaying::default(),
            saving: Due::default(),
            tidying: Due::default(),
            holding: Vec::new(),
            looking: Due::default(),
        }
    }

    /// Runs until every [`Hub`] handle that sends is gone or the queue is closed, then closes the database.
    pub async fn run(mut self) -> rusqlite::Result<()> {
        let mut open = true;
        while open {
            let mut batch = Vec::with_capacity(self.lately);
            open = self.gather(&mut batch).await;
            self.lately = (self.lately / 2).max(batch.len());
            self.process(batch);
            if self.looking.is_late() {
                self.look();
            }
            if self.saving.is_late() {
                self.save();
            }
            self.tidy();
        }
        self.save();
        self.writer.close()
    }

    /// Waits for requests and takes those that are there. True: there may be more. Nothing is taken when something
    /// else must be saved.
    async fn gather(&mut self, batch: &mut Vec<Request>) -> bool {
        loop {
            if !self.take_all(batch) {
                return false;
            }
            if !batch.is_empty() {
                break;
            }
            match self.next().await {
                Some(request) => self.take(request, batch),
                // Late, or closed, which the next call finds out.
                None => return true,
            }
        }
        let mut patience = Patience::new(self.lately, self.is_crowded());
        let mut came = batch.len();
        // To wait for each of them would cost a switch of threads for each.
        while let Some(wait) = patience.wait(came, batch.len()) {
            let before = batch.len();
            thread::sleep(wait);
            if !self.take_all(batch) {
                return false;
            }
            came = batch.len() - before;
        }
        true
    }

    fn is_crowded(&self) -> bool {
        let now = Instant::now();
        self.accepted.at(now) >= CROWD.0 && self.deliveries.at(now) >= CROWD.1
    }

    fn count(&mut self, drafts: &[Draft]) {
        let now = Instant::now();
        self.accepted.add(drafts.len(), now);
        self.deliveries.add(drafts.iter().map(|draft| draft.takers.len()).sum(), now);
    }

    /// Takes the requests that are there. False: there will be no more.
    fn take_all(&mut self, batch: &mut Vec<Request>) -> bool {
        while batch.len() < BATCH {
            match self.requests.try_recv() {
                Ok(request) => self.take(request, batch),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Closed) => return false,
            }
        }
        true
    }

    /// The next request, unless something else must be done before.
    async fn next(&mut self) -> Option<Request> {
        let late = async {
            self.saving.wait().or(self.looking.wait()).or(self.tidying.wait()).await;
            None
        };
        async { self.requests.recv().await.ok() }.or(late).await
    }

    fn take(&mut self, request: Request, batch: &mut Vec<Request>) {
        match request {
            Request::Unsaved => self.save_soon(),
            urgent => batch.push(urgent),
        }
    }

    fn save_soon(&mut self) {
        self.saving.by(Instant::now() + UNSAVED);
    }

    /// Runs of messages are committed together, everything else by itself, all in the order of arrival.
    fn process(&mut self, batch: Vec<Request>) {
        let mut run = Vec::with_capacity(batch.len());
        for request in batch {
            match request {
                Request::Submit(submission) => run.push(submission),
                other => {
                    self.submit(std::mem::take(&mut run));
                    self.single(other);
                }
            }
        }
        self.submit(run);
    }

    fn single(&mut self, request: Request) {
        match request {
            Request::Room { origin, account, tag, room, change } => {
                let code = self.change_room(origin, account, &room, change);
                let retry = if code == Code::Unavailable { RETRY } else { 0 };
                self.hub.state().tell(origin, Outgoing::Done(tag, code, retry));
            }
            Request::Change(decision, answer) => {
                let changes = (decision.0)(&self.hub.state());
                let result = self.commit_changes(changes, None);
                // Whoever asked may be gone; the change stands.
                let _ = answer.try_send(result);
            }
            Request::Expire(before) => {
                self.hub.state().expire(before);
                self.save();
                match self.writer.forget_sent_before(before) {
                    // Behind what has come in meanwhile; when the queue is full, the next hour is soon enough.
                    Ok(true) => drop(self.hub.requests.try_send(Request::Expire(before))),
                    Ok(false) => {}
                    Err(error) => tracing::error!(%error, "can't forget old message ids"),
                }
            }
            Request::Flush(answer) => {
                self.save();
                let _ = answer.try_send(());
            }
            // Those are taken apart before.
            Request::Submit(_) | Request::Unsaved => {}
        }
    }

    fn change_room(
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
                self.commit_changes(changes, Some(origin)).map_or(Code::Unavailable, |()| Code::Ok)
            }
        }
    }

    fn commit_changes(
        &mut self,
        changes: Vec<Change>,
        cause: Option<ConnectionId>,
    ) -> Result<(), Unavailable> {
        if changes.is_empty() {
            return Ok(());
        }
        let batch = Batch { changes, ..Batch::default() };
        self.commit(&batch)?;
        // Who is gone needs no messages.
        self.save_soon();
        let mut state = self.hub.state();
        batch.changes.iter().for_each(|change| state.apply(change, cause));
        Ok(())
    }

    fn tidy(&mut self) {
        let next = self.writer.tidy().unwrap_or_else(|error| {
            tracing::error!(%error, "can't tidy the database up");
            Some(Instant::now() + DISK)
        });
        self.tidying.at(next);
    }

    fn wake(&mut self, wakes: Wakes) {
        self.holding.extend(wakes.wake());
        if !self.holding.is_empty() {
            self.looking.by(Instant::now() + TICK);
        }
    }

    /// Looks at who waits for answers that are held back.
    fn look(&mut self) {
        self.holding.retain(|outlet| outlet.tick());
        let next = (!self.holding.is_empty()).then(|| Instant::now() + TICK);
        self.looking.at(next);
    }

    /// Makes durable what isn't urgent.
    fn save(&mut self) {
        self.saving.at(None);
        let mut batch = Batch::default();
        let deliveries = self.hub.state().drain_unsaved(&mut batch);
        // The store has them in this order.
        batch.answers.sort_unstable_by_key(|sent| sent.number);
        if self.commit(&batch).is_err() {
            self.hub.state().restore_unsaved(batch, deliveries);
            self.saving.by(Instant::now() + DISK);
            return;
        }
        let mut wakes = Wakes::default();
        self.hub.state().confirm(deliveries, &mut wakes);
        self.wake(wakes);
    }

    fn submit(&mut self, submissions: Vec<Submission>) {
        if submissions.is_empty() {
            return;
        }
        // Hardly any id comes twice. If one does, writing it fails, or it would be refused now, as it wasn't before:
        // only then are the earlier answers looked up.
        let mut decided = self.decide(&submissions, HashMap::with_capacity(submissions.len()));
        let mut written = Err(NotCommitted::Repeated);
        if decided.refused.is_empty() {
            written = self.write(&decided.batch);
        }
        if matches!(written, Err(NotCommitted::Repeated)) {
            match self.known(&submissions) {
                Ok(known) => {
                    decided = self.decide(&submissions, known);
                    written = self.write(&decided.batch);
                }
                Err(error) => written = Err(NotCommitted::Failed(error)),
            }
        }
        match written {
            Ok(()) => {
                self.count(&decided.drafts);
                self.publish(decided);
            }
            Err(error) => {
                tracing::error!(%error, "can't store messages");
                self.refuse_all(&submissions);
            }
        }
    }

    fn decide(&self, submissions: &[Submission], mut known: HashMap<(DeviceId, MessageId), Sent>) -> Decided {
        let state = self.hub.state();
        let now = (self.now)();
        let mut decided = Decided::new(state.promise(submissions.len()), submissions.len());
        for submission in submissions {
            let first = match known.entry((submission.device, submission.id)) {
                Entry::Occupied(known) => {
                    decided.repeated.push((submission.origin, *known.get()));
                    continue;
                }
                Entry::Vacant(first) => first,
            };
            match state.accept(submission, now, &mut decided.promised) {
                Ok(draft) => {
                    let sent = draft.message.place.answer(0);
                    first.insert(sent);
                    if draft.takers.is_empty() {
                        decided.batch.sent.push(sent);
                    } else {
                        decided.batch.messages.push(Arc::clone(&draft.message));
                    }
                    decided.drafts.push(draft);
                }
                Err(code) => decided.refused.push((submission.origin, submission.id, code)),
            }
        }
        decided
    }

    /// What was decided is durable: everybody hears of it.
    fn publish(&mut self, decided: Decided) {
        let mut wakes = Wakes::default();
        let mut state = self.hub.state();
        decided.drafts.into_iter().for_each(|draft| state.publish(draft, &mut wakes));
        state.call(&decided.promised, &mut wakes);
        for (origin, id, code) in decided.refused {
            state.tell(origin, Outgoing::Refused(id, code, 0));
        }
        for (origin, sent) in decided.repeated {
            state.repeat(sent.number, origin);
            state.tell(origin, Outgoing::Accepted(sent.id, sent.number, sent.time));
            if sent.delivered > 0 {
                state.tell(origin, Outgoing::Delivered(sent.id, sent.delivered));
            }
        }
        drop(state);
        self.wake(wakes);
    }

    /// The earlier answers to ids that come again.
    fn known(
        &mut self,
        submissions: &[Submission],
    ) -> rusqlite::Result<HashMap<(DeviceId, MessageId), Sent>> {
        // What was delivered since must be known too.
        self.save();
        let keys: Vec<_> = submissions.iter().map(|s| (s.device, s.id)).collect();
        let sent = self.writer.sent(&keys)?;
        Ok(sent.into_iter().map(|sent| ((sent.device, sent.id), sent)).collect())
    }

    fn refuse_all(&self, submissions: &[Submission]) {
        let state = self.hub.state();
        for submission in submissions {
            state.tell(submission.origin, Outgoing::Refused(submission.id, Code::Unavailable, RETRY));
        }
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), Unavailable> {
        self.write(batch).map_err(|error| {
            tracing::error!(%error, "can't write to the database");
            Unavailable
        })
    }

    fn write(&mut self, batch: &Batch) -> Result<(), NotCommitted> {
        if batch.is_empty() { Ok(()) } else { self.writer.commit(batch) }
    }
}

/// What becomes of messages.
#[derive(Debug, Default)]
struct Decided {
    promised: Promised,
    batch: Batch,
    drafts: Vec<Draft>,
    repeated: Vec<(ConnectionId, Sent)>,
    refused: Vec<(ConnectionId, MessageId, Code)>,
}

impl Decided {
    /// Nothing yet of so many messages.
    fn new(promised: Promised, messages: usize) -> Self {
        let mut decided = Self { promised, drafts: Vec::with_capacity(messages), ..Self::default() };
        decided.batch.messages.reserve(messages);
        decided
    }
}
