//! The ends of the channels that were written to lately, in memory.
//!
//! Invariant: only the writer inserts, after a commit and before it answers, so what is found here is durable and never
//! behind what an append returned. Bound: two generations of [`GENERATION_CAPACITY`] channels; when the younger is full the
//! older one is forgotten, and its channels are read from the file again.

use std::collections::HashMap;

use handlers::channel::Channel;
use parking_lot::Mutex;

use super::tables::RetainedRange;

/// Most channels of one generation; about 10 MiB for both.
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
        for (channel, span) in channels {
            if generations.current.len() >= GENERATION_CAPACITY && !generations.current.contains_key(&channel) {
                generations.previous = std::mem::take(&mut generations.current);
            }
            generations.current.insert(channel, span);
        }
    }

    /// Forgets everything: after a failed commit only the file knows.
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

    fn span(head: u64) -> RetainedRange {
        RetainedRange { head: Offset(head), first: Offset(1) }
    }

    #[test]
    fn it_is_bounded_and_keeps_what_was_written_last() {
        let ends = HeadCache::default();
        ends.insert((0..3 * GENERATION_CAPACITY).map(|number| (channel(number), span(1))));
        assert_eq!(ends.find(&channel(0)), None);
        assert_eq!(ends.find(&channel(3 * GENERATION_CAPACITY - 1)), Some(span(1)));
        let generations = ends.0.lock();
        assert!(generations.current.len() + generations.previous.len() <= 2 * GENERATION_CAPACITY);
    }

    #[test]
    fn the_younger_generation_wins() {
        let ends = HeadCache::default();
        ends.insert(std::iter::once((channel(0), span(1))));
        ends.insert((1..=GENERATION_CAPACITY).map(|number| (channel(number), span(1))));
        ends.insert(std::iter::once((channel(0), span(2))));
        assert_eq!(ends.find(&channel(0)), Some(span(2)));
    }
}
