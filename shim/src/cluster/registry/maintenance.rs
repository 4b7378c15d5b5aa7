//! Maintenance task of the registry: flushes deletions, retries `$disconnect`s, resynchronises with Redis.
//!
//! A single task does all three in sequence, so that a resync never restores a connection whose deletion is in
//! progress. While Redis is unavailable the task waits. Nothing is lost then, because no new connections are accepted
//! either.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::stream::{self, StreamExt as _};
use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use gateway::id::GatewayId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ClusterRegistry;
use crate::connection::ConnectionRegistry as _;
use crate::redis::{LinkState, RedisClientError};
use crate::session::DisconnectRunner;

/// Connections per command, for registering, looking up and deleting.
const MAX_IDS_PER_COMMAND: usize = 256;
/// Attempts per `$disconnect` while Redis is available. After that many failures, the
/// cause is the handler and not an outage.
const MAX_OWN_DISCONNECT_ATTEMPTS: u8 = 8;
/// Maximum number of pending `$disconnect`s that run concurrently.
const MAX_CONCURRENT_DISCONNECTS: usize = 32;

/// Background task of the registry.
pub(in crate::cluster) struct RegistryMaintenance {
    pub(in crate::cluster) registry: ClusterRegistry,
    pub(in crate::cluster) disconnects: DisconnectRunner,
    pub(in crate::cluster) redis_state: watch::Receiver<LinkState>,
}

impl RegistryMaintenance {
    /// Runs until `stop`: once per wake-up.
    pub(in crate::cluster) async fn run(mut self, stop: CancellationToken) {
        let inner = self.registry.inner.clone();
        loop {
            let completed = tokio::select! {
                completed = self.run_once() => completed,
                () = stop.cancelled() => return,
            };
            tokio::select! {
                () = inner.wakeups.wait_for_wakeup(completed) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Does all pending work. Returns `false` when some of it failed and has to be retried.
    async fn run_once(&mut self) -> bool {
        if self.redis_state.wait_for(|state| *state == LinkState::Available).await.is_err() {
            return false;
        }
        let needs_resync = self.registry.inner.needs_resync.swap(false, Ordering::AcqRel);
        if needs_resync && let Err(error) = self.registry.resync_records().await {
            tracing::warn!(error = %errors::chain(&error), "connection registry resync failed");
            self.registry.inner.needs_resync.store(true, Ordering::Release);
            return false;
        }
        let flushed = self.registry.flush_deletions().await;
        let completed = self.run_pending_disconnects().await;
        flushed.is_ok() && completed
    }

    /// Runs the pending `$disconnect`s. Returns `false` when some have to be retried.
    async fn run_pending_disconnects(&self) -> bool {
        let ids = std::mem::take(&mut self.registry.inner.queued.lock().disconnects);
        let failed: Vec<_> = stream::iter(ids)
            .map(|id| self.retry_disconnect(id))
            .buffer_unordered(MAX_CONCURRENT_DISCONNECTS)
            .filter_map(std::future::ready)
            .collect()
            .await;
        let all_succeeded = failed.is_empty();
        let mut queued = self.registry.inner.queued.lock();
        queued.disconnects.extend(failed);
        self.registry
            .inner
            .metrics
            .pending_disconnects
            .set(i64::try_from(queued.disconnects.len()).unwrap_or(i64::MAX));
        all_succeeded
    }

    /// Runs one `$disconnect`. Returns the id when it has to be retried.
    async fn retry_disconnect(&self, id: GatewayId) -> Option<GatewayId> {
        let (facts, cause) = self.registry.pending_disconnect(id)?;
        if self.disconnects.run(&facts, &cause).await.is_ok() {
            self.registry.delete_connection(id);
            return None;
        }
        if !self.disconnects.retry.is_allowed()
            || (self.is_redis_available() && self.registry.record_failed_attempt(id))
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
}

impl ClusterRegistry {
    fn pending_disconnect(&self, id: GatewayId) -> Option<(Arc<ConnectionFacts>, CloseCause)> {
        let connection = self.inner.connections.get(&id)?;
        Some((connection.facts.clone(), connection.pending_disconnect.as_ref()?.cause.clone()))
    }

    /// Counts a failed attempt. Returns `true` when it was the last one.
    fn record_failed_attempt(&self, id: GatewayId) -> bool {
        let Some(mut connection) = self.inner.connections.get_mut(&id) else { return true };
        connection.pending_disconnect.as_mut().is_none_or(|pending| {
            pending.attempts += 1;
            pending.attempts >= MAX_OWN_DISCONNECT_ATTEMPTS
        })
    }

    /// Deletes the records of ended connections, batch by batch. Ids stay queued until their deletion succeeds.
    pub(in crate::cluster) async fn flush_deletions(&self) -> Result<(), RedisClientError> {
        loop {
            let ids: Vec<_> = self.inner.queued.lock().deletions.iter().take(MAX_IDS_PER_COMMAND).copied().collect();
            if ids.is_empty() {
                return Ok(());
            }
            let lease_id = self.inner.lease_id.borrow().clone();
            self.inner.lease_store.delete_connections(&lease_id, &ids).await?;
            let mut queued = self.inner.queued.lock();
            for id in &ids {
                // The front differs when `release_all` cleared the queue during the command.
                if queued.deletions.front() == Some(id) {
                    queued.deletions.pop_front();
                }
            }
        }
    }

    /// Registers connections that Redis lost, and deletes records of connections that this pod does not own.
    async fn resync_records(&self) -> Result<(), RedisClientError> {
        let lease_id = self.inner.lease_id.borrow().clone();
        let ids: Vec<GatewayId> = self.inner.connections.iter().map(|connection| *connection.key()).collect();
        let mut restored = 0;
        for ids in ids.chunks(MAX_IDS_PER_COMMAND) {
            let missing = self.inner.lease_store.find_unregistered(&lease_id, ids).await?;
            let record = |id| Some((id, self.inner.connections.get(&id)?.facts.to_record()));
            let records: Vec<_> = missing.into_iter().filter_map(record).collect();
            if !records.is_empty() && !self.inner.lease_store.register_connections(&lease_id, &records).await? {
                // This pod was fenced. The next heartbeat handles that.
                return Ok(());
            }
            restored += records.len();
        }
        if restored > 0 {
            tracing::info!(connections = restored, "registered connections again that redis had lost");
        }
        if self.inner.lease_store.count_registered(&lease_id).await? > self.inner.connections.len() as u64 {
            self.delete_unowned_records().await?;
        }
        self.inner.resynced.send_replace(());
        Ok(())
    }

    /// Deletes the records registered for this pod whose connections it does not own.
    async fn delete_unowned_records(&self) -> Result<(), RedisClientError> {
        let lease_id = self.inner.lease_id.borrow().clone();
        let mut cursor = 0;
        loop {
            let (next, mut found) = self.inner.lease_store.scan_registered(&lease_id, cursor).await?;
            found.retain(|id| !self.owns_connection(*id));
            if !found.is_empty() {
                self.inner.lease_store.delete_connections(&lease_id, &found).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }
}
