//! Copying one channel: from where the target ends, page after page, to where the source ends.

use handlers::archive::{ExportLimits, ImportError, LogArchive, LogSegment};
use handlers::channel::{Channel, Offset};
use handlers::ports::{LogError, LogSlice};
use tokio_util::sync::CancellationToken;

use crate::progress::Progress;

/// Most of one step: far below what any store refuses, and small enough to be sent within its deadline.
pub(crate) const PAGE_LIMITS: ExportLimits = ExportLimits { max_entries: 500, max_bytes: 1 << 20 };

/// Why a channel was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The target has messages of somebody else.
    #[error("the target has messages of another epoch in it: empty the target, or choose other channels")]
    EpochMismatch,
    /// The target went on by itself.
    #[error("the target has messages up to {target}, the source only up to {origin}: the target is in use already")]
    TargetAhead {
        /// The target's end.
        target: Offset,
        /// The source's end.
        origin: Offset,
    },
    /// The source dropped what the target lacks.
    #[error(
        "the target ends at {target}, and the source has nothing before {first} any more: empty the target's channel"
    )]
    SourceTrimmed {
        /// The target's end.
        target: Offset,
        /// The oldest offset that the source has.
        first: Offset,
    },
    /// The source's log was reset while it was copied.
    #[error("the source began another epoch meanwhile; run it again")]
    EpochChanged,
    /// Reading the source failed.
    #[error("reading from the source failed")]
    ReadSource(#[source] LogError),
    /// Writing the target failed.
    #[error("writing to the target failed")]
    WriteTarget(#[source] ImportError),
}

/// Where a copy stands before it begins: the source's ends and the target's.
#[derive(Debug)]
pub struct CopyState {
    /// The source's.
    pub origin: LogSlice,
    /// The target's.
    pub target: LogSlice,
}

impl CopyState {
    /// Asks both.
    ///
    /// # Errors
    /// The store's.
    pub async fn read_state(
        source: &dyn LogArchive,
        target: &dyn LogArchive,
        channel: &Channel,
    ) -> Result<Self, CopyError> {
        let origin = source.log_bounds(channel).await.map_err(CopyError::ReadSource)?;
        let target = target.log_bounds(channel).await.map_err(|error| CopyError::WriteTarget(error.into()))?;
        Ok(Self { origin, target })
    }

    /// The offset behind which to copy.
    ///
    /// # Errors
    /// When the target is no earlier state of the source.
    pub fn start_offset(&self) -> Result<Offset, CopyError> {
        let (origin, target) = (&self.origin, &self.target);
        let before_first = Offset(origin.first.0.saturating_sub(1));
        match target.head.offset {
            Offset::START => Ok(before_first),
            _ if target.head.epoch != origin.head.epoch => Err(CopyError::EpochMismatch),
            end if end > origin.head.offset => Err(CopyError::TargetAhead { target: end, origin: origin.head.offset }),
            end if end < before_first => Err(CopyError::SourceTrimmed { target: end, first: origin.first }),
            end => Ok(end),
        }
    }
}

/// Copies what the target lacks of a channel. Returns how many messages that were, also when it was told to stop between two
/// steps.
///
/// # Errors
/// [`CopyError`]; what was written until then stands.
pub async fn copy_channel(
    source: &dyn LogArchive,
    target: &dyn LogArchive,
    channel: &Channel,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<u64, CopyError> {
    let standing = CopyState::read_state(source, target, channel).await?;
    let (mut after, epoch) = (standing.start_offset()?, standing.origin.head.epoch.clone());
    let mut begun = standing.target.head.offset > Offset::START;
    let mut copied = 0;
    while !stop.is_cancelled() && (after < standing.origin.head.offset || !begun) {
        let slice = source.export(channel, after, PAGE_LIMITS).await.map_err(CopyError::ReadSource)?;
        if slice.head.epoch != epoch {
            return Err(CopyError::EpochChanged);
        }
        // Retention may have taken what was there a moment ago.
        let from = slice.entries.first().map_or(slice.head.offset, |entry| Offset(entry.offset.0 - 1));
        if begun && from != after {
            return Err(CopyError::SourceTrimmed { target: after, first: slice.first });
        }
        let count = slice.entries.len() as u64;
        after = slice.entries.last().map_or(from, |entry| entry.offset);
        let stretch =
            LogSegment { channel: channel.clone(), epoch: epoch.clone(), after: from, entries: slice.entries };
        target.import(&stretch).await.map_err(CopyError::WriteTarget)?;
        begun = true;
        copied += count;
        progress.add_messages(count);
    }
    Ok(copied)
}

#[cfg(test)]
mod tests;
