//! Metrics of the Redis client: `twinway_redis_*`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Counters of the Redis client; clones share them.
#[derive(Debug, Clone, Default)]
pub struct RedisMetrics {
    /// Changes of the server that this process uses as the master.
    pub master_changes: Counter,
    /// Writes that no replica confirmed in time, although `redis.wait_replicas` requires it.
    pub unconfirmed_writes: Counter,
}

impl RedisMetrics {
    /// Registers the counters with the prefix `redis_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("redis");
        registry.register("master_changes", "Changes of the Redis master in use", self.master_changes.clone());
        let help = "Writes not acknowledged because too few replicas confirmed them in time";
        registry.register("unconfirmed_writes", help, self.unconfirmed_writes.clone());
    }
}
