//! Maintenance task of the registry: resynchronizes with Redis, restores revocations and the application's records after
//! a loss of data, flushes deletions, retries `$disconnect`s.
//!
//! A failover or a restart of Redis may lose the latest writes. The resync restores lost registrations. A registration
//! of an ended connection, whose deletion was lost, shows that the effects of its `$disconnect` may be lost too, so
//! that runs again where repeated runs have the effect of one.
//!
//! A single task does all of it in sequence, so that a resync never restores a connection whose deletion is in
//! progress. While Redis is unavailable the task waits. Nothing is lost then, because no new connections are accepted
//! either.

use std::collections::HashSet;
use std::sync::Weak;

use futures_util::stream::{self, StreamExt as _};
use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use gateway::id::GatewayId;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::journal::{JournalEvent, JournalHeader};
use super::super::pod_lease::PodLease;
use super::{ClusterRegistry, MAX_IDS_PER_COMMAND, RegistryInner};
use crate::connection::ConnectionRegistry as _;
use crate::redis::{LinkState, RedisClientError};
use crate::session::DisconnectRunner;

/// Maximum number of pending `$disconnect`s that run concurrently.
const MAX_CONCURRENT_DISCONNECTS: usize = 32;

/// Maximum number of the application's records that are checked concurrently: one round trip each, and four to restore
/// one.
const MAX_CONCURRENT_RESTORES: usize = 32;

/// Background task of the registry.
pub(in crate::cluster) struct RegistryMaintenance {
    registry: ClusterRegistry,
    disconnects: DisconnectRunner,
    redis_state: watch::Receiver<LinkState>,
    /// Number of `$disconnect`s to be retried.
    pending_disconnects: Gauge,
    /// Lease whose epoch of the data the journal records.
    pod_lease: PodLease,
}

impl RegistryMaintenance {
    pub(in crate::cluster) fn new(
        registry: ClusterRegistry,
        disconnects: DisconnectRunner,
        redis_state: watch::Receiver<LinkState>,
        pending_disconnects: Gauge,
        pod_lease: PodLease,
    ) -> Self {
        Self { registry, disconnects, redis_state, pending_disconnects, pod_lease }
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
        // Deletions first, so that the resync finds only records whose deletion was lost.
        let flushed = self.registry.flush_deletions().await;
        if queue.take_resync_request()
            && let Err(error) = self.resync_records().await
        {
            tracing::warn!(error = %errors::chain(&error), "connection registry resync failed");
            queue.retry_resync();
            return false;
        }
        let restored = self.restore_records().await;
        let completed = self.run_pending_disconnects().await;
        restored && flushed.is_ok() && completed
    }

    /// Restores the application's records of the connections that a resync has queued. Returns `false` when some have to
    /// be retried.
    async fn restore_records(&self) -> bool {
        let RegistryInner { queue, restorer, .. } = &*self.registry.inner;
        let ids = queue.take_restores();
        let Some(restorer) = restorer.get().and_then(Weak::upgrade).filter(|_| !ids.is_empty()) else { return true };
        let restore = |id| {
            let restorer = restorer.clone();
            async move { restorer.restore_record(id).await.err().map(|error| (id, error)) }
        };
        let failed: Vec<_> = stream::iter(ids)
            .map(restore)
            .buffer_unordered(MAX_CONCURRENT_RESTORES)
            .filter_map(std::future::ready)
            .collect()
            .await;
        if let Some((_, error)) = failed.first() {
            let connections = failed.len();
            tracing::warn!(connections, error = %errors::chain(error), "restoring connection records failed");
        }
        let all_succeeded = failed.is_empty();
        queue.push_restores(failed.into_iter().map(|(id, _)| id));
        all_succeeded
    }

    /// Runs the pending `$disconnect`s. Returns `false` when some have to be retried.
    async fn run_pending_disconnects(&self) -> bool {
        let queue = &self.registry.inner.queue;
        let pending = queue.take_disconnects();
        if !pending.is_empty() && !self.registry.holds_lease().await {
            // A `$disconnect` that restores a lost record would wait for the resync, which this task runs.
            queue.requeue_disconnects(pending);
            return false;
        }
        let failed: Vec<_> = stream::iter(pending)
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
        // First, because handshakes read them.
        self.restore_revocations().await?;
        let RegistryInner { lease, connections, queue, resynced, .. } = &*self.registry.inner;
        let header = JournalHeader { lease_id: lease.id(), data_epoch: self.pod_lease.data_epoch() };
        let lease_id = header.lease_id.clone();
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
            // A failover may lose a record, or a joined channel of it, and not the registration.
            queue.push_restores(ids.iter().copied());
        }
        if restored > 0 {
            tracing::info!(connections = restored, "registered connections again that redis had lost");
        }
        if lease.store.count_registered(&lease_id).await? > connections.len() as u64 {
            self.delete_unowned_records().await?;
        }
        self.registry.inner.record_event(|| JournalEvent::Registered(header));
        resynced.send_replace(());
        Ok(())
    }

    /// Writes the revocations that Redis has lost.
    async fn restore_revocations(&self) -> Result<(), RedisClientError> {
        let Some(revocations) = self.registry.inner.revocations.get() else { return Ok(()) };
        let restored = revocations.restore_lost().await?;
        if restored > 0 {
            tracing::warn!(revocations = restored, "wrote revocations again that redis had lost");
        }
        Ok(())
    }

    /// Deletes the records registered for this pod whose connections it does not own, after another `$disconnect`.
    async fn delete_unowned_records(&self) -> Result<(), RedisClientError> {
        let RegistryInner { lease, connections, queue, .. } = &*self.registry.inner;
        let lease_id = lease.id();
        let mut cursor = 0;
        loop {
            let (next, mut found) = lease.store.scan_registered(&lease_id, cursor).await?;
            let queued: HashSet<GatewayId> = queue.next_deletions(usize::MAX).into_iter().collect();
            found.retain(|(id, _)| !connections.contains(*id) && !queued.contains(id));
            if !found.is_empty() {
                self.repeat_disconnects(&found).await;
                let ids: Vec<GatewayId> = found.into_iter().map(|(id, _)| id).collect();
                lease.store.delete_connections(&lease_id, &ids).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Runs the `$disconnect` of ended connections again, whose effects Redis may have lost.
    async fn repeat_disconnects(&self, ended: &[(GatewayId, Vec<u8>)]) {
        if !self.disconnects.retry.is_allowed() {
            return;
        }
        let mut runs = Vec::with_capacity(ended.len());
        for (_, record) in ended {
            if let Ok(facts) = ConnectionFacts::from_record(record, &self.disconnects.integration.api) {
                runs.push(self.repeat_disconnect(facts));
            }
        }
        // A failure is logged. It is not retried, because the first run had succeeded.
        stream::iter(runs).buffer_unordered(MAX_CONCURRENT_DISCONNECTS).collect::<()>().await;
    }

    async fn repeat_disconnect(&self, facts: ConnectionFacts) {
        let _ = self.disconnects.run(&facts, &CloseCause::ConnectionLost).await;
    }
}
