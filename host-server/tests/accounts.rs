//! Registration and login against a real database, without sockets.

mod common;

use std::{net::IpAddr, path::Path, sync::Arc};

use common::Bench;
use smol::block_on;
use sordino_core::messages::{AuthCode, AuthMethod, CloseReason};
use sordino_server::{
    accounts::{Accounts, Login, Refusal, Unfit, set_disabled},
    config::Config,
    limits::{Limits, Origin},
    store::DeviceId,
};
use tempfile::tempdir;
use zeroize::Zeroizing;

const PASSWORD: &str = "correct horse battery";

struct Office {
    bench: Bench,
    accounts: Accounts,
}

impl Office {
    async fn open(dir: &Path, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.argon2.memory = 64;
        change(&mut config);
        let bench = Bench::with(dir, config.limits.clone()).await;
        let limits = Arc::new(Limits::new(&config.limits));
        let accounts =
            Accounts::new(Arc::new(config), limits, Arc::clone(&bench.hub), bench.reader.clone()).unwrap();
        Self { bench, accounts }
    }

    async fn try_login(
        &self,
        method: AuthMethod,
        user: &str,
        password: &str,
        key: u8,
    ) -> Result<DeviceId, Refusal> {
        let login = Login {
            method,
            username: user.into(),
            email: if method == AuthMethod::Register { format!("{user}@example.org") } else { String::new() },
            password: Zeroizing::new(password.into()),
            label: "desk".into(),
            fingerprint: [key; 32],
            key_is_sound: Box::new(move || key != 99),
            origin: Origin::from(IpAddr::from([192, 0, 2, 1])),
        };
        self.accounts.authenticate(login, 0).await
    }

    async fn register(&self, user: &str, key: u8) -> Result<DeviceId, AuthCode> {
        self.try_login(AuthMethod::Register, user, PASSWORD, key).await.map_err(|r| r.code)
    }

    async fn password(&self, user: &str, password: &str, key: u8) -> Result<DeviceId, AuthCode> {
        self.try_login(AuthMethod::Password, user, password, key).await.map_err(|r| r.code)
    }

    async fn device(&self, key: u8) -> Result<DeviceId, AuthCode> {
        self.try_login(AuthMethod::Device, "", "", key).await.map_err(|r| r.code)
    }
}

#[test]
fn register_then_log_in_by_device_and_by_password() {
    let dir = tempdir().unwrap();
    block_on(async {
        let office = Office::open(dir.path(), |_| {}).await;
        let first = office.register("Alice", 1).await.unwrap();
        assert_eq!(office.device(1).await, Ok(first));
        assert_eq!(office.device(2).await, Err(AuthCode::Denied));
        let second = office.password("ALICE", PASSWORD, 2).await.unwrap();
        assert_ne!(first, second);
        assert_eq!(office.device(2).await, Ok(second));
        assert_eq!(office.password("alice", PASSWORD, 2).await, Ok(second), "the same device again");
        assert_eq!(office.register("alice", 3).await, Err(AuthCode::UsernameTaken));
        office.bench.kill().await;

        let office = Office::open(dir.path(), |_| {}).await;
        assert_eq!(office.device(1).await, Ok(first));
        office.bench.close().await;
    });
}

#[test]
fn unknown_user_and_wrong_password_are_the_same_answer_after_the_same_work() {
    let dir = tempdir().unwrap();
    block_on(async {
        let office = Office::open(dir.path(), |_| {}).await;
        office.register("alice", 1).await.unwrap();
        let mut answers = Vec::new();
        for user in ["alice", "nobody", "server", "not a name!", ""] {
            let before = office.accounts.hasher().runs();
            let answer = office.try_login(AuthMethod::Password, user, "wrong", 7).await;
            answers.push((answer, office.accounts.hasher().runs() - before));
        }
        let denied = (Err(Refusal { code: AuthCode::Denied, retry_after: 0 }), 1);
        assert!(answers.iter().all(|a| *a == denied), "{answers:?}");
        office.bench.close().await;
    });
}

#[test]
fn the_policy_has_its_codes() {
    let dir = tempdir().unwrap();
    block_on(async {
        let office =
            Office::open(dir.path(), |c| c.registration.email_domains = vec!["example.org".into()]).await;
        let register = |user, password, key| office.try_login(AuthMethod::Register, user, password, key);
        let code = |result: Result<DeviceId, Refusal>| result.map_err(|r| r.code);
        assert_eq!(code(register("server", PASSWORD, 1).await), Err(AuthCode::UsernameNotAllowed));
        assert_eq!(code(register("alice", "password", 1).await), Err(AuthCode::PasswordTooWeak));
        assert_eq!(code(register("x@y", PASSWORD, 1).await), Err(AuthCode::UsernameNotAllowed));
        assert_eq!(office.accounts.hasher().runs(), 0, "none of these costs a hash");
        assert_eq!(
            office.register("alice", 99).await,
            Err(AuthCode::Denied),
            "an unsound key is never bound"
        );
        assert_eq!(office.device(99).await, Err(AuthCode::Denied));
        assert!(office.register("alice", 1).await.is_ok(), "the name isn't lost by that");
        office.bench.close().await;

        let closed = tempdir().unwrap();
        let office = Office::open(closed.path(), |c| c.registration.open = false).await;
        assert_eq!(office.register("alice", 1).await, Err(AuthCode::RegistrationClosed));
        office.bench.close().await;
    });
}

#[test]
fn devices_are_bounded_and_move_between_accounts() {
    let dir = tempdir().unwrap();
    block_on(async {
        let office = Office::open(dir.path(), |c| c.limits.devices_per_account = 2).await;
        let first = office.register("alice", 1).await.unwrap();
        office.password("alice", PASSWORD, 2).await.unwrap();
        assert_eq!(office.password("alice", PASSWORD, 3).await, Err(AuthCode::TooManyDevices));
        let moved = office.register("bob", 1).await.unwrap();
        assert_ne!(first, moved);
        assert_eq!(office.device(1).await, Ok(moved));
        assert!(office.password("alice", PASSWORD, 3).await.is_ok(), "alice has room again");
        assert!(office.bench.hub.state().directory.device(first).is_none());
        office.bench.close().await;
    });
}

#[test]
fn guesses_are_limited_and_a_known_device_is_not_locked_out() {
    let dir = tempdir().unwrap();
    block_on(async {
        let office = Office::open(dir.path(), |c| c.limits.login_failures_account = 3).await;
        office.register("alice", 1).await.unwrap();
        for _ in 0..3 {
            assert_eq!(office.password("alice", "guess", 7).await, Err(AuthCode::Denied));
        }
        let limited = office.try_login(AuthMethod::Password, "alice", PASSWORD, 7).await.unwrap_err();
        assert_eq!((limited.code, limited.retry_after), (AuthCode::RateLimited, 60));
        assert!(office.password("alice", PASSWORD, 1).await.is_ok());
        assert!(office.device(1).await.is_ok());
        office.bench.close().await;
    });
}

#[test]
fn a_hash_follows_the_configured_parameters_at_login() {
    let dir = tempdir().unwrap();
    block_on(async {
        let stored = |office: &Office| {
            let account = office.bench.hub.state().directory.person_named("alice").unwrap().account.id;
            let reader = office.bench.reader.clone();
            async move { reader.password(account).await.unwrap().unwrap() }
        };
        let office = Office::open(dir.path(), |_| {}).await;
        office.register("alice", 1).await.unwrap();
        assert!(stored(&office).await.contains("m=64,t=2,p=1"));
        office.bench.close().await;

        let office = Office::open(dir.path(), |c| c.argon2.passes = 3).await;
        assert_eq!(office.password("alice", "wrong", 1).await, Err(AuthCode::Denied));
        assert!(stored(&office).await.contains("m=64,t=2,p=1"));
        office.password("alice", PASSWORD, 1).await.unwrap();
        assert!(stored(&office).await.contains("m=64,t=3,p=1"));
        assert!(office.password("alice", PASSWORD, 1).await.is_ok());
        office.bench.close().await;
    });
}

#[test]
fn a_disabled_account_is_out_at_once_and_its_devices_come_back_when_it_is_enabled() {
    let dir = tempdir().unwrap();
    block_on(async {
        let office = Office::open(dir.path(), |_| {}).await;
        let device = office.register("alice", 1).await.unwrap();
        office.register("bob", 2).await.unwrap();
        let hub = &office.bench.hub;
        let (alice, bob) = (office.bench.connect(1), office.bench.connect(2));
        set_disabled(hub, "@Alice", true).await.unwrap();
        assert_eq!(alice.outlet.take_close(), Some(CloseReason::Revoked));
        assert_eq!(bob.outlet.take_close(), None);
        assert!(hub.attach(device, &alice.outlet).is_none());
        let denied = Err(Refusal { code: AuthCode::Denied, retry_after: 0 });
        for password in [PASSWORD, "wrong"] {
            let before = office.accounts.hasher().runs();
            assert_eq!(office.try_login(AuthMethod::Password, "alice", password, 3).await, denied);
            assert_eq!(office.accounts.hasher().runs(), before + 1);
        }
        assert_eq!(office.device(1).await, Err(AuthCode::Denied));
        assert_eq!(office.register("alice", 3).await, Err(AuthCode::UsernameTaken));
        office.bench.close().await;

        let office = Office::open(dir.path(), |_| {}).await;
        assert_eq!(office.device(1).await, Err(AuthCode::Denied), "after a restart");
        set_disabled(&office.bench.hub, "alice", false).await.unwrap();
        assert_eq!(office.device(1).await, Ok(device));
        assert!(office.password("alice", PASSWORD, 3).await.is_ok());
        for (name, unfit) in
            [("server", Unfit::Operator), ("nobody", Unfit::Unknown), ("not a name", Unfit::Unknown)]
        {
            assert_eq!(set_disabled(&office.bench.hub, name, true).await, Err(unfit), "{name}");
        }
        office.bench.close().await;
    });
}
