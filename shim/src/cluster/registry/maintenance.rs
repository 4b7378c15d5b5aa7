//! What the registry does in the background: strikes off what has ended, finishes what could not end, compares with Redis.
//!
//! Invariant: one task does all of it, in turn, so that an end is never overtaken by a comparison that writes the same
//! connection down again. While Redis is away it waits; nothing is lost meanwhile, because nobody is admitted either.

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

/// Most connections that one command writes, looks up or strikes off.
const MAX_IDS_PER_COMMAND: usize = 256;
/// How often a `$disconnect` is tried in all while Redis is there: a handler that fails so often fails for its own reasons.
const MAX_OWN_DISCONNECT_ATTEMPTS: u8 = 8;
/// How many left-over `$disconnect`s run at a time.
const MAX_CONCURRENT_DISCONNECTS: usize = 32;

/// The registry's background task.
pub(in crate::cluster) struct RegistryMaintenance {
    pub(in crate::cluster) registry: ClusterRegistry,
    pub(in crate::cluster) disconnects: DisconnectRunner,
    pub(in crate::cluster) redis_state: watch::Receiver<LinkState>,
}

impl RegistryMaintenance {
    /// Works until `stop`.
    pub(in crate::cluster) async fn run(mut self, stop: CancellationToken) {
        let shared = self.registry.inner.clone();
        loop {
            let done = tokio::select! {
                done = self.run_once() => done,
                () = stop.cancelled() => return,
            };
            tokio::select! {
                () = shared.wakeups.wait_for_wakeup(done) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Does what there is to do; `false` when something is left.
    async fn run_once(&mut self) -> bool {
        if self.redis_state.wait_for(|state| *state == LinkState::Available).await.is_err() {
            return false;
        }
        let doubtful = self.registry.inner.needs_resync.swap(false, Ordering::AcqRel);
        if doubtful && let Err(error) = self.registry.resync_records().await {
            tracing::warn!(error = %errors::chain(&error), "comparing the connections with Redis failed");
            self.registry.inner.needs_resync.store(true, Ordering::Release);
            return false;
        }
        let struck = self.registry.flush_deletions().await;
        let finished = self.run_pending_disconnects().await;
        struck.is_ok() && finished
    }

    /// Runs the `$disconnect`s that are due; `false` when some are due again.
    async fn run_pending_disconnects(&self) -> bool {
        let ids = std::mem::take(&mut self.registry.inner.queued.lock().disconnects);
        let left: Vec<_> = stream::iter(ids)
            .map(|id| self.retry_disconnect(id))
            .buffer_unordered(MAX_CONCURRENT_DISCONNECTS)
            .filter_map(std::future::ready)
            .collect()
            .await;
        let none = left.is_empty();
        let mut pending = self.registry.inner.queued.lock();
        pending.disconnects.extend(left);
        self.registry
            .inner
            .metrics
            .pending_disconnects
            .set(i64::try_from(pending.disconnects.len()).unwrap_or(i64::MAX));
        none
    }

    /// Runs one `$disconnect`; gives the id back when it has to run again.
    async fn retry_disconnect(&self, id: GatewayId) -> Option<GatewayId> {
        let (facts, cause) = self.registry.pending_disconnect(id)?;
        if self.disconnects.run(&facts, &cause).await.is_ok() {
            self.registry.delete_connection(id);
            return None;
        }
        if !self.disconnects.retry.is_allowed()
            || (self.is_redis_available() && self.registry.record_failed_attempt(id))
        {
            tracing::warn!(connection.id = %id, "giving a $disconnect up that keeps failing");
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
        let held = self.inner.connections.get(&id)?;
        Some((held.facts.clone(), held.pending_disconnect.as_ref()?.cause.clone()))
    }

    /// Counts an attempt; `true` when it was the last.
    fn record_failed_attempt(&self, id: GatewayId) -> bool {
        let Some(mut held) = self.inner.connections.get_mut(&id) else { return true };
        held.pending_disconnect.as_mut().is_none_or(|unfinished| {
            unfinished.attempts += 1;
            unfinished.attempts >= MAX_OWN_DISCONNECT_ATTEMPTS
        })
    }

    /// Strikes off what has ended, as far as Redis takes it. What is being struck off stays in line until that is done.
    pub(in crate::cluster) async fn flush_deletions(&self) -> Result<(), RedisClientError> {
        loop {
            let ids: Vec<_> = self.inner.queued.lock().deletions.iter().take(MAX_IDS_PER_COMMAND).copied().collect();
            if ids.is_empty() {
                return Ok(());
            }
            let name = self.inner.lease_id.borrow().clone();
            self.inner.lease_store.delete_connections(&name, &ids).await?;
            let mut pending = self.inner.queued.lock();
            for id in &ids {
                // Another one is in front when the line was cleared meanwhile.
                if pending.deletions.front() == Some(id) {
                    pending.deletions.pop_front();
                }
            }
        }
    }

    /// Writes down what Redis has forgotten, and strikes off what it should have.
    async fn resync_records(&self) -> Result<(), RedisClientError> {
        let name = self.inner.lease_id.borrow().clone();
        let ids: Vec<GatewayId> = self.inner.connections.iter().map(|held| *held.key()).collect();
        let mut rewritten = 0;
        for ids in ids.chunks(MAX_IDS_PER_COMMAND) {
            let missing = self.inner.lease_store.find_unregistered(&name, ids).await?;
            let record = |id| Some((id, self.inner.connections.get(&id)?.facts.to_record()));
            let records: Vec<_> = missing.into_iter().filter_map(record).collect();
            if !records.is_empty() && !self.inner.lease_store.register_connections(&name, &records).await? {
                // Fenced: the next heartbeat learns it as well.
                return Ok(());
            }
            rewritten += records.len();
        }
        if rewritten > 0 {
            tracing::info!(connections = rewritten, "wrote connections down again that Redis had lost");
        }
        if self.inner.lease_store.count_registered(&name).await? > self.inner.connections.len() as u64 {
            self.delete_unowned_records().await?;
        }
        self.inner.resynced.send_replace(());
        Ok(())
    }

    /// Strikes off what is written down for this pod and not held by it.
    async fn delete_unowned_records(&self) -> Result<(), RedisClientError> {
        let name = self.inner.lease_id.borrow().clone();
        let mut cursor = 0;
        loop {
            let (next, mut found) = self.inner.lease_store.scan_registered(&name, cursor).await?;
            found.retain(|id| !self.owns_connection(*id));
            if !found.is_empty() {
                self.inner.lease_store.delete_connections(&name, &found).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }
}
