//! What a username, a password and an email address must be.

use email_address::{EmailAddress, Options};
use sordino_core::{
    config::{MAX_EMAIL, MAX_PASSWORD, OPERATOR},
    messages::AuthCode,
    name::Username,
};

use crate::config::Registration;

/// The username in canonical form.
///
/// # Errors
/// [`AuthCode::UsernameNotAllowed`].
pub fn username(typed: &str, policy: &Registration) -> Result<String, AuthCode> {
    let name = canonical(typed).ok_or(AuthCode::UsernameNotAllowed)?;
    let length = usize::from(policy.username_min)..=usize::from(policy.username_max);
    let reserved = name == OPERATOR || policy.reserved.iter().any(|r| r.eq_ignore_ascii_case(&name));
    if reserved || !length.contains(&name.len()) { Err(AuthCode::UsernameNotAllowed) } else { Ok(name) }
}

/// Folds ASCII upper case; `None` if the result isn't a username.
#[must_use]
pub fn canonical(typed: &str) -> Option<String> {
    let name = typed.to_ascii_lowercase();
    Username::new(&name).is_some().then_some(name)
}

/// Whether an address may be used.
///
/// # Errors
/// [`AuthCode::EmailNotAllowed`]: not an address, or its domain isn't exactly one of the allowed ones.
pub fn email(address: &str, policy: &Registration) -> Result<(), AuthCode> {
    let options = Options::default().without_display_text().without_domain_literal();
    let parsed = EmailAddress::parse_with_options(address, options).map_err(|_| AuthCode::EmailNotAllowed)?;
    let domains = &policy.email_domains;
    let allowed = domains.is_empty() || domains.iter().any(|d| d.eq_ignore_ascii_case(parsed.domain()));
    if allowed && address.len() <= MAX_EMAIL { Ok(()) } else { Err(AuthCode::EmailNotAllowed) }
}

/// Whether a password is strong enough. Takes milliseconds: not for an async thread.
///
/// # Errors
/// [`AuthCode::PasswordTooWeak`].
pub fn password(password: &str, username: &str, email: &str, policy: &Registration) -> Result<(), AuthCode> {
    let long = password.chars().count() >= usize::from(policy.password_min) && password.len() <= MAX_PASSWORD;
    if long && (policy.password_score == 0 || score(password, username, email) >= policy.password_score) {
        Ok(())
    } else {
        Err(AuthCode::PasswordTooWeak)
    }
}

fn score(password: &str, username: &str, email: &str) -> u8 {
    zxcvbn::zxcvbn(password, &[username, email]).score().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Registration {
        Registration { email_domains: vec!["example.org".into()], ..Registration::default() }
    }

    #[test]
    fn usernames_are_folded_and_checked() {
        assert_eq!(username("Alice.B", &policy()).unwrap(), "alice.b");
        for bad in ["al", "with space", "ünder", "", "@alice", "server", "SERVER", "Root", &"a".repeat(33)] {
            assert_eq!(username(bad, &policy()), Err(AuthCode::UsernameNotAllowed), "{bad}");
        }
        let longer = Registration { username_min: 5, ..policy() };
        assert!(username("anna", &longer).is_err() && username("annas", &longer).is_ok());
    }

    #[test]
    fn domains_match_exactly() {
        assert!(email("a@example.org", &policy()).is_ok());
        assert!(email("a@EXAMPLE.org", &policy()).is_ok());
        for bad in [
            "a@evil-example.org",
            "a@sub.example.org",
            "a@example.org.evil.net",
            "a@evil.net@example.org",
            "example.org",
            "a@",
            "",
            "Alice <a@example.org>",
            "\"x@example.org\"@evil.net",
            "a@[127.0.0.1]",
        ] {
            assert_eq!(email(bad, &policy()), Err(AuthCode::EmailNotAllowed), "{bad}");
        }
        assert!(email("a@anywhere.net", &Registration::default()).is_ok());
    }

    #[test]
    fn weak_passwords_are_refused() {
        let check = |p: &str| password(p, "alice", "alice@example.org", &Registration::default());
        assert!(check("correct horse battery").is_ok());
        for weak in
            ["", "short1", "password", "12345678", "aliceexample", &"long and strong enough ".repeat(6)]
        {
            assert_eq!(check(weak), Err(AuthCode::PasswordTooWeak), "{weak}");
        }
        let any = Registration { password_score: 0, password_min: 1, ..Registration::default() };
        assert!(password("1", "alice", "", &any).is_ok());
    }
}
