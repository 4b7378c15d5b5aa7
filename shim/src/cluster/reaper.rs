//! Finishing what dead pods left: fence, share out, one `$disconnect` per connection.
//!
//! ```text
//! lapsed ── fence ── take a share ── $disconnect each ── settle ──┐
//!                        └──────────── until nothing is left ─────┘
//! ```
//! Invariants: nothing is taken from a pod that was not fenced; what was taken stays on this pod's own list until it is
//! finished, so that it finds another survivor when this pod dies as well. A connection whose pod ran its `$disconnect` and
//! died before striking it off gets a second one, as does a share that changes hands: effects are the handlers' to make
//! once.

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

use super::lease_store::{ClaimedConnection, LeaseId};
use super::{ClusterInner, ReapablePods};
use crate::readiness::{Readiness, ReadinessState};
use crate::redis::RedisClientError;
use crate::session::DisconnectRunner;

/// How often a `$disconnect` that may be repeated is tried before it is given up.
const MAX_REAP_ATTEMPTS: u8 = 8;
/// How long to wait when nothing of a share could be finished.
const FAILED_BATCH_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The task that finishes what dead pods left.
pub(super) struct Reaper {
    cluster: Arc<ClusterInner>,
    disconnects: DisconnectRunner,
    readiness: Arc<Readiness>,
    rate_limiter: DefaultDirectRateLimiter,
    /// How often each connection of the present share has failed: at most one entry per connection of it.
    failed_attempts: HashMap<String, u8>,
}

impl Reaper {
    pub(super) fn new(member: Arc<ClusterInner>, disconnects: DisconnectRunner, readiness: Arc<Readiness>) -> Self {
        let some = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota =
            Quota::per_second(some(member.settings.reap_rate)).allow_burst(some(member.settings.reap_concurrency));
        Self {
            cluster: member,
            disconnects,
            readiness,
            rate_limiter: RateLimiter::direct(quota),
            failed_attempts: HashMap::new(),
        }
    }

    /// Works on what `reapable` names until `stop`. A share under way is left to the other pods then.
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
        for name in &dead.lapsed {
            match self.cluster.lease_store.fence_lease(name).await {
                Ok(true) => {
                    self.cluster.metrics.fenced_pods.inc();
                    tracing::warn!(pod = %name, "a pod's lease has lapsed: taking its connections over");
                }
                Ok(false) => {}
                Err(error) => return log_interruption(&error),
            }
        }
        for name in dead.lapsed.iter().chain(&dead.fenced) {
            if let Err(error) = self.reap_pod(name).await {
                return log_interruption(&error);
            }
        }
    }

    /// Finishes shares of a pod's connections until nobody has left any to take.
    async fn reap_pod(&mut self, dead: &LeaseId) -> Result<(), RedisClientError> {
        let most = self.cluster.settings.reap_concurrency as usize;
        let mut reaped = 0;
        loop {
            // A pod that is going away leaves the work to those that stay.
            if self.readiness.state() == ReadinessState::Draining {
                return Ok(());
            }
            let own = self.cluster.lease_id();
            let Some(share) = self.cluster.lease_store.claim_connections(&own, dead, most).await? else {
                return Ok(());
            };
            self.cluster.metrics.reap_backlog.set(i64::try_from(share.unclaimed).unwrap_or(i64::MAX));
            if share.claimed.is_empty() {
                break;
            }
            let finished = self.reap_batch(&share.claimed).await;
            if finished.is_empty() {
                tokio::time::sleep(FAILED_BATCH_RETRY_DELAY).await;
            }
            reaped += finished.len();
            for (origin, fields) in group_by_owner(finished) {
                self.cluster.lease_store.complete_connections(&own, &origin, &fields).await?;
            }
        }
        let over = self.cluster.lease_store.complete_connections(&self.cluster.lease_id(), dead, &[]).await?;
        if over || reaped > 0 {
            tracing::info!(pod = %dead, connections = reaped, over, "finished connections of a dead pod");
        }
        Ok(())
    }

    /// Runs the `$disconnect`s of a share and answers which of them need not run again.
    async fn reap_batch(&mut self, share: &[ClaimedConnection]) -> Vec<ClaimedConnection> {
        let most = self.cluster.settings.reap_concurrency as usize;
        let mut running = Vec::with_capacity(share.len());
        for taken in share {
            running.push(self.disconnect_connection(taken));
        }
        let outcomes: Vec<bool> = stream::iter(running).buffered(most).collect().await;
        let mut finished = Vec::with_capacity(share.len());
        let mut failures = HashMap::new();
        for (taken, ran) in share.iter().zip(outcomes) {
            let failed = self.failed_attempts.get(&taken.field).copied().unwrap_or_default() + 1;
            if ran || failed >= MAX_REAP_ATTEMPTS || !self.disconnects.retry.is_allowed() {
                finished.push(taken.clone());
            } else {
                failures.insert(taken.field.clone(), failed);
            }
        }
        self.failed_attempts = failures;
        finished
    }

    /// Runs one `$disconnect`; `false` when it failed.
    async fn disconnect_connection(&self, taken: &ClaimedConnection) -> bool {
        let facts = match ConnectionFacts::from_record(&taken.record, &self.disconnects.integration.api) {
            Ok(facts) => facts,
            Err(error) => {
                tracing::error!(pod = %taken.owner, error = %errors::chain(&error), "a dead pod's connection cannot be read");
                return true;
            }
        };
        self.rate_limiter.until_ready().await;
        let ran = self.disconnects.run(&facts, &CloseCause::ConnectionLost).await.is_ok();
        self.cluster.metrics.reaped_connections.inc_by(u64::from(ran));
        ran
    }
}

fn group_by_owner(finished: Vec<ClaimedConnection>) -> HashMap<LeaseId, Vec<String>> {
    finished.into_iter().fold(HashMap::new(), |mut fields, taken| {
        fields.entry(taken.owner).or_insert_with(Vec::new).push(taken.field);
        fields
    })
}

/// The next heartbeat names what is left again.
fn log_interruption(error: &RedisClientError) {
    tracing::warn!(error = %errors::chain(error), "finishing the connections of dead pods was interrupted");
}
