//! What this pod counts of its cluster.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Leases, and what became of the connections of pods that lost theirs.
#[derive(Default)]
pub struct ClusterMetrics {
    /// Pods whose lease has not lapsed, as of the last heartbeat.
    pub live_pods: Gauge,
    /// Heartbeats that Redis did not take in time.
    pub missed_heartbeats: Counter,
    /// Lapsed leases of others that this pod took away.
    pub fenced_pods: Counter,
    /// Leases that this pod lost.
    pub lost_leases: Counter,
    /// Connections of dead pods whose `$disconnect` this pod ran.
    pub reaped_connections: Counter,
    /// Connections of dead pods that nobody has finished, as far as this pod saw.
    pub reap_backlog: Gauge,
    /// Own connections whose `$disconnect` has to run again.
    pub pending_disconnects: Gauge,
}

impl ClusterMetrics {
    /// Shows them in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("cluster");
        registry.register("living_pods", "Pods whose lease has not lapsed", self.live_pods.clone());
        registry.register(
            "missed_heartbeats",
            "Heartbeats that Redis did not take in time",
            self.missed_heartbeats.clone(),
        );
        registry.register(
            "fenced_pods",
            "Lapsed leases of other pods that this pod took away",
            self.fenced_pods.clone(),
        );
        registry.register("lost_leases", "Leases that this pod lost", self.lost_leases.clone());
        registry.register(
            "reaped_connections",
            "Connections of dead pods whose $disconnect this pod ran",
            self.reaped_connections.clone(),
        );
        registry.register("reap_backlog", "Connections of dead pods to be finished", self.reap_backlog.clone());
        registry.register(
            "unfinished_disconnects",
            "Own connections whose $disconnect has to run again",
            self.pending_disconnects.clone(),
        );
    }
}
