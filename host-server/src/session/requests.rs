//! What a client asks for, and its answer.

use std::sync::Arc;

use sordino_core::{
    Message, TxBuf,
    config::{MAX_UNANSWERED_REQUESTS, MAX_UNANSWERED_SENDS},
    event::{Answer, AnswerError, Ticket},
    identity::{ServedSuite, device_fingerprint},
    messages::{
        self, Auth, AuthCode, AuthMethod, AuthResult, CloseReason, Code, Done, Page, Policy, Refused,
        Registration, RoomEntry, UserEntry,
    },
    name::{RoomName, Target, Username},
    suite::PublicKey,
    wire::{List, Text},
};
use zeroize::Zeroizing;

use super::{End, Session, User, lend_io};
use crate::{
    accounts::{Login, Refusal, policy},
    hub::{Recipient, RoomChange, RoomLine, Submission, UserLine},
    store::DeviceId,
};

impl<S: ServedSuite> Session<S> {
    /// Whether another request can be taken: beyond the protocol's limits nothing is read.
    pub(super) const fn takes_requests(&self) -> bool {
        self.sends < MAX_UNANSWERED_SENDS && self.requests < MAX_UNANSWERED_REQUESTS
    }

    pub(super) async fn request(&mut self, message: Message<'_>, tx: &mut TxBuf<'_>) {
        let Some(user) = &self.user else {
            // The core lets nothing else through before the login.
            return self.send_policy(tx);
        };
        let (id, account, device) = (user.id, user.account, user.device);
        match message {
            Message::GetPolicy(()) => self.send_policy(tx),
            Message::Send(send) => self.submit(&send, tx).await,
            Message::Receive(receive) => {
                self.feed.open(receive.window);
                if receive.window > 0 {
                    self.shared.hub.receive(id)
                } else {
                    self.shared.hub.stop(id, device)
                }
            }
            Message::Ack(ack) => match self.feed.acknowledge(ack.number) {
                Ok(true) => self.shared.hub.acknowledge(id, ack.number),
                Ok(false) => {}
                Err(super::feed::NotDelivered) => self.close(CloseReason::Protocol, tx),
            },
            Message::Join(request) => self.change_room(request.tag, request.room, RoomChange::Join, tx).await,
            Message::Leave(request) => {
                self.change_room(request.tag, request.room, RoomChange::Leave, tx).await
            }
            Message::ListRooms(list) => {
                let page = self.shared.hub.state().rooms_page(account, list.after, self.conn.max_body());
                self.send_rooms(list.tag, page.more, &page.items, tx);
            }
            Message::Who(list) => {
                let page = self.shared.hub.state().online_page(list.after, self.conn.max_body());
                self.send_users(list.tag, page.more, &page.items, tx);
            }
            Message::EnrolBoard(enrolment) => self.enrol_board(&enrolment, tx).await,
            Message::RevokeBoard(request) => self.revoke_board(request.tag, request.board, tx).await,
            Message::ListBoards(list) => self.list_boards(list.tag, list.after, tx),
            Message::ListMembers(list) => self.list_members(list.tag, list.room, list.after, tx),
            // The core lets nothing else through in this direction.
            _ => self.close(CloseReason::Protocol, tx),
        }
    }

    // ---- login ----

    pub(super) async fn log_in(&mut self, request: &Auth<'_>, ticket: Ticket, tx: &mut TxBuf<'_>) {
        let Ok(key) = PublicKey::<S>::from_bytes(&self.device_key) else {
            return self.close(CloseReason::Overloaded, tx);
        };
        if request.method == AuthMethod::Claim {
            return self.claim(request, key, ticket, tx).await;
        }
        let login = Login {
            method: request.method,
            username: request.username.to_owned(),
            email: request.email.to_owned(),
            password: Zeroizing::new(request.password.to_owned()),
            label: request.label.to_owned(),
            fingerprint: device_fingerprint::<S>(&key),
            key_is_sound: Box::new(move || key.check_long_lived().is_ok()),
            origin: self.line.origin,
        };
        // What isn't the name of an account may be anything, a password too: it isn't logged.
        let user = policy::canonical(request.username)
            .filter(|name| self.shared.hub.state().directory.person_named(name).is_some());
        let result = self.shared.accounts.authenticate(login, self.shared.now()).await;
        self.admit(result, request.method, user, ticket, tx);
    }

    /// Attaches the device that has authenticated, and answers.
    pub(super) fn admit(
        &mut self,
        result: Result<DeviceId, Refusal>,
        method: AuthMethod,
        user: Option<String>,
        ticket: Ticket,
        tx: &mut TxBuf<'_>,
    ) {
        let attached = result.and_then(|device| {
            let attached = self.shared.hub.attach(device, &self.line.outlet);
            attached.map(|attached| (device, attached)).ok_or_else(|| Refusal::from(AuthCode::Denied))
        });
        match attached {
            Ok((device, attached)) => {
                tracing::info!(user = %attached.username, device = device.0, ?method, address = %self.line.origin, "logged in");
                self.device_key = Vec::new();
                self.user = Some(User { id: attached.id, account: attached.account, device });
                let result = AuthResult {
                    code: AuthCode::Ok,
                    retry_after: 0,
                    device: device.0.cast_unsigned(),
                    pending: attached.pending,
                    username: &attached.username,
                };
                self.answer(ticket, result, tx);
            }
            Err(Refusal { code, retry_after }) => {
                tracing::warn!(?code, ?method, user, address = %self.line.origin, "login refused");
                self.answer(ticket, AuthResult::refusal(code, retry_after), tx);
            }
        }
    }

    /// There is room: nothing was taken from the input otherwise.
    fn answer(&mut self, ticket: Ticket, result: AuthResult<'_>, tx: &mut TxBuf<'_>) {
        let now = self.look();
        match self.conn.answer(ticket, Answer::Auth(result), lend_io!(now, tx)) {
            Ok(()) | Err(AnswerError::Ended) => {}
            Err(AnswerError::NoRoom(..)) => self.close(CloseReason::Overloaded, tx),
            Err(AnswerError::Failed(error)) => self.end = Some(End::Failed(error)),
        }
    }

    fn send_policy(&mut self, tx: &mut TxBuf<'_>) {
        let shared = Arc::clone(&self.shared);
        let config = &shared.config;
        let policy = &config.registration;
        let domains: Vec<&str> = policy.email_domains.iter().map(String::as_str).collect();
        let message = Policy {
            registration: if policy.open { Registration::Open } else { Registration::Closed },
            username_min: policy.username_min,
            username_max: policy.username_max,
            password_min: policy.password_min,
            password_score: policy.password_score,
            max_body: config.limits.body,
            server_name: &config.name,
            rules: Text(&config.rules),
            domains: List::Items(&domains),
        };
        self.send(&Message::Policy(message), tx);
    }

    // ---- messages and rooms ----

    async fn submit(&mut self, send: &messages::Send<'_>, tx: &mut TxBuf<'_>) {
        let Some(user) = &self.user else { return };
        let body = send.body.0;
        if body.is_empty() || body.len() > usize::from(self.shared.config.limits.body) {
            return self.refuse(send, Code::TooLarge, 0, tx);
        }
        if let Err(seconds) = self.shared.limits.message(user.account, self.now) {
            return self.refuse(send, Code::RateLimited, seconds, tx);
        }
        let submission = Submission {
            origin: user.id,
            account: user.account,
            device: user.device,
            id: send.id,
            recipient: match send.target {
                Target::User(name) => Recipient::User(name.as_str().into()),
                Target::Room(name) => Recipient::Room(name.as_str().into()),
            },
            format: send.format,
            body: body.into(),
        };
        self.sends += 1;
        if self.shared.hub.submit(submission).await.is_err() {
            self.close(CloseReason::ShuttingDown, tx);
        }
    }

    fn refuse(&mut self, send: &messages::Send<'_>, code: Code, retry_after: u32, tx: &mut TxBuf<'_>) {
        self.send(&Message::Refused(Refused { id: send.id, code, retry_after }), tx);
    }

    async fn change_room(&mut self, tag: u32, room: RoomName<'_>, change: RoomChange, tx: &mut TxBuf<'_>) {
        let Some(user) = &self.user else { return };
        // A change of a room costs the disk as much as a message.
        if let Err(retry_after) = self.shared.limits.message(user.account, self.now) {
            return self.send(&Message::Done(Done { tag, code: Code::RateLimited, retry_after }), tx);
        }
        self.requests += 1;
        if self.shared.hub.change_room(user.id, user.account, tag, room.as_str(), change).await.is_err() {
            self.close(CloseReason::ShuttingDown, tx);
        }
    }

    fn list_members(&mut self, tag: u32, room: RoomName<'_>, after: &str, tx: &mut TxBuf<'_>) {
        let Some(user) = &self.user else { return };
        let page = {
            let state = self.shared.hub.state();
            state.directory.room_named(room.as_str()).ok_or(Code::NotFound).and_then(|assembly| {
                state.directory.member(assembly.room.id, user.account).ok_or(Code::NotMember)?;
                Ok(state.members_page(assembly, after, self.conn.max_body()))
            })
        };
        match page {
            Ok(page) => self.send_users(tag, page.more, &page.items, tx),
            Err(code) => self.send(&Message::Done(Done { tag, code, retry_after: 0 }), tx),
        }
    }

    fn send_rooms(&mut self, tag: u32, more: bool, lines: &[RoomLine], tx: &mut TxBuf<'_>) {
        let items: Vec<_> = lines
            .iter()
            .filter_map(|RoomLine { name, members, joined }| {
                Some(RoomEntry { room: RoomName::new(name)?, members: *members, joined: *joined })
            })
            .collect();
        self.send(&Message::Rooms(Page { tag, more, items: List::Items(&items) }), tx);
    }

    fn send_users(&mut self, tag: u32, more: bool, lines: &[UserLine], tx: &mut TxBuf<'_>) {
        let items: Vec<_> = lines
            .iter()
            .filter_map(|line| Some(UserEntry { user: Username::new(&line.name)?, online: line.online }))
            .collect();
        self.send(&Message::Users(Page { tag, more, items: List::Items(&items) }), tx);
    }
}
