//! Who may register and log in: policy, limits, Argon2id, and the binding of a device key to an account.

mod boards;
mod hasher;
mod operator;
pub mod policy;

use std::sync::Arc;

use sordino_core::messages::{AuthCode, AuthMethod};
use zeroize::Zeroizing;

pub use boards::{ClaimRequest, Claimed, Enrolment};
pub use hasher::{Busy, Checked, Hasher};
pub use operator::{Unfit, set_disabled};

use crate::{
    config::Config,
    hub::{Hub, State, Unavailable, unix_now},
    limits::{Attempt, Limits, Millis, Origin},
    store::{Account, AccountId, Change, Credentials, Device, DeviceId, Reader},
};

/// What a client is asked to wait when the password queue is full, in seconds.
const RETRY: u32 = 5;

/// No row has this number.
const NOBODY: AccountId = AccountId(0);

/// An AUTH with what the connection knows of its client.
pub struct Login {
    /// How.
    pub method: AuthMethod,
    /// As typed.
    pub username: String,
    /// As typed.
    pub email: String,
    /// As typed; erased after use.
    pub password: Zeroizing<String>,
    /// The owner's name for the device.
    pub label: String,
    /// Of the device key that the handshake has proven.
    pub fingerprint: [u8; 32],
    /// Whether that key may be stored (Jacobi symbol 1). Takes a millisecond, so it is asked only when needed.
    pub key_is_sound: Box<dyn FnOnce() -> bool + Send + Sync>,
    /// From where.
    pub origin: Origin,
}

/// AUTH_RESULT other than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: AuthCode,
    /// Seconds.
    pub retry_after: u32,
}

impl From<AuthCode> for Refusal {
    fn from(code: AuthCode) -> Self {
        let retry_after = if code == AuthCode::Unavailable { RETRY } else { 0 };
        Self { code, retry_after }
    }
}

impl From<Busy> for Refusal {
    fn from(Busy: Busy) -> Self {
        AuthCode::Unavailable.into()
    }
}

impl From<Unavailable> for Refusal {
    fn from(Unavailable: Unavailable) -> Self {
        AuthCode::Unavailable.into()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Accounts {
    config: Arc<Config>,
    limits: Arc<Limits>,
    hasher: Hasher,
    hub: Arc<Hub>,
    reader: Reader,
}

impl Accounts {
    /// # Errors
    /// As [`Hasher::new`].
    pub fn new(
        config: Arc<Config>,
        limits: Arc<Limits>,
        hub: Arc<Hub>,
        reader: Reader,
    ) -> anyhow::Result<Self> {
        let hasher = Hasher::new(&config.argon2, config.limits.password_jobs, config.limits.password_queue)?;
        Ok(Self { config, limits, hasher, hub, reader })
    }

    /// The password hash, and the count of its runs.
    #[must_use]
    pub const fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// Registers or logs in; the device that is bound to the account.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn authenticate(&self, login: Login, now: Millis) -> Result<DeviceId, Refusal> {
        match login.method {
            AuthMethod::Register => self.register(login, now).await,
            AuthMethod::Password => self.password(login, now).await,
            AuthMethod::Device => self.device(&login.fingerprint),
            // By [`Self::claim`].
            AuthMethod::Claim => Err(AuthCode::Denied.into()),
        }
    }

    async fn register(&self, login: Login, now: Millis) -> Result<DeviceId, Refusal> {
        let policy = &self.config.registration;
        if !policy.open {
            return Err(AuthCode::RegistrationClosed.into());
        }
        let name = policy::username(&login.username, policy)?;
        policy::email(&login.email, policy)?;
        let limited = |retry_after| Refusal { code: AuthCode::RateLimited, retry_after };
        self.limits.register(login.origin, now).map_err(limited)?;
        self.check_strength(&login, &name).await?;
        self.check_free(&self.hub.state(), &name)?;
        let hash = self.hasher.hash(login.password).await?;
        check_key(login.key_is_sound).await?;

        let credentials = Credentials { email: login.email, password: Some(hash) };
        let (fingerprint, label) = (login.fingerprint, login.label);
        let most = self.config.limits.accounts as usize;
        let account_name: Arc<str> = name.into();
        let register = move |state: &State| {
            if state.directory.person_named(&account_name).is_some() || state.directory.accounts() >= most {
                return Vec::new();
            }
            let account = Account { id: state.directory.next_account(), name: account_name, disabled: false };
            let id = account.id;
            let mut changes = vec![Change::Account(account, credentials, unix_now())];
            changes.extend(bind(state, id, fingerprint, label));
            changes
        };
        self.hub.change(register).await?;
        // The same name may have been registered between the check and the decision: then the key isn't bound.
        self.bound(&fingerprint, &login.username).ok_or_else(|| AuthCode::UsernameTaken.into())
    }

    async fn check_strength(&self, login: &Login, name: &str) -> Result<(), AuthCode> {
        let (password, name, email) = (login.password.clone(), name.to_owned(), login.email.clone());
        let config = Arc::clone(&self.config);
        smol::unblock(move || policy::password(&password, &name, &email, &config.registration)).await
    }

    fn check_free(&self, state: &State, name: &str) -> Result<(), AuthCode> {
        if state.directory.person_named(name).is_some() {
            return Err(AuthCode::UsernameTaken);
        }
        if state.directory.accounts() >= self.config.limits.accounts as usize {
            return Err(AuthCode::Unavailable);
        }
        Ok(())
    }

    async fn password(&self, login: Login, now: Millis) -> Result<DeviceId, Refusal> {
        let account = policy::canonical(&login.username).and_then(|name| self.account(&name));
        let known_device = account.is_some_and(|id| self.owner(&login.fingerprint) == Some(id));
        let attempt = Attempt { origin: login.origin, account, known_device };
        let limited = |retry_after| Refusal { code: AuthCode::RateLimited, retry_after };
        self.limits.login(attempt, now).map_err(limited)?;

        // For nobody too: an answer must not come sooner because there is nothing to look up.
        let stored = self.reader.password(account.unwrap_or(NOBODY)).await.map_err(unreadable)?;
        let checked = self.hasher.check(login.password.clone(), stored).await?;
        let account = account.filter(|_| checked.right).ok_or(AuthCode::Denied)?;
        self.limits.login_succeeded(attempt);
        if self.hub.state().directory.person(account).is_none_or(|p| p.account.disabled) {
            return Err(AuthCode::Denied.into());
        }
        self.check_devices(account, known_device)?;
        check_key(login.key_is_sound).await?;
        let (fingerprint, label) = (login.fingerprint, login.label);
        self.hub.change(move |state| bind(state, account, fingerprint, label)).await?;
        if checked.outdated {
            self.rehash(account, login.password).await;
        }
        self.bound(&fingerprint, &login.username).ok_or_else(|| AuthCode::Denied.into())
    }

    /// A failure costs nothing but another try at the next login.
    async fn rehash(&self, account: AccountId, password: Zeroizing<String>) {
        if let Ok(hash) = self.hasher.hash(password).await {
            let _ = self.hub.change(move |_| vec![Change::Password(account, hash)]).await;
        }
    }

    fn check_devices(&self, account: AccountId, known_device: bool) -> Result<(), AuthCode> {
        let state = self.hub.state();
        let count = state.directory.person(account).map_or(0, |p| p.devices.len());
        let most = self.config.limits.devices_per_account as usize;
        if known_device || count < most { Ok(()) } else { Err(AuthCode::TooManyDevices) }
    }

    fn device(&self, fingerprint: &[u8; 32]) -> Result<DeviceId, Refusal> {
        let state = self.hub.state();
        let device = state.directory.device_with(fingerprint);
        let enabled =
            device.filter(|d| state.directory.person(d.account).is_some_and(|p| !p.account.disabled));
        enabled.map(|d| d.id).ok_or_else(|| AuthCode::Denied.into())
    }

    fn account(&self, name: &str) -> Option<AccountId> {
        self.hub.state().directory.person_named(name).map(|p| p.account.id)
    }

    fn owner(&self, fingerprint: &[u8; 32]) -> Option<AccountId> {
        self.hub.state().directory.device_with(fingerprint).map(|d| d.account)
    }

    /// The device with this key, if it is bound to this user.
    fn bound(&self, fingerprint: &[u8; 32], username: &str) -> Option<DeviceId> {
        let name = policy::canonical(username)?;
        let state = self.hub.state();
        let device = state.directory.device_with(fingerprint)?;
        let owner = state.directory.person(device.account)?;
        (*owner.account.name == *name).then_some(device.id)
    }
}

fn unreadable(error: sqlx::Error) -> AuthCode {
    tracing::error!(%error, "can't read the database");
    AuthCode::Unavailable
}

async fn check_key(is_sound: Box<dyn FnOnce() -> bool + Send + Sync>) -> Result<(), AuthCode> {
    // Only a client that made its key against the rules gets here with an unsound one.
    if smol::unblock(is_sound).await { Ok(()) } else { Err(AuthCode::Denied) }
}

/// Binds a key to an account. A key that is bound to another account moves; on this account it stays what it is.
pub(crate) fn bind(state: &State, account: AccountId, fingerprint: [u8; 32], label: String) -> Vec<Change> {
    let before = state.directory.device_with(&fingerprint);
    if let Some(device) = before.filter(|d| d.account == account) {
        return vec![Change::Label(device.id, label)];
    }
    let device = Device {
        id: state.directory.next_device(),
        account,
        fingerprint,
        label,
        cursor: state.last_number(),
    };
    before.map(|d| Change::NoDevice(d.id)).into_iter().chain([Change::Device(device, unix_now())]).collect()
}
