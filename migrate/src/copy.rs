//! Copy of one channel: page by page, from the target's head to the source's head.

use handlers::archive::{ExportLimits, ImportError, LogArchive, LogSegment};
use handlers::channel::{Channel, Offset};
use handlers::ports::{LogError, LogSlice};
use tokio_util::sync::CancellationToken;

use crate::progress::Progress;

/// Maximum size of one page: far below the limits of every store, and small enough to be written within its timeout.
pub(crate) const PAGE_LIMITS: ExportLimits = ExportLimits { max_entries: 500, max_bytes: 1 << 20 };

/// Reason why a channel was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The target has messages of another log.
    #[error("the target's channel has another epoch: delete it in the target, or select other channels")]
    EpochMismatch,
    /// The target received messages that the source lacks.
    #[error("the target's head {target} is ahead of the source's head {source_head}: the target is already in use")]
    TargetAhead {
        /// The target's head.
        target: Offset,
        /// The source's head.
        source_head: Offset,
    },
    /// The source trimmed messages that the target lacks.
    #[error(
        "the target's head is {target}, but the source retains messages from {first} only: delete the target's channel"
    )]
    SourceTrimmed {
        /// The target's head.
        target: Offset,
        /// The oldest offset of the source.
        first: Offset,
    },
    /// The source's log was reset during the copy.
    #[error("the source's epoch changed during the copy; run the command again")]
    EpochChanged,
    /// Reading the source failed.
    #[error("reading from the source failed")]
    ReadSource(#[source] LogError),
    /// Writing the target failed.
    #[error("writing to the target failed")]
    WriteTarget(#[source] ImportError),
}

/// Bounds of the channel's log in both stores before a copy.
#[derive(Debug)]
pub struct CopyState {
    /// Bounds in the source.
    pub source: LogSlice,
    /// Bounds in the target.
    pub target: LogSlice,
}

impl CopyState {
    /// Reads the bounds in both stores.
    ///
    /// # Errors
    /// [`CopyError::ReadSource`] or [`CopyError::WriteTarget`] if a store's log cannot be read.
    pub async fn read_state(
        source: &dyn LogArchive,
        target: &dyn LogArchive,
        channel: &Channel,
    ) -> Result<Self, CopyError> {
        let source = source.log_bounds(channel).await.map_err(CopyError::ReadSource)?;
        let target = target.log_bounds(channel).await.map_err(|error| CopyError::WriteTarget(error.into()))?;
        Ok(Self { source, target })
    }

    /// Returns the offset after which to copy.
    ///
    /// # Errors
    /// If the target's log is not an earlier state of the source's.
    pub fn start_offset(&self) -> Result<Offset, CopyError> {
        let (source, target) = (&self.source, &self.target);
        let source_head = source.head.offset;
        let before_first = Offset(source.first.0.saturating_sub(1));
        match target.head.offset {
            Offset::START => Ok(before_first),
            _ if target.head.epoch != source.head.epoch => Err(CopyError::EpochMismatch),
            head if head > source_head => Err(CopyError::TargetAhead { target: head, source_head }),
            head if head < before_first => Err(CopyError::SourceTrimmed { target: head, first: source.first }),
            head => Ok(head),
        }
    }
}

/// Copies the messages of a channel that the target lacks. Returns their number, also when `stop` ends the copy between
/// two pages.
///
/// # Errors
/// [`CopyError`]; pages written before the error remain in the target.
pub async fn copy_channel(
    source: &dyn LogArchive,
    target: &dyn LogArchive,
    channel: &Channel,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<u64, CopyError> {
    let state = CopyState::read_state(source, target, channel).await?;
    let (mut after, epoch) = (state.start_offset()?, state.source.head.epoch.clone());
    let mut target_started = state.target.head.offset > Offset::START;
    let mut copied = 0;
    while !stop.is_cancelled() && (after < state.source.head.offset || !target_started) {
        let slice = source.export(channel, after, PAGE_LIMITS).await.map_err(CopyError::ReadSource)?;
        if slice.head.epoch != epoch {
            return Err(CopyError::EpochChanged);
        }
        // Retention may have trimmed entries since the bounds were read.
        let from = slice.entries.first().map_or(slice.head.offset, |entry| Offset(entry.offset.0 - 1));
        if target_started && from != after {
            return Err(CopyError::SourceTrimmed { target: after, first: slice.first });
        }
        let count = slice.entries.len() as u64;
        after = slice.entries.last().map_or(from, |entry| entry.offset);
        let segment =
            LogSegment { channel: channel.clone(), epoch: epoch.clone(), after: from, entries: slice.entries };
        target.import(&segment).await.map_err(CopyError::WriteTarget)?;
        target_started = true;
        copied += count;
        progress.add_messages(count);
    }
    Ok(copied)
}

#[cfg(test)]
mod tests;
