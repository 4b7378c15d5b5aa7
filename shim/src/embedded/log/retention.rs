//! Deletion of entries that exceed the retention limits, in small steps.
//!
//! The oldest entries are deleted first, each with its row in the deduplication table; offsets never change. Deletion
//! runs in the writer's transactions: a few entries with every batch, and once per second a sweep for channels without
//! writes.

use std::ops::Bound;
use std::time::Duration;

use handlers::channel::Channel;
use handlers::ports::Timestamp;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::batch::LogTables;
use super::error::FileLogError;
use super::record;
use super::tables::{CHANNELS_TABLE, ChannelRow, ENTRIES_TABLE, RetainedRange, StoredChannel};
use crate::config::StorageConfig;

/// Maximum number of channels that one sweep checks.
const MAX_CHANNELS_PER_SWEEP: usize = 512;
/// Maximum number of entries that one sweep deletes: a transaction of a few milliseconds, which delays appends only
/// briefly.
const MAX_EXPIRED_PER_SWEEP: usize = 1_024;

/// Retention limits of a channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetentionLimits {
    max_entries: u64,
    max_age: Duration,
}

impl RetentionLimits {
    pub(super) const fn from_config(config: &StorageConfig) -> Self {
        Self { max_entries: config.retention_entries, max_age: config.retention_age }
    }

    /// Returns whether the oldest entry of a channel must be deleted.
    fn is_exceeded(&self, retained: RetainedRange, oldest: Timestamp, now: Timestamp) -> bool {
        retained.entry_count() > self.max_entries || oldest.plus(self.max_age) <= now
    }
}

/// Deletes at most `budget` entries of one channel and returns their number. The caller writes the row.
pub(super) fn expire_entries(
    tables: &mut LogTables<'_>,
    row: &mut StoredChannel,
    limits: &RetentionLimits,
    now: Timestamp,
    budget: usize,
) -> Result<usize, FileLogError> {
    for deleted in 0..budget {
        if row.retained.entry_count() == 0 {
            return Ok(deleted);
        }
        let key = (row.number, row.retained.first.0);
        let Some(bytes) = tables.entries.get(key)?.map(|bytes| bytes.value().to_vec()) else {
            return Err(FileLogError::corrupt("an entry is missing"));
        };
        let oldest = record::decode_record(&bytes)?;
        if !limits.is_exceeded(row.retained, oldest.sent_at, now) {
            return Ok(deleted);
        }
        tables.deduplication.remove((row.number, oldest.role, oldest.user, oldest.id))?;
        tables.entries.remove(key)?;
        row.retained.first = row.retained.first.next();
    }
    Ok(budget)
}

/// Key of the last channel that was checked; the next sweep starts after it.
#[derive(Debug, Default)]
pub(super) struct SweepCursor(Option<String>);

/// Returns those of the next [`MAX_CHANNELS_PER_SWEEP`] channels that have entries to delete, and advances the cursor.
pub(super) fn find_overdue(
    transaction: &ReadTransaction,
    cursor: &mut SweepCursor,
    limits: &RetentionLimits,
    now: Timestamp,
) -> Result<Vec<String>, FileLogError> {
    let (channels, entries) = (transaction.open_table(CHANNELS_TABLE)?, transaction.open_table(ENTRIES_TABLE)?);
    let start = cursor.0.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut overdue = Vec::new();
    let mut last = None;
    for channel in channels.range::<&str>((start, Bound::Unbounded))?.take(MAX_CHANNELS_PER_SWEEP) {
        let (key, row) = channel?;
        let row = StoredChannel::from(row.value());
        last = Some(key.value().to_owned());
        if row.retained.entry_count() > 0
            && let Some(oldest) = entries.get((row.number, row.retained.first.0))?
            && limits.is_exceeded(row.retained, record::decode_record(oldest.value())?.sent_at, now)
        {
            overdue.push(key.value().to_owned());
        }
    }
    // `None` at the end of the table: the next sweep starts at its beginning.
    cursor.0 = last;
    Ok(overdue)
}

/// Result of a sweep.
pub(super) struct SweepOutcome {
    pub changed: Vec<(Channel, RetainedRange)>,
    pub expired: usize,
}

/// Deletes at most [`MAX_EXPIRED_PER_SWEEP`] entries of these channels.
pub(super) fn sweep_channels(
    transaction: &WriteTransaction,
    keys: &[String],
    limits: &RetentionLimits,
    now: Timestamp,
) -> Result<SweepOutcome, FileLogError> {
    let mut tables = LogTables::open_tables(transaction)?;
    let mut swept = SweepOutcome { changed: Vec::new(), expired: 0 };
    for key in keys {
        let Some(mut row) = tables.channels.get(key.as_str())?.map(|row| StoredChannel::from(row.value())) else {
            continue;
        };
        let deleted = expire_entries(&mut tables, &mut row, limits, now, MAX_EXPIRED_PER_SWEEP - swept.expired)?;
        if deleted > 0 {
            tables.channels.insert(key.as_str(), ChannelRow::from(row))?;
            let channel = Channel::from_key(key).map_err(|_| FileLogError::corrupt("invalid channel key"))?;
            swept.changed.push((channel, row.retained));
            swept.expired += deleted;
        }
    }
    Ok(swept)
}
