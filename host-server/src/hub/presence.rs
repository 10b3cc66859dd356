//! Who is connected, with which device, and which connection of a device receives.

use std::{collections::BTreeMap, sync::Arc};

use sordino_core::messages::CloseReason;

use super::{directory::behind, outlet::Outlet};
use crate::store::{AccountId, ById, DeviceId};

/// A connection after its login; never given twice while the server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// A logged-in connection.
#[derive(Debug)]
pub struct Connected {
    /// Its user.
    pub account: AccountId,
    /// Its user's name.
    pub username: Arc<str>,
    /// Its device.
    pub device: DeviceId,
    /// How it is told something.
    pub outlet: Arc<Outlet>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Presence {
    last: u64,
    connections: ById<ConnectionId, Connected>,
    online: BTreeMap<Arc<str>, Vec<ConnectionId>>,
    receiving: ById<DeviceId, ConnectionId>,
}

impl Presence {
    /// A connection has logged in.
    pub fn attach(&mut self, connected: Connected) -> ConnectionId {
        self.last += 1;
        let id = ConnectionId(self.last);
        self.online.entry(Arc::clone(&connected.username)).or_default().push(id);
        self.connections.insert(id, connected);
        id
    }

    /// A connection has ended.
    pub fn detach(&mut self, id: ConnectionId) {
        let Some(connected) = self.connections.remove(&id) else { return };
        self.stop(id, connected.device);
        if let Some(ids) = self.online.get_mut(&connected.username) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.online.remove(&connected.username);
            }
        }
    }

    /// A connection receives from now on; another one of its device is closed.
    pub fn receive(&mut self, id: ConnectionId) {
        let Some(connected) = self.connections.get(&id) else { return };
        let before = self.receiving.insert(connected.device, id);
        if let Some(other) =
            before.filter(|other| *other != id).and_then(|other| self.connections.get(&other))
        {
            other.outlet.close(CloseReason::Replaced);
        }
    }

    /// A connection doesn't receive any more.
    pub fn stop(&mut self, id: ConnectionId, device: DeviceId) {
        if self.receiving.get(&device) == Some(&id) {
            self.receiving.remove(&device);
        }
    }

    /// A connection by its id.
    #[must_use]
    pub fn get(&self, id: ConnectionId) -> Option<&Connected> {
        self.connections.get(&id)
    }

    /// The connection on which a device receives.
    #[must_use]
    pub fn receiver(&self, device: DeviceId) -> Option<&Connected> {
        self.receiving.get(&device).and_then(|id| self.connections.get(id))
    }

    /// Whether a connection is the one on which its device receives.
    #[must_use]
    pub fn is_receiving(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(|c| self.receiving.get(&c.device) == Some(&id))
    }

    /// The connections of a user.
    pub fn of_user<'a>(&'a self, username: &str) -> impl Iterator<Item = (ConnectionId, &'a Connected)> {
        let ids = self.online.get(username).into_iter().flatten();
        ids.filter_map(|id| self.connections.get(id).map(|connected| (*id, connected)))
    }

    /// Whether a user is connected.
    #[must_use]
    pub fn is_online(&self, username: &str) -> bool {
        self.online.contains_key(username)
    }

    /// Connected users behind a name, in ascending order.
    pub fn online_after<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Arc<str>> {
        self.online.range::<str, _>(behind(name)).map(|(name, _)| name)
    }

    /// How many connections are logged in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether nobody is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }
}
