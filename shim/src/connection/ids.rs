//! Fresh connection ids, and the seeds of everything else that must not repeat.

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use gateway::id::{EventIds, GatewayId};
use handlers::ports::Timestamp;

/// Fresh connection ids, and the seeds of everything else that must not repeat.
pub struct ConnectionIds {
    node_id: AtomicU16,
    seed: u64,
    next_sequence: AtomicU32,
    random_state: AtomicU64,
}

impl ConnectionIds {
    /// Ids that carry `node`, seeded by the operating system.
    ///
    /// # Errors
    /// The system's random source does not answer.
    pub fn with_random_seed(node: u16) -> Result<Self, getrandom::Error> {
        Ok(Self::new(node, getrandom::u64()?))
    }

    /// Ids that carry `node`; `seed` must be random, so that a restarted process does not repeat itself.
    #[must_use]
    pub const fn new(node: u16, seed: u64) -> Self {
        let first = (seed >> 32) as u32;
        Self {
            node_id: AtomicU16::new(node),
            seed,
            next_sequence: AtomicU32::new(first),
            random_state: AtomicU64::new(0),
        }
    }

    /// A fresh connection id and the ids of its events.
    pub fn next_connection(&self, now: Timestamp) -> (GatewayId, EventIds) {
        let sequence = self.next_sequence.fetch_add(1, Ordering::Relaxed);
        let connection = GatewayId::for_connection(now.0, sequence, self.node_id.load(Ordering::Acquire));
        (connection, EventIds::new(connection, self.next_random()))
    }

    /// Has connections carry another node from here on.
    pub fn set_node_id(&self, node: u16) {
        self.node_id.store(node, Ordering::Release);
    }

    /// Ids for further events of a connection that may have been another process's.
    pub fn event_ids_of(&self, connection: GatewayId) -> EventIds {
        EventIds::new(connection, self.next_random())
    }

    /// The random part of a trace id.
    pub fn trace_entropy(&self) -> [u8; 12] {
        let mut entropy = [0; 12];
        entropy[..8].copy_from_slice(&self.next_random().to_be_bytes());
        entropy[8..].copy_from_slice(&self.next_random().to_be_bytes()[..4]);
        entropy
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): well spread and never twice the same within 2^64 draws. Not a secret.
    fn next_random(&self) -> u64 {
        let step = self.random_state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let mut mixed = self.seed.wrapping_add(step);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
