//! What the operator may do to an account.

use std::fmt;

use sordino_core::config::OPERATOR;

use super::policy;
use crate::{
    hub::{Hub, State},
    store::{AccountId, Change},
};

/// Why the operator's order can't be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Nobody has this name.
    Unknown,
    /// The operator's own account.
    Operator,
    /// The owner has revoked this board, and that is for good.
    Revoked,
    /// The database refused.
    Unavailable,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "no such user",
            Self::Operator => "the operator stays",
            Self::Revoked => "a board that was revoked, or disabled before it had used its code, stays out",
            Self::Unavailable => "can't write to the database",
        })
    }
}

impl std::error::Error for Unfit {}

/// Lets nobody in to an account any more and ends its connections, or lets its devices in again.
///
/// # Errors
/// [`Unfit`].
pub async fn set_disabled(hub: &Hub, name: &str, disabled: bool) -> Result<(), Unfit> {
    let account = find(&hub.state(), name, disabled)?;
    let change = if disabled { Change::Disabled(account) } else { Change::Enabled(account) };
    hub.change(move |_| vec![change]).await.map_err(|_| Unfit::Unavailable)
}

fn find(state: &State, name: &str, disabled: bool) -> Result<AccountId, Unfit> {
    let name = policy::canonical(name.trim_start_matches('@')).ok_or(Unfit::Unknown)?;
    if name == OPERATOR {
        return Err(Unfit::Operator);
    }
    let person = state.directory.person_named(&name).ok_or(Unfit::Unknown)?;
    let account = person.account.id;
    // A board's key goes with its revocation; without this its old code would let it in again.
    let revoked =
        person.account.disabled && person.devices.is_empty() && state.directory.board(account).is_some();
    if revoked && !disabled { Err(Unfit::Revoked) } else { Ok(account) }
}
