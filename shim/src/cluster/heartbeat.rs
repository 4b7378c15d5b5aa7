//! Heartbeat task: extends this pod's lease and reacts to the reply.
//!
//! One command extends the lease and returns the state of all leases. It is sent on a thread and a connection of its
//! own, so that neither handlers and sessions nor other commands delay it: a pod that is busy is not dead. Rules:
//!
//! - A pod reports expired leases to the reaper only after its own heartbeats have succeeded for a whole lease duration
//!   without interruption. After a Redis outage all leases have expired although no pod is dead.
//! - A failover may lose the latest writes, and every pod finds the new master at another time. So it counts as an
//!   interruption, and a pod claims a lease that got lost in it again, without closing a connection.
//! - A fenced pod first releases its connections, so that only its peers run their `$disconnect`.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::lease_claims::LeaseClaims;
use super::lease_store::{ClaimedLease, HeartbeatReply, LeaseStatus};
use super::pod_lease::PodLease;
use super::{ClusterJoinError, ClusterMetrics, ClusterRegistry, ReapablePods, ServerContext};
use crate::readiness::ExternalDependency;
use crate::redis::{LinkState, RedisClientError};

/// Timing of the heartbeats.
pub(super) struct HeartbeatSettings {
    /// Time between heartbeats, and timeout of each: `cluster.heartbeat`.
    pub(super) interval: Duration,
    /// Duration of a lease: `cluster.lease`.
    pub(super) lease: Duration,
    /// Availability of Redis: a change triggers a heartbeat.
    pub(super) redis_state: watch::Receiver<LinkState>,
}

/// Background task that renews the lease.
pub(super) struct HeartbeatTask {
    /// Claims on a Redis connection of their own.
    claims: LeaseClaims,
    lease: PodLease,
    registry: ClusterRegistry,
    settings: HeartbeatSettings,
    metrics: Arc<ClusterMetrics>,
    server: ServerContext,
    /// Runtime of the server, for the tasks of connections.
    runtime: Handle,
    reapable_pods: watch::Sender<ReapablePods>,
    /// Start of the current run of successful heartbeats; `None` after a missed one.
    uninterrupted_since: Option<Instant>,
    /// Replication id of the master in the latest reply.
    replication_id: String,
    /// Changes of the master until the latest reply: one that was reverted between two heartbeats may have lost writes
    /// too.
    master_generation: u64,
    /// Set while this pod has no valid node id: the next heartbeat claims one first.
    needs_node_id: bool,
}

impl HeartbeatTask {
    pub(super) fn new(
        claims: LeaseClaims,
        lease: PodLease,
        registry: ClusterRegistry,
        settings: HeartbeatSettings,
        metrics: Arc<ClusterMetrics>,
        server: ServerContext,
        reapable_pods: watch::Sender<ReapablePods>,
    ) -> Self {
        let runtime = Handle::current();
        Self {
            claims,
            lease,
            registry,
            settings,
            metrics,
            server,
            runtime,
            reapable_pods,
            uninterrupted_since: None,
            replication_id: String::new(),
            master_generation: 0,
            needs_node_id: false,
        }
    }

    /// Runs the task on a thread of its own. If the operating system cannot start the thread, on the server's runtime.
    pub(super) fn spawn_thread(self, tasks: &TaskTracker, stop: CancellationToken) {
        // The tracker waits for the thread as for a task.
        let running = tasks.token();
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::warn!(error = %errors::chain(&error), "heartbeats run on the threads of the server");
                tasks.spawn(self.run(stop));
                return;
            }
        };
        let heartbeats = move || {
            runtime.block_on(self.run(stop));
            drop(running);
        };
        if let Err(error) = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(heartbeats) {
            tracing::error!(error = %errors::chain(&error), "starting the heartbeat thread failed; the lease expires");
        }
    }

    /// Sends heartbeats until `stop`: every `cluster.heartbeat`, and immediately when Redis recovers or a command needs
    /// the lease.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut redis_state = self.settings.redis_state.clone();
        let mut ticks = interval(self.settings.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = redis_state.changed() => if changed.is_err() { return },
                () = self.registry.heartbeat_requested() => {}
                () = stop.cancelled() => return,
            }
            let available = *redis_state.borrow_and_update() == LinkState::Available;
            self.server.readiness.set_available(ExternalDependency::Redis, available);
            tokio::select! {
                () = self.run_heartbeat(available) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn run_heartbeat(&mut self, available: bool) {
        if !available {
            return self.record_missed_heartbeat(None);
        }
        if self.needs_node_id && self.claim_node_id().await.is_break() {
            return;
        }
        let lease_id = self.lease.lease_id();
        match timeout(self.settings.interval, self.claims.lease_store().send_heartbeat(&lease_id)).await {
            Ok(Ok(reply)) => self.apply_heartbeat(reply).await,
            Ok(Err(error)) => self.record_missed_heartbeat(Some(&error)),
            Err(_) => self.record_missed_heartbeat(Some(&RedisClientError::Timeout)),
        }
    }

    fn record_missed_heartbeat(&mut self, error: Option<&RedisClientError>) {
        self.metrics.missed_heartbeats.inc();
        if self.uninterrupted_since.take().is_some() {
            let error = error.unwrap_or(&RedisClientError::CircuitOpen);
            tracing::warn!(error = %errors::chain(error), "heartbeat failed");
        }
    }

    async fn apply_heartbeat(&mut self, reply: HeartbeatReply) {
        self.metrics.live_pods.set(i64::try_from(reply.live_pods).unwrap_or(i64::MAX));
        let master_generation = self.claims.lease_store().master_generation();
        if reply.replication_id != self.replication_id || master_generation != self.master_generation {
            self.uninterrupted_since = None;
            self.master_generation = master_generation;
            self.replication_id.clone_from(&reply.replication_id);
        }
        if reply.lease != LeaseStatus::Held {
            return self.handle_lost_lease(&reply).await;
        }
        if self.uninterrupted_since.is_none() {
            self.registry.request_resync();
        }
        let steady_since = *self.uninterrupted_since.get_or_insert_with(Instant::now);
        let expired = if steady_since.elapsed() >= self.settings.lease { reply.expired } else { Vec::new() };
        if expired.is_empty() && reply.fenced.is_empty() {
            self.metrics.reap_backlog.set(0);
        } else {
            self.reapable_pods.send_replace(ReapablePods { expired, fenced: reply.fenced });
        }
    }

    /// Handles a lease that no longer exists: peers fenced this pod, or Redis lost the lease, alone or with all data
    /// (then the data epoch changed).
    async fn handle_lost_lease(&mut self, reply: &HeartbeatReply) {
        self.uninterrupted_since = None;
        let same_data = self.lease.data_epoch() == reply.data_epoch;
        if !same_data || reply.lease == LeaseStatus::Missing {
            return self.reclaim_node_id(same_data).await;
        }
        self.metrics.lost_leases.inc();
        let released = self.registry.release_all();
        tracing::error!(
            pod = %self.lease.lease_id(),
            connections = released,
            "lease lost: other pods fenced this pod and run $disconnect for its connections; closing them here"
        );
        let _ = self.change_node_id().await;
    }

    /// Claims the same node id again after Redis lost the lease. With `same_data` it lost the latest writes only, and
    /// the connection records are still there.
    async fn reclaim_node_id(&mut self, same_data: bool) {
        let lease_id = self.lease.lease_id();
        match self.claims.reclaim_node_id(&lease_id).await {
            Ok(Some(ClaimedLease { data_epoch, .. })) => {
                if same_data {
                    tracing::warn!(pod = %lease_id, "redis lost the lease of this pod in a failover: claimed again");
                } else {
                    tracing::warn!(
                        pod = %lease_id,
                        "redis lost its data: registering this pod and its connections again"
                    );
                }
                self.lease.set_data_epoch(data_epoch);
                // The fingerprints were lost too. A deployment that claimed the namespace first keeps it.
                if let Err(error) = self.claims.claim_namespace().await {
                    tracing::error!(error = %errors::chain(&error), "claiming the redis namespace again failed");
                }
                self.registry.request_resync();
            }
            Ok(None) => {
                // This pod still runs the `$disconnect` of its connections, but requests for their ids now reach
                // another pod.
                tracing::error!(pod = %lease_id, "redis lost the lease, and another pod claimed this pod's node id");
                let _ = self.change_node_id().await;
                self.registry.request_resync();
            }
            Err(error) => self.record_missed_heartbeat(Some(&error)),
        }
    }

    /// Claims another node id and closes all connections whose ids carry the old one.
    async fn change_node_id(&mut self) -> ControlFlow<()> {
        self.needs_node_id = true;
        self.server.readiness.set_available(ExternalDependency::Lease, false);
        // A handshake that ends after this call either uses the new node id or fails its registration.
        self.reconnect_all();
        self.claim_node_id().await
    }

    /// Asks all clients to reconnect, in the batches of a drain.
    fn reconnect_all(&self) {
        let (drain, connections) = (self.server.drain.clone(), self.server.drain.connections.all_connections());
        let reconnect = async move { drain.reconnect_in_batches(connections).await };
        self.server.drain.tasks.spawn_on(reconnect, &self.runtime);
    }

    async fn claim_node_id(&mut self) -> ControlFlow<()> {
        match self.claims.claim_random_node_id().await {
            Ok(claimed) => {
                tracing::info!(pod = %claimed.lease_id, "rejoined the cluster");
                let node_id = claimed.lease_id.node_id();
                self.lease.replace(claimed);
                self.server.disconnects.ids.set_node_id(node_id);
                self.needs_node_id = false;
                self.server.readiness.set_available(ExternalDependency::Lease, true);
                ControlFlow::Continue(())
            }
            Err(error) => {
                if let ClusterJoinError::Redis(error) = &error {
                    self.record_missed_heartbeat(Some(error));
                }
                tracing::error!(error = %errors::chain(&error), "claiming a node id failed");
                ControlFlow::Break(())
            }
        }
    }
}
