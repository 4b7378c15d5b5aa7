//! In-memory connection store with an index for every audience.
//!
//! Invariant: the index contains exactly the stored records, and no stored record has expired, because each call first
//! deletes expired ones. One lock guards all state; it is held for one operation and never across an await. A
//! connection without rooms takes about 0.6 KiB. The number of records is bounded by the sockets of the process, not by
//! the store.

mod index;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use foldhash::HashMap;
use parking_lot::Mutex;

use self::index::MembershipIndex;
use crate::audience::{Audience, Group, ResolvedAudience};
use crate::channel::{Channel, ChannelName};
use crate::id::{ConnectionId, TenantId};
use crate::limits;
use crate::ports::{
    ChannelChange, ClientConnection, Clock, ConnectionStore, OccupiedChannel, Page, StoreError, Timestamp,
};

pub struct MemoryConnections {
    clock: Arc<dyn Clock>,
    state: Mutex<ConnectionTable>,
}

#[derive(Default)]
struct ConnectionTable {
    records: HashMap<ConnectionId, ClientConnection>,
    index: MembershipIndex,
    /// Records ordered by expiry, so that deleting expired ones reads no others.
    expiries: BTreeSet<(Timestamp, ConnectionId)>,
}

impl MemoryConnections {
    /// Creates an empty store that expires records by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Deletes expired records and runs `operation` on the others.
    fn with_live_records<T>(&self, operation: impl FnOnce(&mut ConnectionTable) -> T) -> T {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.remove_expired(now);
        operation(&mut state)
    }
}

impl ConnectionTable {
    fn remove_expired(&mut self, now: Timestamp) {
        while let Some((expiry, id)) = self.expiries.first()
            && *expiry <= now
        {
            let id = id.clone();
            self.remove_record(&id);
        }
    }

    fn insert_record(&mut self, mut connection: ClientConnection) {
        self.remove_record(&connection.id);
        // All records of a tenant share one string.
        connection.identity.tenant = self.index.shared_tenant(&connection.identity.tenant);
        for group in record_groups(&connection) {
            self.index.add_member(group, &connection.id);
        }
        self.expiries.insert((record_expiry(&connection), connection.id.clone()));
        self.records.insert(connection.id.clone(), connection);
    }

    fn remove_record(&mut self, id: &ConnectionId) -> Option<ClientConnection> {
        let connection = self.records.remove(id)?;
        for group in record_groups(&connection) {
            self.index.remove_member(&group, id);
        }
        self.expiries.remove(&(record_expiry(&connection), id.clone()));
        Some(connection)
    }

    fn apply_change(&mut self, id: &ConnectionId, join: &[Channel], leave: &[Channel]) -> ChannelChange {
        let Some(connection) = self.records.get_mut(id) else { return ChannelChange::NotFound };
        let before = connection.channels.clone();
        let mut after: BTreeSet<Channel> = before.iter().chain(join).cloned().collect();
        after.retain(|channel| !leave.contains(channel));
        if after.len() > limits::MAX_CHANNELS_PER_CONNECTION.max(before.len()) {
            return ChannelChange::LimitReached;
        }
        for channel in after.difference(&before) {
            self.index.add_member(Group::Joined(channel.clone()), id);
        }
        for channel in before.difference(&after) {
            self.index.remove_member(&Group::Joined(channel.clone()), id);
        }
        connection.channels = after;
        ChannelChange::Applied { connection: connection.clone(), before }
    }

    fn members_page(&self, audience: &Audience, after: Option<&ConnectionId>, limit: usize) -> Page<ClientConnection> {
        let (ids, total) = match audience.resolve() {
            ResolvedAudience::Connection(id) => {
                let total = u64::from(self.records.contains_key(&id));
                let ids = (total == 1 && after.is_none_or(|after| id > *after)).then_some(id);
                (ids.into_iter().collect(), total)
            }
            // One item more than requested shows whether there is a next page.
            ResolvedAudience::Groups(groups) => {
                (self.index.members_after(&groups, after, limit + 1), self.index.count_members(&groups))
            }
        };
        build_page(ids, total, limit, |id| self.records.get(id).cloned(), |id| id.as_str().to_owned())
    }
}

/// Returns a page of the first `limit` keys, and a page token if `keys` has more.
fn build_page<K, T>(
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

fn record_expiry(connection: &ClientConnection) -> Timestamp {
    connection.connected_at.plus(limits::CONNECTION_RECORD_TTL)
}

fn record_groups(connection: &ClientConnection) -> Vec<Group> {
    let joined = connection.channels.iter().cloned().map(Group::Joined);
    connection.identity.groups().into_iter().chain(joined).collect()
}

#[async_trait]
impl ConnectionStore for MemoryConnections {
    async fn put_connection(&self, connection: &ClientConnection) -> Result<(), StoreError> {
        let connection = connection.clone();
        let now = self.clock.now();
        self.with_live_records(|state| {
            if record_expiry(&connection) > now {
                state.insert_record(connection)
            } else {
                drop(state.remove_record(&connection.id))
            }
        });
        Ok(())
    }

    async fn find_connection(&self, id: &ConnectionId) -> Result<Option<ClientConnection>, StoreError> {
        Ok(self.with_live_records(|state| state.records.get(id).cloned()))
    }

    async fn delete_connection(&self, id: &ConnectionId) -> Result<Option<ClientConnection>, StoreError> {
        Ok(self.with_live_records(|state| state.remove_record(id)))
    }

    async fn change_channels(
        &self,
        id: &ConnectionId,
        join: &[Channel],
        leave: &[Channel],
    ) -> Result<ChannelChange, StoreError> {
        Ok(self.with_live_records(|state| state.apply_change(id, join, leave)))
    }

    async fn list_members(
        &self,
        audience: &Audience,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<ClientConnection>, StoreError> {
        let after = after.map(ConnectionId::parse).transpose().map_err(|_| StoreError::InvalidPageToken)?;
        Ok(self.with_live_records(|state| state.members_page(audience, after.as_ref(), limit.max(1))))
    }

    async fn occupied_channels(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<OccupiedChannel>, StoreError> {
        let after = after.map(ChannelName::parse).transpose().map_err(|_| StoreError::InvalidPageToken)?;
        let limit = limit.max(1);
        Ok(self.with_live_records(|state| {
            let (occupied, total) = state.index.occupied_channels(tenant, after.as_ref(), limit + 1);
            build_page(occupied, total, limit, |channel| Some(channel.clone()), |channel| channel.name.to_string())
        }))
    }
}

#[cfg(test)]
mod tests;
