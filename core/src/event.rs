//! What a step reports, and what the application answers.

use crate::error::{Error, NoRoom};
use crate::handshake::client::ServerHello;
use crate::messages::{Auth, AuthResult, CloseReason, Message};

/// What a call of `step` did. Owned: borrows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing can be done until more bytes were received.
    NeedInput,
    /// Nothing was consumed or changed: write some of the output to the peer first.
    NeedOutput(NoRoom),
    /// Something was done: call again.
    Progressed,
    /// Something for the application: look at it through `event` before the next step.
    Event(EventId),
    /// The connection ended in order.
    Closed(Closed),
}

/// Who ended a connection in order, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// This side.
    Here(CloseReason),
    /// The peer.
    ByPeer(CloseReason),
}

/// Names an event of the latest step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId(pub(crate) u32);

/// An event, borrowed from the receive buffer.
#[derive(Debug)]
pub enum Event<'i> {
    /// Server: somebody knows the server's key and asks for a handshake, which costs two and two thirds
    /// exponentiations. Answer with [`Answer::Admit`] or [`Answer::Busy`].
    Admit {
        /// Its ephemeral key, DHLEN bytes. Nobody honest uses one twice, so that a repeated one may be refused;
        /// it is proven to be the sender's once the next step has succeeded.
        ephemeral: &'i [u8],
        /// For the answer.
        ticket: Ticket,
    },
    /// The handshake is over.
    Established(Peer<'i>),
    /// Server: credentials. Answer with [`Answer::Auth`], perhaps much later.
    Auth {
        /// What the client says.
        request: Auth<'i>,
        /// For the answer.
        ticket: Ticket,
    },
    /// A message.
    Message(Message<'i>),
}

/// Who stands at the other end.
#[derive(Clone, Copy, Debug)]
pub enum Peer<'i> {
    /// Server: the client has proven to hold this device key (DHLEN bytes, in range).
    /// Before it is stored, [`crate::dh::PublicKey::check_long_lived`] must accept it.
    Device(&'i [u8]),
    /// Client: the server has proven its key.
    Server(ServerHello),
}

/// The right to one answer, on the connection that gave it. A ticket that is dropped means refusal: the next
/// step refuses, and the connection is over.
#[derive(Debug)]
#[must_use = "a dropped ticket refuses the request"]
pub struct Ticket(pub(crate) u32);

/// Answers of a server's application.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// Go on with the handshake.
    Admit,
    /// Refuse the handshake with ERROR(busy); the connection ends.
    Busy,
    /// The result of an authentication.
    Auth(AuthResult<'a>),
}

/// An answer was not given.
#[derive(Debug)]
pub enum AnswerError {
    /// No room in the output: try again with the same ticket.
    NoRoom(Ticket, NoRoom),
    /// The connection has ended meanwhile: nobody is there to hear the answer.
    Ended,
    /// The ticket is of another time, or the answer does not fit it.
    Failed(Error),
}
