//! Reading a stretch of one log from a snapshot.
//!
//! Row and entries come from the same snapshot, so they agree whatever the writer does meanwhile.

use handlers::channel::{Channel, Offset};
use handlers::ports::{Entry, Range};
use redb::ReadTransaction;

use super::fault::Fault;
use super::record;
use super::tables::{CHANNELS, ENTRIES, Row, Span};

/// What to read.
pub(super) struct Page {
    pub channel: Channel,
    pub range: Range,
    pub limit: usize,
    pub max_bytes: usize,
}

/// What was there.
pub(super) struct Found {
    pub span: Span,
    pub entries: Vec<Entry>,
}

impl Page {
    pub(super) fn read(&self, transaction: &ReadTransaction) -> Result<Found, Fault> {
        let Some(row) = row(transaction, &self.channel)? else {
            return Ok(Found { span: Span::EMPTY, entries: Vec::new() });
        };
        let table = transaction.open_table(ENTRIES)?;
        let (lowest, highest) = self.bounds(row.span);
        let mut page = Filling { entries: Vec::new(), bytes: 0, page: self };
        if lowest <= highest {
            let mut range = table.range((row.number, lowest.0)..=(row.number, highest.0))?;
            let mut next = || match self.range {
                Range::After(_) => range.next(),
                Range::Before(_) => range.next_back(),
            };
            while let Some(found) = next() {
                let (key, bytes) = found?;
                if !page.add(Offset(key.value().1), bytes.value())? {
                    break;
                }
            }
        }
        let mut entries = page.entries;
        if matches!(self.range, Range::Before(_)) {
            entries.reverse();
        }
        Ok(Found { span: row.span, entries })
    }

    /// The lowest and highest offset that may be on the page.
    fn bounds(&self, span: Span) -> (Offset, Offset) {
        match self.range {
            Range::After(offset) => (span.first.max(Offset(offset.0.saturating_add(1))), span.head),
            Range::Before(None) => (span.first, span.head),
            Range::Before(Some(offset)) => (span.first, span.head.min(Offset(offset.0.saturating_sub(1)))),
        }
    }
}

struct Filling<'p> {
    entries: Vec<Entry>,
    bytes: usize,
    page: &'p Page,
}

impl Filling<'_> {
    /// Adds an entry; `false` when the page is full without it.
    fn add(&mut self, offset: Offset, bytes: &[u8]) -> Result<bool, Fault> {
        let record = record::decode(bytes)?;
        self.bytes += record.body.len();
        let first = self.entries.is_empty();
        if !first && (self.entries.len() >= self.page.limit || self.bytes > self.page.max_bytes) {
            return Ok(false);
        }
        self.entries.push(record.entry(offset)?);
        Ok(true)
    }
}

/// The spans of several channels, in their order.
pub(super) fn spans(transaction: &ReadTransaction, channels: &[Channel]) -> Result<Vec<Span>, Fault> {
    channels.iter().map(|channel| Ok(row(transaction, channel)?.map_or(Span::EMPTY, |row| row.span))).collect()
}

fn row(transaction: &ReadTransaction, channel: &Channel) -> Result<Option<Row>, Fault> {
    let channels = transaction.open_table(CHANNELS)?;
    Ok(channels.get(channel.to_string().as_str())?.map(|row| row.value().into()))
}
