//! Plan of a migration: the channels that the pattern selects, with the number of messages to copy.

use futures_util::{StreamExt as _, stream};
use handlers::archive::LogArchive;
use handlers::channel::{Channel, Offset};

use crate::channel_pattern::ChannelPattern;
use crate::copy::{CopyError, CopyState};

/// Plan of one channel.
#[derive(Debug)]
pub struct ChannelPlan {
    /// The channel.
    pub channel: Channel,
    /// Number of messages in the source.
    pub source_messages: u64,
    /// Number of messages that the target lacks, or the reason why they cannot be copied.
    pub missing_messages: Result<u64, CopyError>,
}

/// Lists the source's channels and compares their heads with the target's, `jobs` channels in parallel.
///
/// # Errors
/// [`CopyError::ReadSource`] if the source cannot be listed.
pub async fn plan_channels(
    source: &dyn LogArchive,
    target: &dyn LogArchive,
    pattern: &ChannelPattern,
    jobs: usize,
) -> Result<Vec<ChannelPlan>, CopyError> {
    let channels = source.logged_channels().await.map_err(CopyError::ReadSource)?;
    let selected = channels.into_iter().filter(|channel| pattern.matches_channel(channel));
    let mut planned: Vec<ChannelPlan> = stream::iter(selected.map(|channel| plan_channel(source, target, channel)))
        .buffer_unordered(jobs)
        .collect()
        .await;
    planned.sort_by_key(|planned| planned.channel.to_string());
    Ok(planned)
}

async fn plan_channel(source: &dyn LogArchive, target: &dyn LogArchive, channel: Channel) -> ChannelPlan {
    let state = match CopyState::read_state(source, target, &channel).await {
        Ok(state) => state,
        Err(error) => return ChannelPlan { channel, source_messages: 0, missing_messages: Err(error) },
    };
    let (head, first) = (state.source.head.offset, state.source.first);
    ChannelPlan {
        channel,
        source_messages: count_between(Offset(first.0.saturating_sub(1)), head),
        missing_messages: state.start_offset().map(|after| count_between(after, head)),
    }
}

fn count_between(after: Offset, head: Offset) -> u64 {
    head.0.saturating_sub(after.0)
}
