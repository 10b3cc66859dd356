//! First contact: who the server is, its rules, and a new or an existing account.

use std::io::{self, IsTerminal};

use zeroize::Zeroizing;

use crate::commands::{self, device_label, enter};
use crate::failure::{Exit, Failure, Result};
use crate::session::{Credentials, Rules, Session};
use crate::settings::Settings;
use crate::text::output::{self, sanitise};
use crate::text::{ask, secret, target};

/// What the person answered.
enum Answers {
    Register { email: String, user: String, password: Zeroizing<String> },
    LogIn { user: String, password: Zeroizing<String> },
}

/// Shows the server, asks for an account and logs in with it.
pub async fn enrol(mut settings: Settings) -> Result<(Settings, Session)> {
    let rules = introduce(&settings).await?;
    loop {
        let answers = match ask_for_account(&rules) {
            Err(failure) if may_ask_again(&failure) => {
                output::note(&failure.message);
                continue;
            }
            answers => answers?,
        };
        let label = device_label();
        let credentials = match &answers {
            Answers::Register { email, user, password } => {
                Credentials::Register { user, email, password, label: &label }
            }
            Answers::LogIn { user, password } => Credentials::Password { user, password, label: &label },
        };
        // A new connection: people take longer to answer than the server waits for a login.
        match enter(&settings, credentials).await {
            Err(failure) if may_ask_again(&failure) => output::note(&failure.message),
            Err(failure) => return Err(failure),
            Ok(session) => {
                settings.account = settings.home.account()?;
                return Ok((settings, session));
            }
        }
    }
}

/// A person may correct the answers; a script has no others.
fn may_ask_again(failure: &Failure) -> bool {
    let correctable = matches!(failure.exit, Exit::Failed | Exit::Usage | Exit::Authentication);
    correctable && io::stdin().is_terminal() && failure.message != LEFT
}

const LEFT: &str = "no account was chosen";

async fn introduce(settings: &Settings) -> Result<Rules> {
    let mut session = super::meet(settings).await?;
    let rules = session.rules().await?;
    let name = if rules.server_name.is_empty() {
        settings.server.to_string()
    } else {
        sanitise(&rules.server_name).into_owned()
    };
    output::line(&format!("Connected to {name} ({}).", settings.server))?;
    output::line(&format!(
        "Server fingerprint, {}:\n  {}",
        commands::trust_source(settings, &session),
        output::grouped(&hex::encode(session.fingerprint()))
    ))?;
    output::line(&describe(&rules))?;
    session.close().await;
    Ok(rules)
}

/// The server's rules, for people.
fn describe(rules: &Rules) -> String {
    let mut lines = vec!["The server's rules:".to_owned()];
    if !rules.text.is_empty() {
        lines.push(format!("  {}", sanitise(&rules.text)));
    }
    let (shortest, longest) = rules.username;
    lines.push(format!("  username: {shortest} to {longest} characters of a-z 0-9 . _ -"));
    let score = match rules.password_score {
        0 => String::new(),
        score => format!(", hard to guess (zxcvbn score {score} of 4)"),
    };
    lines.push(format!("  password: at least {} characters{score}", rules.password_min));
    if !rules.domains.is_empty() {
        lines.push(format!("  email: at {}", sanitise(&rules.domains.join(", "))));
    }
    if !rules.open {
        lines.push("  registration is closed: log in with an account that the operator made".to_owned());
    }
    lines.join("\n")
}

fn ask_for_account(rules: &Rules) -> Result<Answers> {
    if rules.open && wants_to_register()? {
        let email = ask::line("email: ", "--email")?;
        let user = username()?;
        let password = secret::prompt_new()?;
        return Ok(Answers::Register { email, user, password });
    }
    let user = username()?;
    let password = secret::prompt("password: ")?;
    Ok(Answers::LogIn { user, password })
}

fn wants_to_register() -> Result<bool> {
    loop {
        let Some(answer) = ask::optional_line("[r]egister a new account, or [l]og in? ")? else {
            return Err(Failure::usage(LEFT));
        };
        match answer.to_ascii_lowercase().as_str() {
            "r" | "register" => return Ok(true),
            "l" | "login" | "log in" => return Ok(false),
            "exit" | "q" | "quit" => return Err(Failure::new(Exit::Ok, "")),
            _ => output::note("please answer r or l, or exit"),
        }
    }
}

fn username() -> Result<String> {
    target::username(&ask::line("username: ", "--user")?).map_err(Failure::usage)
}
