//! What the message log counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Counters of the message log; clones count together.
#[derive(Debug, Clone, Default)]
pub struct FileLogMetrics {
    /// Durable transactions. Appends per commit is how well appends share an `fsync`.
    pub commits: Counter,
    /// Messages written.
    pub appended_messages: Counter,
    /// Appends that were there already.
    pub duplicate_appends: Counter,
    /// Messages dropped by retention.
    pub expired_messages: Counter,
    /// Transactions that failed.
    pub failed_transactions: Counter,
    /// How often the file was opened anew after a failure.
    pub reopens: Counter,
}

impl FileLogMetrics {
    /// Registers all counters, under names that begin with `message_log_`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("message_log");
        registry.register("commits", "Durable transactions of the message log", self.commits.clone());
        registry.register("appended_messages", "Messages appended to the message log", self.appended_messages.clone());
        registry.register("duplicate_appends", "Appends of messages that were already in the log", self.duplicate_appends.clone());
        registry.register("expired_messages", "Messages deleted by retention", self.expired_messages.clone());
        registry.register("failed_transactions", "Failed transactions of the message log", self.failed_transactions.clone());
        registry.register("reopens", "Times the message log file was reopened after a failure", self.reopens.clone());
    }
}
