//! Reads of a range of one channel's log from a snapshot.
//!
//! The channel's row and its entries come from the same snapshot, so they are consistent despite concurrent writes.

use handlers::channel::{Channel, Offset};
use handlers::ports::{LogEntry, LogRange};
use redb::ReadTransaction;

use super::error::FileLogError;
use super::record;
use super::tables::{CHANNELS_TABLE, ENTRIES_TABLE, RetainedRange, StoredChannel};

/// Range of a channel's log to read.
pub(super) struct PageRequest {
    pub channel: Channel,
    pub range: LogRange,
    pub limit: usize,
    pub max_bytes: usize,
}

/// Result of a [`PageRequest`].
pub(super) struct LogPage {
    pub retained: RetainedRange,
    pub entries: Vec<LogEntry>,
}

impl PageRequest {
    pub(super) fn read_page(&self, transaction: &ReadTransaction) -> Result<LogPage, FileLogError> {
        let Some(row) = find_channel(transaction, &self.channel)? else {
            return Ok(LogPage { retained: RetainedRange::EMPTY, entries: Vec::new() });
        };
        let table = transaction.open_table(ENTRIES_TABLE)?;
        let (lowest, highest) = self.offset_bounds(row.retained);
        let mut page = PageBuilder { entries: Vec::new(), bytes: 0, request: self };
        if lowest <= highest {
            let mut range = table.range((row.number, lowest.0)..=(row.number, highest.0))?;
            let mut next = || match self.range {
                LogRange::After(_) => range.next(),
                LogRange::Before(_) => range.next_back(),
            };
            while let Some(found) = next() {
                let (key, bytes) = found?;
                if !page.add_entry(Offset(key.value().1), bytes.value())? {
                    break;
                }
            }
        }
        let mut entries = page.entries;
        if matches!(self.range, LogRange::Before(_)) {
            entries.reverse();
        }
        Ok(LogPage { retained: row.retained, entries })
    }

    /// Returns the lowest and highest offset that may be on the page.
    fn offset_bounds(&self, retained: RetainedRange) -> (Offset, Offset) {
        let RetainedRange { first, head } = retained;
        match self.range {
            LogRange::After(offset) => (first.max(Offset(offset.0.saturating_add(1))), head),
            LogRange::Before(None) => (first, head),
            LogRange::Before(Some(offset)) => (first, head.min(Offset(offset.0.saturating_sub(1)))),
        }
    }
}

struct PageBuilder<'p> {
    entries: Vec<LogEntry>,
    bytes: usize,
    request: &'p PageRequest,
}

impl PageBuilder<'_> {
    /// Adds an entry. Returns `false` if the page is full without it.
    fn add_entry(&mut self, offset: Offset, bytes: &[u8]) -> Result<bool, FileLogError> {
        let record = record::decode_record(bytes)?;
        self.bytes += record.body.len();
        let first = self.entries.is_empty();
        if !first && (self.entries.len() >= self.request.limit || self.bytes > self.request.max_bytes) {
            return Ok(false);
        }
        self.entries.push(record.into_entry(offset)?);
        Ok(true)
    }
}

/// Returns the retained ranges of several channels, in their order.
pub(super) fn retained_ranges(
    transaction: &ReadTransaction,
    channels: &[Channel],
) -> Result<Vec<RetainedRange>, FileLogError> {
    channels
        .iter()
        .map(|channel| Ok(find_channel(transaction, channel)?.map_or(RetainedRange::EMPTY, |row| row.retained)))
        .collect()
}

fn find_channel(transaction: &ReadTransaction, channel: &Channel) -> Result<Option<StoredChannel>, FileLogError> {
    let channels = transaction.open_table(CHANNELS_TABLE)?;
    Ok(channels.get(channel.to_string().as_str())?.map(|row| row.value().into()))
}
