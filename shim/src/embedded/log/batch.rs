//! One transaction's worth of appends.
//!
//! Rows of channels are read once per batch and written once, however many messages they get. Nothing here is true
//! before the transaction is committed; the writer publishes what comes out after that.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use handlers::channel::{Channel, Offset, Position};
use handlers::ports::{Appended, Timestamp};
use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use super::epochs::Epochs;
use super::fault::Fault;
use super::retention::{self, Limits};
use super::tables::{CHANNELS, ChannelNumber, ChannelRow, ENTRIES, Row, SEEN, SeenKey, Span};
use super::writer::Message;

/// How many old entries a batch drops per message that it writes: more than one, so that a lowered limit is reached.
const DROPS_PER_MESSAGE: usize = 2;

/// What a batch did.
pub(super) struct Applied {
    /// One answer per message, in their order.
    pub answers: Vec<Appended>,
    /// The channels that changed, as they are now.
    pub changed: Vec<(Channel, Span)>,
    /// How many old entries were dropped.
    pub dropped: usize,
}

/// The tables of a log within one transaction.
pub(super) struct Tables<'t> {
    pub channels: Table<'t, &'static str, ChannelRow>,
    pub entries: Table<'t, (ChannelNumber, u64), &'static [u8]>,
    pub seen: Table<'t, SeenKey<'static>, (u64, i64)>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, Fault> {
        Ok(Self {
            channels: transaction.open_table(CHANNELS)?,
            entries: transaction.open_table(ENTRIES)?,
            seen: transaction.open_table(SEEN)?,
        })
    }
}

struct Batch<'t> {
    tables: Tables<'t>,
    rows: HashMap<Channel, Row>,
    written: HashMap<Channel, Row>,
    unused: ChannelNumber,
}

/// Applies the messages in order. When all of them were there already, nothing changed.
pub(super) fn apply<'m>(
    transaction: &WriteTransaction,
    messages: impl Iterator<Item = &'m Message>,
    epochs: &Epochs,
    limits: &Limits,
    now: Timestamp,
) -> Result<Applied, Fault> {
    let tables = Tables::open(transaction)?;
    // Rows are never removed, so their count is the next one's number.
    let unused = tables.channels.len()?;
    let mut batch = Batch { tables, rows: HashMap::new(), written: HashMap::new(), unused };
    let answers = messages.map(|message| batch.append(message, epochs)).collect::<Result<Vec<_>, _>>()?;
    let written = answers.iter().filter(|answer| !answer.duplicate).count();
    let dropped = batch.finish(limits, now, written * DROPS_PER_MESSAGE)?;
    let changed = batch.written.into_iter().map(|(channel, row)| (channel, row.span)).collect();
    Ok(Applied { answers, changed, dropped })
}

impl Batch<'_> {
    fn append(&mut self, message: &Message, epochs: &Epochs) -> Result<Appended, Fault> {
        let mut row = self.row(&message.channel)?;
        let key = (row.number, message.role, message.user.as_str(), message.id.as_str());
        let position = |offset| Position { epoch: epochs.of(&message.channel), offset };
        if let Some(first) = self.tables.seen.get(key)? {
            let (offset, sent_at) = first.value();
            return Ok(Appended { position: position(Offset(offset)), sent_at: Timestamp(sent_at), duplicate: true });
        }
        row.span.head = row.span.head.next();
        let offset = row.span.head;
        self.tables.entries.insert((row.number, offset.0), message.record.as_slice())?;
        self.tables.seen.insert(key, (offset.0, message.sent_at.0))?;
        self.rows.insert(message.channel.clone(), row);
        self.written.insert(message.channel.clone(), row);
        Ok(Appended { position: position(offset), sent_at: message.sent_at, duplicate: false })
    }

    fn row(&mut self, channel: &Channel) -> Result<Row, Fault> {
        match self.rows.entry(channel.clone()) {
            Entry::Occupied(row) => Ok(*row.get()),
            Entry::Vacant(place) => {
                let known: Option<Row> =
                    self.tables.channels.get(channel.to_string().as_str())?.map(|row| row.value().into());
                let row = known.unwrap_or(Row { number: self.unused, span: Span::EMPTY });
                self.unused += ChannelNumber::from(known.is_none());
                Ok(*place.insert(row))
            }
        }
    }

    fn finish(&mut self, limits: &Limits, now: Timestamp, mut budget: usize) -> Result<usize, Fault> {
        let before = budget;
        for (channel, row) in &mut self.written {
            budget -= retention::expire(&mut self.tables, row, limits, now, budget)?;
            self.tables.channels.insert(channel.to_string().as_str(), ChannelRow::from(*row))?;
        }
        Ok(before - budget)
    }
}
