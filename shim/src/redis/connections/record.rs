//! Encoding of a connection record: JSON under the key `connection:{id}`.
//!
//! `channels` has to be the last field and a list of strings without escapes: `change.lua` edits it in place.

use std::collections::BTreeSet;

use handlers::channel::Channel;
use handlers::id::{ConnectionId, TenantId, UserId};
use handlers::identity::{Identity, Role};
use handlers::limits;
use handlers::ports::{ClientConnection, StoreError, Timestamp};
use serde::{Deserialize, Serialize};

/// Lifetime of a record after its connection was opened, in milliseconds.
pub(super) const RECORD_TTL_MS: i64 = limits::CONNECTION_RECORD_TTL.as_millis() as i64;

/// Stored form of a connection. Field names are short, because there is one record per socket.
#[derive(Debug, Serialize, Deserialize)]
struct RedisConnectionRecord {
    id: ConnectionId,
    tenant: TenantId,
    user: UserId,
    role: Role,
    /// Expiry of the token, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    exp: Option<i64>,
    /// Time of the connection, in milliseconds since 1970.
    at: Timestamp,
    /// Keys of the joined channels.
    channels: BTreeSet<String>,
}

/// Error for a record that this adapter did not write.
#[derive(Debug, thiserror::Error)]
#[error("invalid connection record")]
pub(super) struct InvalidRecordError;

/// Encodes a connection.
pub(super) fn encode_record(connection: &ClientConnection) -> String {
    let ClientConnection { id, identity, connected_at, channels } = connection;
    let record = RedisConnectionRecord {
        id: id.clone(),
        tenant: identity.tenant.clone(),
        user: identity.user.clone(),
        role: identity.role,
        exp: identity.expires_at,
        at: *connected_at,
        channels: channels.iter().map(Channel::to_string).collect(),
    };
    serde_json::to_string(&record).expect("a connection record has only strings and numbers")
}

/// Decodes a connection.
pub(super) fn decode_record(text: &str) -> Result<ClientConnection, InvalidRecordError> {
    let record: RedisConnectionRecord = serde_json::from_str(text).map_err(|_| InvalidRecordError)?;
    let channels = record.channels.iter().map(|key| Channel::from_key(key)).collect::<Result<_, _>>();
    Ok(ClientConnection {
        id: record.id,
        identity: Identity { tenant: record.tenant, user: record.user, role: record.role, expires_at: record.exp },
        connected_at: record.at,
        channels: channels.map_err(|_| InvalidRecordError)?,
    })
}

/// Returns the expiry of a connection's record.
pub(super) fn expires_at(connection: &ClientConnection) -> Timestamp {
    connection.connected_at.plus(limits::CONNECTION_RECORD_TTL)
}

impl From<InvalidRecordError> for StoreError {
    fn from(invalid: InvalidRecordError) -> Self {
        Self::Backend { adapter: "redis", source: Box::new(invalid) }
    }
}
