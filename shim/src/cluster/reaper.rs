//! Reaper: fences pods whose lease expired and runs `$disconnect` for their connections.
//!
//! ```text
//! expired ── fence ── claim a batch ── $disconnect each ── complete ──┐
//!                         └───────── until none is left ──────────────┘
//! ```
//! Guarantees: connections are claimed only from fenced pods. A claimed connection stays in this pod's own `reaping`
//! hash until it is completed, so that another pod claims it if this pod dies too. `$disconnect` runs at least
//! once: a connection gets a second one when its pod died between running it and deleting the record, or when a batch
//! changes owner. The handlers make the effects happen once.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::lease_store::{ClaimedConnection, LeaseId, LeaseStore};
use super::pod_lease::PodLease;
use super::{ClusterMetrics, ReapablePods};
use crate::config::ClusterConfig;
use crate::readiness::{Readiness, ReadinessState};
use crate::redis::RedisClientError;
use crate::session::DisconnectRunner;

/// Attempts per `$disconnect` before it is dropped, where retries are allowed.
const MAX_REAP_ATTEMPTS: u8 = 8;
/// Delay before the next batch when every `$disconnect` of a batch failed.
const FAILED_BATCH_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Background task that reaps dead pods.
pub(super) struct Reaper {
    lease_store: LeaseStore,
    lease: PodLease,
    /// Maximum number of `$disconnect`s at once: `cluster.reap_concurrency`.
    concurrency: u32,
    metrics: Arc<ClusterMetrics>,
    disconnects: DisconnectRunner,
    readiness: Arc<Readiness>,
    rate_limiter: DefaultDirectRateLimiter,
    /// Failed attempts per connection of the current batch: at most one entry for each.
    failed_attempts: HashMap<String, u8>,
}

impl Reaper {
    pub(super) fn new(
        lease_store: LeaseStore,
        lease: PodLease,
        settings: &ClusterConfig,
        metrics: Arc<ClusterMetrics>,
        disconnects: DisconnectRunner,
        readiness: Arc<Readiness>,
    ) -> Self {
        let non_zero = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(non_zero(settings.reap_rate)).allow_burst(non_zero(settings.reap_concurrency));
        Self {
            lease_store,
            lease,
            concurrency: settings.reap_concurrency,
            metrics,
            disconnects,
            readiness,
            rate_limiter: RateLimiter::direct(quota),
            failed_attempts: HashMap::new(),
        }
    }

    /// Reaps the pods in `reapable` until `stop`. At `stop` an unfinished batch is left to the other pods.
    pub(super) async fn run(mut self, mut reapable: watch::Receiver<ReapablePods>, stop: CancellationToken) {
        loop {
            tokio::select! {
                changed = reapable.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
            let dead = reapable.borrow_and_update().clone();
            tokio::select! {
                () = self.reap_pods(&dead) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn reap_pods(&mut self, dead: &ReapablePods) {
        for lease_id in &dead.expired {
            match self.lease_store.fence_lease(lease_id).await {
                Ok(true) => {
                    self.metrics.fenced_pods.inc();
                    tracing::warn!(pod = %lease_id, "pod fenced: its lease expired; taking over its connections");
                }
                Ok(false) => {}
                Err(error) => return log_interruption(&error),
            }
        }
        for lease_id in dead.expired.iter().chain(&dead.fenced) {
            if let Err(error) = self.reap_pod(lease_id).await {
                return log_interruption(&error);
            }
        }
    }

    /// Reaps a pod batch by batch until no unclaimed connection is left.
    async fn reap_pod(&mut self, dead: &LeaseId) -> Result<(), RedisClientError> {
        let concurrency = self.concurrency as usize;
        let mut reaped = 0;
        loop {
            // A draining pod leaves the work to the others.
            if self.readiness.state() == ReadinessState::Draining {
                return Ok(());
            }
            let own_lease = self.lease.lease_id();
            let Some(batch) = self.lease_store.claim_connections(&own_lease, dead, concurrency).await? else {
                return Ok(());
            };
            self.metrics.reap_backlog.set(i64::try_from(batch.unclaimed).unwrap_or(i64::MAX));
            if batch.claimed.is_empty() {
                break;
            }
            let finished = self.reap_batch(&batch.claimed).await;
            if finished.is_empty() {
                tokio::time::sleep(FAILED_BATCH_RETRY_DELAY).await;
            }
            reaped += finished.len();
            for (owner, fields) in group_by_owner(finished) {
                self.lease_store.complete_connections(&own_lease, &owner, &fields).await?;
            }
        }
        let completed = self.lease_store.complete_connections(&self.lease.lease_id(), dead, &[]).await?;
        if completed || reaped > 0 {
            tracing::info!(
                pod = %dead,
                connections = reaped,
                completed,
                "ran $disconnect for connections of a dead pod"
            );
        }
        Ok(())
    }

    /// Runs the `$disconnect`s of a batch and returns the connections that are complete: successful, or failed for the
    /// last time.
    async fn reap_batch(&mut self, batch: &[ClaimedConnection]) -> Vec<ClaimedConnection> {
        let concurrency = self.concurrency as usize;
        let mut running = Vec::with_capacity(batch.len());
        for connection in batch {
            running.push(self.disconnect_connection(connection));
        }
        let outcomes: Vec<bool> = stream::iter(running).buffered(concurrency).collect().await;
        let mut finished = Vec::with_capacity(batch.len());
        let mut failures = HashMap::new();
        for (connection, ran) in batch.iter().zip(outcomes) {
            let failed = self.failed_attempts.get(&connection.field).copied().unwrap_or_default() + 1;
            if ran || failed >= MAX_REAP_ATTEMPTS || !self.disconnects.retry.is_allowed() {
                finished.push(connection.clone());
            } else {
                failures.insert(connection.field.clone(), failed);
            }
        }
        self.failed_attempts = failures;
        finished
    }

    /// Runs one `$disconnect`. Returns `false` when it failed.
    async fn disconnect_connection(&self, connection: &ClaimedConnection) -> bool {
        let facts = match ConnectionFacts::from_record(&connection.record, &self.disconnects.integration.api) {
            Ok(facts) => facts,
            Err(error) => {
                tracing::error!(
                    pod = %connection.owner,
                    error = %errors::chain(&error),
                    "decoding a dead pod's connection record failed"
                );
                return true;
            }
        };
        self.rate_limiter.until_ready().await;
        let ran = self.disconnects.run(&facts, &CloseCause::ConnectionLost).await.is_ok();
        self.metrics.reaped_connections.inc_by(u64::from(ran));
        ran
    }
}

fn group_by_owner(finished: Vec<ClaimedConnection>) -> HashMap<LeaseId, Vec<String>> {
    finished.into_iter().fold(HashMap::new(), |mut fields, connection| {
        fields.entry(connection.owner).or_insert_with(Vec::new).push(connection.field);
        fields
    })
}

/// Logs an interruption. The next heartbeat reports the remaining pods again.
fn log_interruption(error: &RedisClientError) {
    tracing::warn!(error = %errors::chain(error), "reaping dead pods interrupted; retried at the next heartbeat");
}
