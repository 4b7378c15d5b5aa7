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

use super::ledger::{Ledger, Name};
use crate::bus::Nodes;
use crate::redis::RedisTrouble;

/// The nodes that hold leases.
pub struct LeasedNodes {
    ledger: Ledger,
    lease: watch::Receiver<Name>,
    kept: Duration,
    /// Nodes seen alive, and when: at most one entry per node number.
    alive: Mutex<HashMap<u16, Instant>>,
}

impl LeasedNodes {
    pub(super) fn new(ledger: Ledger, lease: watch::Receiver<Name>, kept: Duration) -> Self {
        Self { ledger, lease, kept, alive: Mutex::default() }
    }
}

#[async_trait]
impl Nodes for LeasedNodes {
    fn node(&self) -> u16 {
        self.lease.borrow().node()
    }

    /// At most one command.
    async fn is_alive(&self, node: u16) -> Result<bool, RedisTrouble> {
        let believed = self.alive.lock().get(&node).is_some_and(|seen| seen.elapsed() < self.kept);
        if believed {
            return Ok(true);
        }
        let alive = self.ledger.is_held(node).await?;
        let mut seen = self.alive.lock();
        if alive {
            seen.insert(node, Instant::now());
        } else {
            seen.remove(&node);
        }
        Ok(alive)
    }
}
