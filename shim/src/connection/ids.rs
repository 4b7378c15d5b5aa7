//! Generator of connection ids, event ids and trace ids.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use gateway::id::{EventIds, GatewayId, SplitMix64};
use handlers::ports::Timestamp;

/// Generates connection ids that carry this pod's node id, and the seeds of event and trace ids.
pub struct ConnectionIds {
    node_id: AtomicU16,
    next_sequence: AtomicU32,
    seeds: SplitMix64,
}

impl ConnectionIds {
    /// Creates a generator for node id `node`, seeded by the operating system.
    ///
    /// # Errors
    /// Reading random bytes from the operating system failed.
    pub fn with_random_seed(node: u16) -> Result<Self, getrandom::Error> {
        Ok(Self::new(node, getrandom::u64()?))
    }

    /// Creates a generator for node id `node`. `seed` must be random, so that a restarted process does not repeat ids.
    #[must_use]
    pub const fn new(node: u16, seed: u64) -> Self {
        let first = (seed >> 32) as u32;
        Self { node_id: AtomicU16::new(node), next_sequence: AtomicU32::new(first), seeds: SplitMix64::new(seed) }
    }

    /// Returns a new connection id and the generator of its event ids.
    pub fn next_connection(&self, now: Timestamp) -> (GatewayId, EventIds) {
        let sequence = self.next_sequence.fetch_add(1, Ordering::Relaxed);
        let connection = GatewayId::for_connection(now.0, sequence, self.node_id.load(Ordering::Acquire));
        (connection, EventIds::new(connection, self.seeds.next_u64()))
    }

    /// Sets the node id of all connection ids generated from now on.
    pub fn set_node_id(&self, node: u16) {
        self.node_id.store(node, Ordering::Release);
    }

    /// Returns a generator of event ids for an existing connection, possibly one of another process.
    pub fn event_ids_of(&self, connection: GatewayId) -> EventIds {
        EventIds::new(connection, self.seeds.next_u64())
    }

    /// Returns the random part of a trace id.
    pub fn trace_entropy(&self) -> [u8; 12] {
        let mut entropy = [0; 12];
        entropy[..8].copy_from_slice(&self.seeds.next_u64().to_be_bytes());
        entropy[8..].copy_from_slice(&self.seeds.next_u64().to_be_bytes()[..4]);
        entropy
    }
}
