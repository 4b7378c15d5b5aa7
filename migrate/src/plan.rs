//! What there is to do: every channel that the pattern chooses, with how much of it is missing in the target.

use futures_util::{StreamExt as _, stream};
use handlers::archive::LogArchive;
use handlers::channel::{Channel, Offset};

use crate::channel_pattern::ChannelPattern;
use crate::copy::{CopyError, CopyState};

/// One channel.
#[derive(Debug)]
pub struct ChannelPlan {
    /// Which.
    pub channel: Channel,
    /// How many messages the source has.
    pub source_messages: u64,
    /// How many of them the target lacks, or why it cannot have them.
    pub missing_messages: Result<u64, CopyError>,
}

/// Lists the source's channels and compares their ends with the target's.
///
/// # Errors
/// The source's, when it cannot be listed.
pub async fn plan_channels(
    source: &dyn LogArchive,
    target: &dyn LogArchive,
    chosen: &ChannelPattern,
    jobs: usize,
) -> Result<Vec<ChannelPlan>, CopyError> {
    let channels = source.logged_channels().await.map_err(CopyError::ReadSource)?;
    let chosen = channels.into_iter().filter(|channel| chosen.matches_channel(channel));
    let mut planned: Vec<ChannelPlan> = stream::iter(chosen.map(|channel| plan_channel(source, target, channel)))
        .buffer_unordered(jobs)
        .collect()
        .await;
    planned.sort_by_key(|planned| planned.channel.to_string());
    Ok(planned)
}

async fn plan_channel(source: &dyn LogArchive, target: &dyn LogArchive, channel: Channel) -> ChannelPlan {
    let standing = match CopyState::read_state(source, target, &channel).await {
        Ok(standing) => standing,
        Err(fault) => return ChannelPlan { channel, source_messages: 0, missing_messages: Err(fault) },
    };
    let (head, first) = (standing.origin.head.offset, standing.origin.first);
    let there = count_between(Offset(first.0.saturating_sub(1)), head);
    ChannelPlan {
        channel,
        source_messages: there,
        missing_messages: standing.start_offset().map(|after| count_between(after, head)),
    }
}

fn count_between(after: Offset, head: Offset) -> u64 {
    head.0.saturating_sub(after.0)
}
