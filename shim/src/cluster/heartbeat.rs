//! The heartbeat: one command that extends this pod's lease and tells how the others are, and what follows from it.
//!
//! Invariants: nobody is declared dead until heartbeats have succeeded for a whole lease without a break, because after an
//! outage of Redis all leases have lapsed and nobody is dead; when this pod was fenced it stops to hold its connections
//! before anything else, so that their `$disconnect` stays the other pods' affair.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::lease_store::{ClaimedLease, HeartbeatReply};
use super::{ClusterInner, ClusterJoinError, ReapablePods, ServerContext, claim_random_node_id};
use crate::readiness::ExternalDependency;
use crate::redis::{LinkState, RedisClientError};

/// The task that keeps the lease.
pub(super) struct HeartbeatTask {
    cluster: Arc<ClusterInner>,
    server: ServerContext,
    reapable_pods: watch::Sender<ReapablePods>,
    /// Since when no heartbeat was missed.
    uninterrupted_since: Option<Instant>,
    /// Whether a number has to be claimed before anything else.
    needs_node_id: bool,
}

impl HeartbeatTask {
    pub(super) fn new(member: Arc<ClusterInner>, served: ServerContext, found: watch::Sender<ReapablePods>) -> Self {
        Self { cluster: member, server: served, reapable_pods: found, uninterrupted_since: None, needs_node_id: false }
    }

    /// Beats until `stop`; at once when Redis has come back.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut link = self.cluster.redis.link_state();
        let mut ticks = interval(self.cluster.settings.heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = link.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
            let up = *link.borrow_and_update() == LinkState::Available;
            self.server.readiness.set_available(ExternalDependency::Redis, up);
            tokio::select! {
                () = self.run_heartbeat(up) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn run_heartbeat(&mut self, up: bool) {
        if !up {
            return self.record_missed_heartbeat(None);
        }
        if self.needs_node_id && self.claim_node_id().await.is_break() {
            return;
        }
        let name = self.cluster.lease_id();
        match timeout(self.cluster.settings.heartbeat, self.cluster.lease_store.send_heartbeat(&name)).await {
            Ok(Ok(beat)) => self.apply_heartbeat(beat).await,
            Ok(Err(error)) => self.record_missed_heartbeat(Some(&error)),
            Err(_) => self.record_missed_heartbeat(Some(&RedisClientError::Timeout)),
        }
    }

    fn record_missed_heartbeat(&mut self, error: Option<&RedisClientError>) {
        self.cluster.metrics.missed_heartbeats.inc();
        if self.uninterrupted_since.take().is_some() {
            let error = error.unwrap_or(&RedisClientError::CircuitOpen);
            tracing::warn!(error = %errors::chain(error), "a heartbeat was missed");
        }
    }

    async fn apply_heartbeat(&mut self, beat: HeartbeatReply) {
        self.cluster.metrics.live_pods.set(i64::try_from(beat.live_pods).unwrap_or(i64::MAX));
        if !beat.held {
            return self.handle_lost_lease(&beat).await;
        }
        if self.uninterrupted_since.is_none() {
            self.cluster.registry.request_resync();
        }
        let steady = *self.uninterrupted_since.get_or_insert_with(Instant::now);
        let lapsed = if steady.elapsed() >= self.cluster.settings.lease { beat.lapsed } else { Vec::new() };
        if lapsed.is_empty() && beat.fenced.is_empty() {
            self.cluster.metrics.reap_backlog.set(0);
        } else {
            self.reapable_pods.send_replace(ReapablePods { lapsed, fenced: beat.fenced });
        }
    }

    /// The lease is gone: either others took it away, or Redis has lost all leases.
    async fn handle_lost_lease(&mut self, beat: &HeartbeatReply) {
        self.uninterrupted_since = None;
        if *self.cluster.data_epoch.lock() == beat.data_epoch {
            self.cluster.metrics.lost_leases.inc();
            let left = self.cluster.registry.release_all();
            tracing::error!(
                pod = %self.cluster.lease_id(),
                connections = left,
                "other pods took this pod for dead and finish its connections: closing them here"
            );
            let _ = self.change_node_id().await;
        } else {
            self.reclaim_node_id().await;
        }
    }

    /// Takes the same number again after Redis lost its data.
    async fn reclaim_node_id(&mut self) {
        let name = self.cluster.lease_id();
        let fresh = self.cluster.clock.fresh_id();
        match self.cluster.lease_store.claim_lease(name.incarnation(), &fresh, &[name.node_id()]).await {
            Ok(Some(ClaimedLease { data_epoch: epoch, .. })) => {
                tracing::warn!(pod = %name, "Redis has lost its data: writing this pod and its connections down again");
                *self.cluster.data_epoch.lock() = epoch;
                if self.server.reconnect_on_data_loss {
                    self.reconnect_all_after_resync();
                }
                self.cluster.registry.request_resync();
            }
            Ok(None) => {
                // The connections are still this pod's to finish, but their ids lead to another pod now.
                tracing::error!(pod = %name, "Redis has lost its data, and another pod has taken this one's number");
                let _ = self.change_node_id().await;
                self.cluster.registry.request_resync();
            }
            Err(error) => self.record_missed_heartbeat(Some(&error)),
        }
    }

    /// Takes another number, and sends away everyone whose id carries the old one.
    async fn change_node_id(&mut self) -> ControlFlow<()> {
        self.needs_node_id = true;
        self.server.readiness.set_available(ExternalDependency::Lease, false);
        // Whoever opens after this has a new number, or is found out by the registry.
        self.reconnect_all();
        self.claim_node_id().await
    }

    /// Tells everyone to reconnect, in waves.
    fn reconnect_all(&self) {
        let (drain, handles) = (self.server.drain.clone(), self.server.drain.connections.all_connections());
        self.server.drain.tasks.spawn(async move { drain.reconnect_in_batches(handles).await });
    }

    /// The same for a pod that holds its connections still: should it die meanwhile, the others finish them.
    fn reconnect_all_after_resync(&self) {
        // Who comes from here on is known again.
        let (drain, handles) = (self.server.drain.clone(), self.server.drain.connections.all_connections());
        let (mut compared, patience) = (self.cluster.registry.watch_resyncs(), self.cluster.settings.lease);
        self.server.drain.tasks.spawn(async move {
            // Late is better than never: who is sent away is told, whether the others know of it or not.
            let _ = timeout(patience, compared.changed()).await;
            drain.reconnect_in_batches(handles).await;
        });
    }

    async fn claim_node_id(&mut self) -> ControlFlow<()> {
        match claim_random_node_id(&self.cluster.lease_store, &*self.cluster.clock).await {
            Ok(ClaimedLease { lease_id: name, data_epoch: epoch }) => {
                tracing::info!(pod = %name, "joined the cluster again");
                *self.cluster.data_epoch.lock() = epoch;
                self.cluster.lease_id.send_replace(name.clone());
                self.server.disconnects.ids.set_node_id(name.node_id());
                self.needs_node_id = false;
                self.server.readiness.set_available(ExternalDependency::Lease, true);
                ControlFlow::Continue(())
            }
            Err(error) => {
                if let ClusterJoinError::Redis(error) = &error {
                    self.record_missed_heartbeat(Some(error));
                }
                tracing::error!(error = %errors::chain(&error), "no node number could be claimed");
                ControlFlow::Break(())
            }
        }
    }
}
