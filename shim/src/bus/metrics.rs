//! Metrics of the bus: `twinway_bus_*`.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters and gauges of the bus.
#[derive(Default)]
pub struct BusMetrics {
    /// Records published to Redis.
    pub published_records: Counter,
    /// `PUBLISH` commands sent; fewer than records when several records share a payload.
    pub publish_commands: Counter,
    /// Records received from other pods.
    pub received_records: Counter,
    /// Records dropped that no log has, because the queue was full or Redis unavailable.
    pub dropped_unrecoverable_records: Counter,
    /// Records of logged messages dropped for the same reasons; receivers backfill them from the log.
    pub dropped_recoverable_records: Counter,
    /// Records that could not be decoded.
    pub malformed_records: Counter,
    /// Channels whose log head was ahead of the delivered offsets.
    pub backfilled_channels: Counter,
    /// Redis channels of groups that this pod is subscribed to.
    pub subscriptions: Gauge,
    /// Subscriber connections replaced.
    pub subscriber_reconnects: Counter,
    /// Subscriber connections replaced because Redis stopped delivering to them: a slot moved, or another server
    /// became the master.
    pub revoked_subscriptions: Counter,
    /// Requests sent to other pods.
    pub peer_requests: Counter,
    /// Requests to other pods that timed out.
    pub peer_request_timeouts: Counter,
}

impl BusMetrics {
    /// Creates the metrics and registers them in `registry`.
    #[must_use]
    pub fn registered_in(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("bus");
        let counters = [
            ("published_records", "Records published to Redis", &metrics.published_records),
            ("publish_commands", "PUBLISH commands sent", &metrics.publish_commands),
            ("received_records", "Records received from peers", &metrics.received_records),
            (
                "dropped_unrecoverable_records",
                "Records dropped that no log has",
                &metrics.dropped_unrecoverable_records,
            ),
            (
                "dropped_recoverable_records",
                "Messages dropped that receivers backfill from the log",
                &metrics.dropped_recoverable_records,
            ),
            ("malformed_records", "Records that could not be decoded", &metrics.malformed_records),
            (
                "backfilled_channels",
                "Channels whose log head was ahead of local delivery",
                &metrics.backfilled_channels,
            ),
            ("subscriber_reconnects", "Subscriber connections replaced", &metrics.subscriber_reconnects),
            (
                "revoked_subscriptions",
                "Subscriber connections replaced after a slot or the master moved",
                &metrics.revoked_subscriptions,
            ),
            ("peer_requests", "Requests sent to peers", &metrics.peer_requests),
            ("peer_request_timeouts", "Requests to peers that timed out", &metrics.peer_request_timeouts),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("subscriptions", "Redis channels of groups subscribed to", metrics.subscriptions.clone());
        Arc::new(metrics)
    }
}
