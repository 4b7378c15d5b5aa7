//! In-memory cache of the retained ranges of recently written channels.
//!
//! Only the writer inserts, after a commit and before it replies, so a cached range is durable and includes every
//! append that has returned. The cache has two generations of [`GENERATION_CAPACITY`] channels; when the current one is
//! full, it replaces the previous one, whose channels are then read from the file again.

use std::collections::HashMap;

use handlers::channel::Channel;
use parking_lot::Mutex;

use super::tables::RetainedRange;

/// Maximum number of channels per generation; both take about 10 MiB.
const GENERATION_CAPACITY: usize = 32 * 1024;

#[derive(Default)]
pub(super) struct HeadCache(Mutex<CacheGenerations>);

#[derive(Default)]
struct CacheGenerations {
    current: HashMap<Channel, RetainedRange>,
    previous: HashMap<Channel, RetainedRange>,
}

impl HeadCache {
    pub(super) fn find(&self, channel: &Channel) -> Option<RetainedRange> {
        let generations = self.0.lock();
        generations.current.get(channel).or_else(|| generations.previous.get(channel)).copied()
    }

    pub(super) fn insert(&self, channels: impl Iterator<Item = (Channel, RetainedRange)>) {
        let mut generations = self.0.lock();
        for (channel, retained) in channels {
            if generations.current.len() >= GENERATION_CAPACITY && !generations.current.contains_key(&channel) {
                generations.previous = std::mem::take(&mut generations.current);
            }
            generations.current.insert(channel, retained);
        }
    }

    /// Removes all channels: after a failed commit only the file has the current state.
    pub(super) fn clear(&self) {
        *self.0.lock() = CacheGenerations::default();
    }
}

#[cfg(test)]
mod tests {
    use handlers::channel::{ChannelName, Offset};
    use handlers::id::TenantId;

    use super::*;

    fn channel(number: usize) -> Channel {
        ChannelName::parse(&format!("room:{number}")).unwrap().in_tenant(TenantId::default_tenant())
    }

    fn retained(head: u64) -> RetainedRange {
        RetainedRange { head: Offset(head), first: Offset(1) }
    }

    #[test]
    fn it_is_bounded_and_retains_the_last_written_channels() {
        let cache = HeadCache::default();
        cache.insert((0..3 * GENERATION_CAPACITY).map(|number| (channel(number), retained(1))));
        assert_eq!(cache.find(&channel(0)), None);
        assert_eq!(cache.find(&channel(3 * GENERATION_CAPACITY - 1)), Some(retained(1)));
        let generations = cache.0.lock();
        assert!(generations.current.len() + generations.previous.len() <= 2 * GENERATION_CAPACITY);
    }

    #[test]
    fn the_current_generation_takes_precedence() {
        let cache = HeadCache::default();
        cache.insert(std::iter::once((channel(0), retained(1))));
        cache.insert((1..=GENERATION_CAPACITY).map(|number| (channel(number), retained(1))));
        cache.insert(std::iter::once((channel(0), retained(2))));
        assert_eq!(cache.find(&channel(0)), Some(retained(2)));
    }
}
