//! What the message log counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Counters of the message log; clones count together.
#[derive(Debug, Clone, Default)]
pub struct LogMetrics {
    /// Durable transactions. Appends per commit is how well appends share an `fsync`.
    pub commits: Counter,
    /// Messages written.
    pub appended: Counter,
    /// Appends that were there already.
    pub duplicates: Counter,
    /// Messages dropped by retention.
    pub expired: Counter,
    /// Transactions that failed.
    pub failures: Counter,
    /// How often the file was opened anew after a failure.
    pub reopened: Counter,
}

impl LogMetrics {
    /// Registers all counters, under names that begin with `message_log_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("message_log");
        registry.register("commits", "Durable transactions of the message log", self.commits.clone());
        registry.register("appended", "Messages written to the message log", self.appended.clone());
        registry.register("duplicates", "Appends of messages that the log had already", self.duplicates.clone());
        registry.register("expired", "Messages dropped by retention", self.expired.clone());
        registry.register("failures", "Transactions of the message log that failed", self.failures.clone());
        registry.register("reopened", "Times the message log was opened anew after a failure", self.reopened.clone());
    }
}
