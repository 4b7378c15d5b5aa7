//! Export and import of message logs, for migration between stores: lists channels, and writes messages at their
//! existing offsets.
//!
//! This is not a port: no handler imports it, and an adapter may implement it offline, slower, and with more
//! permissions. An imported log is indistinguishable from its source through [`MessageLog`](crate::ports::MessageLog):
//! it has the same offsets, times, senders, ids, bodies and epoch, so clients resume in it as in the source.

use std::sync::Arc;

use async_trait::async_trait;

use crate::channel::{Channel, Epoch, Offset};
use crate::ports::{LogEntry, LogError, LogSlice};

/// A contiguous part of a channel's log, to be imported into another store.
#[derive(Debug, Clone)]
pub struct LogSegment {
    pub channel: Channel,
    /// Epoch of the channel's log.
    pub epoch: Epoch,
    /// Offset that precedes `entries`: entries up to this offset are not, or no longer, part of the log.
    pub after: Offset,
    /// Entries with ascending, dense offsets. If empty, the head of the log is `after`.
    pub entries: Vec<LogEntry>,
}

/// Upper bounds of one export. At least one entry is returned, whatever its size.
#[derive(Debug, Clone, Copy)]
pub struct ExportLimits {
    /// Maximum number of entries, 1 or more.
    pub max_entries: usize,
    /// Maximum bytes of message bodies.
    pub max_bytes: usize,
}

/// An error of [`LogArchive::import`].
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The channel has messages of another epoch in the target store.
    #[error("the channel's target log has another epoch")]
    EpochMismatch,
    /// The segment starts after the head of the channel's log, so offsets would be missing.
    #[error("the segment starts after the head of the channel's target log: the messages in between are missing")]
    MissingRange,
    /// The target store failed.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A store of message logs that supports export and import.
///
/// ```
/// # use handlers::archive::{ExportLimits, LogArchive, LogSegment};
/// # use handlers::channel::{ChannelName, Epoch, Offset};
/// # use handlers::id::{MessageId, TenantId, UserId};
/// # use handlers::identity::Role;
/// # use handlers::memory::{ChannelRetention, MemoryLog};
/// # use handlers::ports::{AppendRequest, MessageLog, MessageSender, Timestamp};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let new_log = |epoch: &str| {
/// #     MemoryLog::new(Epoch(epoch.into()), ChannelRetention { max_entries: 1_000, max_bytes: 1 << 20 })
/// # };
/// # let lobby = ChannelName::parse("room:lobby")?.in_tenant(TenantId::default_tenant());
/// # let hello = AppendRequest {
/// #     channel: lobby.clone(),
/// #     sender: MessageSender { user: UserId::parse("alice")?, role: Role::User },
/// #     id: MessageId::parse("m1")?,
/// #     sent_at: Timestamp(1_800_000_000_000),
/// #     body: serde_json::value::to_raw_value("hello")?.into(),
/// # };
/// let (source, target) = (new_log("e1"), new_log("e2"));
/// source.append(hello).await?;
///
/// let limits = ExportLimits { max_entries: 100, max_bytes: 64 * 1024 };
/// for channel in source.logged_channels().await? {
///     let slice = source.export(&channel, Offset::START, limits).await?;
///     let (epoch, after, entries) = (slice.head.epoch, Offset::START, slice.entries);
///     target.import(&LogSegment { channel, epoch, after, entries }).await?;
/// }
/// assert_eq!(target.log_bounds(&lobby).await?.head, source.log_bounds(&lobby).await?.head);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait LogArchive: Send + Sync {
    /// Returns every channel that has or had messages, ordered by key. The list is held in memory, about 100 bytes per
    /// channel.
    async fn logged_channels(&self) -> Result<Vec<Channel>, LogError>;

    /// Reads entries in ascending order after the offset `after`, as
    /// [`MessageLog::read`](crate::ports::MessageLog::read) does.
    async fn export(&self, channel: &Channel, after: Offset, limits: ExportLimits) -> Result<LogSlice, LogError>;

    /// Writes a segment and returns once it is durable. A channel without messages starts with the segment: it takes
    /// over its epoch, and its first offset is the one after [`after`](LogSegment::after). In any other channel,
    /// entries up to the head are skipped as already written, and the rest must follow the head directly. Importing the
    /// same segment again changes nothing. Imported message ids take part in deduplication.
    async fn import(&self, segment: &LogSegment) -> Result<(), ImportError>;

    /// Returns the head and the first offset of a channel, without entries.
    async fn log_bounds(&self, channel: &Channel) -> Result<LogSlice, LogError> {
        self.export(channel, Offset(i64::MAX as u64), ExportLimits { max_entries: 1, max_bytes: 1 }).await
    }
}

#[async_trait]
impl<T: LogArchive + ?Sized> LogArchive for Arc<T> {
    async fn logged_channels(&self) -> Result<Vec<Channel>, LogError> {
        (**self).logged_channels().await
    }

    async fn export(&self, channel: &Channel, after: Offset, limits: ExportLimits) -> Result<LogSlice, LogError> {
        (**self).export(channel, after, limits).await
    }

    async fn import(&self, segment: &LogSegment) -> Result<(), ImportError> {
        (**self).import(segment).await
    }
}

impl LogSegment {
    /// Returns the entries that a log with this `epoch` and `head` does not have yet. A log with head 0 starts with
    /// this segment.
    ///
    /// # Errors
    /// [`ImportError::EpochMismatch`] if the log has another epoch, [`ImportError::MissingRange`] if an offset is
    /// missing between the log and the segment, or inside the segment.
    pub fn remaining_entries(&self, epoch: &Epoch, head: Offset) -> Result<&[LogEntry], ImportError> {
        let is_new = head == Offset::START;
        if !is_new && *epoch != self.epoch {
            return Err(ImportError::EpochMismatch);
        }
        let head = if is_new { self.after } else { head };
        let written = self.entries.iter().take_while(|entry| entry.offset <= head).count();
        let rest = &self.entries[written..];
        let follows = rest.first().map_or(self.after <= head, |entry| entry.offset == head.next());
        let dense = rest.windows(2).all(|pair| pair[1].offset == pair[0].offset.next());
        if follows && dense { Ok(rest) } else { Err(ImportError::MissingRange) }
    }
}
