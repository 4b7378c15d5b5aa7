//! In-memory message logs.
//!
//! Invariant: a channel's entries are dense, `first..=head`, and the remembered ids are exactly those of the entries.
//! Retention limits each channel by entries and bytes, dropping the oldest first. Appends to more than
//! [`MAX_LOG_CHANNELS`] channels fail with [`LogError::Full`]. Messages are lost when the process ends, so every
//! process starts with a new epoch.

mod archive;

use std::collections::{HashMap, VecDeque};

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::channel::{Channel, Epoch, Offset, Position};
use crate::id::MessageId;
use crate::ports::{AppendOutcome, AppendRequest, LogEntry, LogError, LogRange, LogSlice, MessageLog, MessageSender};

/// Maximum channels of one log. Clients invent room names, so their number must be bounded; with the default retention,
/// this many busy channels far exceed the memory of a process.
const MAX_LOG_CHANNELS: usize = 100_000;

/// Retention of one channel. The newest entry is always retained, whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelRetention {
    /// Maximum number of entries.
    pub max_entries: usize,
    /// Maximum bytes of message bodies.
    pub max_bytes: usize,
}

/// Message logs of one process.
pub struct MemoryLog {
    epoch: Epoch,
    retention: ChannelRetention,
    channels: Mutex<HashMap<Channel, ChannelLog>>,
}

#[derive(Default)]
struct ChannelLog {
    head: Offset,
    /// Epoch of an imported log; `None` for the epoch of the process.
    epoch: Option<Epoch>,
    entries: VecDeque<LogEntry>,
    bytes: usize,
    ids: HashMap<(MessageSender, MessageId), Offset>,
}

#[derive(Debug, thiserror::Error)]
#[error("the log already has the maximum of {MAX_LOG_CHANNELS} channels")]
struct TooManyChannelsError;

impl MemoryLog {
    /// Creates empty logs of `epoch`.
    #[must_use]
    pub fn new(epoch: Epoch, retention: ChannelRetention) -> Self {
        Self { epoch, retention, channels: Mutex::default() }
    }

    /// Returns the position of `offset` in a channel's log; `log` is `None` for a channel without messages.
    fn position_at(&self, log: Option<&ChannelLog>, offset: Offset) -> Position {
        let epoch = log.and_then(|log| log.epoch.as_ref()).unwrap_or(&self.epoch);
        Position { epoch: epoch.clone(), offset }
    }
}

impl ChannelLog {
    /// Returns the oldest retained offset, or one past the head if there is none.
    fn first_offset(&self) -> Offset {
        Offset(self.head.0 + 1 - self.entries.len() as u64)
    }

    fn entry_at(&self, offset: Offset) -> Option<&LogEntry> {
        self.entries.get(offset.0.checked_sub(self.first_offset().0)? as usize)
    }

    fn append_entry(&mut self, append: AppendRequest, retention: ChannelRetention) -> Offset {
        let AppendRequest { sender, id, sent_at, body, .. } = append;
        self.push_entry(LogEntry { offset: self.head.next(), sender, id, sent_at, body });
        while self.entries.len() > 1 && (self.entries.len() > retention.max_entries || self.bytes > retention.max_bytes)
        {
            self.drop_oldest();
        }
        self.head
    }

    /// Adds the entry that follows the head.
    fn push_entry(&mut self, entry: LogEntry) {
        self.head = entry.offset;
        self.bytes += entry.body.get().len();
        self.ids.insert((entry.sender.clone(), entry.id.clone()), entry.offset);
        self.entries.push_back(entry);
    }

    fn drop_oldest(&mut self) {
        if let Some(LogEntry { sender, id, body, .. }) = self.entries.pop_front() {
            self.bytes -= body.get().len();
            self.ids.remove(&(sender, id));
        }
    }

    fn read_entries(&self, range: LogRange, limit: usize, max_bytes: usize) -> Vec<LogEntry> {
        let mut bytes = 0;
        let mut fits = |entry: &&LogEntry| {
            let empty = bytes == 0;
            bytes += entry.body.get().len();
            empty || bytes <= max_bytes
        };
        match range {
            LogRange::After(offset) => {
                let skipped = (offset.next().0.saturating_sub(self.first_offset().0) as usize).min(self.entries.len());
                self.entries.range(skipped..).take(limit).take_while(&mut fits).cloned().collect()
            }
            LogRange::Before(offset) => {
                let end =
                    offset.map_or(self.entries.len() as u64, |offset| offset.0.saturating_sub(self.first_offset().0));
                let end = (end as usize).min(self.entries.len());
                let mut newest: Vec<LogEntry> =
                    self.entries.range(..end).rev().take(limit).take_while(&mut fits).cloned().collect();
                newest.reverse();
                newest
            }
        }
    }
}

#[async_trait]
impl MessageLog for MemoryLog {
    async fn append(&self, append: AppendRequest) -> Result<AppendOutcome, LogError> {
        let mut channels = self.channels.lock();
        if channels.len() >= MAX_LOG_CHANNELS && !channels.contains_key(&append.channel) {
            return Err(LogError::Full(Box::new(TooManyChannelsError)));
        }
        let log = channels.entry(append.channel.clone()).or_default();
        let existing =
            log.ids.get(&(append.sender.clone(), append.id.clone())).and_then(|offset| log.entry_at(*offset));
        if let Some(entry) = existing {
            let position = self.position_at(Some(log), entry.offset);
            return Ok(AppendOutcome { position, sent_at: entry.sent_at, duplicate: true });
        }
        let sent_at = append.sent_at;
        let offset = log.append_entry(append, self.retention);
        Ok(AppendOutcome { position: self.position_at(Some(log), offset), sent_at, duplicate: false })
    }

    async fn read(
        &self,
        channel: &Channel,
        range: LogRange,
        limit: usize,
        max_bytes: usize,
    ) -> Result<LogSlice, LogError> {
        let channels = self.channels.lock();
        let Some(log) = channels.get(channel) else {
            return Ok(LogSlice { head: self.position_at(None, Offset::START), first: Offset(1), entries: Vec::new() });
        };
        let entries = log.read_entries(range, limit.max(1), max_bytes);
        Ok(LogSlice { head: self.position_at(Some(log), log.head), first: log.first_offset(), entries })
    }

    async fn heads(&self, channels: &[Channel]) -> Result<Vec<Position>, LogError> {
        let logs = self.channels.lock();
        let head = |channel| {
            let log = logs.get(channel);
            self.position_at(log, log.map_or(Offset::START, |log| log.head))
        };
        Ok(channels.iter().map(head).collect())
    }
}

#[cfg(test)]
mod tests;
