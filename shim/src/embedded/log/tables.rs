//! The file's tables. This is format 1; another layout needs another number.
//!
//! Channels are numbered, because a number is a far shorter key than a tenant and a name. A channel's row stays when its
//! last entry goes: offsets never move.

use handlers::channel::Offset;
use redb::TableDefinition;

/// What stands in [`META`] under [`FORMAT`].
pub(super) const FORMAT_NAME: &str = "twinway messages 1";
/// The key of the format's name.
pub(super) const FORMAT: &str = "format";
/// The key of the epoch.
pub(super) const EPOCH: &str = "epoch";

/// A channel's number.
pub(super) type ChannelNumber = u64;
/// `{tenant}/{channel}` → number, offset of the last entry, offset of the oldest entry that is kept (one past the last
/// when none is).
pub(super) type ChannelRow = (ChannelNumber, u64, u64);
/// Channel, sender's role, sender, sender's id.
pub(super) type SeenKey<'a> = (ChannelNumber, u8, &'a str, &'a str);

/// What the file is.
pub(super) const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
/// The channels.
pub(super) const CHANNELS: TableDefinition<'_, &str, ChannelRow> = TableDefinition::new("channels");
/// Channel and offset → record.
pub(super) const ENTRIES: TableDefinition<'_, (ChannelNumber, u64), &[u8]> = TableDefinition::new("entries");
/// Which messages are there → offset and time of the first append.
pub(super) const SEEN: TableDefinition<'_, SeenKey<'static>, (u64, i64)> = TableDefinition::new("seen");

/// Channels that were imported with an epoch of their own; there only when something was imported.
pub(super) const EPOCHS: TableDefinition<'_, &str, &str> = TableDefinition::new("epochs");

/// A channel in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// Its number.
    pub number: ChannelNumber,
    /// What it holds.
    pub span: Span,
}

/// Which offsets a channel holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The last entry, 0 when there never was one.
    pub head: Offset,
    /// The oldest entry that is kept, one past `head` when none is.
    pub first: Offset,
}

impl Span {
    /// A channel that nobody wrote to.
    pub(super) const EMPTY: Self = Self { head: Offset::START, first: Offset(1) };

    /// How many entries are kept.
    pub(super) const fn kept(self) -> u64 {
        (self.head.0 + 1).saturating_sub(self.first.0)
    }
}

impl From<ChannelRow> for Row {
    fn from((number, head, first): ChannelRow) -> Self {
        Self { number, span: Span { head: Offset(head), first: Offset(first) } }
    }
}

impl From<Row> for ChannelRow {
    fn from(row: Row) -> Self {
        (row.number, row.span.head.0, row.span.first.0)
    }
}
