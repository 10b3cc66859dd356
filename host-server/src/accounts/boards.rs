//! Boards (PROTOCOL.md section 14): enrolled by a member, let in once by a code, revoked for good.

use std::sync::Arc;

use sordino_core::board::{LOOKUP_LEN, lookup_hash};
use sordino_core::messages::{AuthCode, Code};

use super::{Accounts, Refusal, bind, check_key, policy};
use crate::{
    hub::{State, unix_now},
    limits::{Attempt, Millis, Origin},
    store::{Account, AccountId, Board, Change, Claim, Credentials, DeviceId},
};

/// Boards of one member, revoked ones not counted.
const BOARDS: usize = 64;
/// How long a code may be good, in seconds.
const LIFETIME: std::ops::RangeInclusive<u32> = 60..=7 * 24 * 3600;

/// A code that a member has made.
pub struct Enrolment {
    /// Username of the board, in canonical form.
    pub name: String,
    /// SHA-256 of the code's lookup id.
    pub lookup: [u8; 32],
    /// For WELCOME.
    pub proof: [u8; 32],
    /// Seconds.
    pub lifetime: u32,
}

/// A board that uses its code.
pub struct ClaimRequest {
    /// 32 hexadecimal digits.
    pub lookup: String,
    /// 64 hexadecimal digits.
    pub proof: String,
    /// The owner's name for the device.
    pub label: String,
    /// Of the device key that the handshake has proven.
    pub fingerprint: [u8; 32],
    /// Whether that key may be stored.
    pub key_is_sound: Box<dyn FnOnce() -> bool + Send + Sync>,
    /// From where.
    pub origin: Origin,
}

/// A board's device, and what its owner says to it.
pub struct Claimed {
    /// The device that is bound now.
    pub device: DeviceId,
    /// The owner's username.
    pub owner: Arc<str>,
    /// HMAC under the code's secret over both names.
    pub proof: [u8; 32],
}

impl Accounts {
    /// Makes an account for a board. The same member may replace a code that was not used.
    pub async fn enrol_board(&self, owner: AccountId, enrolment: Enrolment) -> Code {
        let policy = &self.config.registration;
        let named = policy::username(&enrolment.name, policy);
        if named.is_err() || !LIFETIME.contains(&enrolment.lifetime) {
            return Code::NotAllowed;
        }
        let most = self.config.limits.accounts as usize;
        let now = unix_now();
        if let Err(code) = check_enrolment(&self.hub.state(), owner, &enrolment, most) {
            return code;
        }
        let (name, lookup) = (enrolment.name.clone(), enrolment.lookup);
        let decide = move |state: &State| enrolled(state, owner, enrolment, most, now);
        if self.hub.change(decide).await.is_err() {
            return Code::Unavailable;
        }
        // Between check and decision somebody else may have taken the name.
        let state = self.hub.state();
        let made = state.directory.person_named(&name).and_then(|p| state.directory.board(p.account.id));
        if made.is_some_and(|board| board.lookup == lookup) { Code::Ok } else { Code::NameTaken }
    }

    /// Disables a board of this member, unbinds its key and ends its connection.
    pub async fn revoke_board(&self, owner: AccountId, name: &str) -> Code {
        let account = {
            let state = self.hub.state();
            let person = state.directory.person_named(name);
            person
                .map(|p| p.account.id)
                .filter(|id| state.directory.board(*id).is_some_and(|b| b.owner == owner))
        };
        let Some(account) = account else { return Code::NotFound };
        let decide = move |state: &State| {
            let devices = state.directory.person(account).map_or(&[][..], |p| &p.devices);
            let gone = devices.iter().map(|device| Change::NoDevice(*device));
            [Change::Disabled(account)].into_iter().chain(gone).collect()
        };
        self.hub.change(decide).await.map_or(Code::Unavailable, |()| Code::Ok)
    }

    /// A board uses its code. The key that claimed it may do so again.
    ///
    /// # Errors
    /// What the board is told.
    pub async fn claim(&self, request: ClaimRequest, now: Millis) -> Result<Claimed, Refusal> {
        let attempt = Attempt { origin: request.origin, account: None, known_device: false };
        let limited = |retry_after| Refusal { code: AuthCode::RateLimited, retry_after };
        self.limits.login(attempt, now).map_err(limited)?;
        let (id, proof) =
            unhex::<LOOKUP_LEN>(&request.lookup).zip(unhex(&request.proof)).ok_or(AuthCode::Denied)?;
        let lookup = lookup_hash(&id);
        let claim = Claim { device: request.fingerprint, proof, time: unix_now() };
        if !admits(&self.hub.state(), &lookup, &claim) {
            return Err(AuthCode::Denied.into());
        }
        check_key(request.key_is_sound).await?;
        let label = request.label;
        self.hub.change(move |state| claimed(state, &lookup, claim, label)).await?;
        self.limits.login_succeeded(attempt);
        self.claimed_device(&lookup, &claim.device).ok_or_else(|| AuthCode::Denied.into())
    }

    fn claimed_device(&self, lookup: &[u8; 32], fingerprint: &[u8; 32]) -> Option<Claimed> {
        let state = self.hub.state();
        let board = state.directory.board_with(lookup)?;
        let device = state.directory.device_with(fingerprint).filter(|d| d.account == board.account)?;
        let owner = state.directory.person(board.owner)?;
        Some(Claimed { device: device.id, owner: Arc::clone(&owner.account.name), proof: board.owner_proof })
    }
}

/// Whether a code lets this key in.
fn admits(state: &State, lookup: &[u8; 32], claim: &Claim) -> bool {
    let Some(board) = state.directory.board_with(lookup) else { return false };
    let disabled = state.directory.person(board.account).is_none_or(|p| p.account.disabled);
    let open = match &board.claim {
        Some(first) => first.device == claim.device,
        None => claim.time < board.expires,
    };
    open && !disabled
}

fn claimed(state: &State, lookup: &[u8; 32], claim: Claim, label: String) -> Vec<Change> {
    let Some(board) = state.directory.board_with(lookup).filter(|_| admits(state, lookup, &claim)) else {
        return Vec::new();
    };
    let first = board.claim.is_none().then_some(Change::Claimed(board.account, claim));
    first.into_iter().chain(bind(state, board.account, claim.device, label)).collect()
}

fn check_enrolment(state: &State, owner: AccountId, enrolment: &Enrolment, most: usize) -> Result<(), Code> {
    let directory = &state.directory;
    if directory.board(owner).is_some() {
        // A board enrols no boards.
        return Err(Code::NotAllowed);
    }
    if directory.board_with(&enrolment.lookup).is_some() {
        return Err(Code::NameTaken);
    }
    if let Some(person) = directory.person_named(&enrolment.name) {
        let unused = directory.board(person.account.id).filter(|b| b.owner == owner && b.claim.is_none());
        return if unused.is_some() && !person.account.disabled { Ok(()) } else { Err(Code::NameTaken) };
    }
    let owned = directory.boards_after(owner, "").filter(|(person, _)| !person.account.disabled).count();
    if owned >= BOARDS || directory.accounts() >= most { Err(Code::TooManyBoards) } else { Ok(()) }
}

fn enrolled(state: &State, owner: AccountId, enrolment: Enrolment, most: usize, now: u64) -> Vec<Change> {
    if check_enrolment(state, owner, &enrolment, most).is_err() {
        return Vec::new();
    }
    let Enrolment { name, lookup, proof, lifetime } = enrolment;
    let known = state.directory.person_named(&name).map(|p| p.account.id);
    let account = known.unwrap_or_else(|| state.directory.next_account());
    let expires = now.saturating_add(u64::from(lifetime) * 1000);
    let board = Board { account, owner, lookup, owner_proof: proof, expires, claim: None };
    let credentials = Credentials { email: String::new(), password: None };
    let new = Account { id: account, name: name.into(), disabled: false };
    let made = known.is_none().then_some(Change::Account(new, credentials, now));
    made.into_iter().chain([Change::Board(board)]).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|digits| digits.len() == 2 * N)?;
    let mut bytes = [0; N];
    bytes.iter_mut().zip(digits.chunks_exact(2)).for_each(|(byte, pair)| *byte = pair[0] << 4 | pair[1]);
    Some(bytes)
}
