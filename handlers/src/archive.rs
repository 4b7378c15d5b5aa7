//! What moving message logs from one store to another takes, beside the port: which channels there are, and writing messages
//! at offsets that they have already.
//!
//! It is no port: nothing that serves a client imports it, and adapters implement it on their own terms (offline, slower,
//! with wider rights). Invariant: a log that was imported is indistinguishable by [`MessageLog`](crate::ports::MessageLog)
//! from the one that it came from: same offsets, times, authors, ids, bodies, and the same epoch, so that clients resume in
//! it as if nothing had happened.

use std::sync::Arc;

use async_trait::async_trait;

use crate::channel::{Channel, Epoch, Offset};
use crate::ports::{LogEntry, LogError, LogSlice};

/// A part of a channel's log, on its way into another store.
#[derive(Debug, Clone)]
pub struct LogSegment {
    /// The channel.
    pub channel: Channel,
    /// Its log's epoch.
    pub epoch: Epoch,
    /// The offset behind which `entries` stand: what came before is not, or no longer, part of the log.
    pub after: Offset,
    /// The entries, ascending and without holes. Without any, the log ends at `from`.
    pub entries: Vec<LogEntry>,
}

/// The most that one export returns; at least one entry, however long.
#[derive(Debug, Clone, Copy)]
pub struct ExportLimits {
    /// So many entries, 1 or more.
    pub max_entries: usize,
    /// So many bytes of bodies.
    pub max_bytes: usize,
}

/// Why a stretch was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The channel has messages of another epoch: those of somebody else, or of another time.
    #[error("the channel has messages of another epoch there")]
    EpochMismatch,
    /// The stretch begins behind the place where the log ends: there would be a hole.
    #[error("the log there ends before this part begins")]
    MissingRange,
    /// The store did not do it.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A store of message logs, as whoever moves them sees it.
#[async_trait]
pub trait LogArchive: Send + Sync {
    /// Every channel that has, or had, messages, in the order of their keys. All are held in memory, some hundred bytes each.
    async fn logged_channels(&self) -> Result<Vec<Channel>, LogError>;

    /// A stretch upwards from behind `after`, as [`MessageLog::read`](crate::ports::MessageLog::read) has it.
    async fn export(&self, channel: &Channel, after: Offset, most: ExportLimits) -> Result<LogSlice, LogError>;

    /// Writes a stretch. A channel without messages begins with it, in its epoch, behind its `from`; in any other, entries up to
    /// the log's end are taken as written, and the rest has to follow it. Returns once it is durable. The same again changes
    /// nothing; ids that are imported are remembered as those of appends are.
    async fn import(&self, stretch: &LogSegment) -> Result<(), ImportError>;

    /// The ends of a channel's log, without entries.
    async fn log_bounds(&self, channel: &Channel) -> Result<LogSlice, LogError> {
        self.export(channel, Offset(i64::MAX as u64), ExportLimits { max_entries: 1, max_bytes: 1 }).await
    }
}

#[async_trait]
impl<T: LogArchive + ?Sized> LogArchive for Arc<T> {
    async fn logged_channels(&self) -> Result<Vec<Channel>, LogError> {
        (**self).logged_channels().await
    }

    async fn export(&self, channel: &Channel, after: Offset, most: ExportLimits) -> Result<LogSlice, LogError> {
        (**self).export(channel, after, most).await
    }

    async fn import(&self, stretch: &LogSegment) -> Result<(), ImportError> {
        (**self).import(stretch).await
    }
}

impl LogSegment {
    /// The entries that are still to be written into a log that ends at `head` in `epoch`: what every adapter decides before
    /// it writes. A log that ends at 0 begins with this stretch.
    ///
    /// # Errors
    /// [`ImportError::EpochMismatch`] and [`ImportError::MissingRange`].
    pub fn remaining_entries(&self, epoch: &Epoch, head: Offset) -> Result<&[LogEntry], ImportError> {
        let begins = head == Offset::START;
        if !begins && *epoch != self.epoch {
            return Err(ImportError::EpochMismatch);
        }
        let head = if begins { self.after } else { head };
        let known = self.entries.iter().take_while(|entry| entry.offset <= head).count();
        let rest = &self.entries[known..];
        let follows = rest.first().map_or(self.after <= head, |entry| entry.offset == head.next());
        let dense = rest.windows(2).all(|pair| pair[1].offset == pair[0].offset.next());
        if follows && dense { Ok(rest) } else { Err(ImportError::MissingRange) }
    }
}
