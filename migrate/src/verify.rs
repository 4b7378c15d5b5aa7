//! Comparison of one channel in two stores: heads, counts, every message, and a checksum.
//!
//! The messages of both stores are read page by page and compared one by one, so the error names the first difference.
//! Only a SHA-256 digest of each side is kept in memory.

use std::collections::VecDeque;

use aws_lc_rs::digest::{Context, SHA256};
use handlers::archive::LogArchive;
use handlers::channel::{Channel, Epoch, Offset};
use handlers::ports::{LogEntry, LogError};

use crate::copy::PAGE_LIMITS;
use crate::progress::Progress;
use crate::retention::TargetRetention;

/// Result for an equal channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedChannel {
    /// Number of compared messages.
    pub messages: u64,
    /// SHA-256 of these messages, hexadecimal.
    pub checksum: String,
}

/// Difference between the two stores.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The heads differ.
    #[error("the source's head is {source_head}, the target's is {target_head}")]
    HeadMismatch {
        /// Head of the source.
        source_head: Offset,
        /// Head of the target.
        target_head: Offset,
    },
    /// The epochs differ, so clients would receive a `gap`.
    #[error("the epochs differ: clients would receive a gap")]
    EpochMismatch,
    /// The target lacks the oldest messages.
    #[error("the target lacks the messages before offset {first}")]
    MissingStart {
        /// Oldest offset of the target.
        first: Offset,
    },
    /// A message differs.
    #[error(
        "{difference} at offset {offset}; the source has {source_count} messages with the checksum {source_checksum}, the \
         target {target_count} with {target_checksum}"
    )]
    MessageMismatch {
        /// Description of the difference.
        difference: &'static str,
        /// First offset that differs.
        offset: Offset,
        /// Number of messages in the source.
        source_count: u64,
        /// Checksum of the source's messages.
        source_checksum: String,
        /// Number of messages in the target.
        target_count: u64,
        /// Checksum of the target's messages.
        target_checksum: String,
    },
    /// A store could not be read.
    #[error("reading the {store} failed")]
    ReadFailed {
        /// `"source"` or `"target"`.
        store: &'static str,
        /// Error of the store.
        #[source]
        source: LogError,
    },
}

/// Compares a channel in both stores.
///
/// # Errors
/// The first [`VerifyError`].
pub async fn verify_channel(
    source: &dyn LogArchive,
    target: &dyn LogArchive,
    channel: &Channel,
    retention: TargetRetention,
    progress: &Progress,
) -> Result<VerifiedChannel, VerifyError> {
    let mut source = ChannelReader::new(source, channel, "source");
    let mut target = ChannelReader::new(target, channel, "target");
    let (source_bounds, target_bounds) = (source.read_bounds().await?, target.read_bounds().await?);
    if source_bounds.epoch != target_bounds.epoch {
        return Err(VerifyError::EpochMismatch);
    }
    if source_bounds.head != target_bounds.head {
        return Err(VerifyError::HeadMismatch { source_head: source_bounds.head, target_head: target_bounds.head });
    }
    // Messages older than the target's retention may be missing there; messages that the source has trimmed since the
    // copy may still exist in the target.
    while source.after.next() < target_bounds.first {
        let Some(entry) = source.next_entry().await? else { break };
        if retention.retains_sent_at(entry.sent_at) {
            return Err(VerifyError::MissingStart { first: target_bounds.first });
        }
        progress.add_messages(1);
    }
    target.after = source.after.max(Offset(source_bounds.first.0.saturating_sub(1)));
    compare_messages(&mut source, &mut target, progress).await
}

async fn compare_messages(
    source: &mut ChannelReader<'_>,
    target: &mut ChannelReader<'_>,
    progress: &Progress,
) -> Result<VerifiedChannel, VerifyError> {
    (source.checksum, target.checksum) = (MessageChecksum::new(), MessageChecksum::new());
    let mut first = None;
    loop {
        let (left, right) = (source.next_entry().await?, target.next_entry().await?);
        let difference = match (&left, &right) {
            (None, None) => break,
            (Some(left), Some(right)) => describe_difference(left, right),
            (Some(_), None) => Some("the target lacks the message"),
            (None, Some(_)) => Some("the target has a message that the source lacks"),
        };
        let offset = left.as_ref().or(right.as_ref()).map_or(Offset::START, |entry| entry.offset);
        first = first.or(difference.map(|difference| (difference, offset)));
        left.iter().for_each(|entry| source.checksum.add_entry(entry));
        right.iter().for_each(|entry| target.checksum.add_entry(entry));
        progress.add_messages(u64::from(left.is_some()));
    }
    let (source_count, source_checksum) = std::mem::replace(&mut source.checksum, MessageChecksum::new()).finish();
    let (target_count, target_checksum) = std::mem::replace(&mut target.checksum, MessageChecksum::new()).finish();
    match first {
        Some((difference, offset)) => Err(VerifyError::MessageMismatch {
            difference,
            offset,
            source_count,
            source_checksum,
            target_count,
            target_checksum,
        }),
        None => Ok(VerifiedChannel { messages: source_count, checksum: source_checksum }),
    }
}

fn describe_difference(source: &LogEntry, target: &LogEntry) -> Option<&'static str> {
    match () {
        () if source.offset != target.offset => Some("the offsets differ"),
        () if source.sent_at != target.sent_at => Some("the timestamps differ"),
        () if source.sender != target.sender => Some("the senders differ"),
        () if source.id != target.id => Some("the ids differ"),
        () if source.body.get() != target.body.get() => Some("the bodies differ"),
        () => None,
    }
}

/// Reader of a channel's messages in one store, page by page.
struct ChannelReader<'a> {
    archive: &'a dyn LogArchive,
    channel: &'a Channel,
    store: &'static str,
    after: Offset,
    page: VecDeque<LogEntry>,
    checksum: MessageChecksum,
}

struct LogBounds {
    epoch: Epoch,
    head: Offset,
    first: Offset,
}

impl<'a> ChannelReader<'a> {
    fn new(archive: &'a dyn LogArchive, channel: &'a Channel, store: &'static str) -> Self {
        Self { archive, channel, store, after: Offset::START, page: VecDeque::new(), checksum: MessageChecksum::new() }
    }

    async fn read_bounds(&mut self) -> Result<LogBounds, VerifyError> {
        let read_failed = |source| VerifyError::ReadFailed { store: self.store, source };
        let slice = self.archive.log_bounds(self.channel).await.map_err(read_failed)?;
        self.after = Offset(slice.first.0.saturating_sub(1));
        Ok(LogBounds { epoch: slice.head.epoch, head: slice.head.offset, first: slice.first })
    }

    async fn next_entry(&mut self) -> Result<Option<LogEntry>, VerifyError> {
        if self.page.is_empty() {
            let read_failed = |source| VerifyError::ReadFailed { store: self.store, source };
            let page = self.archive.export(self.channel, self.after, PAGE_LIMITS).await.map_err(read_failed)?;
            self.page = page.entries.into();
        }
        let entry = self.page.pop_front();
        self.after = entry.as_ref().map_or(self.after, |entry| entry.offset);
        Ok(entry)
    }
}

/// Checksum and count of messages.
struct MessageChecksum {
    count: u64,
    digest: Context,
}

impl MessageChecksum {
    fn new() -> Self {
        Self { count: 0, digest: Context::new(&SHA256) }
    }

    /// Adds numbers at full width and texts prefixed with their lengths, so different lists of messages hash
    /// differently.
    fn add_entry(&mut self, entry: &LogEntry) {
        self.count += 1;
        self.digest.update(&entry.offset.0.to_le_bytes());
        self.digest.update(&entry.sent_at.0.to_le_bytes());
        let texts = [entry.sender.user.as_str(), entry.sender.role.as_str(), entry.id.as_str(), entry.body.get()];
        for text in texts {
            self.digest.update(&(text.len() as u64).to_le_bytes());
            self.digest.update(text.as_bytes());
        }
    }

    fn finish(self) -> (u64, String) {
        let digest = self.digest.finish();
        (self.count, digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
