//! The message log: one ordered log a channel, with dense offsets.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{BoxError, Timestamp};
use crate::channel::{Channel, Offset, Position};
use crate::id::{MessageId, UserId};
use crate::identity::Role;

/// Who wrote a message, as every reader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MessageSender {
    /// The user, or the service's name.
    pub user: UserId,
    /// In which role.
    pub role: Role,
}

/// A message that is to be appended.
#[derive(Debug, Clone)]
pub struct AppendRequest {
    /// To which channel.
    pub channel: Channel,
    /// By whom.
    pub sender: MessageSender,
    /// The sender's id for it, the key of deduplication together with channel and sender.
    pub id: MessageId,
    /// When it was sent, by the server's clock.
    pub sent_at: Timestamp,
    /// The body: any JSON value, kept as its text.
    pub body: Arc<RawValue>,
}

/// What became of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendOutcome {
    /// Where the message stands.
    pub position: Position,
    /// When it was first sent; a repeated append returns the first one's time.
    pub sent_at: Timestamp,
    /// `true` when the same sender had appended the same id to the channel before: nothing was written, and `position`
    /// is the first one's.
    pub duplicate: bool,
}

/// A message in a log.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// Its place.
    pub offset: Offset,
    /// Who wrote it.
    pub sender: MessageSender,
    /// The sender's id for it.
    pub id: MessageId,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// The body, JSON text.
    pub body: Arc<RawValue>,
}

impl LogEntry {
    /// The append that wrote it to `channel`.
    #[must_use]
    pub fn into_append_request(self, channel: Channel) -> AppendRequest {
        let Self { sender, id, sent_at, body, .. } = self;
        AppendRequest { channel, sender, id, sent_at, body }
    }
}

/// Which part of a log to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogRange {
    /// Upwards, from the first entry behind this offset.
    After(Offset),
    /// The entries right before this offset, in ascending order too; `None` stands for the end of the log.
    Before(Option<Offset>),
}

/// A stretch of a log, ascending and without holes.
#[derive(Debug, Clone)]
pub struct LogSlice {
    /// The log's incarnation and its last offset at the moment of reading.
    pub head: Position,
    /// The oldest offset that the log still has; one past `head` when it has none.
    pub first: Offset,
    /// The entries.
    pub entries: Vec<LogEntry>,
}

/// Why the log did not answer.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It is away or overloaded. The append may or may not have happened: the same append again is safe and gives the
    /// true answer.
    #[error("the message log is unavailable")]
    Unavailable(#[source] BoxError),
    /// No room is left to write; reads go on.
    #[error("the message log is full")]
    Full(#[source] BoxError),
    /// Anything else; retrying does not help.
    #[error("the message log ({adapter}) failed")]
    Backend {
        /// Which adapter.
        adapter: &'static str,
        /// The technology's error.
        #[source]
        source: BoxError,
    },
}

/// The ordered logs of all channels.
///
/// *Offsets* are dense within an epoch: 1, 2, 3 … without holes, in the order in which appends took effect. *Durability*:
/// when `append` returned, the message survives whatever the adapter promises to survive (the embedded file: a killed
/// process and a power cut). *Deduplication* remembers an id at least as long as its message is kept. *Retention* is the
/// adapter's configuration: it drops oldest entries first and never moves an offset. *Order of reads*: a read that starts
/// after an append returned sees that append.
#[async_trait]
pub trait MessageLog: Send + Sync {
    /// Appends one message and returns once it is durable. The same `(channel, sender, id)` again writes nothing and
    /// returns the first position, also concurrently and after a restart.
    async fn append(&self, append: AppendRequest) -> Result<AppendOutcome, LogError>;

    /// A stretch of at most `limit` entries (at least 1) and about `max_bytes` of bodies (one entry always fits). A
    /// channel that nobody wrote to reads as empty, with head offset 0.
    async fn read(
        &self,
        channel: &Channel,
        range: LogRange,
        limit: usize,
        max_bytes: usize,
    ) -> Result<LogSlice, LogError>;

    /// The ends of several logs, in the order asked.
    async fn heads(&self, channels: &[Channel]) -> Result<Vec<Position>, LogError>;
}
