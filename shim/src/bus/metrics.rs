//! What the bus counts: `twinway_bus_*`.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The bus between pods.
#[derive(Default)]
pub struct BusMetrics {
    /// Records that Redis took.
    pub published: Counter,
    /// Publish commands; fewer than records when several went to one topic together.
    pub publishes: Counter,
    /// Records of other pods that arrived.
    pub received: Counter,
    /// Ephemeral and unlogged records that were given up: the queue was full or the link away.
    pub shed: Counter,
    /// Logged messages that were given up for the same reasons; receivers fill them from the log.
    pub dropped: Counter,
    /// Records that no pod of this version can read.
    pub unreadable: Counter,
    /// Channels that had moved on in the log without this pod hearing of it.
    pub refilled: Counter,
    /// Topics of groups that this pod listens to.
    pub subscriptions: Gauge,
    /// Subscription connections that were replaced.
    pub reconnects: Counter,
    /// Requests to other pods.
    pub requests: Counter,
    /// Requests to other pods without an answer in time.
    pub timeouts: Counter,
}

impl BusMetrics {
    /// Fresh metrics in `registry`.
    #[must_use]
    pub fn registered(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("bus");
        let counters = [
            ("published_records", "Records that Redis took", &metrics.published),
            ("publishes", "Publish commands", &metrics.publishes),
            ("received_records", "Records of other pods that arrived", &metrics.received),
            ("shed_records", "Unlogged records given up", &metrics.shed),
            ("dropped_records", "Logged messages given up, which receivers fill from the log", &metrics.dropped),
            ("unreadable_records", "Records that could not be read", &metrics.unreadable),
            ("refilled_channels", "Channels found behind their log", &metrics.refilled),
            ("reconnects", "Subscription connections replaced", &metrics.reconnects),
            ("requests", "Requests to other pods", &metrics.requests),
            ("request_timeouts", "Requests to other pods without an answer in time", &metrics.timeouts),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("subscriptions", "Topics of groups listened to", metrics.subscriptions.clone());
        Arc::new(metrics)
    }
}
