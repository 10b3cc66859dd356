//! What members ask about their boards, and the login of a board by its code.

use sordino_core::{
    Message, TxBuf,
    event::Ticket,
    identity::{ServedSuite, device_fingerprint},
    messages::{Auth, BoardEntry, BoardState, Code, Done, EnrolBoard, Page, Welcome},
    name::Username,
    suite::PublicKey,
    wire::List,
};

use super::Session;
use crate::{
    accounts::{ClaimRequest, Enrolment, Refusal},
    hub::BoardLine,
};

impl<S: ServedSuite> Session<S> {
    pub(super) async fn claim(
        &mut self,
        request: &Auth<'_>,
        key: PublicKey<S>,
        ticket: Ticket,
        tx: &mut TxBuf<'_>,
    ) {
        let claim = ClaimRequest {
            lookup: request.invite.to_owned(),
            proof: request.password.to_owned(),
            label: request.label.to_owned(),
            fingerprint: device_fingerprint::<S>(&key),
            key_is_sound: Box::new(move || key.check_long_lived().is_ok()),
            origin: self.line.origin,
        };
        let claimed = self.shared.accounts.claim(claim, self.shared.now()).await;
        let result = claimed
            .as_ref()
            .map(|claimed| claimed.device)
            .map_err(|Refusal { code, retry_after }| Refusal { code: *code, retry_after: *retry_after });
        self.admit(result, request.method, None, ticket, tx);
        if let Ok(claimed) = claimed
            && self.user.is_some()
            && let Some(owner) = Username::new(&claimed.owner)
        {
            self.send(&Message::Welcome(Welcome { owner, proof: claimed.proof }), tx);
        }
    }

    pub(super) async fn enrol_board(&mut self, request: &EnrolBoard<'_>, tx: &mut TxBuf<'_>) {
        let Some(user) = &self.user else { return };
        let enrolment = Enrolment {
            name: request.board.as_str().to_owned(),
            lookup: request.lookup,
            proof: request.proof,
            lifetime: request.lifetime,
        };
        let code = self.shared.accounts.enrol_board(user.account, enrolment).await;
        self.done(request.tag, code, tx);
    }

    pub(super) async fn revoke_board(&mut self, tag: u32, board: Username<'_>, tx: &mut TxBuf<'_>) {
        let Some(user) = &self.user else { return };
        let code = self.shared.accounts.revoke_board(user.account, board.as_str()).await;
        self.done(tag, code, tx);
    }

    pub(super) fn list_boards(&mut self, tag: u32, after: &str, tx: &mut TxBuf<'_>) {
        let Some(user) = &self.user else { return };
        let page = self.shared.hub.state().boards_page(user.account, after, self.conn.max_body());
        let items: Vec<_> = page.items.iter().filter_map(entry).collect();
        self.send(&Message::Boards(Page { tag, more: page.more, items: List::Items(&items) }), tx);
    }

    fn done(&mut self, tag: u32, code: Code, tx: &mut TxBuf<'_>) {
        self.send(&Message::Done(Done { tag, code, retry_after: 0 }), tx);
    }
}

fn entry(line: &BoardLine) -> Option<BoardEntry<'_>> {
    let board = &line.board;
    let state = match &board.claim {
        _ if line.disabled => BoardState::Revoked,
        Some(_) => BoardState::Active,
        None if crate::hub::unix_now() < board.expires => BoardState::Pending,
        None => BoardState::Expired,
    };
    Some(BoardEntry {
        board: Username::new(&line.name)?,
        state,
        time: board.claim.map_or(board.expires, |claim| claim.time),
        device: board.claim.map_or([0; 32], |claim| claim.device),
        proof: board.claim.map_or([0; 32], |claim| claim.proof),
    })
}
