//! Connection store that restores the records of this pod's connections when Redis has lost them.
//!
//! ```text
//! command of a client ── no record ── wait until the connection is registered ── write the record ── run again
//! $disconnect ────────── no record ── the same, then delete it: its effects happen
//! resync after a loss ── write the missing records of all open connections, join missing channels again
//! ```
//! The pod knows its connections: identity and joined channels are in its memory. A record is written only after the
//! registration was confirmed, so a pod that peers have fenced restores nothing. A record that `$connect` has not
//! stored, and one that `$disconnect` has deleted, are not restored either. A channel that a client leaves is in memory
//! for a moment longer than in the record; it is not joined again.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use gateway::id::{GatewayId, parse_gateway_id};
use handlers::audience::Audience;
use handlers::channel::Channel;
use handlers::id::{ConnectionId, TenantId};
use handlers::ports::{ChannelChange, ClientConnection, ConnectionStore, OccupiedChannel, Page, StoreError};

use super::leaving_channels::LeavingChannels;
use super::registry::{ClusterRegistry, RecordRestorer};
use crate::hub::{self, ChannelDelivery};
use crate::redis::RedisConnections;

/// [`ConnectionStore`] in Redis whose records survive a loss of Redis's data while their connections are open.
pub struct RestoringConnections {
    store: RedisConnections,
    registry: ClusterRegistry,
    hub: ChannelDelivery,
    leaving: LeavingChannels,
}

impl RestoringConnections {
    /// Creates the store. `registry` and `hub` have the connections of this pod.
    #[must_use]
    pub fn new(store: RedisConnections, registry: ClusterRegistry, hub: ChannelDelivery) -> Arc<Self> {
        let connections = Arc::new(Self { store, registry, hub, leaving: LeavingChannels::default() });
        let restorer: Arc<dyn RecordRestorer> = connections.clone();
        connections.registry.restore_records_with(Arc::downgrade(&restorer) as Weak<dyn RecordRestorer>);
        connections
    }

    /// Restores the record of an open connection of this pod if it is missing. Returns whether there is one now.
    async fn restore_open(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        let Ok(id) = parse_gateway_id(id.as_str()) else { return Ok(false) };
        if !self.registry.records().has_stored_record(id) || !self.registry.confirm_registration(id).await? {
            return Ok(false);
        }
        self.write_record(id).await
    }

    /// Writes the record of an open connection unless there is one. Returns whether there is one now.
    async fn write_record(&self, id: GatewayId) -> Result<bool, StoreError> {
        let Some(record) = self.hub.open_record(id) else { return Ok(false) };
        self.store.restore_connection(&record).await?;
        if self.registry.records().has_stored_record(id) {
            return Ok(true);
        }
        // The connection ended in between: its `$disconnect` may have deleted the record before it was written.
        self.store.delete_connection(&record.id).await?;
        Ok(false)
    }

    /// Joins the channels that the connection has joined in this pod and its record lacks, because a failover has lost
    /// them.
    async fn join_missing(&self, id: GatewayId, record: &ClientConnection) -> Result<(), StoreError> {
        let Some(open) = self.hub.open_record(id) else { return Ok(()) };
        let mut missing: Vec<Channel> = open.channels.difference(&record.channels).cloned().collect();
        missing.retain(|channel| !self.leaving.contains(id, channel));
        if missing.is_empty() {
            return Ok(());
        }
        self.store.change_channels(&record.id, &missing, &[]).await?;
        // The client may have left meanwhile.
        missing.retain(|channel| self.leaving.contains(id, channel));
        if !missing.is_empty() {
            self.store.change_channels(&record.id, &[], &missing).await?;
        }
        Ok(())
    }

    /// Deletes the record that `$disconnect` did not find although `$connect` stored it.
    async fn delete_lost(&self, id: GatewayId) -> Result<Option<ClientConnection>, StoreError> {
        let facts = self.registry.records().find_facts(id);
        let Some(record) = facts.and_then(|facts| hub::client_record(&facts)) else { return Ok(None) };
        if !self.registry.confirm_registration(id).await? {
            return Ok(None);
        }
        self.store.restore_connection(&record).await?;
        self.store.delete_connection(&record.id).await
    }
}

#[async_trait]
impl RecordRestorer for RestoringConnections {
    async fn restore_record(&self, id: GatewayId) -> Result<(), StoreError> {
        if !self.registry.records().has_stored_record(id) {
            return Ok(());
        }
        let Some(open) = self.hub.open_record(id) else { return Ok(()) };
        match self.store.find_connection(&open.id).await? {
            Some(record) => self.join_missing(id, &record).await,
            None => self.write_record(id).await.map(drop),
        }
    }
}

#[async_trait]
impl ConnectionStore for RestoringConnections {
    async fn put_connection(&self, connection: &ClientConnection) -> Result<(), StoreError> {
        self.store.put_connection(connection).await?;
        if let Ok(id) = parse_gateway_id(connection.id.as_str()) {
            self.registry.records().mark_record_stored(id);
        }
        Ok(())
    }

    async fn find_connection(&self, id: &ConnectionId) -> Result<Option<ClientConnection>, StoreError> {
        let found = self.store.find_connection(id).await?;
        if found.is_none() && self.restore_open(id).await? {
            return self.store.find_connection(id).await;
        }
        Ok(found)
    }

    async fn delete_connection(&self, id: &ConnectionId) -> Result<Option<ClientConnection>, StoreError> {
        let own = parse_gateway_id(id.as_str()).ok().filter(|id| self.registry.records().begin_record_removal(*id));
        let mut removed = self.store.delete_connection(id).await?;
        if let Some(own) = own {
            if removed.is_none() {
                removed = self.delete_lost(own).await?;
            }
            self.registry.records().mark_record_removed(own);
        }
        if let Ok(id) = parse_gateway_id(id.as_str()) {
            self.leaving.forget(id);
        }
        Ok(removed)
    }

    async fn change_channels(
        &self,
        id: &ConnectionId,
        join: &[Channel],
        leave: &[Channel],
    ) -> Result<ChannelChange, StoreError> {
        if let Ok(id) = parse_gateway_id(id.as_str()) {
            self.leaving.record_change(id, join, leave, || self.hub.open_record(id));
        }
        let change = self.store.change_channels(id, join, leave).await?;
        if matches!(change, ChannelChange::NotFound) && self.restore_open(id).await? {
            return self.store.change_channels(id, join, leave).await;
        }
        Ok(change)
    }

    async fn list_members(
        &self,
        audience: &Audience,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<ClientConnection>, StoreError> {
        self.store.list_members(audience, after, limit).await
    }

    async fn occupied_channels(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<OccupiedChannel>, StoreError> {
        self.store.occupied_channels(tenant, after, limit).await
    }
}
