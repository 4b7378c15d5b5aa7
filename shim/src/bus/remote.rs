//! What the gateway itself asks of the other pods: `@connections`, and when a new connection can be relied on.
//!
//! Invariant: 410 is the owner's answer, or nobody holds its node's lease; when nobody answers in time it is API Gateway's
//! internal error, because the connection may well be open.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use gateway::id::GatewayId;
use gateway::management::ManagementError;
use handlers::audience::Group;

use super::Shared;
use super::requests::AskError;
use super::wire::{Answer, Operation};
use crate::connection::{RemoteConnections, RemoteDescription};
use crate::hub::Neighbours;

impl Neighbours for Shared {
    fn membership_changed(&self, group: &Group) {
        self.interest.hint(group);
    }

    fn settle(&self, groups: Vec<Group>) -> Option<BoxFuture<'static, ()>> {
        if self.interest.is_settled(&groups) {
            return None;
        }
        let (interest, deadline) = (Arc::clone(&self.interest), self.settings.settle);
        Some(Box::pin(async move {
            // Too late is a connection that may have to be caught up, which is better than none.
            let _ = tokio::time::timeout(deadline, interest.settle(&groups)).await;
        }))
    }
}

#[async_trait]
impl RemoteConnections for Shared {
    async fn post(&self, id: GatewayId, text: Bytes) -> Result<(), ManagementError> {
        self.manage(id, Operation::Post { to: id.to_string() }, &text).await.map(|_| ())
    }

    async fn describe(&self, id: GatewayId) -> Result<RemoteDescription, ManagementError> {
        match self.manage(id, Operation::Describe { of: id.to_string() }, &[]).await? {
            Answer::Described(described) => Ok(RemoteDescription {
                connected_at: described.connected_at,
                source_ip: described.source_ip,
                user_agent: described.user_agent,
                last_active_at: described.last_active_at,
            }),
            _ => Err(ManagementError::Internal),
        }
    }

    async fn delete(&self, id: GatewayId) -> Result<(), ManagementError> {
        self.manage(id, Operation::Delete { of: id.to_string() }, &[]).await.map(|_| ())
    }
}

impl Shared {
    async fn manage(&self, id: GatewayId, operation: Operation, text: &[u8]) -> Result<Answer, ManagementError> {
        if id.node() == self.nodes.node() {
            return Err(ManagementError::Gone);
        }
        match self.ask(id.node(), &operation, text).await {
            Ok(Answer::Gone) | Err(AskError::NobodyThere) => Err(ManagementError::Gone),
            Ok(Answer::NoRoom) | Err(AskError::TooMany) => Err(ManagementError::LimitExceeded),
            Ok(answer) => Ok(answer),
            Err(error @ (AskError::Liveness(_) | AskError::TimedOut)) => {
                tracing::warn!(connection.id = %id, error = %errors::chain(&error), "the pod that owns a connection cannot be asked");
                Err(ManagementError::Internal)
            }
        }
    }
}
