//! Which nodes live, for those who talk to other pods.
//!
//! Invariant: a node counts as alive until it was fenced, and not only until its lease has lapsed: while Redis was away all
//! leases lapse and the connections are open all the same.
//!
//! The only cache of liveness. `true` is kept for one heartbeat (`cluster.heartbeat`, 2 s): a lease outlasts its pod by at
//! least four of them, so Redis would answer the same for a pod that was just killed, and a request to it times out either
//! way. `false` is never kept: a new pod may claim the number at any time, and a request to one of its connections would be
//! answered 410.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::lease_store::{LeaseId, LeaseStore};
use crate::bus::NodeLiveness;
use crate::redis::RedisClientError;

/// The nodes that hold leases.
pub struct LeasedNodes {
    lease_store: LeaseStore,
    lease_id: watch::Receiver<LeaseId>,
    kept: Duration,
    /// Nodes seen alive, and when: at most one entry per node number.
    seen_alive: Mutex<HashMap<u16, Instant>>,
}

impl LeasedNodes {
    pub(super) fn new(ledger: LeaseStore, lease: watch::Receiver<LeaseId>, kept: Duration) -> Self {
        Self { lease_store: ledger, lease_id: lease, kept, seen_alive: Mutex::default() }
    }
}

#[async_trait]
impl NodeLiveness for LeasedNodes {
    fn node_id(&self) -> u16 {
        self.lease_id.borrow().node_id()
    }

    /// At most one command.
    async fn is_node_alive(&self, node: u16) -> Result<bool, RedisClientError> {
        let believed = self.seen_alive.lock().get(&node).is_some_and(|seen| seen.elapsed() < self.kept);
        if believed {
            return Ok(true);
        }
        let alive = self.lease_store.is_node_leased(node).await?;
        let mut seen = self.seen_alive.lock();
        if alive {
            seen.insert(node, Instant::now());
        } else {
            seen.remove(&node);
        }
        Ok(alive)
    }
}
