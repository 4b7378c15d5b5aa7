//! Message logs in memory.
//!
//! Invariant: a channel's entries are dense, `first..=head`, and the remembered ids are exactly the entries'. Retention
//! bounds each channel by entries and bytes, dropping the oldest; a new channel beyond [`CHANNELS`] is refused as full.
//! Nothing survives the process: whoever starts it gives a fresh epoch.

mod archive;

use std::collections::{HashMap, VecDeque};

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::channel::{Channel, Epoch, Offset, Position};
use crate::id::MessageId;
use crate::ports::{Append, Appended, Entry, LogError, MessageLog, Range, Sender, Slice};

/// Most channels that one log keeps. Clients make up room names, so something has to end it; with the default retention
/// this many busy channels are far beyond what fits a process anyway.
const CHANNELS: usize = 100_000;

/// How much of a channel is kept. The newest entry is always kept, whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Most entries.
    pub entries: usize,
    /// Most bytes of bodies.
    pub bytes: usize,
}

/// The logs of one process.
pub struct MemoryLog {
    epoch: Epoch,
    retention: Retention,
    channels: Mutex<HashMap<Channel, ChannelLog>>,
}

#[derive(Default)]
struct ChannelLog {
    head: Offset,
    /// The epoch that it was imported with; `None` for the log's own.
    epoch: Option<Epoch>,
    entries: VecDeque<Entry>,
    bytes: usize,
    ids: HashMap<(Sender, MessageId), Offset>,
}

#[derive(Debug, thiserror::Error)]
#[error("{CHANNELS} channels are kept already")]
struct TooManyChannels;

impl MemoryLog {
    /// Empty logs of the incarnation `epoch`.
    #[must_use]
    pub fn new(epoch: Epoch, retention: Retention) -> Self {
        Self { epoch, retention, channels: Mutex::default() }
    }

    /// A place in a channel's log; `None` for that of a channel that nobody wrote to.
    fn position(&self, log: Option<&ChannelLog>, offset: Offset) -> Position {
        let epoch = log.and_then(|log| log.epoch.as_ref()).unwrap_or(&self.epoch);
        Position { epoch: epoch.clone(), offset }
    }
}

impl ChannelLog {
    /// The oldest offset that is kept, one past the head when there is none.
    fn first(&self) -> Offset {
        Offset(self.head.0 + 1 - self.entries.len() as u64)
    }

    fn entry(&self, offset: Offset) -> Option<&Entry> {
        self.entries.get(offset.0.checked_sub(self.first().0)? as usize)
    }

    fn push(&mut self, append: Append, retention: Retention) -> Offset {
        let Append { sender, id, sent_at, body, .. } = append;
        self.add(Entry { offset: self.head.next(), sender, id, sent_at, body });
        while self.entries.len() > 1 && (self.entries.len() > retention.entries || self.bytes > retention.bytes) {
            self.drop_oldest();
        }
        self.head
    }

    /// Adds the entry that follows the last one.
    fn add(&mut self, entry: Entry) {
        self.head = entry.offset;
        self.bytes += entry.body.get().len();
        self.ids.insert((entry.sender.clone(), entry.id.clone()), entry.offset);
        self.entries.push_back(entry);
    }

    fn drop_oldest(&mut self) {
        if let Some(Entry { sender, id, body, .. }) = self.entries.pop_front() {
            self.bytes -= body.get().len();
            self.ids.remove(&(sender, id));
        }
    }

    fn read(&self, range: Range, limit: usize, max_bytes: usize) -> Vec<Entry> {
        let mut bytes = 0;
        let mut fits = |entry: &&Entry| {
            let empty = bytes == 0;
            bytes += entry.body.get().len();
            empty || bytes <= max_bytes
        };
        match range {
            Range::After(offset) => {
                let skipped = (offset.next().0.saturating_sub(self.first().0) as usize).min(self.entries.len());
                self.entries.range(skipped..).take(limit).take_while(&mut fits).cloned().collect()
            }
            Range::Before(offset) => {
                let end = offset.map_or(self.entries.len() as u64, |offset| offset.0.saturating_sub(self.first().0));
                let end = (end as usize).min(self.entries.len());
                let mut newest: Vec<Entry> =
                    self.entries.range(..end).rev().take(limit).take_while(&mut fits).cloned().collect();
                newest.reverse();
                newest
            }
        }
    }
}

#[async_trait]
impl MessageLog for MemoryLog {
    async fn append(&self, append: Append) -> Result<Appended, LogError> {
        let mut channels = self.channels.lock();
        if channels.len() >= CHANNELS && !channels.contains_key(&append.channel) {
            return Err(LogError::Full(Box::new(TooManyChannels)));
        }
        let log = channels.entry(append.channel.clone()).or_default();
        let known = log.ids.get(&(append.sender.clone(), append.id.clone())).and_then(|offset| log.entry(*offset));
        if let Some(entry) = known {
            let position = self.position(Some(log), entry.offset);
            return Ok(Appended { position, sent_at: entry.sent_at, duplicate: true });
        }
        let sent_at = append.sent_at;
        let offset = log.push(append, self.retention);
        Ok(Appended { position: self.position(Some(log), offset), sent_at, duplicate: false })
    }

    async fn read(&self, channel: &Channel, range: Range, limit: usize, max_bytes: usize) -> Result<Slice, LogError> {
        let channels = self.channels.lock();
        let Some(log) = channels.get(channel) else {
            return Ok(Slice { head: self.position(None, Offset::START), first: Offset(1), entries: Vec::new() });
        };
        let entries = log.read(range, limit.max(1), max_bytes);
        Ok(Slice { head: self.position(Some(log), log.head), first: log.first(), entries })
    }

    async fn heads(&self, channels: &[Channel]) -> Result<Vec<Position>, LogError> {
        let logs = self.channels.lock();
        let head = |channel| {
            let log = logs.get(channel);
            self.position(log, log.map_or(Offset::START, |log| log.head))
        };
        Ok(channels.iter().map(head).collect())
    }
}

#[cfg(test)]
mod tests;
