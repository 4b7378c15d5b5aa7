//! `@connections` for connections of other pods.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gateway::id::GatewayId;
use gateway::management::ManagementError;

use super::ConnectionIndex;

/// Where a connection can be found: in this process, or on another pod.
#[derive(Clone)]
pub struct ConnectionDirectory {
    /// The connections of this process.
    pub local: ConnectionIndex,
    /// The connections of other pods; `None` where there are none.
    pub remote: Option<Arc<dyn RemoteConnections>>,
}

/// What `GetConnection` returns for a connection of another pod.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteDescription {
    /// Milliseconds since 1970.
    pub connected_at: i64,
    /// The client's address.
    pub source_ip: String,
    /// Its `User-Agent`.
    pub user_agent: Option<String>,
    /// Milliseconds since 1970.
    pub last_active_at: i64,
}

/// The management API of connections on other pods.
#[async_trait]
pub trait RemoteConnections: Send + Sync {
    /// `POST @connections` for a connection that is not here.
    async fn post_text(&self, id: GatewayId, text: Bytes) -> Result<(), ManagementError>;

    /// `GET @connections`, likewise.
    async fn describe_connection(&self, id: GatewayId) -> Result<RemoteDescription, ManagementError>;

    /// `DELETE @connections`, likewise.
    async fn delete_connection(&self, id: GatewayId) -> Result<(), ManagementError>;
}
