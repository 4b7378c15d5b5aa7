//! Management API of other pods' connections: the request client as [`RemoteConnections`].
//!
//! `@connections` answers 410 only if the owning pod replied so or no pod holds the lease of the connection's node id.
//! If the owner does not reply in time, the answer is API Gateway's internal error, because the connection may be open.

use async_trait::async_trait;
use bytes::Bytes;
use gateway::id::GatewayId;
use gateway::management::ManagementError;

use super::request_client::{RequestClient, RequestError};
use super::wire::{PeerOperation, PeerReply};
use crate::connection::{RemoteConnections, RemoteDescription};

#[async_trait]
impl RemoteConnections for RequestClient {
    async fn post_text(&self, id: GatewayId, text: Bytes) -> Result<(), ManagementError> {
        self.send_management_request(id, PeerOperation::Post { connection_id: id.to_string() }, &text).await.map(|_| ())
    }

    async fn describe_connection(&self, id: GatewayId) -> Result<RemoteDescription, ManagementError> {
        match self.send_management_request(id, PeerOperation::Describe { connection_id: id.to_string() }, &[]).await? {
            PeerReply::Described(described) => Ok(RemoteDescription {
                connected_at: described.connected_at,
                source_ip: described.source_ip,
                user_agent: described.user_agent,
                last_active_at: described.last_active_at,
            }),
            _ => Err(ManagementError::Internal),
        }
    }

    async fn delete_connection(&self, id: GatewayId) -> Result<(), ManagementError> {
        self.send_management_request(id, PeerOperation::Delete { connection_id: id.to_string() }, &[]).await.map(|_| ())
    }
}

impl RequestClient {
    async fn send_management_request(
        &self,
        id: GatewayId,
        operation: PeerOperation,
        text: &[u8],
    ) -> Result<PeerReply, ManagementError> {
        if self.is_own_node(id.node_id()) {
            return Err(ManagementError::Gone);
        }
        match self.send_request(id.node_id(), &operation, text).await {
            Ok(PeerReply::Gone) | Err(RequestError::NoLeaseHolder) => Err(ManagementError::Gone),
            Ok(PeerReply::OutboxFull) | Err(RequestError::TooManyPending) => Err(ManagementError::LimitExceeded),
            Ok(reply) => Ok(reply),
            Err(error @ (RequestError::Liveness(_) | RequestError::TimedOut)) => {
                tracing::warn!(connection.id = %id, error = %errors::chain(&error), "request to the owning pod failed");
                Err(ManagementError::Internal)
            }
        }
    }
}
