//! Metrics of the message log.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Counters of the message log; clones share them.
#[derive(Debug, Clone, Default)]
pub struct FileLogMetrics {
    /// Durable transactions. Appends per commit show how many appends share an `fsync`.
    pub commits: Counter,
    /// Messages appended.
    pub appended_messages: Counter,
    /// Appends of messages that were already in the log.
    pub duplicate_appends: Counter,
    /// Messages deleted by retention.
    pub expired_messages: Counter,
    pub failed_transactions: Counter,
    /// Number of times the file was reopened after a failure.
    pub reopens: Counter,
}

impl FileLogMetrics {
    /// Registers all counters with the prefix `message_log_`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("message_log");
        registry.register("commits", "Durable transactions of the message log", self.commits.clone());
        registry.register("appended_messages", "Messages appended to the message log", self.appended_messages.clone());
        let help = "Appends of messages that were already in the log";
        registry.register("duplicate_appends", help, self.duplicate_appends.clone());
        registry.register("expired_messages", "Messages deleted by retention", self.expired_messages.clone());
        let help = "Failed transactions of the message log";
        registry.register("failed_transactions", help, self.failed_transactions.clone());
        registry.register("reopens", "Times the message log file was reopened after a failure", self.reopens.clone());
    }
}
