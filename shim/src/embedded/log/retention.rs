//! Dropping what is too old or too much, in small steps.
//!
//! Oldest first, each entry with its mark in the table of deduplication; offsets never move. It happens inside the
//! writer's transactions: a little with every batch, and a sweep once a second for channels that nobody writes to.

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

/// How many channels one sweep looks at.
const MAX_CHANNELS_PER_SWEEP: usize = 512;
/// How many entries one sweep drops: a transaction of a few milliseconds, so that appends do not wait for it.
const MAX_EXPIRED_PER_SWEEP: usize = 1_024;

/// What may be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetentionLimits {
    max_entries: u64,
    max_age: Duration,
}

impl RetentionLimits {
    pub(super) const fn from_config(config: &StorageConfig) -> Self {
        Self { max_entries: config.retention_entries, max_age: config.retention_age }
    }

    /// Whether the oldest entry of a channel has to go.
    fn is_exceeded(&self, span: RetainedRange, oldest: Timestamp, now: Timestamp) -> bool {
        span.retained_count() > self.max_entries || oldest.plus(self.max_age) <= now
    }
}

/// Drops at most `budget` entries of one channel and answers how many. The caller writes the row.
pub(super) fn expire_entries(
    tables: &mut LogTables<'_>,
    row: &mut StoredChannel,
    limits: &RetentionLimits,
    now: Timestamp,
    budget: usize,
) -> Result<usize, FileLogError> {
    for dropped in 0..budget {
        if row.retained.retained_count() == 0 {
            return Ok(dropped);
        }
        let key = (row.number, row.retained.first.0);
        let Some(bytes) = tables.entries.get(key)?.map(|bytes| bytes.value().to_vec()) else {
            return Err(FileLogError::corrupt("an entry is missing"));
        };
        let oldest = record::decode_record(&bytes)?;
        if !limits.is_exceeded(row.retained, oldest.sent_at, now) {
            return Ok(dropped);
        }
        tables.deduplication.remove((row.number, oldest.role, oldest.user, oldest.id))?;
        tables.entries.remove(key)?;
        row.retained.first = row.retained.first.next();
    }
    Ok(budget)
}

/// Where the last sweep ended; the next one goes on behind it.
#[derive(Debug, Default)]
pub(super) struct SweepCursor(Option<String>);

/// The channels, of the next few behind the cursor, that hold something to drop. Reads only.
pub(super) fn find_overdue(
    transaction: &ReadTransaction,
    cursor: &mut SweepCursor,
    limits: &RetentionLimits,
    now: Timestamp,
) -> Result<Vec<String>, FileLogError> {
    let (channels, entries) = (transaction.open_table(CHANNELS_TABLE)?, transaction.open_table(ENTRIES_TABLE)?);
    let behind = cursor.0.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut found = Vec::new();
    let mut last = None;
    for channel in channels.range::<&str>((behind, Bound::Unbounded))?.take(MAX_CHANNELS_PER_SWEEP) {
        let (key, row) = channel?;
        let row = StoredChannel::from(row.value());
        last = Some(key.value().to_owned());
        if row.retained.retained_count() > 0
            && let Some(oldest) = entries.get((row.number, row.retained.first.0))?
            && limits.is_exceeded(row.retained, record::decode_record(oldest.value())?.sent_at, now)
        {
            found.push(key.value().to_owned());
        }
    }
    // At the end of the table the next sweep begins anew.
    cursor.0 = last;
    Ok(found)
}

/// What a sweep dropped.
pub(super) struct SweepOutcome {
    pub changed: Vec<(Channel, RetainedRange)>,
    pub expired: usize,
}

/// Drops from these channels, as far as one step goes.
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
        let dropped = expire_entries(&mut tables, &mut row, limits, now, MAX_EXPIRED_PER_SWEEP - swept.expired)?;
        if dropped > 0 {
            tables.channels.insert(key.as_str(), ChannelRow::from(row))?;
            let channel = Channel::from_key(key).map_err(|_| FileLogError::corrupt("invalid channel key"))?;
            swept.changed.push((channel, row.retained));
            swept.expired += dropped;
        }
    }
    Ok(swept)
}
