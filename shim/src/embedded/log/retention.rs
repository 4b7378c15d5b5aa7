//! Dropping what is too old or too much, in small steps.
//!
//! Oldest first, each entry with its mark in the table of deduplication; offsets never move. It happens inside the
//! writer's transactions: a little with every batch, and a sweep once a second for channels that nobody writes to.

use std::ops::Bound;
use std::time::Duration;

use handlers::channel::Channel;
use handlers::ports::Timestamp;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::batch::Tables;
use super::fault::Fault;
use super::record;
use super::tables::{CHANNELS, ChannelRow, ENTRIES, Row, Span};
use crate::config::StorageConfig;

/// How many channels one sweep looks at.
const CHANNELS_PER_SWEEP: usize = 512;
/// How many entries one sweep drops: a transaction of a few milliseconds, so that appends do not wait for it.
const DROPS_PER_SWEEP: usize = 1_024;

/// What may be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    entries: u64,
    age: Duration,
}

impl Limits {
    pub(super) const fn of(config: &StorageConfig) -> Self {
        Self { entries: config.retention_entries, age: config.retention_age }
    }

    /// Whether the oldest entry of a channel has to go.
    fn exceeded(&self, span: Span, oldest: Timestamp, now: Timestamp) -> bool {
        span.kept() > self.entries || oldest.plus(self.age) <= now
    }
}

/// Drops at most `budget` entries of one channel and answers how many. The caller writes the row.
pub(super) fn expire(
    tables: &mut Tables<'_>,
    row: &mut Row,
    limits: &Limits,
    now: Timestamp,
    budget: usize,
) -> Result<usize, Fault> {
    for dropped in 0..budget {
        if row.span.kept() == 0 {
            return Ok(dropped);
        }
        let key = (row.number, row.span.first.0);
        let Some(bytes) = tables.entries.get(key)?.map(|bytes| bytes.value().to_vec()) else {
            return Err(Fault::corrupt("an entry is missing"));
        };
        let oldest = record::decode(&bytes)?;
        if !limits.exceeded(row.span, oldest.sent_at, now) {
            return Ok(dropped);
        }
        tables.seen.remove((row.number, oldest.role, oldest.user, oldest.id))?;
        tables.entries.remove(key)?;
        row.span.first = row.span.first.next();
    }
    Ok(budget)
}

/// Where the last sweep ended; the next one goes on behind it.
#[derive(Debug, Default)]
pub(super) struct Cursor(Option<String>);

/// The channels, of the next few behind the cursor, that hold something to drop. Reads only.
pub(super) fn overdue(
    transaction: &ReadTransaction,
    cursor: &mut Cursor,
    limits: &Limits,
    now: Timestamp,
) -> Result<Vec<String>, Fault> {
    let (channels, entries) = (transaction.open_table(CHANNELS)?, transaction.open_table(ENTRIES)?);
    let behind = cursor.0.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut found = Vec::new();
    let mut last = None;
    for channel in channels.range::<&str>((behind, Bound::Unbounded))?.take(CHANNELS_PER_SWEEP) {
        let (key, row) = channel?;
        let row = Row::from(row.value());
        last = Some(key.value().to_owned());
        if row.span.kept() > 0
            && let Some(oldest) = entries.get((row.number, row.span.first.0))?
            && limits.exceeded(row.span, record::decode(oldest.value())?.sent_at, now)
        {
            found.push(key.value().to_owned());
        }
    }
    // At the end of the table the next sweep begins anew.
    cursor.0 = last;
    Ok(found)
}

/// What a sweep dropped.
pub(super) struct Swept {
    pub changed: Vec<(Channel, Span)>,
    pub dropped: usize,
}

/// Drops from these channels, as far as one step goes.
pub(super) fn sweep(
    transaction: &WriteTransaction,
    keys: &[String],
    limits: &Limits,
    now: Timestamp,
) -> Result<Swept, Fault> {
    let mut tables = Tables::open(transaction)?;
    let mut swept = Swept { changed: Vec::new(), dropped: 0 };
    for key in keys {
        let Some(mut row) = tables.channels.get(key.as_str())?.map(|row| Row::from(row.value())) else { continue };
        let dropped = expire(&mut tables, &mut row, limits, now, DROPS_PER_SWEEP - swept.dropped)?;
        if dropped > 0 {
            tables.channels.insert(key.as_str(), ChannelRow::from(row))?;
            let channel = Channel::from_key(key).map_err(|_| Fault::corrupt("a channel has no name"))?;
            swept.changed.push((channel, row.span));
            swept.dropped += dropped;
        }
    }
    Ok(swept)
}
