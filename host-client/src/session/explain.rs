//! What went wrong with the server, in sentences: the step, the likely cause, the remedy, and the exit code.

use std::io;
use std::time::Duration;

use sordino_core::drive::DriveError;
use sordino_core::error::{Deadline, Distrust, Error, ErrorCode, Mismatch, PeerFault, SendError};
use sordino_core::messages::{AuthCode, CloseReason, Code};

use super::event::{LoginAnswer, Rules};
use crate::failure::{Exit, Failure};
use crate::text::address::Address;
use crate::text::output::sanitise;

/// An error of the connection's state machine.
pub fn core(error: &Error) -> Failure {
    if matches!(error, Error::Untrusted(Distrust::Signature | Distrust::Stale | Distrust::Key)) {
        return forged(error);
    }
    let (exit, remedy) = match error {
        Error::Untrusted(Distrust::Malformed) | Error::Peer(PeerFault::Header) => {
            (Exit::Network, "is this the address of a Sordino server?")
        }
        Error::Untrusted(_) => (Exit::Untrusted, "this isn't the server that you trust"),
        Error::Peer(PeerFault::Handshake) => (
            Exit::Untrusted,
            "whoever answered doesn't hold the server's key: someone on the way, or a server whose keys were replaced",
        ),
        Error::Refused(ErrorCode::Busy) => (Exit::RateLimited, "wait a little and try again"),
        Error::Refused(ErrorCode::UnsupportedSuite) | Error::Incompatible(Mismatch::Suite) => {
            (Exit::Failed, "ask the operator which suites the server offers, and choose with --suite")
        }
        Error::Refused(ErrorCode::UnknownKey) => {
            (Exit::Network, "its keys are being changed, or it wasn't the server: try again")
        }
        Error::Refused(_) | Error::Incompatible(_) => {
            (Exit::Failed, "one of the two programs needs an update")
        }
        Error::Truncated => (Exit::Network, "the network or the server went down; try again"),
        Error::Timeout(Deadline::Handshake | Deadline::Login) => {
            (Exit::Network, "the server is overloaded, or this isn't one; try again")
        }
        Error::Timeout(Deadline::Idle) => (Exit::Network, "the network or the server went down; try again"),
        Error::Peer(_) => (Exit::Network, "data was damaged or forged on the way; try again"),
        Error::Misuse(_) | Error::Entropy => (Exit::Failed, "please report this"),
    };
    Failure::new(exit, format!("{error}: {remedy}"))
}

/// The loud message for keys that the trusted root doesn't stand for now.
fn forged(error: &Error) -> Failure {
    Failure::new(
        Exit::Untrusted,
        format!(
            "*** THE SERVER'S KEYS CAN'T BE TRUSTED ***\n\
             {error}.\n\
             Somebody may be between you and the server; or it was restored from an old backup.\n\
             Nothing of yours was sent. Don't go on before the server's operator has told you why, by another way."
        ),
    )
}

/// An error of the driver.
pub fn drive(error: &DriveError<io::Error>, server: &Address) -> Failure {
    match error {
        DriveError::Stream(e) => Failure::network(format!("the connection to {server} broke: {e}")),
        DriveError::Protocol(e) => core(e),
    }
}

/// A message that can't be sent.
pub fn send(error: SendError) -> Failure {
    match error {
        SendError::TooLarge => {
            Failure::failed("the message is larger than what this server receives at once")
        }
        SendError::NoRoom(_) | SendError::Exhausted | SendError::Closed => {
            Failure::network(format!("{error}; connect again"))
        }
        error => Failure::failed(format!("the message can't be sent: {error}")),
    }
}

/// No TCP connection.
pub fn unreachable(server: &Address, error: &io::Error) -> Failure {
    let remedy = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "nothing listens there: is the server running, and the port right?"
        }
        _ => "is the network up, and the address right?",
    };
    Failure::network(format!("connecting to {server} failed: {error}; {remedy}"))
}

/// The end that the server announced.
pub fn closed(reason: CloseReason) -> Failure {
    let (exit, text) = match reason {
        CloseReason::Other => {
            (Exit::Network, "the server closed for a reason that this version does not know")
        }
        CloseReason::Bye => (Exit::Network, "the server said goodbye"),
        CloseReason::Expired => (Exit::Network, "the connection's 24 hours are over; connect again"),
        CloseReason::ShuttingDown => (Exit::Network, "the server is shutting down; try again later"),
        CloseReason::Protocol => {
            (Exit::Failed, "the server says that this program broke the protocol; please report this")
        }
        CloseReason::AuthFailed => (Exit::Authentication, "the server closed after too many failed logins"),
        CloseReason::Replaced => (Exit::Failed, "another program receives for this device now"),
        CloseReason::Timeout => (Exit::Network, "the server heard nothing from here for too long; try again"),
        CloseReason::Revoked => (Exit::Authentication, "the operator has removed this device or account"),
        CloseReason::Overloaded => (Exit::Network, "the server is overloaded; try again later"),
    };
    Failure::new(exit, text)
}

/// A login or registration that wasn't granted. `rules` lets the sentence say what is asked for.
pub fn login(answer: &LoginAnswer, rules: Option<&Rules>) -> Failure {
    let wait = wait(answer.retry_after);
    let (exit, text) = match answer.code {
        AuthCode::Ok => (Exit::Failed, "the server's answer makes no sense".into()),
        AuthCode::Denied => (
            Exit::Authentication,
            "login denied: unknown user, wrong password, or this device isn't known (any more). \
             Check the name and the password, and log in again"
                .into(),
        ),
        AuthCode::RateLimited => (Exit::RateLimited, format!("too many attempts: try again {wait}")),
        AuthCode::RegistrationClosed => {
            (Exit::Failed, "this server takes no registrations: ask its operator for an account".into())
        }
        AuthCode::UsernameTaken => (Exit::Failed, "somebody has this username: choose another".into()),
        AuthCode::UsernameNotAllowed => {
            (Exit::Failed, format!("this username isn't allowed{}", username_rule(rules)))
        }
        AuthCode::PasswordTooWeak => {
            (Exit::Failed, format!("the password is too weak{}", password_rule(rules)))
        }
        AuthCode::EmailNotAllowed => {
            (Exit::Failed, format!("this email address isn't allowed{}", email_rule(rules)))
        }
        AuthCode::TooManyDevices => {
            (Exit::Failed, "the account has too many devices: ask the operator to remove one".into())
        }
        AuthCode::Unavailable => {
            (Exit::Failed, format!("the server is busy or can't store: try again {wait}"))
        }
        AuthCode::InviteNeeded => {
            (Exit::Failed, "this server asks for an invite, which this version can't give".into())
        }
    };
    Failure::new(exit, text)
}

fn username_rule(rules: Option<&Rules>) -> String {
    let rule = |r: &Rules| {
        format!(
            ": {} to {} characters of a-z 0-9 . _ -, and none that is reserved",
            r.username.0, r.username.1
        )
    };
    rules.map(rule).unwrap_or_default()
}

fn password_rule(rules: Option<&Rules>) -> String {
    let rule = |r: &Rules| match r.password_score {
        0 => format!(": at least {} characters", r.password_min),
        score => format!(
            ": at least {} characters, and hard to guess (zxcvbn score {score} of 4): several unrelated words are good",
            r.password_min
        ),
    };
    rules.map(rule).unwrap_or_default()
}

fn email_rule(rules: Option<&Rules>) -> String {
    match rules {
        Some(r) if !r.domains.is_empty() => format!(": it must be at {}", sanitise(&r.domains.join(", "))),
        _ => ": name@domain is expected".into(),
    }
}

/// A refused message or request; `what` names it.
pub fn refused(code: Code, retry_after: u32, what: &str) -> Failure {
    let (exit, text) = match code {
        Code::Ok => (Exit::Failed, "the server's answer makes no sense".into()),
        Code::NotFound => (Exit::NotFound, "no such user or room".into()),
        Code::NotMember => (Exit::Failed, "you aren't in that room: join it first".into()),
        Code::MailboxFull => (Exit::Failed, "the mailbox is full until messages are fetched from it".into()),
        Code::RateLimited => (Exit::RateLimited, format!("too fast: try again {}", wait(retry_after))),
        Code::TooLarge => (Exit::Failed, "the message is larger than this server allows".into()),
        Code::RoomFull => (Exit::Failed, "the room is full".into()),
        Code::NotAllowed => (Exit::Failed, "the server's policy doesn't allow it".into()),
        Code::Unavailable => {
            (Exit::Failed, format!("the server can't store it now: try again {}", wait(retry_after)))
        }
        Code::NameTaken => (Exit::Failed, "somebody else has this name".into()),
        Code::TooManyBoards => (Exit::Failed, "there are too many boards".into()),
        Code::TooManyRooms => {
            (Exit::Failed, "there are too many rooms, of this account or on the server".into())
        }
    };
    Failure::new(exit, format!("{what}: {text}"))
}

fn wait(seconds: u32) -> String {
    match seconds {
        0 => "a little later".into(),
        s @ 1..120 => format!("in {s} s"),
        s => format!("in {} minutes", s.div_ceil(60)),
    }
}

/// Nothing was heard in time.
pub fn silent(step: &str, within: Duration) -> Failure {
    Failure::network(format!(
        "{step}: no answer within {} s; is the server up, and the address right?",
        within.as_secs_f64()
    ))
}

/// The parts of a message didn't fit together.
pub fn gap() -> Failure {
    Failure::failed("the server broke the protocol: a message came with a part missing; please report this")
}
