//! Comparison of the delivered offsets with the head of the log.
//!
//! A message that the bus lost becomes a missing range only when its successor arrives. In case none does, the heads of
//! the logs are read periodically, and channels whose log is ahead of local delivery are backfilled.

use std::time::Duration;

use handlers::channel::{Channel, Position};

use super::ChannelDelivery;

/// Maximum number of channels whose order is retained when idle, at a few hundred bytes each. Above it, and always in a
/// single process, channels without a message for five minutes are evicted.
const MAX_FOLLOWED_CHANNELS: usize = 65_536;

impl ChannelDelivery {
    /// Returns the channels with an order and local readers: those with a message within `recent`, or all if it is
    /// `None`.
    pub fn followed_channels(&self, recent: Option<Duration>) -> Vec<Channel> {
        let is_recent = |elapsed| recent.is_none_or(|recent| elapsed <= recent);
        let followed = self.shared.channels.iter().filter(|entry| {
            let tracked = entry.value().lock();
            is_recent(tracked.last_used_at.elapsed()) && tracked.order.epoch().is_some()
        });
        let followed: Vec<Channel> = followed.map(|entry| entry.key().clone()).collect();
        followed.into_iter().filter(|channel| !self.local_groups(channel).is_empty()).collect()
    }

    /// Compares the head of a channel's log with the delivered offsets. Starts a backfill and returns `true` if offsets
    /// are missing.
    pub fn observe_head(&self, channel: &Channel, head: &Position) -> bool {
        let Some(mut state) = self.lock_known_channel(channel) else { return false };
        let missing = state.order.observe_head(head);
        if let Some(missing) = missing {
            self.start_backfill(channel, &mut state, missing);
        }
        missing.is_some()
    }

    /// Returns a filter for the channels whose order is retained when idle: those with local readers, in a cluster.
    pub(in crate::hub) fn retention_filter(&self) -> impl Fn(&Channel) -> bool {
        let retains = self.peer_router().is_some() && self.shared.channels.len() <= MAX_FOLLOWED_CHANNELS;
        move |channel| retains && !self.local_groups(channel).is_empty()
    }
}
