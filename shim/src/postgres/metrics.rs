//! Metrics of the message log in PostgreSQL.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Counters of the message log in PostgreSQL; clones share them.
#[derive(Debug, Clone, Default)]
pub struct PostgresMetrics {
    /// Messages appended by this process.
    pub appended_messages: Counter,
    /// Appends of messages that were already in the log.
    pub duplicate_appends: Counter,
    /// Messages deleted by the retention sweeps of this process.
    pub expired_messages: Counter,
    /// Failed statements, counting each attempt.
    pub failed_statements: Counter,
}

impl PostgresMetrics {
    /// Registers all counters with the prefix `message_log_`, as the log in a file does.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("message_log");
        registry.register("appended_messages", "Messages appended to the message log", self.appended_messages.clone());
        let help = "Appends of messages that were already in the log";
        registry.register("duplicate_appends", help, self.duplicate_appends.clone());
        registry.register("expired_messages", "Messages deleted by retention", self.expired_messages.clone());
        let help = "Failed statements of the message log, counting each attempt";
        registry.register("failed_statements", help, self.failed_statements.clone());
    }
}
