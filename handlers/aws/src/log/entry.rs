//! Items of heads, entries and claims.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use handlers::channel::{Epoch, Offset, Position};
use handlers::id::{MessageId, UserId};
use handlers::identity::Role;
use handlers::ports::{AppendRequest, LogEntry, MessageSender, Timestamp};
use serde_json::value::RawValue;

use crate::dynamo::{AttributeMap, AttributeReader, DynamoError, number_value, text_value};
use crate::tables::{EXPIRES, PARTITION_KEY, SORT_KEY};

/// Epoch of the table, or of an imported channel.
pub(super) const EPOCH: &str = "epoch";
/// Last offset visible to readers.
pub(super) const HEAD: &str = "head";
/// Oldest unexpired offset at the time of the last update.
pub(super) const FIRST: &str = "first";
/// Time at which the entry at [`FIRST`] was sent.
pub(super) const FIRST_AT: &str = "first_at";
/// Offset from which a repeated append searches for a claimed message.
pub(super) const SEARCH_FROM: &str = "from";
pub(super) const USER: &str = "user";
pub(super) const ROLE: &str = "role";
pub(super) const ID: &str = "id";
/// Time at which the message was sent, in milliseconds since 1970.
pub(super) const SENT_AT: &str = "at";
const BODY: &str = "body";
/// Random number of the append attempt that put the entry: distinguishes a retry within one append from a repeated
/// append.
const ATTEMPT: &str = "attempt";

/// Time from the end of an entry's retention to its TTL: readers compare `sent_at`, and clocks differ.
const ENTRY_EXPIRY_MARGIN: Duration = Duration::from_secs(60 * 60);
/// Larger than [`ENTRY_EXPIRY_MARGIN`], so that a message id is remembered as long as its entry exists.
const CLAIM_EXPIRY_MARGIN: Duration = Duration::from_secs(2 * 60 * 60);

/// Newest and oldest offset of a channel's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogHead {
    /// Epoch of an imported channel; `None` for the table's epoch.
    pub(super) epoch: Option<Epoch>,
    pub(super) offset: Offset,
    pub(super) first: Offset,
    pub(super) first_at: Timestamp,
}

/// Identity of an entry: sender, message id and append attempt.
#[derive(Debug, Clone)]
pub(super) struct EntryHeader {
    pub(super) offset: Offset,
    pub(super) sent_at: Timestamp,
    pub(super) attempt: u64,
    sender: MessageSender,
    id: MessageId,
}

impl LogHead {
    /// Head of a channel without messages.
    pub(super) const EMPTY: Self =
        Self { epoch: None, offset: Offset::START, first: Offset(1), first_at: Timestamp(i64::MAX) };

    /// Returns the head's position, in the channel's own epoch or else the table's.
    pub(super) fn position(&self, table: &Epoch) -> Position {
        Position { epoch: self.epoch.as_ref().unwrap_or(table).clone(), offset: self.offset }
    }

    pub(super) fn from_attributes(table: &str, item: &AttributeMap) -> Result<Self, DynamoError> {
        let reader = AttributeReader { table, item };
        Ok(Self {
            epoch: item
                .contains_key(EPOCH)
                .then(|| reader.read_text(EPOCH))
                .transpose()?
                .map(|epoch| Epoch(epoch.into())),
            offset: Offset(reader.read_number(HEAD)?),
            first: Offset(reader.read_number(FIRST)?),
            first_at: Timestamp(reader.read_number(FIRST_AT)?),
        })
    }
}

impl EntryHeader {
    pub(super) fn from_attributes(table: &str, item: &AttributeMap) -> Result<Self, DynamoError> {
        let reader = AttributeReader { table, item };
        let attempt = item.get(ATTEMPT).and_then(|value| value.as_b().ok()).map(Blob::as_ref);
        let attempt = attempt.and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        Ok(Self {
            offset: Offset(reader.read_number(SORT_KEY)?),
            sent_at: Timestamp(reader.read_number(SENT_AT)?),
            attempt: attempt.ok_or_else(|| reader.invalid_attribute(ATTEMPT))?,
            sender: parse_sender(reader)?,
            id: reader.parse_text(ID, MessageId::parse)?,
        })
    }

    /// Attributes that [`EntryHeader::from_attributes`] reads, for a projection.
    pub(super) const ATTRIBUTES: [&str; 6] = [SORT_KEY, USER, ROLE, ID, SENT_AT, ATTEMPT];

    /// Returns whether the entry is the message of `append`.
    pub(super) fn is_message(&self, append: &AppendRequest) -> bool {
        self.sender == append.sender && self.id == append.id
    }
}

/// Returns the key of a head (offset 0) or of an entry.
pub(super) fn log_key(partition: &str, offset: u64) -> AttributeMap {
    HashMap::from([(PARTITION_KEY.to_owned(), text_value(partition)), (SORT_KEY.to_owned(), number_value(offset))])
}

/// Returns the item of an entry.
pub(super) fn entry_attributes(
    append: &AppendRequest,
    offset: Offset,
    attempt: u64,
    retention: Duration,
) -> AttributeMap {
    let mut item = log_key(&append.channel.to_string(), offset.0);
    item.extend(
        [
            (USER, text_value(append.sender.user.as_str())),
            (ROLE, text_value(append.sender.role.as_str())),
            (ID, text_value(append.id.as_str())),
            (SENT_AT, number_value(append.sent_at)),
            (BODY, text_value(append.body.get())),
            (ATTEMPT, AttributeValue::B(Blob::new(attempt.to_be_bytes()))),
            (EXPIRES, expiry_value(append, retention, ENTRY_EXPIRY_MARGIN)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    item
}

/// Returns the item that claims a message's id.
pub(super) fn claim_attributes(append: &AppendRequest, from: Offset, retention: Duration) -> AttributeMap {
    let AppendRequest { channel, sender, id, .. } = append;
    // None of the parts contains a space.
    let mut item = log_key(&format!("{channel} {} {} {id}", sender.role.as_str(), sender.user), 0);
    let claim = [(SEARCH_FROM, number_value(from)), (EXPIRES, expiry_value(append, retention, CLAIM_EXPIRY_MARGIN))];
    item.extend(claim.map(|(name, value)| (name.to_owned(), value)));
    item
}

fn expiry_value(append: &AppendRequest, retention: Duration, margin: Duration) -> AttributeValue {
    number_value(append.sent_at.plus(retention).plus(margin).unix_seconds())
}

/// Parses an entry.
pub(super) fn parse_entry(table: &str, item: &AttributeMap) -> Result<LogEntry, DynamoError> {
    let reader = AttributeReader { table, item };
    let body = RawValue::from_string(reader.read_text(BODY)?.to_owned()).map_err(|_| reader.invalid_attribute(BODY))?;
    Ok(LogEntry {
        offset: Offset(reader.read_number(SORT_KEY)?),
        sender: parse_sender(reader)?,
        id: reader.parse_text(ID, MessageId::parse)?,
        sent_at: Timestamp(reader.read_number(SENT_AT)?),
        body: Arc::from(body),
    })
}

fn parse_sender(reader: AttributeReader<'_>) -> Result<MessageSender, DynamoError> {
    let role = |text: &str| Role::parse(text).ok_or(());
    Ok(MessageSender { user: reader.parse_text(USER, UserId::parse)?, role: reader.parse_text(ROLE, role)? })
}
