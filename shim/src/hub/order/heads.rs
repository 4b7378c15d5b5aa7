//! Comparing what was passed on with where the log ends.
//!
//! A message that the bus between pods lost opens a hole only when its successor arrives. For the case that none does, the
//! ends of the logs are asked now and then; what is behind is filled as any hole is.

use std::time::Duration;

use handlers::channel::{Channel, Position};

use super::ChannelDelivery;

/// Most channels whose order is remembered through a silence, a few hundred bytes each. Beyond it channels that nothing
/// was said in for five minutes are forgotten, as they always are where there is one process only.
const MAX_FOLLOWED_CHANNELS: usize = 65_536;

impl ChannelDelivery {
    /// The channels that have an order and readers here: those in which something was said within `recent`, or all.
    pub fn followed_channels(&self, recent: Option<Duration>) -> Vec<Channel> {
        let recently = |elapsed| recent.is_none_or(|recent| elapsed <= recent);
        let followed = self.shared.channels.iter().filter(|entry| {
            let ordered = entry.value().lock();
            recently(ordered.last_used_at.elapsed()) && ordered.sequence.epoch().is_some()
        });
        let followed: Vec<Channel> = followed.map(|entry| entry.key().clone()).collect();
        followed.into_iter().filter(|channel| !self.local_groups(channel).is_empty()).collect()
    }

    /// Takes note of where a channel's log ends and fills what was not passed on; `true` when something was not.
    pub fn observe_head(&self, channel: &Channel, end: &Position) -> bool {
        let Some(mut state) = self.lock_known_channel(channel) else { return false };
        let missing = state.sequence.observe_head(end);
        if let Some(missing) = missing {
            self.start_backfill(channel, &mut state, missing);
        }
        missing.is_some()
    }

    /// Whose order outlives a silence: among other pods, channels with readers here.
    pub(in crate::hub) fn retention_filter(&self) -> impl Fn(&Channel) -> bool {
        let follows = self.peer_router().is_some() && self.shared.channels.len() <= MAX_FOLLOWED_CHANNELS;
        move |channel| follows && !self.local_groups(channel).is_empty()
    }
}
