//! What the bus counts: `twinway_bus_*`.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The bus between pods.
#[derive(Default)]
pub struct BusMetrics {
    /// Records that Redis took.
    pub published_records: Counter,
    /// Publish commands; fewer than records when several went to one topic together.
    pub publish_commands: Counter,
    /// Records of other pods that arrived.
    pub received_records: Counter,
    /// Ephemeral and unlogged records that were given up: the queue was full or the link away.
    pub dropped_unrecoverable_records: Counter,
    /// Logged messages that were given up for the same reasons; receivers fill them from the log.
    pub dropped_recoverable_records: Counter,
    /// Records that no pod of this version can read.
    pub malformed_records: Counter,
    /// Channels that had moved on in the log without this pod hearing of it.
    pub backfilled_channels: Counter,
    /// Topics of groups that this pod listens to.
    pub subscriptions: Gauge,
    /// Subscription connections that were replaced.
    pub subscriber_reconnects: Counter,
    /// Requests to other pods.
    pub peer_requests: Counter,
    /// Requests to other pods without an answer in time.
    pub peer_request_timeouts: Counter,
}

impl BusMetrics {
    /// Fresh metrics in `registry`.
    #[must_use]
    pub fn registered_in(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("bus");
        let counters = [
            ("published_records", "Records that Redis took", &metrics.published_records),
            ("publishes", "Publish commands", &metrics.publish_commands),
            ("received_records", "Records of other pods that arrived", &metrics.received_records),
            ("shed_records", "Unlogged records given up", &metrics.dropped_unrecoverable_records),
            (
                "dropped_records",
                "Logged messages given up, which receivers fill from the log",
                &metrics.dropped_recoverable_records,
            ),
            ("unreadable_records", "Records that could not be read", &metrics.malformed_records),
            ("refilled_channels", "Channels found behind their log", &metrics.backfilled_channels),
            ("reconnects", "Subscription connections replaced", &metrics.subscriber_reconnects),
            ("requests", "Requests to other pods", &metrics.peer_requests),
            ("request_timeouts", "Requests to other pods without an answer in time", &metrics.peer_request_timeouts),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("subscriptions", "Topics of groups listened to", metrics.subscriptions.clone());
        Arc::new(metrics)
    }
}
