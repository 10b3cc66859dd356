//! A hub over a database of its own, without sockets.

#![allow(dead_code, reason = "each test crate uses its part")]

pub mod client;

use std::{future::poll_fn, path::Path, sync::Arc, time::Duration};

use smol::{Task, Timer, future::FutureExt as _};
use sordino_core::messages::Code;
use sordino_server::{
    config::Limits,
    hub::{Attached, Hub, Outgoing, Outlet, Recipient, RoomChange, Signal, Submission, unix_now},
    store::{self, Account, Change, Credentials, Device, DeviceId, Message, MessageId, Reader},
};

/// Longer than any event takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Bench {
    pub hub: Arc<Hub>,
    pub reader: Reader,
    committer: Task<rusqlite::Result<()>>,
}

impl Bench {
    pub async fn open(dir: &Path) -> Self {
        Self::with(dir, Limits::default()).await
    }

    pub async fn with(dir: &Path, limits: Limits) -> Self {
        let (writer, reader) = store::open(dir).await.unwrap();
        let snapshot = reader.snapshot().await.unwrap();
        let (hub, committer) = Hub::new(snapshot, limits, writer, reader.clone(), unix_now);
        Self { hub, reader, committer: smol::spawn(committer) }
    }

    /// As after `kill -9`, but for what the operating system would still write.
    pub async fn kill(self) {
        self.committer.cancel().await;
        self.reader.close().await;
    }

    pub async fn close(self) {
        self.hub.finish();
        self.committer.await.unwrap();
        self.reader.close().await;
    }

    pub async fn account(&self, name: &str) {
        let name: Arc<str> = name.into();
        let make = move |state: &sordino_server::hub::State| {
            let account = Account { id: state.directory.next_account(), name, disabled: false };
            vec![Change::Account(account, Credentials { email: String::new(), password: None }, 0)]
        };
        self.hub.change(make).await.unwrap();
    }

    /// Binds a new device and connects it.
    pub async fn device(&self, user: &str, key: u8) -> Person<'_> {
        let owner = self.hub.state().directory.person_named(user).map(|p| p.account.id);
        if owner.is_none() {
            self.account(user).await;
        }
        let owner = user.to_owned();
        let bind = move |state: &sordino_server::hub::State| {
            let account = state.directory.person_named(&owner).unwrap().account.id;
            let (id, cursor) = (state.directory.next_device(), state.last_number());
            vec![Change::Device(
                Device { id, account, fingerprint: [key; 32], label: String::new(), cursor },
                0,
            )]
        };
        self.hub.change(bind).await.unwrap();
        self.connect(key)
    }

    /// Another connection of a device.
    pub fn connect(&self, key: u8) -> Person<'_> {
        let device = self.hub.state().directory.device_with(&[key; 32]).unwrap().id;
        let outlet = Arc::new(Outlet::default());
        let attached = self.hub.attach(device, &outlet).unwrap();
        Person { hub: &self.hub, outlet, attached, device, got: 0 }
    }
}

/// One connection.
pub struct Person<'b> {
    pub hub: &'b Arc<Hub>,
    pub outlet: Arc<Outlet>,
    pub attached: Attached,
    pub device: DeviceId,
    got: u64,
}

pub fn id(n: u64) -> MessageId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    id
}

impl Person<'_> {
    pub fn submission(&self, to: &str, id: MessageId, text: &str) -> Submission {
        let recipient = match to.strip_prefix('#') {
            Some(room) => Recipient::Room(room.into()),
            None => Recipient::User(to.trim_start_matches('@').into()),
        };
        let Attached { id: origin, account, .. } = self.attached;
        Submission {
            origin,
            account,
            device: self.device,
            id,
            recipient,
            format: 0,
            body: text.as_bytes().into(),
        }
    }

    /// The number under which a message was accepted.
    pub async fn send(&self, to: &str, id: MessageId, text: &str) -> Result<u64, Code> {
        self.hub.submit(self.submission(to, id, text)).await.unwrap();
        loop {
            match self.event().await {
                Outgoing::Accepted(of, number, _) if of == id => return Ok(number),
                Outgoing::Refused(of, code, _) if of == id => return Err(code),
                _ => {}
            }
        }
    }

    pub async fn room(&self, room: &str, change: RoomChange) -> Code {
        let Attached { id, account, .. } = self.attached;
        self.hub.change_room(id, account, 7, room, change).await.unwrap();
        loop {
            if let Outgoing::Done(7, code, _) = self.event().await {
                return code;
            }
        }
    }

    /// The next event; mail and the end are passed over.
    pub async fn event(&self) -> Outgoing {
        let next = async {
            loop {
                poll_fn(|context| self.outlet.poll(context)).await;
                if let Some(Signal::Event(event)) = self.outlet.take() {
                    return event;
                }
            }
        };
        let late = async {
            Timer::after(PATIENCE).await;
            panic!("no event");
        };
        next.or(late).await
    }

    /// What waits in the outlet now.
    pub fn signals(&self) -> Vec<Signal> {
        std::iter::from_fn(|| self.outlet.take()).collect()
    }

    /// What waits in the mailbox, as texts, from behind what was received before.
    pub async fn receive(&mut self) -> Vec<String> {
        self.hub.receive(self.attached.id);
        let mut texts = Vec::new();
        loop {
            let (messages, more) = self.hub.deliveries(self.attached.id, self.got, 64).await.unwrap();
            self.got = messages.last().map_or(self.got, |m| m.place.number);
            texts.extend(messages.iter().map(|m| text(m)));
            if !more {
                return texts;
            }
        }
    }

    /// Acknowledges all that was received.
    pub fn acknowledge(&self) {
        self.hub.acknowledge(self.attached.id, self.got);
    }
}

pub fn text(message: &Message) -> String {
    String::from_utf8(message.body().to_vec()).unwrap()
}
