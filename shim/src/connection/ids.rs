//! Generator of connection ids, event ids and trace ids.

use std::sync::atomic::{AtomicU16, Ordering};

use gateway::id::{EventIds, GatewayId, SplitMix64};
use handlers::ports::Timestamp;

/// Generates connection ids that carry this pod's node id, and the seeds of event and trace ids.
///
/// Connection ids cannot be guessed: each has 64 bits of a cryptographically secure generator, which shares no state
/// with the seeds. Two ids of a node are equal with a probability of 2^-64.
pub struct ConnectionIds {
    node_id: AtomicU16,
    seeds: SplitMix64,
}

impl ConnectionIds {
    /// Creates a generator for node id `node`, seeded by the operating system.
    ///
    /// # Errors
    /// Reading random bytes from the operating system failed.
    pub fn with_random_seed(node: u16) -> Result<Self, getrandom::Error> {
        Ok(Self { node_id: AtomicU16::new(node), seeds: SplitMix64::new(getrandom::u64()?) })
    }

    /// Returns a new connection id and the generator of its event ids.
    pub fn next_connection(&self) -> (GatewayId, EventIds) {
        let connection = GatewayId::for_connection(secure_random_u64(), self.node_id.load(Ordering::Acquire));
        (connection, self.event_ids_of(connection))
    }

    /// Returns a request id that belongs to no connection.
    pub fn next_request_id(&self, now: Timestamp) -> GatewayId {
        GatewayId::for_request(now.0, self.seeds.next_u64())
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

/// Returns the next number of aws-lc's generator: CTR-DRBG with a state per thread, seeded by the operating system.
/// Costs no system call, lock or allocation.
fn secure_random_u64() -> u64 {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).expect("the seeded generator of aws-lc does not fail");
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE;

    use super::*;

    fn unpredictable_bits(id: GatewayId) -> u64 {
        let raw = URL_SAFE.decode(id.as_str()).unwrap();
        u64::from_be_bytes(raw[..8].try_into().unwrap())
    }

    #[test]
    fn two_ids_do_not_give_the_third() {
        let ids = ConnectionIds::with_random_seed(7).unwrap();
        let bits: Vec<_> = (0..4_096).map(|_| unpredictable_bits(ids.next_connection().0)).collect();
        // Neither the ids nor the steps from one to the next, by subtraction or by exclusive or, have a constant bit or
        // a bit that is set more often than chance allows: 6 standard deviations, once in 10^9 runs and bits.
        let steps = bits.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        let flips = bits.windows(2).map(|pair| pair[1] ^ pair[0]).collect();
        for (what, numbers) in [("id", bits), ("step", steps), ("flip", flips)] {
            for bit in 0..64 {
                let set = numbers.iter().filter(|number| *number >> bit & 1 == 1).count();
                assert!((1_856..=2_240).contains(&set), "bit {bit} of each {what} is set {set} times in 4,096");
            }
            assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), numbers.len(), "a {what} repeats");
        }
    }

    #[test]
    fn the_seeds_of_event_ids_do_not_give_connection_ids() {
        // Same seed, as after an attacker has computed it from request ids, which are not secret.
        let same = || ConnectionIds { node_id: AtomicU16::new(7), seeds: SplitMix64::new(42) };
        let ((first, mut its), (second, mut others)) = (same().next_connection(), same().next_connection());
        assert_ne!(first, second);
        assert_eq!(its.next_request_id(0), others.next_request_id(0));
    }
}
