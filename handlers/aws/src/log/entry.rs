//! Heads, entries and claims as items.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use handlers::channel::{Epoch, Offset, Position};
use handlers::id::{MessageId, UserId};
use handlers::identity::Role;
use handlers::ports::{Append, Entry, Sender, Timestamp};
use serde_json::value::RawValue;

use crate::dynamo::{DynamoError, Item, Reader, number, text};
use crate::tables::{EXPIRES, PARTITION, SORT};

/// The epoch: of the table, or of a channel that was imported.
pub(super) const EPOCH: &str = "epoch";
/// The last offset that readers believe.
pub(super) const HEAD: &str = "head";
/// The oldest offset that had not expired when that was last looked at.
pub(super) const FIRST: &str = "first";
/// When the entry at [`FIRST`] was sent.
pub(super) const FIRST_AT: &str = "first_at";
/// From which offset on a claimed message has to be looked for.
pub(super) const FROM: &str = "from";
pub(super) const USER: &str = "user";
pub(super) const ROLE: &str = "role";
pub(super) const ID: &str = "id";
/// When a message was sent, in milliseconds since 1970.
pub(super) const AT: &str = "at";
const BODY: &str = "body";
/// Which attempt at the message put the entry: tells a repeated request of the SDK from another append.
const ATTEMPT: &str = "attempt";

/// How long DynamoDB keeps an entry past its retention: readers go by the time it was sent, and clocks differ a little.
const ENTRY_SLACK: Duration = Duration::from_secs(60 * 60);
/// A claim outlives its entry, so that an id is remembered as long as its message is kept.
const CLAIM_SLACK: Duration = Duration::from_secs(2 * 60 * 60);

/// The end and the beginning of a channel's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// The epoch that the channel was imported with; `None` for the table's own.
    pub(super) epoch: Option<Epoch>,
    pub(super) offset: Offset,
    pub(super) first: Offset,
    pub(super) first_at: Timestamp,
}

/// Who wrote what is at an offset.
#[derive(Debug, Clone)]
pub(super) struct Occupant {
    pub(super) offset: Offset,
    pub(super) sent_at: Timestamp,
    pub(super) attempt: u64,
    sender: Sender,
    id: MessageId,
}

impl Head {
    /// That of a channel that nobody wrote to.
    pub(super) const EMPTY: Self =
        Self { epoch: None, offset: Offset::START, first: Offset(1), first_at: Timestamp(i64::MAX) };

    /// The end, in the channel's own epoch or else in the table's.
    pub(super) fn position(&self, table: &Epoch) -> Position {
        Position { epoch: self.epoch.as_ref().unwrap_or(table).clone(), offset: self.offset }
    }

    pub(super) fn read(table: &str, item: &Item) -> Result<Self, DynamoError> {
        let reader = Reader { table, item };
        Ok(Self {
            epoch: item.contains_key(EPOCH).then(|| reader.text(EPOCH)).transpose()?.map(|epoch| Epoch(epoch.into())),
            offset: Offset(reader.number(HEAD)?),
            first: Offset(reader.number(FIRST)?),
            first_at: Timestamp(reader.number(FIRST_AT)?),
        })
    }
}

impl Occupant {
    pub(super) fn read(table: &str, item: &Item) -> Result<Self, DynamoError> {
        let reader = Reader { table, item };
        let attempt = item.get(ATTEMPT).and_then(|value| value.as_b().ok()).map(Blob::as_ref);
        let attempt = attempt.and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        Ok(Self {
            offset: Offset(reader.number(SORT)?),
            sent_at: Timestamp(reader.number(AT)?),
            attempt: attempt.ok_or_else(|| reader.unusable(ATTEMPT))?,
            sender: sender(reader)?,
            id: reader.parsed(ID, MessageId::parse)?,
        })
    }

    /// The attributes that [`Occupant::read`] needs, for a projection.
    pub(super) const NEEDED: [&str; 6] = [SORT, USER, ROLE, ID, AT, ATTEMPT];

    /// Whether this is that message.
    pub(super) fn is(&self, append: &Append) -> bool {
        self.sender == append.sender && self.id == append.id
    }
}

/// The key of a head (offset 0) or an entry.
pub(super) fn key(partition: &str, offset: u64) -> Item {
    HashMap::from([(PARTITION.to_owned(), text(partition)), (SORT.to_owned(), number(offset))])
}

/// An entry.
pub(super) fn entry(append: &Append, offset: Offset, attempt: u64, retention: Duration) -> Item {
    let mut item = key(&append.channel.to_string(), offset.0);
    item.extend(
        [
            (USER, text(append.sender.user.as_str())),
            (ROLE, text(append.sender.role.as_str())),
            (ID, text(append.id.as_str())),
            (AT, number(append.sent_at)),
            (BODY, text(append.body.get())),
            (ATTEMPT, AttributeValue::B(Blob::new(attempt.to_be_bytes()))),
            (EXPIRES, expiry(append, retention, ENTRY_SLACK)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    item
}

/// The claim on a message's id.
pub(super) fn claim(append: &Append, from: Offset, retention: Duration) -> Item {
    let Append { channel, sender, id, .. } = append;
    // A space is in none of the parts.
    let mut item = key(&format!("{channel} {} {} {id}", sender.role.as_str(), sender.user), 0);
    let claim = [(FROM, number(from)), (EXPIRES, expiry(append, retention, CLAIM_SLACK))];
    item.extend(claim.map(|(name, value)| (name.to_owned(), value)));
    item
}

fn expiry(append: &Append, retention: Duration, slack: Duration) -> AttributeValue {
    number(append.sent_at.plus(retention).plus(slack).seconds())
}

/// Reads an entry whole.
pub(super) fn read(table: &str, item: &Item) -> Result<Entry, DynamoError> {
    let reader = Reader { table, item };
    let body = RawValue::from_string(reader.text(BODY)?.to_owned()).map_err(|_| reader.unusable(BODY))?;
    Ok(Entry {
        offset: Offset(reader.number(SORT)?),
        sender: sender(reader)?,
        id: reader.parsed(ID, MessageId::parse)?,
        sent_at: Timestamp(reader.number(AT)?),
        body: Arc::from(body),
    })
}

fn sender(reader: Reader<'_>) -> Result<Sender, DynamoError> {
    let role = |text: &str| Role::parse(text).ok_or(());
    Ok(Sender { user: reader.parsed(USER, UserId::parse)?, role: reader.parsed(ROLE, role)? })
}
