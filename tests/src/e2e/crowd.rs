//! Many clients in one process, each with the real session, history and inbox of `sordino`. They send and receive
//! for as long as they are told, through any number of the server's deaths, and keep book of it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicUsize, Ordering},
        mpsc::{self, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use smol::LocalExecutor;
use sordino::{
    failure::{Exit, Failure, Result},
    history::{History, Id},
    inbox,
    session::{Credentials, Event, Identity, Options, Session},
    text::target::Target,
    wait,
};
use sordino_core::messages::Code;

use super::{Host, PASSWORD, PATIENCE};

/// Messages that the server may send ahead of the acknowledgement.
const WINDOW: u16 = 64;
/// Messages of one client that wait for their answer.
const IN_FLIGHT: usize = 8;
/// How often a client that hears nothing looks at the phase.
const TICK: Duration = Duration::from_millis(100);
/// How often the book is balanced.
const AUDIT: Duration = Duration::from_millis(250);
/// Threads that drive the clients.
const THREADS: usize = 2;

const GATHERING: u8 = 0;
const SENDING: u8 = 1;
const CALM: u8 = 2;
const OVER: u8 = 3;

/// Who said it, and under which id.
type Key = (Arc<str>, Id);

/// How large a crowd is, and how busy.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Clients, an even number; each is in one pair and one room.
    pub clients: usize,
    /// Members of a room.
    pub room: usize,
    /// Between two messages of one client.
    pub pace: Duration,
}

#[derive(Default)]
struct Book {
    /// What the server has acknowledged.
    accepted: HashMap<Key, Target>,
    /// What each reader was shown, and how often.
    screens: HashMap<Arc<str>, HashMap<Key, u32>>,
    reconnects: usize,
    refused: usize,
}

struct Shared {
    plan: Plan,
    phase: AtomicU8,
    unanswered: AtomicUsize,
    book: Mutex<Book>,
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of those who must read a message, from who sent it and to whom.
    fn readers(&self, sender: &str, target: &Target) -> Vec<String> {
        match target {
            Target::User(user) => vec![user.clone()],
            Target::Room(room) => {
                let first = room.strip_prefix("room").and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
                let members = first * self.plan.room..(first + 1) * self.plan.room;
                let names = members.take_while(|at| *at < self.plan.clients).map(name);
                names.filter(|name| name != sender).collect()
            }
        }
    }

    fn audit(&self) -> Tally {
        let book = self.book();
        let mut tally = Tally {
            accepted: book.accepted.len(),
            reconnects: book.reconnects,
            refused: book.refused,
            ..Tally::default()
        };
        for (key, target) in &book.accepted {
            for reader in self.readers(&key.0, target) {
                tally.owed += 1;
                let shown = book.screens.get(&*reader).and_then(|screen| screen.get(key)).copied();
                tally.lost += usize::from(shown.is_none());
            }
        }
        for (reader, screen) in &book.screens {
            for (key, times) in screen {
                tally.shown += *times as usize;
                tally.repeated += (*times - 1) as usize;
                let meant = book.accepted.get(key).map(|target| self.readers(&key.0, target));
                tally.strange +=
                    usize::from(!meant.unwrap_or_default().iter().any(|name| **name == **reader));
            }
        }
        tally
    }
}

/// The balanced book.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that the server has acknowledged.
    pub accepted: usize,
    /// Messages times readers that must see them.
    pub owed: usize,
    /// Lines on screens.
    pub shown: usize,
    /// Acknowledged messages that a reader didn't see.
    pub lost: usize,
    /// Lines that a reader saw more than once.
    pub repeated: usize,
    /// Lines that were not acknowledged, or not meant for their reader.
    pub strange: usize,
    /// Connections that were lost and made again.
    pub reconnects: usize,
    /// Messages that the server refused.
    pub refused: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("acknowledged messages", self.accepted),
            ("lines owed to readers", self.owed),
            ("lines shown", self.shown),
            ("lost", self.lost),
            ("shown twice", self.repeated),
            ("shown though not acknowledged or not meant", self.strange),
            ("refused", self.refused),
            ("reconnections", self.reconnects),
        ];
        rows.iter().try_for_each(|(what, number)| writeln!(f, "| {what:<42} | {number:>9} |"))
    }
}

fn name(at: usize) -> String {
    format!("member{at:04}")
}

/// Clients at work.
pub struct Crowd {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// Registers everybody, puts them into pairs and rooms, and lets them talk.
    ///
    /// # Panics
    /// When someone can't register or join.
    #[must_use]
    pub fn gather(host: &Host, plan: Plan) -> Self {
        let book = Mutex::new(Book::default());
        let shared = Arc::new(Shared { plan, phase: GATHERING.into(), unanswered: 0.into(), book });
        let (ready, entered) = mpsc::channel();
        let members: Vec<Member> = (0..plan.clients).map(|at| Member::new(host, at, &shared)).collect();
        let mut shares: Vec<Vec<Member>> = (0..THREADS).map(|_| Vec::new()).collect();
        for (at, member) in members.into_iter().enumerate() {
            shares[at % THREADS].push(member);
        }
        let work = |share| {
            let (ready, dir) = (ready.clone(), host.path("crowd"));
            thread::spawn(move || run(share, ready, &dir))
        };
        let threads: Vec<_> = shares.into_iter().map(work).collect();
        drop(ready);
        assert_eq!(entered.iter().count(), THREADS, "somebody could not enter");
        shared.phase.store(SENDING, Ordering::SeqCst);
        Self { shared, threads }
    }

    /// Messages acknowledged so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.book().accepted.len()
    }

    /// Nobody begins a new message; waits until every begun one is answered and every acknowledged one has been read,
    /// at most so long. The book then.
    ///
    /// # Panics
    /// When a client has failed.
    #[must_use]
    pub fn settle(self, within: Duration) -> Tally {
        let deadline = Instant::now() + within;
        self.shared.phase.store(CALM, Ordering::SeqCst);
        loop {
            let unanswered = self.shared.unanswered.load(Ordering::SeqCst);
            let lost = self.shared.audit().lost;
            if unanswered == 0 && lost == 0 || Instant::now() > deadline {
                break;
            }
            thread::sleep(AUDIT);
        }
        // What comes twice would come now.
        thread::sleep(2 * AUDIT);
        self.shared.phase.store(OVER, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("no client has failed");
        }
        self.shared.audit()
    }
}

/// Drives some of the members on this thread.
fn run(members: Vec<Member>, ready: Sender<()>, dir: &Path) {
    smol::block_on(async {
        let executor = LocalExecutor::new();
        std::fs::create_dir_all(dir).expect("a directory for histories");
        let entering: Vec<_> = members
            .into_iter()
            .map(|mut member| {
                executor.spawn(async move {
                    let outcome = member.enter(dir).await;
                    outcome.unwrap_or_else(|e| panic!("{} can't enter: {e}", member.name));
                    member
                })
            })
            .collect();
        let members = executor.run(all(entering)).await;
        let _ = ready.send(());
        drop(ready);
        let living: Vec<_> = members
            .into_iter()
            .map(|mut member| {
                executor.spawn(async move {
                    member.live().await.unwrap_or_else(|e| panic!("{} has failed: {e}", member.name));
                })
            })
            .collect();
        executor.run(all(living)).await;
    });
}

async fn all<T>(tasks: Vec<smol::Task<T>>) -> Vec<T> {
    let mut done = Vec::with_capacity(tasks.len());
    for task in tasks {
        done.push(task.await);
    }
    done
}

struct Member {
    name: Arc<str>,
    identity: Identity,
    options: Options,
    history: Option<History>,
    peer: Target,
    room: String,
    said: u64,
    next: Instant,
    /// Begun and not answered.
    unanswered: BTreeMap<Id, (Target, String)>,
    shared: Arc<Shared>,
}

impl Member {
    fn new(host: &Host, at: usize, shared: &Arc<Shared>) -> Self {
        Self {
            name: name(at).into(),
            identity: Identity::in_memory(),
            options: options(host, 1 + u8::from(at % 4 < 2)),
            history: None,
            peer: Target::User(name(at ^ 1)),
            room: format!("room{}", at / shared.plan.room),
            said: 0,
            next: Instant::now(),
            unanswered: BTreeMap::new(),
            shared: Arc::clone(shared),
        }
    }

    async fn enter(&mut self, dir: &Path) -> Result<()> {
        self.history = Some(History::open(&dir.join(format!("{}.sqlite", self.name))).await?);
        let mut session = register(&self.identity, &self.options, &self.name).await?;
        session.join(&self.room).await?;
        session.close().await;
        Ok(())
    }

    async fn live(&mut self) -> Result<()> {
        while self.phase() == GATHERING {
            smol::Timer::after(TICK).await;
        }
        loop {
            let failure = match Session::open(&self.identity, &self.options).await {
                Ok(session) => match self.talk(session).await {
                    Ok(()) => return Ok(()),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            if !passes(&failure) {
                return Err(failure);
            }
            if self.phase() == OVER {
                return Ok(());
            }
            self.shared.book().reconnects += 1;
            smol::Timer::after(TICK).await;
        }
    }

    /// Talks on one connection until it breaks or all is over.
    async fn talk(&mut self, mut session: Session) -> Result<()> {
        session.receive(WINDOW).await?;
        for (id, (target, text)) in &self.unanswered {
            session.send(id, target, text.as_bytes()).await?;
        }
        while self.phase() != OVER {
            if self.phase() == SENDING && self.unanswered.len() < IN_FLIGHT && self.next <= Instant::now() {
                self.say(&mut session).await?;
            }
            let patience = self.next.saturating_duration_since(Instant::now()).min(TICK).max(AT_LEAST);
            if let Some(event) = wait::within(patience, session.next()).await {
                self.hear(event?, &mut session).await?;
            }
        }
        session.close().await;
        Ok(())
    }

    async fn say(&mut self, session: &mut Session) -> Result<()> {
        self.next = Instant::now() + self.shared.plan.pace;
        self.said += 1;
        let id = new_id();
        let target =
            if self.said.is_multiple_of(2) { Target::Room(self.room.clone()) } else { self.peer.clone() };
        let text = format!("{} says his word number {}", self.name, self.said);
        self.unanswered.insert(id, (target.clone(), text.clone()));
        self.shared.unanswered.fetch_add(1, Ordering::SeqCst);
        session.send(&id, &target, text.as_bytes()).await
    }

    async fn hear(&mut self, event: Event, session: &mut Session) -> Result<()> {
        match event {
            Event::Accepted(accepted) => {
                if let Some((target, _)) = self.settled(&accepted.id) {
                    let key = (Arc::clone(&self.name), accepted.id);
                    self.shared.book().accepted.insert(key, target);
                }
            }
            Event::Refused(refused) if matches!(refused.code, Code::RateLimited | Code::Unavailable) => {
                let Some((target, text)) = self.unanswered.get(&refused.id).cloned() else { return Ok(()) };
                session.send(&refused.id, &target, text.as_bytes()).await?;
            }
            Event::Refused(refused) => {
                self.settled(&refused.id);
                self.shared.book().refused += 1;
            }
            Event::Message(delivery) => {
                let Some(history) = &self.history else { return Ok(()) };
                let (shared, name) = (&self.shared, &self.name);
                let show = |entries: &[sordino::history::Entry]| {
                    let mut book = shared.book();
                    let screen = book.screens.entry(Arc::clone(name)).or_default();
                    for entry in entries {
                        *screen.entry((entry.sender.as_str().into(), entry.id)).or_default() += 1;
                    }
                    Ok(())
                };
                inbox::take(session, history, delivery, u64::MAX, show).await?;
            }
            _ => {}
        }
        Ok(())
    }

    fn settled(&mut self, id: &Id) -> Option<(Target, String)> {
        let message = self.unanswered.remove(id)?;
        self.shared.unanswered.fetch_sub(1, Ordering::SeqCst);
        Some(message)
    }

    fn phase(&self) -> u8 {
        self.shared.phase.load(Ordering::SeqCst)
    }
}

/// A wait of nothing would never let the connection move.
const AT_LEAST: Duration = Duration::from_millis(1);

/// Whether trying again helps: the server was killed.
fn passes(failure: &Failure) -> bool {
    matches!(failure.exit, Exit::Network | Exit::RateLimited)
}

/// Connection options of a client of this host.
///
/// # Panics
/// When the host isn't started.
#[must_use]
pub fn options(host: &Host, suite: u8) -> Options {
    let server = host.address().parse().expect("the server's address");
    Options { server, fingerprint: None, suite, within: PATIENCE }
}

/// A session of a new account.
///
/// # Errors
/// What the server says.
pub async fn register(identity: &Identity, options: &Options, user: &str) -> Result<Session> {
    let mut session = Session::connect(identity, options).await?;
    let email = format!("{user}@example.org");
    session.log_in(Credentials::Register { user, email: &email, password: PASSWORD, label: "crowd" }).await?;
    Ok(session)
}

/// A message id.
///
/// # Panics
/// Without randomness.
#[must_use]
pub fn new_id() -> Id {
    let mut id = Id::default();
    getrandom::fill(&mut id).expect("random bytes");
    id
}

/// Sends messages one after the other, each when the one before is acknowledged.
///
/// # Errors
/// A message is refused, or the connection is lost.
pub async fn send_each(session: &mut Session, to: &Target, count: usize) -> Result<()> {
    for at in 0..count {
        let id = new_id();
        session.send(&id, to, format!("number {at}").as_bytes()).await?;
        loop {
            match session.next().await? {
                Event::Accepted(accepted) if accepted.id == id => break,
                Event::Refused(refused) => return Err(Failure::failed(format!("{refused:?}"))),
                _ => {}
            }
        }
    }
    Ok(())
}
