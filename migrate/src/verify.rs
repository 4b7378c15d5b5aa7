//! Comparing one channel in two stores: ends, counts, every message, and a checksum over all of them.
//!
//! Messages are read in both and compared one by one, so that the first difference is named; what is kept of them is a
//! SHA-256 of each side.

use std::collections::VecDeque;

use aws_lc_rs::digest::{Context, SHA256};
use handlers::archive::LogArchive;
use handlers::channel::{Channel, Epoch, Offset};
use handlers::ports::{LogEntry, LogError};

use crate::copy::PAGE_LIMITS;
use crate::keeping::TargetRetention;
use crate::progress::Progress;

/// What is equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedChannel {
    /// How many messages.
    pub messages: u64,
    /// SHA-256 over all of them, hexadecimal.
    pub checksum: String,
}

/// What is not.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The ends.
    #[error("the source ends at offset {origin}, the target at {target}")]
    HeadMismatch {
        /// The source's last offset.
        origin: Offset,
        /// The target's.
        target: Offset,
    },
    /// The epochs: clients would be told a gap.
    #[error("the epochs are different: clients would be told that there is a gap")]
    EpochMismatch,
    /// The target lacks messages at the beginning.
    #[error("the target lacks the messages before offset {first}")]
    MissingStart {
        /// The oldest offset that the target has.
        first: Offset,
    },
    /// Messages.
    #[error(
        "{what} at offset {at}; the source has {origin_count} messages with the checksum {origin_sum}, the target \
         {target_count} with {target_sum}"
    )]
    MessageMismatch {
        /// What is different.
        what: &'static str,
        /// The first offset where it is.
        at: Offset,
        /// How many the source has.
        origin_count: u64,
        /// Their checksum.
        origin_sum: String,
        /// How many the target has.
        target_count: u64,
        /// Their checksum.
        target_sum: String,
    },
    /// One of them could not be read.
    #[error("reading the {side} failed")]
    ReadFailed {
        /// Which.
        side: &'static str,
        /// Why.
        #[source]
        source: LogError,
    },
}

/// Compares a channel.
///
/// # Errors
/// The first [`VerifyError`].
pub async fn verify_channel(
    source: &dyn LogArchive,
    target: &dyn LogArchive,
    channel: &Channel,
    keeping: TargetRetention,
    progress: &Progress,
) -> Result<VerifiedChannel, VerifyError> {
    let (mut origin, mut copy) =
        (ChannelReader::new(source, channel, "source"), ChannelReader::new(target, channel, "target"));
    let (from, to) = (origin.read_bounds().await?, copy.read_bounds().await?);
    if from.epoch != to.epoch {
        return Err(VerifyError::EpochMismatch);
    }
    if from.head != to.head {
        return Err(VerifyError::HeadMismatch { origin: from.head, target: to.head });
    }
    // What the target does not keep, it need not have. What the source dropped meanwhile, the target may still have.
    while origin.after.next() < to.first {
        let Some(entry) = origin.next_entry().await? else { break };
        if keeping.retains_sent_at(entry.sent_at) {
            return Err(VerifyError::MissingStart { first: to.first });
        }
        progress.add_messages(1);
    }
    copy.after = origin.after.max(Offset(from.first.0.saturating_sub(1)));
    compare_messages(&mut origin, &mut copy, progress).await
}

async fn compare_messages(
    origin: &mut ChannelReader<'_>,
    copy: &mut ChannelReader<'_>,
    progress: &Progress,
) -> Result<VerifiedChannel, VerifyError> {
    (origin.checksum, copy.checksum) = (MessageChecksum::new(), MessageChecksum::new());
    let mut first = None;
    loop {
        let (left, right) = (origin.next_entry().await?, copy.next_entry().await?);
        let what = match (&left, &right) {
            (None, None) => break,
            (Some(left), Some(right)) => describe_difference(left, right),
            (Some(_), None) => Some("the target lacks the message"),
            (None, Some(_)) => Some("the target has a message that the source has not"),
        };
        let at = left.as_ref().or(right.as_ref()).map_or(Offset::START, |entry| entry.offset);
        first = first.or(what.map(|what| (what, at)));
        left.iter().for_each(|entry| origin.checksum.add_entry(entry));
        right.iter().for_each(|entry| copy.checksum.add_entry(entry));
        progress.add_messages(u64::from(left.is_some()));
    }
    let (origin_count, origin_sum) = std::mem::replace(&mut origin.checksum, MessageChecksum::new()).finish();
    let (target_count, target_sum) = std::mem::replace(&mut copy.checksum, MessageChecksum::new()).finish();
    match first {
        Some((what, at)) => {
            Err(VerifyError::MessageMismatch { what, at, origin_count, origin_sum, target_count, target_sum })
        }
        None => Ok(VerifiedChannel { messages: origin_count, checksum: origin_sum }),
    }
}

fn describe_difference(left: &LogEntry, right: &LogEntry) -> Option<&'static str> {
    match () {
        () if left.offset != right.offset => Some("the offsets differ"),
        () if left.sent_at != right.sent_at => Some("the times differ"),
        () if left.sender != right.sender => Some("the authors differ"),
        () if left.id != right.id => Some("the ids differ"),
        () if left.body.get() != right.body.get() => Some("the bodies differ"),
        () => None,
    }
}

/// One store's messages, one after the other.
struct ChannelReader<'a> {
    archive: &'a dyn LogArchive,
    channel: &'a Channel,
    side: &'static str,
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
    fn new(archive: &'a dyn LogArchive, channel: &'a Channel, name: &'static str) -> Self {
        Self {
            archive,
            channel,
            side: name,
            after: Offset::START,
            page: VecDeque::new(),
            checksum: MessageChecksum::new(),
        }
    }

    async fn read_bounds(&mut self) -> Result<LogBounds, VerifyError> {
        let unreadable = |source| VerifyError::ReadFailed { side: self.side, source };
        let slice = self.archive.log_bounds(self.channel).await.map_err(unreadable)?;
        self.after = Offset(slice.first.0.saturating_sub(1));
        Ok(LogBounds { epoch: slice.head.epoch, head: slice.head.offset, first: slice.first })
    }

    async fn next_entry(&mut self) -> Result<Option<LogEntry>, VerifyError> {
        if self.page.is_empty() {
            let unreadable = |source| VerifyError::ReadFailed { side: self.side, source };
            let page = self.archive.export(self.channel, self.after, PAGE_LIMITS).await.map_err(unreadable)?;
            self.page = page.entries.into();
        }
        let entry = self.page.pop_front();
        self.after = entry.as_ref().map_or(self.after, |entry| entry.offset);
        Ok(entry)
    }
}

/// A running checksum.
struct MessageChecksum {
    count: u64,
    digest: Context,
}

impl MessageChecksum {
    fn new() -> Self {
        Self { count: 0, digest: Context::new(&SHA256) }
    }

    /// Numbers at full width and texts behind their lengths, so that no two lists of messages look alike.
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
