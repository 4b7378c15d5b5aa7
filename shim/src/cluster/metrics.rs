//! What this pod counts of its cluster.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Leases, and what became of the connections of pods that lost theirs.
#[derive(Default)]
pub struct ClusterMetrics {
    /// Pods whose lease has not lapsed, as of the last heartbeat.
    pub living: Gauge,
    /// Heartbeats that Redis did not take in time.
    pub missed: Counter,
    /// Lapsed leases of others that this pod took away.
    pub fenced: Counter,
    /// Leases that this pod lost.
    pub lost: Counter,
    /// Connections of dead pods whose `$disconnect` this pod ran.
    pub reaped: Counter,
    /// Connections of dead pods that nobody has finished, as far as this pod saw.
    pub backlog: Gauge,
    /// Own connections whose `$disconnect` has to run again.
    pub unfinished: Gauge,
}

impl ClusterMetrics {
    /// Shows them in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("cluster");
        registry.register("living_pods", "Pods whose lease has not lapsed", self.living.clone());
        registry.register("missed_heartbeats", "Heartbeats that Redis did not take in time", self.missed.clone());
        registry.register("fenced_pods", "Lapsed leases of other pods that this pod took away", self.fenced.clone());
        registry.register("lost_leases", "Leases that this pod lost", self.lost.clone());
        registry.register(
            "reaped_connections",
            "Connections of dead pods whose $disconnect this pod ran",
            self.reaped.clone(),
        );
        registry.register("reap_backlog", "Connections of dead pods to be finished", self.backlog.clone());
        registry.register(
            "unfinished_disconnects",
            "Own connections whose $disconnect has to run again",
            self.unfinished.clone(),
        );
    }
}
