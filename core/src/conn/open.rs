//! A connection after its handshake: records in both directions, and what control messages do.

use super::{Role, sendable::private::Sendable};
use crate::config::{CONTROL_RECORD, INNER_HEAD};
use crate::error::{PeerFault, SendError};
use crate::handshake::{Finished, Receives};
use crate::io::Io;
use crate::messages::{self, Auth, AuthCode, AuthResult, BUNDLE, Close, CloseReason, Message, Phase, Ping};
use crate::record::{Direction, Inbound, Outbound, max_body};
use crate::suite::Suite;
use crate::wire::{Overflow, Writer};

/// Keys and phase.
pub(super) struct Open<S: Suite> {
    pub out: Outbound<S>,
    pub inbound: Inbound<S>,
    pub phase: Phase,
    /// AUTHs with another result than ok.
    pub refused_logins: u8,
    /// An AUTH is on its way and not answered.
    logging_in: bool,
    own: Receives,
    peer: Receives,
    /// PING and PONG that wait for room.
    ping: Option<u64>,
    pong: Option<u64>,
}

/// What a received message means for the connection.
pub(super) enum Received {
    /// Nothing for the application.
    Control,
    /// The peer has ended the connection.
    Close(CloseReason),
    /// For the application.
    Message,
}

impl<S: Suite> Open<S> {
    pub fn new<R: Role>(finished: &Finished<S>) -> Self {
        let secret = |direction| match direction {
            Direction::ToServer => &finished.to_server,
            Direction::ToClient => &finished.to_client,
        };
        Self {
            out: Outbound::new(R::SENDS, secret(R::SENDS), 0),
            inbound: Inbound::new(R::RECEIVES, secret(R::RECEIVES), 0, finished.own.max_record),
            phase: Phase::Login,
            refused_logins: 0,
            logging_in: false,
            own: finished.own,
            peer: finished.peer,
            ping: None,
            pong: None,
        }
    }

    /// Largest body of a record that the peer receives, in bytes.
    pub const fn max_body(&self) -> usize {
        max_body(self.peer.max_record)
    }

    /// Sends a message of the application: neither CLOSE nor AUTH_RESULT, which have ways of their own.
    pub fn send<R: Role>(&mut self, message: &impl Sendable, io: &mut Io<'_, '_>) -> Result<(), SendError> {
        let kind = message.kind();
        let own_way = is_close(kind) || is_auth_result(kind);
        let second_login = is_auth(kind) && self.logging_in;
        if own_way || second_login || !messages::allowed(kind, R::SENDS, self.phase) {
            return Err(SendError::NotAllowed);
        }
        self.seal::<R>(message, CONTROL_RECORD, io)?;
        self.logging_in |= is_auth(kind);
        Ok(())
    }

    /// Sends the first of these messages, and those behind it that the peer takes in the same record: how many.
    pub fn send_bundle<R: Role>(
        &mut self,
        mut messages: impl Iterator<Item: Sendable> + Clone,
        io: &mut Io<'_, '_>,
    ) -> Result<usize, SendError> {
        let (count, body) = self.fitting::<R>(messages.clone());
        if count < 2 {
            return messages.next().map_or(Ok(0), |message| self.send::<R>(&message, io).map(|()| 1));
        }
        let len = Outbound::<S>::wire_len(body).ok_or(SendError::TooLarge)?;
        let region = io.tx.room(len.saturating_add(CONTROL_RECORD)).map_err(SendError::NoRoom)?;
        let mut place = region.get_mut(Outbound::<S>::BODY..).unwrap_or_default();
        for message in messages.take(count) {
            place = put_bundled::<R>(&message, place).ok_or(SendError::Malformed)?;
        }
        let sealed = self.out.seal(region, BUNDLE, body).ok_or(SendError::Exhausted)?;
        io.tx.commit(sealed);
        Ok(count)
    }

    /// How many of these messages, from the first on, a bundle for the peer takes, and the length of its body.
    fn fitting<R: Role>(&self, messages: impl Iterator<Item: Sendable>) -> (usize, usize) {
        let (mut count, mut body) = (0_usize, 0_usize);
        if self.peer.bundles() && self.phase == Phase::Ready {
            for message in messages {
                let end = bundled_len::<R>(&message).map(|len| body.saturating_add(len));
                let Some(end) = end.filter(|end| *end <= self.max_body()) else { break };
                (count, body) = (count.saturating_add(1), end);
            }
        }
        (count, body)
    }

    /// Sends the result of an AUTH.
    pub fn send_result(&mut self, result: &AuthResult<'_>, io: &mut Io<'_, '_>) -> Result<(), SendError> {
        self.seal::<super::Server>(&Message::AuthResult(*result), CONTROL_RECORD, io)?;
        match result.code {
            AuthCode::Ok => self.phase = Phase::Ready,
            _ => self.refused_logins = self.refused_logins.saturating_add(1),
        }
        Ok(())
    }

    /// Whether a record of this type is a bundle that may come now.
    pub fn takes_bundle(&self, kind: u8) -> bool {
        kind == BUNDLE && self.own.bundles() && self.phase == Phase::Ready
    }

    /// Takes note of a message; `body` is the body of a record of type `kind`, or of a message of that type in a
    /// bundle.
    pub fn receive<R: Role>(
        &mut self,
        kind: u8,
        body: &[u8],
        io: &mut Io<'_, '_>,
    ) -> Result<Received, PeerFault> {
        if !messages::allowed(kind, R::RECEIVES, self.phase) {
            return Err(PeerFault::UnexpectedMessage);
        }
        match super::decode::<R>(kind, body).map_err(|_| PeerFault::MalformedMessage)? {
            Message::Close(close) => {
                return Ok(Received::Close(CloseReason::from_u8(close.reason).unwrap_or(CloseReason::Other)));
            }
            Message::Ping(ping) => {
                self.pong = Some(ping.token);
                self.send_control::<R>(io);
            }
            Message::Pong(_) => {}
            Message::AuthResult(result) => {
                if !core::mem::take(&mut self.logging_in) {
                    return Err(PeerFault::UnexpectedMessage);
                }
                if result.code == AuthCode::Ok {
                    self.phase = Phase::Ready;
                }
                return Ok(Received::Message);
            }
            _ => return Ok(Received::Message),
        }
        Ok(Received::Control)
    }

    /// Decides on a PING; it leaves as soon as there is room.
    pub fn ping<R: Role>(&mut self, io: &mut Io<'_, '_>) {
        self.ping = Some(self.out.sequence());
        self.send_control::<R>(io);
    }

    /// Sends the PONG for the last PING, and a PING that is due, if there is room.
    pub fn send_control<R: Role>(&mut self, io: &mut Io<'_, '_>) {
        let due = |token: Option<u64>| token.map(|token| Ping { token });
        if let Some(pong) = due(self.pong)
            && self.seal::<R>(&Message::Pong(pong), CONTROL_RECORD, io).is_ok()
        {
            self.pong = None;
        }
        if let Some(ping) = due(self.ping)
            && self.seal::<R>(&Message::Ping(ping), CONTROL_RECORD, io).is_ok()
        {
            self.ping = None;
        }
    }

    /// Writes a CLOSE into the room that every other message leaves. Only a used-up sequence prevents it.
    pub fn close<R: Role>(&mut self, reason: CloseReason, io: &mut Io<'_, '_>) {
        let close = Close { reason: reason as u8, received: self.inbound.sequence() };
        let _used_up = self.seal::<R>(&Message::Close(close), 0, io);
    }

    /// Seals a message in its place in the output, leaving `reserve` bytes free.
    fn seal<R: Role>(
        &mut self,
        message: &impl Sendable,
        reserve: usize,
        io: &mut Io<'_, '_>,
    ) -> Result<(), SendError> {
        let mut count = Writer::counting();
        message.encode::<R>(&mut count).map_err(|Overflow| SendError::Malformed)?;
        let body = count.written();
        let len = Outbound::<S>::wire_len(body).ok_or(SendError::TooLarge)?;
        if body > self.max_body() {
            return Err(SendError::TooLarge);
        }
        let region = io.tx.room(len.saturating_add(reserve)).map_err(SendError::NoRoom)?;
        let mut out = Writer::new(region.get_mut(Outbound::<S>::BODY..).unwrap_or_default());
        message.encode::<R>(&mut out).map_err(|Overflow| SendError::Malformed)?;
        let sealed = self.out.seal(region, message.kind(), body).ok_or(SendError::Exhausted)?;
        io.tx.commit(sealed);
        Ok(())
    }
}

/// Bytes that a message takes in a bundle; `None` if it may not stand in one.
fn bundled_len<R: Role>(message: &impl Sendable) -> Option<usize> {
    if is_close(message.kind()) || !messages::allowed(message.kind(), R::SENDS, Phase::Ready) {
        return None;
    }
    let mut count = Writer::counting();
    message.encode::<R>(&mut count).ok()?;
    count.written().checked_add(INNER_HEAD)
}

/// Writes a message of a bundle to the front of `place`: what is behind it.
fn put_bundled<'p, R: Role>(message: &impl Sendable, place: &'p mut [u8]) -> Option<&'p mut [u8]> {
    let (head, rest) = place.split_first_chunk_mut::<INNER_HEAD>()?;
    let mut out = Writer::new(rest);
    message.encode::<R>(&mut out).ok()?;
    let len = out.written();
    let [high, low] = u16::try_from(len).ok()?.to_be_bytes();
    *head = [message.kind(), high, low];
    rest.get_mut(len..)
}

/// Type and length of the message at the front of what is left of a bundle, if all of it is there.
pub(super) fn bundled(left: &[u8]) -> Option<(u8, usize)> {
    let ([kind, high, low], rest) = left.split_first_chunk::<INNER_HEAD>()?;
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    (len <= rest.len()).then_some((*kind, len))
}

/// An AUTH has a ticket.
pub(super) const fn is_auth(kind: u8) -> bool {
    kind == Message::Auth(Auth::DEVICE).kind()
}

const fn is_auth_result(kind: u8) -> bool {
    kind == Message::AuthResult(AuthResult::refusal(AuthCode::Denied, 0)).kind()
}

/// A CLOSE is the end, well-formed or not.
pub(super) const fn is_close(kind: u8) -> bool {
    kind == Message::Close(Close { reason: 0, received: 0 }).kind()
}
