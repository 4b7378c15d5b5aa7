//! What the message log counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Counters of the message log in PostgreSQL; clones count together.
#[derive(Debug, Clone, Default)]
pub struct PostgresMetrics {
    /// Messages written by this process.
    pub appended_messages: Counter,
    /// Appends that were there already.
    pub duplicate_appends: Counter,
    /// Messages dropped by this process's turns of retention.
    pub expired_messages: Counter,
    /// Statements that failed, each attempt counted.
    pub failed_statements: Counter,
}

impl PostgresMetrics {
    /// Registers all counters, under the names that the log in a file has too (`message_log_`).
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("message_log");
        registry.register("appended", "Messages written to the message log", self.appended_messages.clone());
        registry.register("duplicates", "Appends of messages that the log had already", self.duplicate_appends.clone());
        registry.register("expired", "Messages dropped by retention", self.expired_messages.clone());
        registry.register("failures", "Statements of the message log that failed", self.failed_statements.clone());
    }
}
