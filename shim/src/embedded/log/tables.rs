//! Tables of the log file. Every change of their layout requires a new number in [`FORMAT_NAME`].
//!
//! Channels have numbers, because a number is a much shorter key than tenant and name. The row of a channel remains
//! when its last entry is deleted, so that offsets continue.

use handlers::channel::Offset;
use redb::TableDefinition;

/// Value of [`FORMAT_KEY`] in [`META_TABLE`]; files with another value are rejected.
pub(super) const FORMAT_NAME: &str = "twinway messages 2";
/// Key of the format in [`META_TABLE`].
pub(super) const FORMAT_KEY: &str = "format";
/// Key of the file's epoch in [`META_TABLE`].
pub(super) const EPOCH_KEY: &str = "epoch";

/// Number of a channel in the file.
pub(super) type ChannelNumber = u64;
/// Number, head offset, and offset of the oldest retained entry (head + 1 if there is none).
pub(super) type ChannelRow = (ChannelNumber, u64, u64);
/// Channel, role of the sender, sender, message id.
pub(super) type DeduplicationKey<'a> = (ChannelNumber, u8, &'a str, &'a str);

/// Format and epoch of the file.
pub(super) const META_TABLE: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
/// `{tenant}/{channel}` → row.
pub(super) const CHANNELS_TABLE: TableDefinition<'_, &str, ChannelRow> = TableDefinition::new("channels");
/// Channel and offset → record.
pub(super) const ENTRIES_TABLE: TableDefinition<'_, (ChannelNumber, u64), &[u8]> = TableDefinition::new("entries");
/// Message → offset and time of its first append.
pub(super) const DEDUPLICATION_TABLE: TableDefinition<'_, DeduplicationKey<'static>, (u64, i64)> =
    TableDefinition::new("deduplication");

/// Channel → epoch it was imported with. The table exists only in files with imports.
pub(super) const EPOCHS_TABLE: TableDefinition<'_, &str, &str> = TableDefinition::new("epochs");

/// Decoded [`ChannelRow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredChannel {
    pub number: ChannelNumber,
    pub retained: RetainedRange,
}

/// Range of retained offsets of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RetainedRange {
    /// Newest offset; 0 if the channel never had an entry.
    pub head: Offset,
    /// Oldest retained offset; `head` + 1 if no entry is retained.
    pub first: Offset,
}

impl RetainedRange {
    /// Range of a channel without any append.
    pub(super) const EMPTY: Self = Self { head: Offset::START, first: Offset(1) };

    /// Returns the number of retained entries.
    pub(super) const fn entry_count(self) -> u64 {
        (self.head.0 + 1).saturating_sub(self.first.0)
    }
}

impl From<ChannelRow> for StoredChannel {
    fn from((number, head, first): ChannelRow) -> Self {
        Self { number, retained: RetainedRange { head: Offset(head), first: Offset(first) } }
    }
}

impl From<StoredChannel> for ChannelRow {
    fn from(row: StoredChannel) -> Self {
        (row.number, row.retained.head.0, row.retained.first.0)
    }
}
