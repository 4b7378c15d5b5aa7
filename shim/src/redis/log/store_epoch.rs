//! Epoch of the channels that have no message yet.
//!
//! Reading a channel must not create state, or invented names would fill Redis. So a channel gets an epoch of its own
//! only with its first append; until then readers get an epoch that is derived from a key of the whole store and from
//! the current period of [`RedisRetention::max_age`](super::RedisRetention). The first append stores the same derived
//! epoch.
//!
//! - The key is lost together with the logs, so an emptied store has other epochs.
//! - The log of a channel without an append for `max_age` expires, and its offsets start again. Its epoch is of an
//!   earlier period than the current one, because a period has half that length; the other half is more than the clocks
//!   of two pods differ.
//!
//! In a Cluster a script can read the key only in the slot of the channel, and a slot can lose its data alone. So there
//! is one key for each slot in use, at most 16,384.

use std::collections::HashMap;

use redis::cluster_routing::Slot;

use crate::redis::RedisTopology;

/// Number of hash slots ("Redis cluster specification").
const SLOTS: usize = 16_384;

/// Names of the keys that hold the epoch of the store.
pub(super) struct StoreEpochKeys {
    /// For each slot a number whose text, as a hash tag, belongs to it; `None` outside of a Cluster.
    tags: Option<HashMap<Slot, u32>>,
}

impl StoreEpochKeys {
    pub(super) fn for_topology(topology: RedisTopology) -> Self {
        Self { tags: (topology == RedisTopology::Cluster).then(slot_tags) }
    }

    /// Returns the name, without the prefix, of the key for a channel whose other keys are in the slot of `key`.
    pub(super) fn name_for(&self, key: &str) -> String {
        let tag = self.tags.as_ref().and_then(|tags| tags.get(&Slot::for_key(key)));
        tag.map_or_else(|| "log:epoch".to_owned(), |tag| format!("log:epoch:{{{tag}}}"))
    }
}

/// Returns the period of the time `now`, both in milliseconds: the time of its start.
pub(super) const fn current_period(now: i64, max_age: i64) -> i64 {
    let length = if max_age / 2 > 0 { max_age / 2 } else { 1 };
    now - now.rem_euclid(length)
}

fn slot_tags() -> HashMap<Slot, u32> {
    let mut tags = HashMap::with_capacity(SLOTS);
    let mut number = 0_u32;
    // Every slot has many numbers: the check sum is uniform.
    while tags.len() < SLOTS {
        tags.entry(Slot::for_key(number.to_string())).or_insert(number);
        number += 1;
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_cluster_is_in_the_slot_of_the_channel() {
        let keys = StoreEpochKeys::for_topology(RedisTopology::Cluster);
        for number in 0..1_000 {
            let key = format!("twinway:log:{{acme/room:{number}}}:bounds");
            assert_eq!(Slot::for_key(format!("twinway:{}", keys.name_for(&key))), Slot::for_key(&key), "{key}");
        }
        let single = StoreEpochKeys::for_topology(RedisTopology::Single);
        assert_eq!(single.name_for("twinway:log:{acme/room:1}:bounds"), "log:epoch");
    }

    #[test]
    fn a_log_that_expired_has_an_earlier_period() {
        for (max_age, now) in [(1, 1_795_000_000_000), (86_400_000, 1_795_000_000_000), (i64::MAX, 1_795_000_000_000)] {
            let expired_at = current_period(now, max_age);
            assert!(expired_at <= now);
            assert!(max_age == i64::MAX || current_period(now + max_age, max_age) > expired_at);
        }
    }
}
