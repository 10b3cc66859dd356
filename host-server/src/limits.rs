//! Rates and counts, for each address, account and device, and for the whole server.
//!
//! A rate is a token bucket, kept as the one moment at which it would be full again (the generic cell rate
//! algorithm). Time is an argument, in milliseconds of any monotonic clock. Memory is bounded: a map that is
//! full lets its newcomers share one bucket.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{config, store::AccountId};

/// Keys of one map; an entry takes about 40 bytes.
const KEYS: usize = 65_536;

/// Milliseconds of a monotonic clock.
pub type Millis = u64;

/// So many at once, then one in each interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    burst: u64,
    /// In microseconds, so that high rates are exact.
    interval: u64,
}

impl Rate {
    /// `burst` at once, then `count` in `period` milliseconds; none of them 0.
    #[must_use]
    pub fn new(burst: u32, count: u32, period: Millis) -> Self {
        Self { burst: u64::from(burst), interval: (period * 1000 / u64::from(count)).max(1) }
    }
}

/// The moment, in microseconds, at which a bucket is full.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket(u64);

impl Bucket {
    /// Takes one, or says after how many milliseconds there will be one.
    fn take(&mut self, rate: Rate, now: Millis) -> Result<(), Millis> {
        let now = now * 1000;
        let full = self.0.max(now) + rate.interval;
        let room = now + rate.burst * rate.interval;
        if full > room {
            return Err((full - room).div_ceil(1000));
        }
        self.0 = full;
        Ok(())
    }

    fn give_back(&mut self, rate: Rate) {
        self.0 = self.0.saturating_sub(rate.interval);
    }
}

/// Buckets by key.
#[derive(Debug)]
struct Buckets<K> {
    rate: Rate,
    keys: usize,
    map: HashMap<K, Bucket>,
    shared: Bucket,
}

impl<K: Eq + Hash> Buckets<K> {
    fn new(rate: Rate, keys: usize) -> Self {
        Self { rate, keys, map: HashMap::new(), shared: Bucket::default() }
    }

    fn take(&mut self, key: K, now: Millis) -> Result<(), Millis> {
        if self.map.len() >= self.keys && !self.map.contains_key(&key) {
            // A full bucket says nothing: it needs no entry.
            self.map.retain(|_, bucket| bucket.0 > now * 1000);
            if self.map.len() >= self.keys {
                return self.shared.take(self.rate, now);
            }
        }
        self.map.entry(key).or_default().take(self.rate, now)
    }

    fn give_back(&mut self, key: &K) {
        if let Some(bucket) = self.map.get_mut(key) {
            bucket.give_back(self.rate);
        }
    }
}

/// An address as limits see it: IPv6 by its /64, of which one host has as many addresses as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Who tries to log in with a password.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// From where.
    pub origin: Origin,
    /// As whom, if there is such an account.
    pub account: Option<AccountId>,
    /// Whether the device is bound to that account already.
    pub known_device: bool,
}

#[derive(Debug)]
struct Inner {
    connections: u32,
    by_origin: HashMap<Origin, u32>,
    new_connections: Buckets<Origin>,
    registrations: Buckets<Origin>,
    failures_account: Buckets<AccountId>,
    failures_known_device: Buckets<AccountId>,
    failures_origin: Buckets<Origin>,
    failures_server: Buckets<()>,
    messages: Buckets<AccountId>,
}

/// All of a server's limits.
#[derive(Debug)]
pub struct Limits {
    most: u32,
    most_by_origin: u32,
    inner: Mutex<Inner>,
}

/// Why a connection isn't taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The server has too many connections.
    Server,
    /// The address has too many connections.
    Address,
    /// The address makes new connections too fast.
    Rate,
}

impl Limits {
    /// As configured.
    #[must_use]
    pub fn new(config: &config::Limits) -> Self {
        let seconds = |s: u32| u64::from(s) * 1000;
        let failures = |burst, interval| Rate::new(burst, 1, seconds(interval));
        let c = config;
        let inner = Inner {
            connections: 0,
            by_origin: HashMap::new(),
            new_connections: Buckets::new(
                Rate::new(c.new_connections_per_second, c.new_connections_per_second, 1000),
                KEYS,
            ),
            registrations: Buckets::new(
                Rate::new(c.registrations_per_minute, c.registrations_per_minute, 60_000),
                KEYS,
            ),
            failures_account: Buckets::new(
                failures(c.login_failures_account, c.login_interval_account),
                KEYS,
            ),
            failures_known_device: Buckets::new(
                failures(c.login_failures_known_device, c.login_interval_known_device),
                KEYS,
            ),
            failures_origin: Buckets::new(failures(c.login_failures_address, c.login_interval_address), KEYS),
            failures_server: Buckets::new(failures(c.login_failures_server, c.login_interval_server), 1),
            messages: Buckets::new(Rate::new(c.message_burst, c.messages_per_second, 1000), KEYS),
        };
        Self { most: c.connections, most_by_origin: c.connections_per_address, inner: Mutex::new(inner) }
    }

    /// A connection has come in. It counts until [`Limits::disconnect`].
    ///
    /// # Errors
    /// It must not stay.
    pub fn connect(&self, origin: Origin, now: Millis) -> Result<(), Refused> {
        let mut inner = self.lock();
        if inner.connections >= self.most {
            return Err(Refused::Server);
        }
        if inner.by_origin.get(&origin).is_some_and(|n| *n >= self.most_by_origin) {
            return Err(Refused::Address);
        }
        inner.new_connections.take(origin, now).map_err(|_| Refused::Rate)?;
        inner.connections += 1;
        *inner.by_origin.entry(origin).or_default() += 1;
        Ok(())
    }

    /// A connection that was taken has ended.
    pub fn disconnect(&self, origin: Origin) {
        let mut inner = self.lock();
        inner.connections = inner.connections.saturating_sub(1);
        if let Some(count) = inner.by_origin.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                inner.by_origin.remove(&origin);
            }
        }
    }

    /// Connections at present.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.lock().connections
    }

    /// A registration is asked for.
    ///
    /// # Errors
    /// Seconds to wait.
    pub fn register(&self, origin: Origin, now: Millis) -> Result<(), u32> {
        self.lock().registrations.take(origin, now).map_err(seconds)
    }

    /// A password is about to be checked: the attempt counts as failed until [`Limits::login_succeeded`], so
    /// that attempts at the same time don't slip through. A device that the account knows has a bucket of its
    /// own: strangers lock nobody out.
    ///
    /// # Errors
    /// Seconds to wait; nothing was counted.
    pub fn login(&self, attempt: Attempt, now: Millis) -> Result<(), u32> {
        let mut inner = self.lock();
        if let Some(account) = attempt.account.filter(|_| attempt.known_device) {
            return inner.failures_known_device.take(account, now).map_err(seconds);
        }
        inner.failures_origin.take(attempt.origin, now).map_err(seconds)?;
        if let Err(wait) = inner.failures_server.take((), now) {
            inner.failures_origin.give_back(&attempt.origin);
            return Err(seconds(wait));
        }
        let Some(account) = attempt.account else { return Ok(()) };
        inner.failures_account.take(account, now).map_err(|wait| {
            inner.failures_origin.give_back(&attempt.origin);
            inner.failures_server.give_back(&());
            seconds(wait)
        })
    }

    /// The password was right: the attempt counts for nothing.
    pub fn login_succeeded(&self, attempt: Attempt) {
        let mut inner = self.lock();
        match attempt.account {
            Some(account) if attempt.known_device => inner.failures_known_device.give_back(&account),
            account => {
                inner.failures_origin.give_back(&attempt.origin);
                inner.failures_server.give_back(&());
                if let Some(account) = account {
                    inner.failures_account.give_back(&account);
                }
            }
        }
    }

    /// An account sends a message.
    ///
    /// # Errors
    /// Seconds to wait.
    pub fn message(&self, account: AccountId, now: Millis) -> Result<(), u32> {
        self.lock().messages.take(account, now).map_err(seconds)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Counts are consistent between any two calls.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(wait: Millis) -> u32 {
    u32::try_from(wait.div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn limits(change: impl FnOnce(&mut config::Limits)) -> Limits {
        let mut config = config::Limits::default();
        change(&mut config);
        Limits::new(&config)
    }

    fn stranger(account: i64, origin: Origin) -> Attempt {
        Attempt { origin, account: Some(AccountId(account)), known_device: false }
    }

    #[test]
    fn twenty_connections_a_second_from_one_address() {
        let limits = limits(|_| {});
        let (one, other) = (origin("127.0.0.1"), origin("127.0.0.2"));
        assert_eq!((0..100).filter(|_| limits.connect(one, 5_000).is_ok()).count(), 20);
        assert_eq!(limits.connect(one, 5_049), Err(Refused::Rate));
        assert!(limits.connect(one, 5_050).is_ok(), "one comes back after 1/20 s");
        assert!(limits.connect(other, 5_050).is_ok());
        assert_eq!((0..100).filter(|_| limits.connect(one, 9_000).is_ok()).count(), 20);
    }

    #[test]
    fn thirty_registrations_a_minute_from_one_address() {
        let limits = limits(|_| {});
        let home = origin("2001:db8::1");
        assert_eq!((0..100).filter(|_| limits.register(home, 0).is_ok()).count(), 30);
        assert_eq!(limits.register(origin("2001:db8::2"), 0), Err(2), "the same /64");
        assert!(limits.register(origin("2001:db8:0:1::1"), 0).is_ok());
        assert!(limits.register(home, 2_000).is_ok());
    }

    #[test]
    fn a_mapped_address_is_the_address() {
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
    }

    #[test]
    fn connections_are_counted_until_they_end() {
        let limits = limits(|c| (c.connections, c.connections_per_address) = (3, 2));
        let (one, other) = (origin("192.0.2.1"), origin("192.0.2.2"));
        assert!(limits.connect(one, 0).is_ok() && limits.connect(one, 0).is_ok());
        assert_eq!(limits.connect(one, 0), Err(Refused::Address));
        assert!(limits.connect(other, 0).is_ok());
        assert_eq!(limits.connect(other, 0), Err(Refused::Server));
        limits.disconnect(one);
        assert!(limits.connect(other, 0).is_ok());
        assert_eq!(limits.connections(), 3);
    }

    #[test]
    fn strangers_lock_no_known_device_out() {
        let limits = limits(|_| {});
        let far = origin("203.0.113.9");
        while limits.login(stranger(1, far), 0).is_ok() {}
        let elsewhere = origin("198.51.100.1");
        assert_eq!(limits.login(stranger(1, elsewhere), 0), Err(60), "the account is closed to strangers");
        assert!(limits.login(stranger(2, elsewhere), 0).is_ok());
        let known = Attempt { known_device: true, ..stranger(1, far) };
        assert_eq!((0..50).filter(|_| limits.login(known, 0).is_ok()).count(), 10);
        assert!(limits.login(stranger(1, elsewhere), 60_000).is_ok());
    }

    #[test]
    fn an_address_that_guesses_names_is_slowed() {
        let limits = limits(|_| {});
        let far = origin("203.0.113.9");
        let unknown = Attempt { origin: far, account: None, known_device: false };
        assert_eq!((0..500).filter(|_| limits.login(unknown, 0).is_ok()).count(), 30);
    }

    #[test]
    fn the_server_as_a_whole_is_slowed() {
        let limits = limits(|_| {});
        let tries = (0..1000u32).filter(|n| {
            limits.login(stranger(i64::from(*n), IpAddr::from(n.to_be_bytes()).into()), 0).is_ok()
        });
        assert_eq!(tries.count(), 300);
    }

    #[test]
    fn what_is_refused_or_right_does_not_count() {
        let limits = limits(|c| c.login_failures_account = 1);
        let here = origin("192.0.2.1");
        for _ in 0..200 {
            assert!(limits.login(stranger(1, here), 0).is_ok());
            limits.login_succeeded(stranger(1, here));
        }
        assert!(limits.login(stranger(1, here), 0).is_ok());
        for _ in 0..200 {
            assert!(limits.login(stranger(1, here), 0).is_err());
        }
        assert_eq!((2..100).filter(|n| limits.login(stranger(*n, here), 0).is_ok()).count(), 29);
    }

    #[test]
    fn a_burst_of_messages_then_a_rate() {
        let limits = limits(|_| {});
        let account = AccountId(1);
        assert_eq!((0..1000).filter(|_| limits.message(account, 0).is_ok()).count(), 200);
        assert_eq!(limits.message(account, 0), Err(1));
        assert_eq!((0..1000).filter(|_| limits.message(account, 1_000).is_ok()).count(), 50);
    }

    #[test]
    fn memory_is_bounded_and_newcomers_share_a_bucket() {
        let mut buckets = Buckets::new(Rate::new(2, 1, 1_000), 10);
        for key in 0..10 {
            assert!(buckets.take(key, 0).is_ok());
        }
        assert_eq!((10..100).filter(|key| buckets.take(*key, 0).is_ok()).count(), 2);
        assert_eq!(buckets.map.len(), 10);
        assert!(buckets.take(3, 0).is_ok(), "who is known keeps a bucket");
        assert!(buckets.take(100, 1_000).is_ok(), "full buckets make room");
        assert!(buckets.map.len() < 10);
    }
}
