//! The message log: one ordered log per channel, with dense offsets.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{BoxError, Timestamp};
use crate::channel::{Channel, Offset, Position};
use crate::id::{MessageId, UserId};
use crate::identity::Role;

/// Sender of a message, visible to every reader.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MessageSender {
    /// Id of the user, or name of the service.
    pub user: UserId,
    pub role: Role,
}

/// A message to append.
#[derive(Debug, Clone)]
pub struct AppendRequest {
    pub channel: Channel,
    pub sender: MessageSender,
    /// Message id chosen by the sender. Channel, sender and id are the deduplication key.
    pub id: MessageId,
    /// Time of sending by the server's clock.
    pub sent_at: Timestamp,
    /// Any JSON value, stored as text.
    pub body: Arc<RawValue>,
}

/// Result of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendOutcome {
    /// Position of the message.
    pub position: Position,
    /// Time of sending; for a duplicate, that of the first append.
    pub sent_at: Timestamp,
    /// `true` if the sender already appended this id to the channel: nothing was written, and `position` is that of the
    /// first append.
    pub duplicate: bool,
}

/// A message in a log.
#[derive(Debug, Clone)]
pub struct LogEntry {
    pub offset: Offset,
    pub sender: MessageSender,
    /// Message id chosen by the sender.
    pub id: MessageId,
    pub sent_at: Timestamp,
    /// Body as JSON text.
    pub body: Arc<RawValue>,
}

impl LogEntry {
    /// Returns the append request that would write this entry to `channel`.
    #[must_use]
    pub fn into_append_request(self, channel: Channel) -> AppendRequest {
        let Self { sender, id, sent_at, body, .. } = self;
        AppendRequest { channel, sender, id, sent_at, body }
    }
}

/// Part of a log to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogRange {
    /// Entries after this offset, in ascending order.
    After(Offset),
    /// The newest entries before this offset, also in ascending order; `None` reads up to the head.
    Before(Option<Offset>),
}

/// A part of a log with ascending, dense offsets.
#[derive(Debug, Clone)]
pub struct LogSlice {
    /// Head of the log at the time of reading.
    pub head: Position,
    /// Oldest offset that the log retains; one past `head` if it is empty.
    pub first: Offset,
    pub entries: Vec<LogEntry>,
}

/// An error of a [`MessageLog`].
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log is unavailable or overloaded. An append may or may not have taken effect; repeating it is safe and
    /// returns the true result.
    #[error("the message log is unavailable")]
    Unavailable(#[source] BoxError),
    /// The storage is full. Reads still succeed.
    #[error("the message log is full")]
    Full(#[source] BoxError),
    /// Any other failure; a retry does not help.
    #[error("the message log ({adapter}) failed")]
    Backend {
        /// Name of the adapter.
        adapter: &'static str,
        /// Error of the underlying technology.
        #[source]
        source: BoxError,
    },
}

/// The ordered logs of all channels.
///
/// *Offsets* are dense within an epoch: 1, 2, 3 …, in the order in which appends took effect. *Durability*: once
/// `append` returns, the message survives the failures that the adapter documents (embedded file: a killed process and
/// a power failure). *Deduplication*: an id is remembered at least as long as its message is retained. *Retention* is
/// configured per adapter: it drops the oldest entries first and never changes an offset. *Consistency*: a read that
/// starts after an append returned sees that append.
///
/// ```
/// # use std::sync::Arc;
/// # use handlers::channel::{ChannelName, Epoch, Offset};
/// # use handlers::id::{MessageId, TenantId, UserId};
/// # use handlers::identity::Role;
/// # use handlers::memory::{ChannelRetention, MemoryLog};
/// # use handlers::ports::{AppendRequest, LogRange, MessageLog, MessageSender, Timestamp};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let log = MemoryLog::new(Epoch("e1".into()), ChannelRetention { max_entries: 1_000, max_bytes: 1 << 20 });
/// let lobby = ChannelName::parse("room:lobby")?.in_tenant(TenantId::default_tenant());
/// let hello = AppendRequest {
///     channel: lobby.clone(),
///     sender: MessageSender { user: UserId::parse("alice")?, role: Role::User },
///     id: MessageId::parse("m1")?,
///     sent_at: Timestamp(1_800_000_000_000),
///     body: serde_json::value::to_raw_value("hello")?.into(),
/// };
/// assert_eq!(log.append(hello.clone()).await?.position.offset, Offset(1));
/// assert!(log.append(hello).await?.duplicate, "the same id is written once");
///
/// let slice = log.read(&lobby, LogRange::After(Offset::START), 100, 64 * 1024).await?;
/// assert_eq!(slice.entries[0].body.get(), r#""hello""#);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait MessageLog: Send + Sync {
    /// Appends one message and returns once it is durable. Repeating the same `(channel, sender, id)` writes nothing
    /// and returns the first position, also concurrently and after a restart.
    async fn append(&self, append: AppendRequest) -> Result<AppendOutcome, LogError>;

    /// Reads at most `limit` entries (at least 1) with about `max_bytes` of bodies; one entry is always returned,
    /// whatever its size. A channel without messages is empty, with head offset 0.
    async fn read(
        &self,
        channel: &Channel,
        range: LogRange,
        limit: usize,
        max_bytes: usize,
    ) -> Result<LogSlice, LogError>;

    /// Returns the heads of several logs, in the order of `channels`.
    async fn heads(&self, channels: &[Channel]) -> Result<Vec<Position>, LogError>;
}
