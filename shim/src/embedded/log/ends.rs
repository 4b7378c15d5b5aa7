//! The ends of the channels that were written to lately, in memory.
//!
//! Invariant: only the writer inserts, after a commit and before it answers, so what is found here is durable and never
//! behind what an append returned. Bound: two generations of [`GENERATION`] channels; when the younger is full the
//! older one is forgotten, and its channels are read from the file again.

use std::collections::HashMap;

use handlers::channel::Channel;
use parking_lot::Mutex;

use super::tables::Span;

/// Most channels of one generation; about 10 MiB for both.
const GENERATION: usize = 32 * 1024;

#[derive(Default)]
pub(super) struct Ends(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<Channel, Span>,
    old: HashMap<Channel, Span>,
}

impl Ends {
    pub(super) fn find(&self, channel: &Channel) -> Option<Span> {
        let generations = self.0.lock();
        generations.young.get(channel).or_else(|| generations.old.get(channel)).copied()
    }

    pub(super) fn insert(&self, channels: impl Iterator<Item = (Channel, Span)>) {
        let mut generations = self.0.lock();
        for (channel, span) in channels {
            if generations.young.len() >= GENERATION && !generations.young.contains_key(&channel) {
                generations.old = std::mem::take(&mut generations.young);
            }
            generations.young.insert(channel, span);
        }
    }

    /// Forgets everything: after a failed commit only the file knows.
    pub(super) fn clear(&self) {
        *self.0.lock() = Generations::default();
    }
}

#[cfg(test)]
mod tests {
    use handlers::channel::{ChannelName, Offset};
    use handlers::id::TenantId;

    use super::*;

    fn channel(number: usize) -> Channel {
        ChannelName::parse(&format!("room:{number}")).unwrap().within(TenantId::default_tenant())
    }

    fn span(head: u64) -> Span {
        Span { head: Offset(head), first: Offset(1) }
    }

    #[test]
    fn it_is_bounded_and_keeps_what_was_written_last() {
        let ends = Ends::default();
        ends.insert((0..3 * GENERATION).map(|number| (channel(number), span(1))));
        assert_eq!(ends.find(&channel(0)), None);
        assert_eq!(ends.find(&channel(3 * GENERATION - 1)), Some(span(1)));
        let generations = ends.0.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
    }

    #[test]
    fn the_younger_generation_wins() {
        let ends = Ends::default();
        ends.insert(std::iter::once((channel(0), span(1))));
        ends.insert((1..=GENERATION).map(|number| (channel(number), span(1))));
        ends.insert(std::iter::once((channel(0), span(2))));
        assert_eq!(ends.find(&channel(0)), Some(span(2)));
    }
}
