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
use handlers::ports::{ClientConnection, Timestamp};

use crate::dynamo::{AttributeMap, AttributeReader, DynamoError, number_value, text_value};
use crate::tables::{EXPIRES, ID, PARTITION_KEY, ROLE_ID, SORT_KEY, TENANT, USER_KEY};

/// When the connection began, in milliseconds since 1970.
pub(super) const CONNECTED_AT: &str = "at";
/// How often the record's channels have changed: what a change is conditional on.
pub(super) const VERSION: &str = "changes";
/// The keys of the joined channels, a set; absent while there is none.
pub(super) const CHANNELS: &str = "channels";
/// The user's name.
pub(crate) const USER: &str = "user";
const ROLE: &str = "role";
const TOKEN_EXPIRY: &str = "token_exp";

/// A record as it was read.
#[derive(Debug, Clone)]
pub(super) struct ConnectionRecord {
    pub(super) connection: ClientConnection,
    pub(super) version: u64,
    /// Whether the connection counts among those that are there.
    pub(super) listed: bool,
}

/// The key of a connection's record.
pub(super) fn record_key(id: &ConnectionId) -> AttributeMap {
    HashMap::from([
        (PARTITION_KEY.to_owned(), text_value(format!("c#{id}"))),
        (SORT_KEY.to_owned(), text_value("record")),
    ])
}

/// The partition of a tenant's memberships.
pub(super) fn membership_partition(tenant: &TenantId) -> String {
    format!("t#{tenant}")
}

/// What the sort keys of a channel's memberships begin with.
pub(super) fn channel_prefix(name: &ChannelName) -> String {
    format!("{name}#")
}

/// The key of a membership.
pub(super) fn membership_key(channel: &Channel, id: &ConnectionId) -> AttributeMap {
    let sort = format!("{}{id}", channel_prefix(&channel.name));
    HashMap::from([
        (PARTITION_KEY.to_owned(), text_value(membership_partition(&channel.tenant))),
        (SORT_KEY.to_owned(), text_value(sort)),
    ])
}

/// The channel and the connection that a membership's sort key names.
pub(super) fn split_membership(sort: &str) -> Option<(ChannelName, ConnectionId)> {
    let (channel, id) = sort.split_once('#')?;
    Some((ChannelName::parse(channel).ok()?, ConnectionId::parse(id).ok()?))
}

/// A membership.
pub(super) fn membership_item(channel: &Channel, connection: &ClientConnection) -> AttributeMap {
    let mut item = membership_key(channel, &connection.id);
    item.extend(lifetime_attributes(connection));
    item
}

/// The write that lists a connection in a channel.
pub(super) fn membership_put(channel: &Channel, connection: &ClientConnection) -> Result<WriteRequest, DynamoError> {
    let put = PutRequest::builder().set_item(Some(membership_item(channel, connection))).build();
    put.map(|put| WriteRequest::builder().put_request(put).build()).map_err(|_| incomplete_request())
}

/// The write that takes a connection out of a channel's list.
pub(super) fn membership_delete(channel: &Channel, id: &ConnectionId) -> Result<WriteRequest, DynamoError> {
    let delete = DeleteRequest::builder().set_key(Some(membership_key(channel, id))).build();
    delete.map(|delete| WriteRequest::builder().delete_request(delete).build()).map_err(|_| incomplete_request())
}

fn incomplete_request() -> DynamoError {
    DynamoError::InvalidAttribute { table: "connections".to_owned(), attribute: PARTITION_KEY }
}

/// A connection's record.
pub(super) fn record_attributes(connection: &ClientConnection, changes: u64) -> AttributeMap {
    let ClientConnection { id, identity: Identity { tenant, user, role, expires_at }, channels, .. } = connection;
    let mut item = record_key(id);
    item.extend(lifetime_attributes(connection));
    item.extend(
        [
            (ID, text_value(id.as_str())),
            (TENANT, text_value(tenant.as_str())),
            (USER, text_value(user.as_str())),
            (ROLE, text_value(role.as_str())),
            (USER_KEY, text_value(format!("{tenant}/{user}"))),
            (ROLE_ID, text_value(format!("{}#{id}", role.as_str()))),
            (VERSION, number_value(changes)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    item.extend(expires_at.map(|expires_at| (TOKEN_EXPIRY.to_owned(), number_value(expires_at))));
    item.extend(channel_set(channels).map(|channels| (CHANNELS.to_owned(), channels)));
    item
}

/// The set attribute of channels; DynamoDB has no empty sets.
pub(super) fn channel_set(channels: &BTreeSet<Channel>) -> Option<AttributeValue> {
    (!channels.is_empty()).then(|| AttributeValue::Ss(channels.iter().map(ToString::to_string).collect()))
}

fn lifetime_attributes(connection: &ClientConnection) -> [(String, AttributeValue); 2] {
    // The second after: TTL counts in whole ones.
    let expires = connection.connected_at.plus(limits::CONNECTION_RECORD_TTL).unix_seconds() + 1;
    [(CONNECTED_AT.to_owned(), number_value(connection.connected_at)), (EXPIRES.to_owned(), number_value(expires))]
}

/// Reads a record.
pub(super) fn parse_record(table: &str, item: &AttributeMap) -> Result<ConnectionRecord, DynamoError> {
    let reader = AttributeReader { table, item };
    let role = |text: &str| Role::parse(text).ok_or(());
    let identity = Identity {
        tenant: reader.parse_text(TENANT, TenantId::parse)?,
        user: reader.parse_text(USER, UserId::parse)?,
        role: reader.parse_text(ROLE, role)?,
        expires_at: item.contains_key(TOKEN_EXPIRY).then(|| reader.read_number(TOKEN_EXPIRY)).transpose()?,
    };
    let channels = match item.get(CHANNELS) {
        None => BTreeSet::new(),
        Some(AttributeValue::Ss(keys)) => {
            let channels = keys.iter().map(|key| Channel::from_key(key)).collect::<Result<_, _>>();
            channels.map_err(|_| reader.invalid_attribute(CHANNELS))?
        }
        Some(_) => return Err(reader.invalid_attribute(CHANNELS)),
    };
    let connected_at = Timestamp(reader.read_number(CONNECTED_AT)?);
    let id = reader.parse_text(ID, ConnectionId::parse)?;
    let connection = ClientConnection { id, identity, connected_at, channels };
    Ok(ConnectionRecord { connection, version: reader.read_number(VERSION)?, listed: item.contains_key(USER_KEY) })
}
