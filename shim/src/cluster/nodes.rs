//! Liveness of node ids, for cross-pod requests.
//!
//! A node is alive until it is fenced. An expired lease alone does not make it dead: during a Redis outage all leases
//! expire while the connections stay open.
//!
//! This is the only cache of liveness. `true` is cached for one heartbeat interval (`cluster.heartbeat`, 2 s): a lease
//! outlives its pod by at least four intervals, so Redis returns the same for a pod that was just killed, and a request
//! to that pod times out in both cases. `false` is never cached: a new pod may claim the node id at any time, and a
//! request to one of its connections would get 410.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::lease_store::{LeaseId, LeaseStore};
use crate::bus::NodeLiveness;
use crate::redis::RedisClientError;

/// [`NodeLiveness`] from the leases in Redis.
pub struct LeasedNodes {
    lease_store: LeaseStore,
    lease_id: watch::Receiver<LeaseId>,
    cache_ttl: Duration,
    /// Nodes that were alive at the given time: at most one entry per node id.
    seen_alive: Mutex<HashMap<u16, Instant>>,
}

impl LeasedNodes {
    pub(super) fn new(lease_store: LeaseStore, lease_id: watch::Receiver<LeaseId>, cache_ttl: Duration) -> Self {
        Self { lease_store, lease_id, cache_ttl, seen_alive: Mutex::default() }
    }
}

#[async_trait]
impl NodeLiveness for LeasedNodes {
    fn node_id(&self) -> u16 {
        self.lease_id.borrow().node_id()
    }

    /// Returns whether the node holds a lease. Sends at most one command.
    async fn is_node_alive(&self, node: u16) -> Result<bool, RedisClientError> {
        let cached = self.seen_alive.lock().get(&node).is_some_and(|seen_at| seen_at.elapsed() < self.cache_ttl);
        if cached {
            return Ok(true);
        }
        let alive = self.lease_store.is_node_leased(node).await?;
        let mut seen_alive = self.seen_alive.lock();
        if alive {
            seen_alive.insert(node, Instant::now());
        } else {
            seen_alive.remove(&node);
        }
        Ok(alive)
    }
}
