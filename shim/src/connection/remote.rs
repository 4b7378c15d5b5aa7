//! Port for `@connections` requests about connections of other pods.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gateway::id::GatewayId;
use gateway::management::ManagementError;

use super::ConnectionIndex;

/// Look-up of connections: those of this process, then those of other pods.
#[derive(Clone)]
pub struct ConnectionDirectory {
    /// The connections of this process.
    pub local: ConnectionIndex,
    /// The connections of other pods; `None` in a single process.
    pub remote: Option<Arc<dyn RemoteConnections>>,
}

/// Result of `GetConnection` for a connection of another pod.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteDescription {
    /// Time of the handshake, in milliseconds since 1970.
    pub connected_at: i64,
    /// The client's IP address.
    pub source_ip: String,
    /// The client's `User-Agent` header.
    pub user_agent: Option<String>,
    /// Time of the last message in either direction, in milliseconds since 1970.
    pub last_active_at: i64,
}

/// Port to the management API (`@connections`) of connections on other pods.
///
/// ```
/// # use async_trait::async_trait;
/// # use bytes::Bytes;
/// # use gateway::id::GatewayId;
/// # use gateway::management::ManagementError;
/// # use shim::connection::{RemoteConnections, RemoteDescription};
/// /// Another pod with one open connection.
/// struct OtherPod(GatewayId);
///
/// #[async_trait]
/// impl RemoteConnections for OtherPod {
///     async fn post_text(&self, id: GatewayId, _text: Bytes) -> Result<(), ManagementError> {
///         if id == self.0 { Ok(()) } else { Err(ManagementError::Gone) }
///     }
/// #   async fn describe_connection(&self, _: GatewayId) -> Result<RemoteDescription, ManagementError> {
/// #       Err(ManagementError::Gone)
/// #   }
/// #   async fn delete_connection(&self, _: GatewayId) -> Result<(), ManagementError> { Err(ManagementError::Gone) }
///     // `describe_connection` and `delete_connection` likewise.
/// }
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
///
/// let [open, closed] = [1, 2].map(|sequence| GatewayId::for_connection(sequence, 7));
/// assert_eq!(OtherPod(open).post_text(open, "hello".into()).await, Ok(()));
/// assert_eq!(OtherPod(open).post_text(closed, "hello".into()).await, Err(ManagementError::Gone));
/// # });
/// ```
#[async_trait]
pub trait RemoteConnections: Send + Sync {
    /// Sends `text` to the connection (`POST @connections`).
    async fn post_text(&self, id: GatewayId, text: Bytes) -> Result<(), ManagementError>;

    /// Describes the connection (`GET @connections`).
    async fn describe_connection(&self, id: GatewayId) -> Result<RemoteDescription, ManagementError>;

    /// Closes the connection (`DELETE @connections`).
    async fn delete_connection(&self, id: GatewayId) -> Result<(), ManagementError>;
}
