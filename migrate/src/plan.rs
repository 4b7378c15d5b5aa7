//! What there is to do: every channel that the pattern chooses, with how much of it is missing in the target.

use futures_util::{StreamExt as _, stream};
use handlers::archive::LogArchive;
use handlers::channel::{Channel, Offset};

use crate::copy::{CopyFault, Standing};
use crate::glob::Glob;

/// One channel.
#[derive(Debug)]
pub struct Planned {
    /// Which.
    pub channel: Channel,
    /// How many messages the source has.
    pub there: u64,
    /// How many of them the target lacks, or why it cannot have them.
    pub missing: Result<u64, CopyFault>,
}

/// Lists the source's channels and compares their ends with the target's.
///
/// # Errors
/// The source's, when it cannot be listed.
pub async fn plan(
    source: &dyn LogArchive,
    target: &dyn LogArchive,
    chosen: &Glob,
    jobs: usize,
) -> Result<Vec<Planned>, CopyFault> {
    let channels = source.channels().await.map_err(CopyFault::Source)?;
    let chosen = channels.into_iter().filter(|channel| chosen.matches(channel));
    let mut planned: Vec<Planned> =
        stream::iter(chosen.map(|channel| look(source, target, channel))).buffer_unordered(jobs).collect().await;
    planned.sort_by_key(|planned| planned.channel.to_string());
    Ok(planned)
}

async fn look(source: &dyn LogArchive, target: &dyn LogArchive, channel: Channel) -> Planned {
    let standing = match Standing::of(source, target, &channel).await {
        Ok(standing) => standing,
        Err(fault) => return Planned { channel, there: 0, missing: Err(fault) },
    };
    let (head, first) = (standing.origin.head.offset, standing.origin.first);
    let there = between(Offset(first.0.saturating_sub(1)), head);
    Planned { channel, there, missing: standing.begin().map(|after| between(after, head)) }
}

fn between(after: Offset, head: Offset) -> u64 {
    head.0.saturating_sub(after.0)
}
