//! A running server: the listener, the connections, the hub's committer, and their end.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _},
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow, bail};
use smol::{
    Async, Executor, Task, Timer,
    channel::{self, Receiver, Sender},
    future::FutureExt as _,
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    lock::{Semaphore, SemaphoreGuardArc},
};
use sordino_core::{
    config::{OPERATOR, Timeouts},
    identity::ServerIdentity,
    messages::CloseReason,
};

use crate::{
    accounts::Accounts,
    config::{self, Config},
    hub::{Hub, Outlet, unix_now},
    keys::DataDir,
    limits::{Limits, Origin},
    session::{self, Admission, Clock, Pool, ReplayFilter},
    store::{self, Account, Batch, Change, Credentials, Reader},
};

/// Goodbyes at the end get so long.
const FAREWELL: Duration = Duration::from_secs(5);
/// When accepting fails, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often old messages are dropped.
const EXPIRY: Duration = Duration::from_secs(3600);
/// How often the end of the last connection is looked for.
const POLL: Duration = Duration::from_millis(5);
/// Clients that are being told that the server is busy; the others are just dropped.
const REFUSALS: usize = 64;
const REFUSAL: Duration = Duration::from_secs(1);
const DAY: u64 = 24 * 3600 * 1000;
/// A device that was away for so long, in milliseconds, is dropped.
const UNSEEN: u64 = 90 * DAY;
/// ERROR 4 (PROTOCOL.md section 5.1), for those who come when there is no room even for their first byte.
const BUSY: [u8; 9] = [0x53, 0x4f, 1, 6, 1, 0, 0, 1, 4];

/// What all connections have in common.
pub(crate) struct Shared {
    pub config: Arc<Config>,
    pub identity: ServerIdentity,
    pub timeouts: Timeouts,
    pub hub: Arc<Hub>,
    pub accounts: Accounts,
    pub limits: Arc<Limits>,
    pub admission: Admission,
    pub replays: ReplayFilter,
    pub pool: Pool,
    pub clock: Clock,
    counter: AtomicU64,
    outlets: Mutex<HashMap<u64, Arc<Outlet>>>,
}

impl Shared {
    /// Milliseconds of the connections' clock.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Never the same for this server's keys: begins with the time, and grows slower than it.
    pub fn next_counter(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    fn new(config: Config, identity: ServerIdentity, hub: Arc<Hub>, reader: Reader) -> Result<Self> {
        let config = Arc::new(config);
        let limits = Arc::new(Limits::new(&config.limits));
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            accounts: Accounts::new(Arc::clone(&config), Arc::clone(&limits), Arc::clone(&hub), reader)?,
            admission: Admission::new(config.limits.handshakes, config.limits.handshakes_waiting),
            replays: ReplayFilter::default(),
            timeouts: timeouts(&config.timeouts),
            pool: Pool::default(),
            clock: Clock::start(),
            counter: AtomicU64::new(u64::try_from(since_1970.as_nanos()).unwrap_or_default()),
            outlets: Mutex::default(),
            config,
            identity,
            hub,
            limits,
        })
    }

    /// CLOSE 3 to everybody.
    fn dismiss(&self) {
        self.outlets().values().for_each(|outlet| outlet.close(CloseReason::ShuttingDown));
    }

    fn outlets(&self) -> MutexGuard<'_, HashMap<u64, Arc<Outlet>>> {
        self.outlets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn timeouts(seconds: &config::Timeouts) -> Timeouts {
    let millis = |seconds: u32| seconds.saturating_mul(1000);
    Timeouts {
        handshake: millis(seconds.handshake),
        login: millis(seconds.login),
        ping: millis(seconds.ping),
        idle: millis(seconds.idle),
        lifetime: millis(seconds.lifetime),
    }
}

/// A server that listens. Dropping it ends it without goodbyes; nothing that was acknowledged is lost.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    reader: Reader,
    accepting: Vec<Task<()>>,
    committer: Committing,
    _expiry: Task<()>,
    _threads: Threads,
    _data_dir: DataDir,
}

impl Server {
    /// Opens or makes the data directory and listens.
    ///
    /// # Errors
    /// The configuration, the data directory, the keys, the database or the address can't be used.
    pub async fn start(config: Config, data_dir: &Path) -> Result<Self> {
        config.check()?;
        let data_dir = DataDir::open(data_dir)?;
        let identity = data_dir.identity(&config.suites)?;
        let (writer, reader) = open_store(&data_dir).await?;
        let snapshot = reader.snapshot().await.context("can't read the database")?;
        let (hub, committer) = Hub::new(snapshot, config.limits.clone(), writer, reader.clone(), unix_now);
        let listeners = listen(&config.listen)?;
        let address = listeners.first().context("no address to listen on")?.get_ref().local_addr()?;

        let shared = Arc::new(Shared::new(config, identity, hub, reader.clone())?);
        let threads = Threads::start()?;
        let spawn_accept = |listener| {
            threads.executor.spawn(accept(Arc::clone(&shared), Arc::clone(&threads.executor), listener))
        };
        Ok(Self {
            accepting: listeners.into_iter().map(spawn_accept).collect(),
            committer: Committing::start(committer)?,
            _expiry: threads.executor.spawn(expire(Arc::clone(&shared))),
            _threads: threads,
            _data_dir: data_dir,
            address,
            reader,
            shared,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What people compare: 64 hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        crate::keys::fingerprint(&self.shared.identity)
    }

    /// Its policy.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Who is where.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.shared.hub
    }

    /// What is stored.
    #[must_use]
    pub const fn store(&self) -> &Reader {
        &self.reader
    }

    /// Rates and counts.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Argon2id runs since the start.
    #[must_use]
    pub fn argon2_runs(&self) -> u64 {
        self.shared.accounts.hasher().runs()
    }

    /// Waits for the end of the task that writes. Before [`Self::stop`] that is a fault, and nothing that clients
    /// send can be accepted any more: only a new start helps.
    pub async fn broken(&self) {
        self.committer.ended().await;
    }

    /// Stops accepting, says goodbye to everybody, makes everything durable and closes the database.
    ///
    /// # Errors
    /// The database's, or the task that writes has failed.
    pub async fn stop(mut self) -> Result<()> {
        for accepting in self.accepting.drain(..) {
            accepting.cancel().await;
        }
        // Senders hear of what was acknowledged just now, while they are here.
        self.shared.hub.flush().await;
        self.shared.dismiss();
        for _ in 0..FAREWELL.as_millis() / POLL.as_millis() {
            if self.shared.outlets().is_empty() {
                break;
            }
            Timer::after(POLL).await;
        }
        self.shared.hub.finish();
        self.committer.finish().await?;
        self.reader.close().await;
        Ok(())
    }
}

/// The executor's threads; they end with the last handle on the channel.
struct Threads {
    executor: Arc<Executor<'static>>,
    _running: Sender<()>,
}

impl Threads {
    fn start() -> Result<Self> {
        let executor = Arc::new(Executor::new());
        let (running, stopped) = channel::bounded::<()>(1);
        // A core is for the thread that writes. With one thread more, each event that comes alone wakes two of them.
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for number in 0..cores.saturating_sub(1).max(1) {
            let (executor, stopped) = (Arc::clone(&executor), stopped.clone());
            let work = move || {
                // A connection that panics ends alone: the thread goes on with the others.
                let run = || smol::block_on(executor.run(stopped.recv()));
                while panic::catch_unwind(AssertUnwindSafe(run)).is_err() {}
            };
            thread::Builder::new()
                .name(format!("sordino-{number}"))
                .spawn(work)
                .context("can't start a thread")?;
        }
        Ok(Self { executor, _running: running })
    }
}

/// The thread that writes. It blocks while the disk works, so it is nobody else's. Dropped, it ends after what it does.
struct Committing {
    thread: thread::JoinHandle<rusqlite::Result<()>>,
    /// Closed by its end, also by a panic.
    ended: Receiver<()>,
    _running: Sender<()>,
}

impl Committing {
    fn start(committer: impl Future<Output = rusqlite::Result<()>> + Send + 'static) -> Result<Self> {
        let (running, stopped) = channel::bounded::<()>(1);
        let (ending, ended) = channel::bounded::<()>(1);
        let work = move || {
            let _ending = ending;
            let stop = async {
                let _ = stopped.recv().await;
                Ok(())
            };
            smol::future::block_on(committer.or(stop))
        };
        let thread = thread::Builder::new()
            .name("sordino-store".into())
            .spawn(work)
            .context("can't start a thread")?;
        Ok(Self { thread, ended, _running: running })
    }

    async fn ended(&self) {
        let _ = self.ended.recv().await;
    }

    /// Waits for its end, when the hub takes nothing more.
    async fn finish(self) -> Result<()> {
        self.ended().await;
        match self.thread.join() {
            Ok(closed) => closed.context("can't close the database"),
            Err(_) => bail!("the task that writes has panicked; nothing that was acknowledged is lost"),
        }
    }
}

/// Works on the data of a server that isn't running.
///
/// # Errors
/// There is no such data, a server is running on it, or the database's.
pub async fn maintain<T>(data_dir: &Path, work: impl AsyncFnOnce(&Hub) -> T) -> Result<T> {
    if !data_dir.join(store::FILE).exists() {
        bail!("there is no server's data in {}", data_dir.display());
    }
    let data_dir = DataDir::open(data_dir)?;
    let (writer, reader) = open_store(&data_dir).await?;
    let snapshot = reader.snapshot().await.context("can't read the database")?;
    let (hub, committer) = Hub::new(snapshot, Config::default().limits, writer, reader.clone(), unix_now);
    let worked = async {
        let result = work(&hub).await;
        hub.finish();
        result
    };
    let (result, closed) = smol::future::zip(worked, committer).await;
    closed.context("can't close the database")?;
    reader.close().await;
    Ok(result)
}

/// The database, with the operator's account in it.
async fn open_store(data_dir: &DataDir) -> Result<(store::Writer, Reader)> {
    let (mut writer, reader) = store::open(data_dir.path()).await?;
    let snapshot = reader.snapshot().await.context("can't read the database")?;
    if !snapshot.accounts.iter().any(|a| &*a.name == OPERATOR) {
        let account = Account {
            id: store::AccountId(snapshot.last_rows.0 + 1),
            name: OPERATOR.into(),
            disabled: false,
        };
        let nobody = Credentials { email: String::new(), password: None };
        let changes = vec![Change::Account(account, nobody, unix_now())];
        writer.commit(&Batch { changes, ..Batch::default() }).context("can't write to the database")?;
    }
    Ok((writer, reader))
}

/// Listens on every address that a name stands for, on the same port.
fn listen(name: &str) -> Result<Vec<Async<TcpListener>>> {
    let mut addresses: Vec<SocketAddr> =
        name.to_socket_addrs().with_context(|| format!("can't find the address {name}"))?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.dedup();
    let mut listeners: Vec<Async<TcpListener>> = Vec::new();
    for mut address in addresses {
        if let Some(first) = listeners.first() {
            address.set_port(first.get_ref().local_addr()?.port());
        }
        match Async::<TcpListener>::bind(address) {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6 may still give localhost an IPv6 address.
            Err(error) if !listeners.is_empty() => tracing::debug!(%address, %error, "can't listen"),
            Err(error) => return Err(anyhow!(error).context(format!("can't listen on {address}"))),
        }
    }
    Ok(listeners)
}

async fn accept(shared: Arc<Shared>, executor: Arc<Executor<'static>>, listener: Async<TcpListener>) {
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    loop {
        let (socket, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "can't accept");
                Timer::after(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let origin = Origin::from(address.ip());
        match shared.limits.connect(origin, shared.now()) {
            Ok(()) => {
                let connection = Connection::new(Arc::clone(&shared), origin);
                executor.spawn(connection.serve(socket)).detach();
            }
            Err(reason) => {
                tracing::debug!(%origin, ?reason, "connection refused");
                if let Some(place) = refusals.try_acquire_arc() {
                    executor.spawn(refuse(socket, place)).detach();
                }
            }
        }
    }
}

/// A connection as limits and shutdown see it, until it is dropped.
struct Connection {
    shared: Arc<Shared>,
    origin: Origin,
    number: u64,
    outlet: Arc<Outlet>,
}

impl Connection {
    fn new(shared: Arc<Shared>, origin: Origin) -> Self {
        let number = shared.next_counter();
        let outlet = Arc::new(Outlet::default());
        shared.outlets().insert(number, Arc::clone(&outlet));
        Self { shared, origin, number, outlet }
    }

    async fn serve(self, socket: Async<TcpStream>) {
        // Records are collected before they are written; waiting for more of them helps nobody.
        let _ = socket.get_ref().set_nodelay(true);
        let end =
            session::serve(Arc::clone(&self.shared), socket, self.origin, Arc::clone(&self.outlet)).await;
        tracing::debug!(address = %self.origin, end = %end, "connection ended");
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.outlets().remove(&self.number);
        self.shared.limits.disconnect(self.origin);
    }
}

/// Says that the server is busy, and waits for the client to read it.
async fn refuse(socket: Async<TcpStream>, _place: SemaphoreGuardArc) {
    let told = async {
        let mut socket = &socket;
        socket.write_all(&BUSY).await?;
        socket.get_ref().shutdown(std::net::Shutdown::Write)?;
        let mut dropped = [0; 512];
        while socket.read(&mut dropped).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    let late = async {
        Timer::after(REFUSAL).await;
        Ok(())
    };
    // Whether a client that is turned away listens is its own affair.
    let _ = told.or(late).await;
}

/// Drops what is older than the mailboxes keep, and devices that nobody uses.
async fn expire(shared: Arc<Shared>) {
    let age = u64::from(shared.config.mailbox_days) * DAY;
    loop {
        if shared.hub.expire(unix_now().saturating_sub(age)).await.is_err() {
            return;
        }
        if shared.hub.drop_unseen(unix_now().saturating_sub(UNSEEN)).await.is_err() {
            tracing::warn!("devices that were not seen for long can't be dropped now");
        }
        Timer::after(EXPIRY).await;
    }
}
