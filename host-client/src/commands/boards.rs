//! `boards`: accounts of one's own for boards, and the codes that let them in (PROTOCOL.md section 14).

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde::{Deserialize, Serialize};
use sordino_core::board::{SECRET_LEN, is_board_proof, lookup_hash, lookup_id, owner_proof};
use sordino_core::messages::BoardState;
use zeroize::Zeroizing;

use super::{PATIENCE, connect};
use crate::cli::{BoardCommand, EnrolBoard, Json};
use crate::failure::{Failure, Result};
use crate::home::files;
use crate::session::{BoardInfo, Session};
use crate::settings::Settings;
use crate::text::output;

/// Secrets of the codes that this home has made, by board: they prove the boards' keys.
const FILE: &str = "boards.toml";

#[derive(Default, Serialize, Deserialize)]
struct Codes(BTreeMap<String, String>);

/// Enrols, lists or revokes.
pub async fn boards(settings: &Settings, command: &BoardCommand) -> Result<()> {
    let mut session = connect(settings, PATIENCE).await?;
    let done = match command {
        BoardCommand::Enrol(args) => enrol(settings, &mut session, args).await,
        BoardCommand::List(form) => list(settings, &mut session, *form).await,
        BoardCommand::Revoke(args) => session.revoke_board(&args.board).await,
    };
    session.close().await;
    done
}

async fn enrol(settings: &Settings, session: &mut Session, args: &EnrolBoard) -> Result<()> {
    let mut secret = Zeroizing::new([0; SECRET_LEN]);
    getrandom::fill(&mut *secret).map_err(|e| Failure::failed(format!("no random numbers: {e}")))?;
    let proof = *owner_proof(&*secret, &args.board, session.user()).array();
    let lifetime = args.minutes.saturating_mul(60);
    // Kept first: a code that works must be provable.
    remember(settings, &args.board, &hex::encode(*secret))?;
    session.enrol_board(&args.board, lookup_hash(&lookup_id(&*secret)), proof, lifetime).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let code = Zeroizing::new(format!(
        "sordino://{}/board/{}/{}#{}",
        settings.server,
        hex::encode(*secret),
        now.saturating_add(lifetime.into()),
        hex::encode(session.fingerprint()),
    ));
    if !args.no_qr {
        let qr = QrCode::new(code.as_bytes()).map_err(|e| Failure::failed(format!("no QR code: {e}")))?;
        output::line(&qr.render::<Dense1x2>().build())?;
    }
    output::line(&code)?;
    output::note(&format!("Good for {} minutes and one board. On its console: enroll CODE", args.minutes));
    Ok(())
}

fn remember(settings: &Settings, board: &str, secret: &str) -> Result<()> {
    let _lock = settings.home.lock()?;
    let path = settings.home.path(FILE);
    let mut codes: Codes = files::read_toml(&path)?.unwrap_or_default();
    codes.0.insert(board.to_owned(), secret.to_owned());
    files::write_toml(&path, &codes)
}

#[derive(Serialize)]
struct Line<'a> {
    board: String,
    state: &'a str,
    device: Option<String>,
    /// Whether the key has proven to know the code that this home made; `null` if the code isn't here.
    proven: Option<bool>,
}

async fn list(settings: &Settings, session: &mut Session, form: Json) -> Result<()> {
    let codes: Codes = files::read_toml(&settings.home.path(FILE))?.unwrap_or_default();
    for board in session.boards().await? {
        let line = describe(&board, &codes);
        if form.json {
            let json = serde_json::to_string(&line);
            output::line(&json.map_err(|e| Failure::failed(format!("a line can't be encoded: {e}")))?)?;
            continue;
        }
        let proof = match line.proven {
            Some(true) => "\tproven",
            Some(false) => "\tNOT THE BOARD THAT YOU ENROLLED: revoke it",
            None => "",
        };
        output::line(&format!(
            "{}\t{}\t{}{proof}",
            line.board,
            line.state,
            line.device.as_deref().unwrap_or("-")
        ))?;
    }
    Ok(())
}

fn describe<'a>(board: &BoardInfo, codes: &Codes) -> Line<'a> {
    let claimed = board.device != [0; 32];
    let secret = codes.0.get(&board.name).and_then(|secret| hex::decode(secret).ok());
    let proven =
        secret.filter(|_| claimed).map(|secret| is_board_proof(&secret, &board.device, &board.proof));
    Line {
        board: format!("@{}", board.name),
        state: match board.state {
            BoardState::Pending => "pending",
            BoardState::Active => "active",
            BoardState::Expired => "expired",
            BoardState::Revoked => "revoked",
        },
        device: claimed.then(|| hex::encode(board.device)),
        proven,
    }
}
