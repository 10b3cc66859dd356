//! The life of a connection as one future: it owns the buffers and the driver, and talks to its session through
//! channels. It runs only while the session polls it, so a session costs no task and no thread.

use std::future::pending;
use std::io;
use std::time::Duration;

use smol::channel::{Receiver, Sender};
use smol::future::or;
use smol::io::AsyncReadExt;
use smol::net::{Shutdown, TcpStream};
use sordino_core::drive::{DriveError, Next};
use sordino_core::error::{Error, Misuse, SendError};
use sordino_core::event::EventId;
use sordino_core::messages::{CloseReason, Message};
use sordino_core::suite::Suite;
use sordino_core::{Closed, Event as CoreEvent};
use zeroize::Zeroizing;

use super::dial::{Buffers, Dial, Driver, Greeting};
use super::event::{self, Assembler, Event};
use super::identity::Identity;
use super::{Options, explain};
use crate::failure::{Failure, Result};
use crate::wait;

/// How long a goodbye waits for the server to end its direction: then it has read everything.
const GOODBYE: Duration = Duration::from_secs(2);

/// An encoded body; it may hold a password.
pub type Body = Zeroizing<Vec<u8>>;

/// What the session wants.
pub enum Order {
    /// Send a message of this type and body.
    Send(u8, Body),
    /// Say goodbye.
    Close,
}

/// The connection's ends of the channels.
pub struct Channels {
    pub orders: Receiver<Order>,
    pub events: Sender<Event>,
    pub greeting: Sender<Greeting>,
}

/// Connects, then carries messages until the end, which it returns: `None` after an own goodbye.
pub async fn carry<S: Suite>(identity: Identity, options: Options, channels: Channels) -> Option<Failure> {
    live::<S>(&identity, &options, &channels).await.err()
}

async fn live<S: Suite>(identity: &Identity, options: &Options, channels: &Channels) -> Result<()> {
    let dial = Dial::new(identity, options)?;
    if let Some((pin, key)) = dial.stored::<S>() {
        let stream = dial.stream().await?;
        let mut buffers = Buffers::new();
        if let Some((drive, greeting)) = dial.with_stored_key(&stream, &mut buffers, pin, key).await? {
            return converse(drive, stream, greeting, options, channels).await;
        }
        // The server closes after ERROR 3: the key is asked for on a new connection.
    }
    let stream = dial.stream().await?;
    let mut buffers = Buffers::new();
    let (drive, greeting) = dial.with_fresh_key::<S>(&stream, &mut buffers).await?;
    converse(drive, stream, greeting, options, channels).await
}

enum Work {
    Order(Option<Order>),
    Next(Result<Next, DriveError<io::Error>>),
}

async fn converse<S: Suite>(
    mut drive: Driver<'_, S>,
    stream: TcpStream,
    greeting: Greeting,
    options: &Options,
    channels: &Channels,
) -> Result<()> {
    // A session that is gone needs no greeting.
    let _ = channels.greeting.try_send(greeting);
    let mut assembler = Assembler::default();
    // A message that found no room. Orders wait behind it, so that they keep their order.
    let mut held: Option<(u8, Body)> = None;
    loop {
        let order = async {
            match held {
                None => Work::Order(channels.orders.recv().await.ok()),
                Some(_) => pending().await,
            }
        };
        match or(order, async { Work::Next(drive.next().await) }).await {
            Work::Order(Some(Order::Send(kind, body))) => held = send(&mut drive, kind, body)?,
            Work::Order(Some(Order::Close) | None) => {
                drive.close(CloseReason::Bye).await;
                drain(stream).await;
                return Ok(());
            }
            Work::Next(next) => match next.map_err(|e| explain::drive(&e, &options.server))? {
                Next::Event(id) => {
                    if let Some(event) = owned(&drive, id, &mut assembler)? {
                        // The channel is unbounded: what the server may send unasked is bounded by the window.
                        let _ = channels.events.try_send(event);
                    }
                }
                Next::Room => {
                    if let Some((kind, body)) = held.take() {
                        held = send(&mut drive, kind, body)?;
                    }
                }
                Next::Closed(Closed::ByPeer(reason) | Closed::Here(reason)) => {
                    return Err(explain::closed(reason));
                }
            },
        }
    }
}

/// Puts a message into the output; gives it back when there is no room.
fn send<S: Suite>(drive: &mut Driver<'_, S>, kind: u8, body: Body) -> Result<Option<(u8, Body)>> {
    // The session has encoded it by the same table.
    let malformed = |_| explain::core(&Error::Misuse(Misuse::Parameter));
    let sent = drive.send(&Message::decode(kind, &body).map_err(malformed)?);
    match sent {
        Ok(()) => Ok(None),
        Err(SendError::NoRoom(_)) => Ok(Some((kind, body))),
        Err(error) => Err(explain::send(error)),
    }
}

/// What an event says, if it is anything to the session.
fn owned<S: Suite>(drive: &Driver<'_, S>, id: EventId, assembler: &mut Assembler) -> Result<Option<Event>> {
    match drive.event(id).map_err(|e| explain::core(&e))? {
        CoreEvent::Message(message) => event::own(&message, assembler).map_err(|event::Gap| explain::gap()),
        _ => Ok(None),
    }
}

/// Ends the own direction and waits for the server to end its own. Closing with unread bytes would reset the
/// connection, and the last acknowledgement might be lost with it.
async fn drain(mut stream: TcpStream) {
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut rest = [0; 4096];
    wait::within(GOODBYE, async { while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {} }).await;
}
