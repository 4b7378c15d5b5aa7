//! Maintenance task of the registry: flushes deletions, retries `$disconnect`s, resynchronises with Redis.
//!
//! A single task does all three in sequence, so that a resync never restores a connection whose deletion is in
//! progress. While Redis is unavailable the task waits. Nothing is lost then, because no new connections are accepted
//! either.

use futures_util::stream::{self, StreamExt as _};
use gateway::id::GatewayId;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{ClusterRegistry, MAX_IDS_PER_COMMAND, RegistryInner};
use crate::connection::ConnectionRegistry as _;
use crate::redis::{LinkState, RedisClientError};
use crate::session::DisconnectRunner;

/// Maximum number of pending `$disconnect`s that run concurrently.
const MAX_CONCURRENT_DISCONNECTS: usize = 32;

/// Background task of the registry.
pub(in crate::cluster) struct RegistryMaintenance {
    registry: ClusterRegistry,
    disconnects: DisconnectRunner,
    redis_state: watch::Receiver<LinkState>,
    /// Number of `$disconnect`s to be retried.
    pending_disconnects: Gauge,
    /// Notified after each resync that left Redis with all registered connections.
    resynced: watch::Sender<()>,
}

impl RegistryMaintenance {
    pub(in crate::cluster) fn new(
        registry: ClusterRegistry,
        disconnects: DisconnectRunner,
        redis_state: watch::Receiver<LinkState>,
        pending_disconnects: Gauge,
    ) -> Self {
        Self { registry, disconnects, redis_state, pending_disconnects, resynced: watch::Sender::new(()) }
    }

    /// Returns a receiver that changes after each successful resync.
    pub(in crate::cluster) fn watch_resyncs(&self) -> watch::Receiver<()> {
        self.resynced.subscribe()
    }

    /// Runs until `stop`: once per wake-up.
    pub(in crate::cluster) async fn run(mut self, stop: CancellationToken) {
        let inner = self.registry.inner.clone();
        loop {
            let completed = tokio::select! {
                completed = self.run_once() => completed,
                () = stop.cancelled() => return,
            };
            tokio::select! {
                () = inner.queue.wait_for_work(completed) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Does all pending work. Returns `false` when some of it failed and has to be retried.
    async fn run_once(&mut self) -> bool {
        if self.redis_state.wait_for(|state| *state == LinkState::Available).await.is_err() {
            return false;
        }
        let queue = &self.registry.inner.queue;
        if queue.take_resync_request()
            && let Err(error) = self.resync_records().await
        {
            tracing::warn!(error = %errors::chain(&error), "connection registry resync failed");
            queue.retry_resync();
            return false;
        }
        let flushed = self.registry.flush_deletions().await;
        let completed = self.run_pending_disconnects().await;
        flushed.is_ok() && completed
    }

    /// Runs the pending `$disconnect`s. Returns `false` when some have to be retried.
    async fn run_pending_disconnects(&self) -> bool {
        let queue = &self.registry.inner.queue;
        let failed: Vec<_> = stream::iter(queue.take_disconnects())
            .map(|id| self.retry_disconnect(id))
            .buffer_unordered(MAX_CONCURRENT_DISCONNECTS)
            .filter_map(std::future::ready)
            .collect()
            .await;
        let all_succeeded = failed.is_empty();
        self.pending_disconnects.set(i64::try_from(queue.requeue_disconnects(failed)).unwrap_or(i64::MAX));
        all_succeeded
    }

    /// Runs one `$disconnect`. Returns the id when it has to be retried.
    async fn retry_disconnect(&self, id: GatewayId) -> Option<GatewayId> {
        let connections = &self.registry.inner.connections;
        let (facts, cause) = connections.find_pending_disconnect(id)?;
        if self.disconnects.run(&facts, &cause).await.is_ok() {
            self.registry.delete_connection(id);
            return None;
        }
        if !self.disconnects.retry.is_allowed() || (self.is_redis_available() && connections.record_failed_attempt(id))
        {
            tracing::warn!(connection.id = %id, "$disconnect dropped after repeated failures");
            self.registry.delete_connection(id);
            return None;
        }
        Some(id)
    }

    fn is_redis_available(&self) -> bool {
        *self.redis_state.borrow() == LinkState::Available
    }

    /// Registers connections that Redis lost, and deletes records of connections that this pod does not own.
    async fn resync_records(&self) -> Result<(), RedisClientError> {
        let RegistryInner { lease, connections, .. } = &*self.registry.inner;
        let lease_id = lease.id();
        let mut restored = 0;
        for ids in connections.ids().chunks(MAX_IDS_PER_COMMAND) {
            let missing = lease.store.find_unregistered(&lease_id, ids).await?;
            let record = |id| Some((id, connections.find_facts(id)?.to_record()));
            let records: Vec<_> = missing.into_iter().filter_map(record).collect();
            if !records.is_empty() && !lease.store.register_connections(&lease_id, &records).await? {
                // This pod was fenced. The next heartbeat handles that.
                return Ok(());
            }
            restored += records.len();
        }
        if restored > 0 {
            tracing::info!(connections = restored, "registered connections again that redis had lost");
        }
        if lease.store.count_registered(&lease_id).await? > connections.len() as u64 {
            self.delete_unowned_records().await?;
        }
        self.resynced.send_replace(());
        Ok(())
    }

    /// Deletes the records registered for this pod whose connections it does not own.
    async fn delete_unowned_records(&self) -> Result<(), RedisClientError> {
        let RegistryInner { lease, connections, .. } = &*self.registry.inner;
        let lease_id = lease.id();
        let mut cursor = 0;
        loop {
            let (next, mut found) = lease.store.scan_registered(&lease_id, cursor).await?;
            found.retain(|id| !connections.contains(*id));
            if !found.is_empty() {
                lease.store.delete_connections(&lease_id, &found).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }
}
