//! Items of connections and memberships.
//!
//! ```text
//! record      pk c#{id}       sk record           id tenant user role [token_exp] at [channels] version
//!                                                 [user_key role_id] expires
//! membership  pk t#{tenant}   sk {channel}#{id}   at [token_exp] expires
//! ```
//!
//! A record without `user_key` and `role_id` is in no index: its connection is gone and its `$disconnect` is pending.
//! Names of tenants, users and channels never contain `#`. All memberships of a tenant share one partition key, so its
//! occupied channels are listed without an index; DynamoDB splits a hot item collection by sort key.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, PutRequest, WriteRequest};
use handlers::channel::{Channel, ChannelName};
use handlers::id::{ConnectionId, TenantId, UserId};
use handlers::identity::{Identity, Role};
use handlers::limits;
use handlers::ports::{ClientConnection, Timestamp};

use crate::dynamo::{AttributeMap, AttributeReader, DynamoError, number_value, text_value};
use crate::tables::{EXPIRES, ID, PARTITION_KEY, ROLE_ID, SORT_KEY, TENANT, USER_KEY};

/// Start of the connection, in milliseconds since 1970.
pub(super) const CONNECTED_AT: &str = "at";
/// Number of changes of the record's channels; every change is conditional on it.
pub(super) const VERSION: &str = "version";
/// Set of the keys of the joined channels; absent if empty.
pub(super) const CHANNELS: &str = "channels";
/// User id.
pub(crate) const USER: &str = "user";
const ROLE: &str = "role";
/// Expiry of the token, in seconds since 1970; absent if it never expires.
pub(super) const TOKEN_EXPIRY: &str = "token_exp";

/// Connection record as read from the table.
#[derive(Debug, Clone)]
pub(super) struct ConnectionRecord {
    pub(super) connection: ClientConnection,
    pub(super) version: u64,
    /// `false` after the connection was found gone and removed from the listings.
    pub(super) listed: bool,
}

/// Returns the key of a connection's record.
pub(super) fn record_key(id: &ConnectionId) -> AttributeMap {
    HashMap::from([
        (PARTITION_KEY.to_owned(), text_value(format!("c#{id}"))),
        (SORT_KEY.to_owned(), text_value("record")),
    ])
}

/// Returns the partition key of a tenant's memberships.
pub(super) fn membership_partition(tenant: &TenantId) -> String {
    format!("t#{tenant}")
}

/// Returns the prefix of the sort keys of a channel's memberships.
pub(super) fn channel_prefix(name: &ChannelName) -> String {
    format!("{name}#")
}

/// Returns the key of a membership.
pub(super) fn membership_key(channel: &Channel, id: &ConnectionId) -> AttributeMap {
    let sort = format!("{}{id}", channel_prefix(&channel.name));
    HashMap::from([
        (PARTITION_KEY.to_owned(), text_value(membership_partition(&channel.tenant))),
        (SORT_KEY.to_owned(), text_value(sort)),
    ])
}

/// Splits a membership's sort key into the channel's name and the connection id.
pub(super) fn split_membership(sort: &str) -> Option<(ChannelName, ConnectionId)> {
    let (channel, id) = sort.split_once('#')?;
    Some((ChannelName::parse(channel).ok()?, ConnectionId::parse(id).ok()?))
}

/// Returns the item of a membership.
pub(super) fn membership_item(channel: &Channel, connection: &ClientConnection) -> AttributeMap {
    let mut item = membership_key(channel, &connection.id);
    item.extend(lifetime_attributes(connection));
    item
}

/// Returns the expiry of the token of a record or membership.
pub(super) fn token_expiry(table: &str, item: &AttributeMap) -> Result<Option<i64>, DynamoError> {
    let reader = AttributeReader { table, item };
    item.contains_key(TOKEN_EXPIRY).then(|| reader.read_number(TOKEN_EXPIRY)).transpose()
}

/// Returns the write that adds a connection to a channel's listing.
pub(super) fn membership_put(channel: &Channel, connection: &ClientConnection) -> Result<WriteRequest, DynamoError> {
    let put = PutRequest::builder().set_item(Some(membership_item(channel, connection))).build();
    put.map(|put| WriteRequest::builder().put_request(put).build()).map_err(|_| incomplete_request())
}

/// Returns the write that removes a connection from a channel's listing.
pub(super) fn membership_delete(channel: &Channel, id: &ConnectionId) -> Result<WriteRequest, DynamoError> {
    let delete = DeleteRequest::builder().set_key(Some(membership_key(channel, id))).build();
    delete.map(|delete| WriteRequest::builder().delete_request(delete).build()).map_err(|_| incomplete_request())
}

fn incomplete_request() -> DynamoError {
    DynamoError::InvalidAttribute { table: "connections".to_owned(), attribute: PARTITION_KEY }
}

/// Returns the item of a connection's record.
pub(super) fn record_attributes(connection: &ClientConnection, version: u64) -> AttributeMap {
    let ClientConnection { id, identity: Identity { tenant, user, role, .. }, channels, .. } = connection;
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
            (VERSION, number_value(version)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    item.extend(channel_set(channels).map(|channels| (CHANNELS.to_owned(), channels)));
    item
}

/// Returns the set attribute of channels; `None` if empty, because DynamoDB has no empty sets.
pub(super) fn channel_set(channels: &BTreeSet<Channel>) -> Option<AttributeValue> {
    (!channels.is_empty()).then(|| AttributeValue::Ss(channels.iter().map(ToString::to_string).collect()))
}

fn lifetime_attributes(connection: &ClientConnection) -> impl Iterator<Item = (String, AttributeValue)> + use<> {
    // Rounded up: TTL has a resolution of one second.
    let expires = connection.connected_at.plus(limits::CONNECTION_RECORD_TTL).unix_seconds() + 1;
    let token_expiry = connection.identity.expires_at.map(|expires_at| (TOKEN_EXPIRY, number_value(expires_at)));
    let lifetime = [(CONNECTED_AT, number_value(connection.connected_at)), (EXPIRES, number_value(expires))];
    lifetime.into_iter().chain(token_expiry).map(|(name, value)| (name.to_owned(), value))
}

/// Parses a connection record.
pub(super) fn parse_record(table: &str, item: &AttributeMap) -> Result<ConnectionRecord, DynamoError> {
    let reader = AttributeReader { table, item };
    let role = |text: &str| Role::parse(text).ok_or(());
    let identity = Identity {
        tenant: reader.parse_text(TENANT, TenantId::parse)?,
        user: reader.parse_text(USER, UserId::parse)?,
        role: reader.parse_text(ROLE, role)?,
        expires_at: token_expiry(table, item)?,
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
