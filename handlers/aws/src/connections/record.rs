//! Connections and memberships as items.
//!
//! ```text
//! record      pk c#{id}       sk record           id tenant user role [token_exp] at [channels] changes [user_key role_id] expires
//! membership  pk t#{tenant}   sk {channel}#{id}   at expires
//! ```
//!
//! A record without `user_key` and `role_id` is in no index: its connection is gone, and its `$disconnect` has yet to come.
//! `#` is in no tenant's, user's or channel's name. All memberships of a tenant are one partition key, so that its occupied
//! channels can be listed without an index; DynamoDB splits such a collection by sort key when it grows hot.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, PutRequest, WriteRequest};
use handlers::channel::{Channel, ChannelName};
use handlers::id::{ConnectionId, TenantId, UserId};
use handlers::identity::{Identity, Role};
use handlers::limits;
use handlers::ports::{Connection, Timestamp};

use crate::dynamo::{DynamoError, Item, Reader, number, text};
use crate::tables::{EXPIRES, ID, PARTITION, ROLE_ID, SORT, TENANT, USER_KEY};

/// When the connection began, in milliseconds since 1970.
pub(super) const AT: &str = "at";
/// How often the record's channels have changed: what a change is conditional on.
pub(super) const CHANGES: &str = "changes";
/// The keys of the joined channels, a set; absent while there is none.
pub(super) const CHANNELS: &str = "channels";
/// The user's name.
pub(crate) const USER: &str = "user";
const ROLE: &str = "role";
const TOKEN_EXPIRY: &str = "token_exp";

/// A record as it was read.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) connection: Connection,
    pub(super) changes: u64,
    /// Whether the connection counts among those that are there.
    pub(super) listed: bool,
}

/// The key of a connection's record.
pub(super) fn key(id: &ConnectionId) -> Item {
    HashMap::from([(PARTITION.to_owned(), text(format!("c#{id}"))), (SORT.to_owned(), text("record"))])
}

/// The partition of a tenant's memberships.
pub(super) fn memberships(tenant: &TenantId) -> String {
    format!("t#{tenant}")
}

/// What the sort keys of a channel's memberships begin with.
pub(super) fn channel_prefix(name: &ChannelName) -> String {
    format!("{name}#")
}

/// The key of a membership.
pub(super) fn membership_key(channel: &Channel, id: &ConnectionId) -> Item {
    let sort = format!("{}{id}", channel_prefix(&channel.name));
    HashMap::from([(PARTITION.to_owned(), text(memberships(&channel.tenant))), (SORT.to_owned(), text(sort))])
}

/// The channel and the connection that a membership's sort key names.
pub(super) fn split_membership(sort: &str) -> Option<(ChannelName, ConnectionId)> {
    let (channel, id) = sort.split_once('#')?;
    Some((ChannelName::parse(channel).ok()?, ConnectionId::parse(id).ok()?))
}

/// A membership.
pub(super) fn membership(channel: &Channel, connection: &Connection) -> Item {
    let mut item = membership_key(channel, &connection.id);
    item.extend(lifetime(connection));
    item
}

/// The write that lists a connection in a channel.
pub(super) fn list(channel: &Channel, connection: &Connection) -> Result<WriteRequest, DynamoError> {
    let put = PutRequest::builder().set_item(Some(membership(channel, connection))).build();
    put.map(|put| WriteRequest::builder().put_request(put).build()).map_err(|_| incomplete())
}

/// The write that takes a connection out of a channel's list.
pub(super) fn unlist(channel: &Channel, id: &ConnectionId) -> Result<WriteRequest, DynamoError> {
    let delete = DeleteRequest::builder().set_key(Some(membership_key(channel, id))).build();
    delete.map(|delete| WriteRequest::builder().delete_request(delete).build()).map_err(|_| incomplete())
}

fn incomplete() -> DynamoError {
    DynamoError::Item { table: "connections".to_owned(), attribute: PARTITION }
}

/// A connection's record.
pub(super) fn item(connection: &Connection, changes: u64) -> Item {
    let Connection { id, identity: Identity { tenant, user, role, expires_at }, channels, .. } = connection;
    let mut item = key(id);
    item.extend(lifetime(connection));
    item.extend(
        [
            (ID, text(id.as_str())),
            (TENANT, text(tenant.as_str())),
            (USER, text(user.as_str())),
            (ROLE, text(role.as_str())),
            (USER_KEY, text(format!("{tenant}/{user}"))),
            (ROLE_ID, text(format!("{}#{id}", role.as_str()))),
            (CHANGES, number(changes)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    item.extend(expires_at.map(|expires_at| (TOKEN_EXPIRY.to_owned(), number(expires_at))));
    item.extend(channel_set(channels).map(|channels| (CHANNELS.to_owned(), channels)));
    item
}

/// The set attribute of channels; DynamoDB has no empty sets.
pub(super) fn channel_set(channels: &BTreeSet<Channel>) -> Option<AttributeValue> {
    (!channels.is_empty()).then(|| AttributeValue::Ss(channels.iter().map(ToString::to_string).collect()))
}

fn lifetime(connection: &Connection) -> [(String, AttributeValue); 2] {
    // The second after: TTL counts in whole ones.
    let expires = connection.connected_at.plus(limits::CONNECTION_TTL).seconds() + 1;
    [(AT.to_owned(), number(connection.connected_at)), (EXPIRES.to_owned(), number(expires))]
}

/// Reads a record.
pub(super) fn read(table: &str, item: &Item) -> Result<Stored, DynamoError> {
    let reader = Reader { table, item };
    let role = |text: &str| Role::parse(text).ok_or(());
    let identity = Identity {
        tenant: reader.parsed(TENANT, TenantId::parse)?,
        user: reader.parsed(USER, UserId::parse)?,
        role: reader.parsed(ROLE, role)?,
        expires_at: item.contains_key(TOKEN_EXPIRY).then(|| reader.number(TOKEN_EXPIRY)).transpose()?,
    };
    let channels = match item.get(CHANNELS) {
        None => BTreeSet::new(),
        Some(AttributeValue::Ss(keys)) => {
            let channels = keys.iter().map(|key| Channel::from_key(key)).collect::<Result<_, _>>();
            channels.map_err(|_| reader.unusable(CHANNELS))?
        }
        Some(_) => return Err(reader.unusable(CHANNELS)),
    };
    let connected_at = Timestamp(reader.number(AT)?);
    let id = reader.parsed(ID, ConnectionId::parse)?;
    let connection = Connection { id, identity, connected_at, channels };
    Ok(Stored { connection, changes: reader.number(CHANGES)?, listed: item.contains_key(USER_KEY) })
}
