//! Decoding of the reply of `read.lua`.

use std::sync::Arc;

use handlers::channel::{Epoch, Offset, Position};
use handlers::id::{MessageId, UserId};
use handlers::identity::Role;
use handlers::ports::{LogEntry, LogError, LogSlice, MessageSender, Timestamp};
use redis::{FromRedisValue, ParsingError, Value, from_redis_value};
use serde_json::value::RawValue;

/// Bounds of a log, and entries in the order in which they were read.
#[derive(Debug)]
pub(super) struct RawLogSlice {
    epoch: String,
    head: u64,
    first: u64,
    entries: Vec<(String, Vec<String>)>,
}

/// Error for an entry that `append.lua` did not write.
#[derive(Debug, thiserror::Error)]
#[error("invalid log entry")]
pub(super) struct InvalidEntryError;

impl FromRedisValue for RawLogSlice {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (epoch, head, first, entries) = from_redis_value(value)?;
        Ok(Self { epoch, head, first, entries })
    }
}

impl RawLogSlice {
    /// Returns the position of the newest message.
    pub(super) fn head_position(&self) -> Position {
        Position { epoch: Epoch(self.epoch.as_str().into()), offset: Offset(self.head) }
    }

    /// Decodes the entries, in ascending order for both directions of reading.
    pub(super) fn into_slice(self, ascending: bool) -> Result<LogSlice, InvalidEntryError> {
        let (head, first) = (self.head_position(), Offset(self.first));
        let mut entries = self.entries.into_iter().map(parse_entry).collect::<Result<Vec<_>, _>>()?;
        if !ascending {
            entries.reverse();
        }
        Ok(LogSlice { head, first, entries })
    }
}

/// Decodes the fields in the order in which `append.lua` writes them.
fn parse_entry((id, fields): (String, Vec<String>)) -> Result<LogEntry, InvalidEntryError> {
    let offset = id.split('-').next().and_then(|offset| offset.parse().ok()).ok_or(InvalidEntryError)?;
    let fields: [String; 10] = fields.try_into().map_err(|_| InvalidEntryError)?;
    let [_, sent_at, _, user, _, role, _, id, _, body] = fields;
    let sender = MessageSender {
        user: UserId::parse(&user).map_err(|_| InvalidEntryError)?,
        role: Role::parse(&role).ok_or(InvalidEntryError)?,
    };
    Ok(LogEntry {
        offset: Offset(offset),
        sender,
        id: MessageId::parse(&id).map_err(|_| InvalidEntryError)?,
        sent_at: Timestamp(sent_at.parse().map_err(|_| InvalidEntryError)?),
        body: Arc::from(RawValue::from_string(body).map_err(|_| InvalidEntryError)?),
    })
}

impl From<InvalidEntryError> for LogError {
    fn from(error: InvalidEntryError) -> Self {
        Self::Backend { adapter: "redis", source: Box::new(error) }
    }
}
