//! Argon2id away from the async threads: a few at a time, a bounded number in the queue.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use argon2::{
    Algorithm, Argon2, CustomizedPasswordHasher as _, Params, PasswordVerifier as _, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use smol::lock::Semaphore;
use zeroize::Zeroizing;

use crate::config;

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// See the module.
#[derive(Debug)]
pub struct Hasher {
    params: Params,
    /// For a user that doesn't exist: nobody knows its password.
    nobody: Arc<str>,
    jobs: Semaphore,
    room: usize,
    inside: AtomicUsize,
    runs: Arc<AtomicU64>,
}

/// How a check of a password ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The password is right.
    pub right: bool,
    /// The stored hash has other parameters than the configured ones.
    pub outdated: bool,
}

impl Hasher {
    /// `jobs` run at the same time, `queue` may wait.
    ///
    /// # Errors
    /// The parameters are out of range, or the system gives no randomness.
    pub fn new(argon2: &config::Argon2, jobs: u32, queue: u32) -> anyhow::Result<Self> {
        let params = Params::new(argon2.memory, argon2.passes, argon2.lanes, None)?;
        Ok(Self {
            nobody: nobody(&params)?,
            params,
            jobs: Semaphore::new(jobs as usize),
            room: jobs as usize + queue as usize,
            inside: AtomicUsize::new(0),
            runs: Arc::default(),
        })
    }

    /// Argon2id runs since the start, for whatever reason.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// The hash of a new password in PHC form.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn hash(&self, password: Zeroizing<String>) -> Result<String, Busy> {
        let params = self.params.clone();
        self.run(move || {
            let hash: PasswordHash = context(params.clone())
                .hash_password_with_params(password.as_bytes(), &random::<16>()?, params)
                .map_err(|e| anyhow::anyhow!("{e}"))?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Compares a password with a stored hash. Without one, the same work leads to "wrong".
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn check(&self, password: Zeroizing<String>, stored: Option<String>) -> Result<Checked, Busy> {
        let params = self.params.clone();
        let nobody = Arc::clone(&self.nobody);
        self.run(move || {
            let against = stored.as_deref().unwrap_or(&nobody);
            let hash = PasswordHash::new(against).map_err(|e| anyhow::anyhow!("{e}"))?;
            let right = context(params.clone()).verify_password(password.as_bytes(), &hash).is_ok()
                && stored.is_some();
            let outdated = Params::try_from(&hash)
                .map_or(true, |used| used_parameters(&used) != used_parameters(&params));
            Ok(Checked { right, outdated })
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, Busy> {
        let _place = Place::take(&self.inside, self.room).ok_or(Busy)?;
        let _job = self.jobs.acquire().await;
        self.runs.fetch_add(1, Ordering::Relaxed);
        smol::unblock(work).await.map_err(|error| {
            tracing::error!(%error, "can't hash a password");
            Busy
        })
    }
}

/// A place in the queue or at work, given back also when the connection that waited is gone.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(inside: &'a AtomicUsize, room: usize) -> Option<Self> {
        let taken =
            inside.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < room).then_some(n + 1));
        taken.is_ok().then(|| Self(inside))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn context(params: Params) -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn used_parameters(params: &Params) -> (u32, u32, u32) {
    (params.m_cost(), params.t_cost(), params.p_cost())
}

/// A hash with random salt and output.
fn nobody(params: &Params) -> anyhow::Result<Arc<str>> {
    let error = |e| anyhow::anyhow!("{e}");
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(|e| anyhow::anyhow!("{e}"))?,
        salt: Some(Salt::new(&random::<16>()?).map_err(error)?),
        hash: Some(Output::new(&random::<32>()?).map_err(error)?),
    };
    Ok(hash.to_string().into())
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("no randomness: {e}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn hasher(memory: u32, jobs: u32, queue: u32) -> Hasher {
        Hasher::new(&config::Argon2 { memory, passes: 1, lanes: 1 }, jobs, queue).unwrap()
    }

    fn password(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.into())
    }

    #[test]
    fn right_wrong_and_nobody_cost_one_run_each() {
        smol::block_on(async {
            let hasher = hasher(64, 1, 1);
            let stored = hasher.hash(password("secret")).await.unwrap();
            assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
            let right = Checked { right: true, outdated: false };
            assert_eq!(hasher.check(password("secret"), Some(stored.clone())).await.unwrap(), right);
            assert_eq!(hasher.runs(), 2);
            assert!(!hasher.check(password("Secret"), Some(stored.clone())).await.unwrap().right);
            assert_eq!(hasher.runs(), 3);
            assert!(!hasher.check(password("secret"), None).await.unwrap().right);
            assert_eq!(hasher.runs(), 4);
        });
    }

    #[test]
    fn other_parameters_are_noticed() {
        smol::block_on(async {
            let stored = hasher(64, 1, 1).hash(password("secret")).await.unwrap();
            let checked = hasher(128, 1, 1).check(password("secret"), Some(stored)).await.unwrap();
            assert_eq!(checked, Checked { right: true, outdated: true });
        });
    }

    #[test]
    fn the_queue_is_bounded_and_given_up_places_come_back() {
        smol::block_on(async {
            let hasher = Arc::new(hasher(64, 1, 2));
            let busy = hasher.jobs.acquire().await;
            let tasks: Vec<_> = (0..3)
                .map(|_| {
                    let hasher = Arc::clone(&hasher);
                    smol::spawn(async move { hasher.hash(password("x")).await })
                })
                .collect();
            while hasher.inside.load(Ordering::Relaxed) < 3 {
                smol::Timer::after(Duration::from_millis(1)).await;
            }
            assert_eq!(hasher.hash(password("y")).await, Err(Busy));
            drop(tasks);
            while hasher.inside.load(Ordering::Relaxed) > 0 {
                smol::Timer::after(Duration::from_millis(1)).await;
            }
            drop(busy);
            assert!(hasher.hash(password("y")).await.is_ok());
        });
    }
}
