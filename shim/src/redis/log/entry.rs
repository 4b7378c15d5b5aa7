//! What `read.lua` answers, as the port has it.

use std::sync::Arc;

use handlers::channel::{Epoch, Offset, Position};
use handlers::id::{MessageId, UserId};
use handlers::identity::Role;
use handlers::ports::{Entry, LogError, Sender, Slice, Timestamp};
use redis::{FromRedisValue, ParsingError, Value, from_redis_value};
use serde_json::value::RawValue;

/// The ends of a log, and entries in the order in which they were read.
#[derive(Debug)]
pub(super) struct RawSlice {
    epoch: String,
    head: u64,
    first: u64,
    entries: Vec<(String, Vec<String>)>,
}

/// An entry that no append wrote.
#[derive(Debug, thiserror::Error)]
#[error("an entry of a log is not as it was written")]
pub(super) struct InvalidEntry;

impl FromRedisValue for RawSlice {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (epoch, head, first, entries) = from_redis_value(value)?;
        Ok(Self { epoch, head, first, entries })
    }
}

impl RawSlice {
    /// The log's end.
    pub(super) fn head(&self) -> Position {
        Position { epoch: Epoch(self.epoch.as_str().into()), offset: Offset(self.head) }
    }

    /// The stretch in ascending order, whichever way it was read.
    pub(super) fn into_slice(self, upwards: bool) -> Result<Slice, InvalidEntry> {
        let (head, first) = (self.head(), Offset(self.first));
        let mut entries = self.entries.into_iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        if !upwards {
            entries.reverse();
        }
        Ok(Slice { head, first, entries })
    }
}

/// Reads the fields in the order in which `append.lua` writes them.
fn entry((id, fields): (String, Vec<String>)) -> Result<Entry, InvalidEntry> {
    let offset = id.split('-').next().and_then(|offset| offset.parse().ok()).ok_or(InvalidEntry)?;
    let fields: [String; 10] = fields.try_into().map_err(|_| InvalidEntry)?;
    let [_, sent_at, _, user, _, role, _, id, _, body] = fields;
    let sender =
        Sender { user: UserId::parse(&user).map_err(|_| InvalidEntry)?, role: Role::parse(&role).ok_or(InvalidEntry)? };
    Ok(Entry {
        offset: Offset(offset),
        sender,
        id: MessageId::parse(&id).map_err(|_| InvalidEntry)?,
        sent_at: Timestamp(sent_at.parse().map_err(|_| InvalidEntry)?),
        body: Arc::from(RawValue::from_string(body).map_err(|_| InvalidEntry)?),
    })
}

impl From<InvalidEntry> for LogError {
    fn from(invalid: InvalidEntry) -> Self {
        Self::Backend { adapter: "redis", source: Box::new(invalid) }
    }
}
