//! Connections in memory, with an index for every audience.
//!
//! Invariant: the indices name exactly the records, and every record has not expired: each call first drops what has.
//! One lock guards it all, held for one operation and never across an await. A connection in no room costs about 0.6 KiB.
//! It is bounded by the sockets that its process can hold; it sets no bound of its own.

mod index;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use foldhash::HashMap;
use parking_lot::Mutex;

use self::index::Index;
use crate::audience::{Audience, Group, Members};
use crate::channel::{Channel, ChannelName};
use crate::id::{ConnectionId, TenantId};
use crate::limits;
use crate::ports::{Changed, Clock, Connection, ConnectionStore, OccupiedChannel, Page, StoreError, Timestamp};

/// The connection store of one process.
pub struct MemoryConnections {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    records: HashMap<ConnectionId, Connection>,
    index: Index,
    /// By expiry, so that dropping what expired looks at nothing else.
    expiries: BTreeSet<(Timestamp, ConnectionId)>,
}

impl MemoryConnections {
    /// An empty store that expires records by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Runs `work` on what has not expired.
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.expire(now);
        work(&mut state)
    }
}

impl State {
    fn expire(&mut self, now: Timestamp) {
        while let Some((expiry, id)) = self.expiries.first()
            && *expiry <= now
        {
            let id = id.clone();
            self.remove(&id);
        }
    }

    fn put(&mut self, mut connection: Connection) {
        self.remove(&connection.id);
        // All records of a tenant share one text.
        connection.identity.tenant = self.index.shared_tenant(&connection.identity.tenant);
        for group in groups(&connection) {
            self.index.add(group, &connection.id);
        }
        self.expiries.insert((expiry(&connection), connection.id.clone()));
        self.records.insert(connection.id.clone(), connection);
    }

    fn remove(&mut self, id: &ConnectionId) -> Option<Connection> {
        let connection = self.records.remove(id)?;
        for group in groups(&connection) {
            self.index.remove(&group, id);
        }
        self.expiries.remove(&(expiry(&connection), id.clone()));
        Some(connection)
    }

    fn change(&mut self, id: &ConnectionId, join: &[Channel], leave: &[Channel]) -> Changed {
        let Some(connection) = self.records.get_mut(id) else { return Changed::Absent };
        let before = connection.channels.clone();
        let mut after: BTreeSet<Channel> = before.iter().chain(join).cloned().collect();
        after.retain(|channel| !leave.contains(channel));
        if after.len() > limits::CHANNELS_PER_CONNECTION.max(before.len()) {
            return Changed::Full;
        }
        for channel in after.difference(&before) {
            self.index.add(Group::Joined(channel.clone()), id);
        }
        for channel in before.difference(&after) {
            self.index.remove(&Group::Joined(channel.clone()), id);
        }
        connection.channels = after;
        Changed::To { connection: connection.clone(), before }
    }

    fn members(&self, audience: &Audience, after: Option<&ConnectionId>, limit: usize) -> Page<Connection> {
        let (ids, total) = match audience.members() {
            Members::One(id) => {
                let total = u64::from(self.records.contains_key(&id));
                let ids = (total == 1 && after.is_none_or(|after| id > *after)).then_some(id);
                (ids.into_iter().collect(), total)
            }
            // One more than asked for tells whether there is a next page.
            Members::Union(groups) => (self.index.after(&groups, after, limit + 1), self.index.count(&groups)),
        };
        page(ids, total, limit, |id| self.records.get(id).cloned(), |id| id.as_str().to_owned())
    }
}

/// Makes a page of up to `limit + 1` keys.
fn page<K, T>(
    keys: Vec<K>,
    total: u64,
    limit: usize,
    item: impl Fn(&K) -> Option<T>,
    token: impl Fn(&K) -> String,
) -> Page<T> {
    let shown = &keys[..limit.min(keys.len())];
    let next = (keys.len() > limit).then(|| shown.last().map(token)).flatten();
    Page { items: shown.iter().filter_map(item).collect(), next, total }
}

fn expiry(connection: &Connection) -> Timestamp {
    connection.connected_at.plus(limits::CONNECTION_TTL)
}

fn groups(connection: &Connection) -> Vec<Group> {
    let joined = connection.channels.iter().cloned().map(Group::Joined);
    connection.identity.groups().into_iter().chain(joined).collect()
}

#[async_trait]
impl ConnectionStore for MemoryConnections {
    async fn put(&self, connection: &Connection) -> Result<(), StoreError> {
        let connection = connection.clone();
        let now = self.clock.now();
        self.with(
            |state| if expiry(&connection) > now { state.put(connection) } else { drop(state.remove(&connection.id)) },
        );
        Ok(())
    }

    async fn find(&self, id: &ConnectionId) -> Result<Option<Connection>, StoreError> {
        Ok(self.with(|state| state.records.get(id).cloned()))
    }

    async fn remove(&self, id: &ConnectionId) -> Result<Option<Connection>, StoreError> {
        Ok(self.with(|state| state.remove(id)))
    }

    async fn change_channels(
        &self,
        id: &ConnectionId,
        join: &[Channel],
        leave: &[Channel],
    ) -> Result<Changed, StoreError> {
        Ok(self.with(|state| state.change(id, join, leave)))
    }

    async fn members(
        &self,
        audience: &Audience,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Connection>, StoreError> {
        let after = after.map(ConnectionId::parse).transpose().map_err(|_| StoreError::BadPage)?;
        Ok(self.with(|state| state.members(audience, after.as_ref(), limit.max(1))))
    }

    async fn occupied_channels(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<OccupiedChannel>, StoreError> {
        let after = after.map(ChannelName::parse).transpose().map_err(|_| StoreError::BadPage)?;
        let limit = limit.max(1);
        Ok(self.with(|state| {
            let (occupied, total) = state.index.occupied(tenant, after.as_ref(), limit + 1);
            page(occupied, total, limit, |channel| Some(channel.clone()), |channel| channel.name.to_string())
        }))
    }
}

#[cfg(test)]
mod tests;
