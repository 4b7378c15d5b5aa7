//! Metrics of the cluster as this pod sees it.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Leases, and the reaping of dead pods' connections.
#[derive(Default)]
pub struct ClusterMetrics {
    /// Pods whose lease has not expired, as of the latest heartbeat.
    pub live_pods: Gauge,
    /// Heartbeats that failed or timed out.
    pub missed_heartbeats: Counter,
    /// Other pods that this pod fenced after their lease expired.
    pub fenced_pods: Counter,
    /// Leases that this pod lost.
    pub lost_leases: Counter,
    /// Connections of dead pods whose `$disconnect` this pod ran.
    pub reaped_connections: Counter,
    /// Connections of dead pods whose `$disconnect` has not been claimed, as of the latest batch.
    pub reap_backlog: Gauge,
    /// Closed connections of this pod whose `$disconnect` is to be retried.
    pub pending_disconnects: Gauge,
}

impl ClusterMetrics {
    /// Registers the metrics under the prefix `cluster`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("cluster");
        registry.register("live_pods", "Pods whose lease has not expired", self.live_pods.clone());
        registry.register("missed_heartbeats", "Heartbeats that failed or timed out", self.missed_heartbeats.clone());
        registry.register(
            "fenced_pods",
            "Other pods that this pod fenced after their lease expired",
            self.fenced_pods.clone(),
        );
        registry.register("lost_leases", "Leases that this pod lost", self.lost_leases.clone());
        registry.register(
            "reaped_connections",
            "Connections of dead pods whose $disconnect this pod ran",
            self.reaped_connections.clone(),
        );
        registry.register(
            "reap_backlog_connections",
            "Connections of dead pods whose $disconnect has not been claimed",
            self.reap_backlog.clone(),
        );
        registry.register(
            "pending_disconnects",
            "Closed connections of this pod whose $disconnect is to be retried",
            self.pending_disconnects.clone(),
        );
    }
}
