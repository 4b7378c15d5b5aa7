//! Batch of appends that one transaction commits.
//!
//! The row of a channel is read once and written once per batch. The results are valid only after the commit; the
//! writer publishes them then.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use handlers::channel::{Channel, Offset, Position};
use handlers::ports::{AppendOutcome, Timestamp};
use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use super::epochs::ChannelEpochs;
use super::error::FileLogError;
use super::retention::{self, RetentionLimits};
use super::tables::{
    CHANNELS_TABLE, ChannelNumber, ChannelRow, DEDUPLICATION_TABLE, DeduplicationKey, ENTRIES_TABLE, RetainedRange,
    StoredChannel,
};
use super::writer::QueuedMessage;

/// Maximum number of old entries that a batch deletes per message it writes: more than one, so that a channel shrinks
/// to a lowered limit.
const MAX_EXPIRED_PER_MESSAGE: usize = 2;

/// Result of a batch.
pub(super) struct AppliedBatch {
    /// One outcome per message, in their order.
    pub appended: Vec<AppendOutcome>,
    /// Changed channels with their new ranges.
    pub changed: Vec<(Channel, RetainedRange)>,
    /// Number of entries deleted by retention.
    pub expired: usize,
}

/// Tables of the log within one transaction.
pub(super) struct LogTables<'t> {
    pub channels: Table<'t, &'static str, ChannelRow>,
    pub entries: Table<'t, (ChannelNumber, u64), &'static [u8]>,
    pub deduplication: Table<'t, DeduplicationKey<'static>, (u64, i64)>,
}

impl<'t> LogTables<'t> {
    pub(super) fn open_tables(transaction: &'t WriteTransaction) -> Result<Self, FileLogError> {
        Ok(Self {
            channels: transaction.open_table(CHANNELS_TABLE)?,
            entries: transaction.open_table(ENTRIES_TABLE)?,
            deduplication: transaction.open_table(DEDUPLICATION_TABLE)?,
        })
    }
}

struct AppendBatch<'t> {
    tables: LogTables<'t>,
    channels: HashMap<Channel, StoredChannel>,
    written: HashMap<Channel, StoredChannel>,
    next_number: ChannelNumber,
}

/// Applies the messages in order. If all of them are duplicates, the transaction changes nothing.
pub(super) fn apply_batch<'m>(
    transaction: &WriteTransaction,
    messages: impl Iterator<Item = &'m QueuedMessage>,
    epochs: &ChannelEpochs,
    limits: &RetentionLimits,
    now: Timestamp,
) -> Result<AppliedBatch, FileLogError> {
    let tables = LogTables::open_tables(transaction)?;
    // Rows are never deleted, so their count is the next unused number.
    let next_number = tables.channels.len()?;
    let mut batch = AppendBatch { tables, channels: HashMap::new(), written: HashMap::new(), next_number };
    let appended = messages.map(|message| batch.append_message(message, epochs)).collect::<Result<Vec<_>, _>>()?;
    let written = appended.iter().filter(|outcome| !outcome.duplicate).count();
    let expired = batch.finish_batch(limits, now, written * MAX_EXPIRED_PER_MESSAGE)?;
    let changed = batch.written.into_iter().map(|(channel, row)| (channel, row.retained)).collect();
    Ok(AppliedBatch { appended, changed, expired })
}

impl AppendBatch<'_> {
    fn append_message(
        &mut self,
        message: &QueuedMessage,
        epochs: &ChannelEpochs,
    ) -> Result<AppendOutcome, FileLogError> {
        let mut row = self.load_channel(&message.channel)?;
        let key = (row.number, message.role, message.user.as_str(), message.id.as_str());
        let position = |offset| Position { epoch: epochs.epoch_of(&message.channel), offset };
        if let Some(first) = self.tables.deduplication.get(key)? {
            let (offset, sent_at) = first.value();
            return Ok(AppendOutcome {
                position: position(Offset(offset)),
                sent_at: Timestamp(sent_at),
                duplicate: true,
            });
        }
        row.retained.head = row.retained.head.next();
        let offset = row.retained.head;
        self.tables.entries.insert((row.number, offset.0), message.record.as_slice())?;
        self.tables.deduplication.insert(key, (offset.0, message.sent_at.0))?;
        self.channels.insert(message.channel.clone(), row);
        self.written.insert(message.channel.clone(), row);
        Ok(AppendOutcome { position: position(offset), sent_at: message.sent_at, duplicate: false })
    }

    fn load_channel(&mut self, channel: &Channel) -> Result<StoredChannel, FileLogError> {
        match self.channels.entry(channel.clone()) {
            Entry::Occupied(row) => Ok(*row.get()),
            Entry::Vacant(entry) => {
                let stored: Option<StoredChannel> =
                    self.tables.channels.get(channel.to_string().as_str())?.map(|row| row.value().into());
                let row = stored.unwrap_or(StoredChannel { number: self.next_number, retained: RetainedRange::EMPTY });
                self.next_number += ChannelNumber::from(stored.is_none());
                Ok(*entry.insert(row))
            }
        }
    }

    fn finish_batch(
        &mut self,
        limits: &RetentionLimits,
        now: Timestamp,
        mut budget: usize,
    ) -> Result<usize, FileLogError> {
        let before = budget;
        for (channel, row) in &mut self.written {
            budget -= retention::expire_entries(&mut self.tables, row, limits, now, budget)?;
            self.tables.channels.insert(channel.to_string().as_str(), ChannelRow::from(*row))?;
        }
        Ok(before - budget)
    }
}
