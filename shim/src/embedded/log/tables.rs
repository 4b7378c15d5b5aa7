//! The file's tables. This is format 1; another layout needs another number.
//!
//! Channels are numbered, because a number is a far shorter key than a tenant and a name. A channel's row stays when its
//! last entry goes: offsets never move.

use handlers::channel::Offset;
use redb::TableDefinition;

/// What stands in [`META_TABLE`] under [`FORMAT_KEY`].
pub(super) const FORMAT_NAME: &str = "twinway messages 1";
/// The key of the format's name.
pub(super) const FORMAT_KEY: &str = "format";
/// The key of the epoch.
pub(super) const EPOCH_KEY: &str = "epoch";

/// A channel's number.
pub(super) type ChannelNumber = u64;
/// `{tenant}/{channel}` → number, offset of the last entry, offset of the oldest entry that is kept (one past the last
/// when none is).
pub(super) type ChannelRow = (ChannelNumber, u64, u64);
/// Channel, sender's role, sender, sender's id.
pub(super) type DeduplicationKey<'a> = (ChannelNumber, u8, &'a str, &'a str);

/// What the file is.
pub(super) const META_TABLE: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
/// The channels.
pub(super) const CHANNELS_TABLE: TableDefinition<'_, &str, ChannelRow> = TableDefinition::new("channels");
/// Channel and offset → record.
pub(super) const ENTRIES_TABLE: TableDefinition<'_, (ChannelNumber, u64), &[u8]> = TableDefinition::new("entries");
/// Which messages are there → offset and time of the first append.
pub(super) const DEDUPLICATION_TABLE: TableDefinition<'_, DeduplicationKey<'static>, (u64, i64)> =
    TableDefinition::new("deduplication");

/// Channels that were imported with an epoch of their own; there only when something was imported.
pub(super) const EPOCHS_TABLE: TableDefinition<'_, &str, &str> = TableDefinition::new("epochs");

/// A channel in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredChannel {
    /// Its number.
    pub number: ChannelNumber,
    /// What it holds.
    pub retained: RetainedRange,
}

/// Which offsets a channel holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RetainedRange {
    /// The last entry, 0 when there never was one.
    pub head: Offset,
    /// The oldest entry that is kept, one past `head` when none is.
    pub first: Offset,
}

impl RetainedRange {
    /// A channel that nobody wrote to.
    pub(super) const EMPTY: Self = Self { head: Offset::START, first: Offset(1) };

    /// How many entries are kept.
    pub(super) const fn retained_count(self) -> u64 {
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
