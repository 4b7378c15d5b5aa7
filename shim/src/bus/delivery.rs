//! [`Delivery`] to the connections of all pods.
//!
//! A frame for a group is delivered to local members at once, whatever the state of Redis, and queued for the other
//! pods. An operation on one connection is executed by the pod that owns it, and that pod's reply is the result. The
//! outcome is `ConnectionGone` only if the owner replied so or no pod holds the lease of the connection's node id.

use std::sync::Arc;

use async_trait::async_trait;
use gateway::id::GatewayId;
use handlers::audience::{Audience, ResolvedAudience};
use handlers::channel::{Channel, Position};
use handlers::id::ConnectionId;
use handlers::ports::{CloseReason, Delivery, DeliveryError, DeliveryOutcome, OutgoingFrame, Priority, ResumeOutcome};

use super::publish_queue::DropPolicy;
use super::publisher::PeerPublisher;
use super::request_client::{RequestClient, RequestError};
use super::subscription_gate::SubscriptionGate;
use super::wire::{PeerOperation, PeerReply};
use crate::hub::ChannelDelivery;

/// Delivery to the connections of all pods.
pub struct PodDelivery {
    hub: ChannelDelivery,
    publisher: Arc<PeerPublisher>,
    request_client: Arc<RequestClient>,
    subscription_gate: SubscriptionGate,
}

/// The frame cannot reach the other pods during a Redis outage.
#[derive(Debug, thiserror::Error)]
#[error("redis unavailable")]
struct RedisUnavailableError;

impl PodDelivery {
    pub(super) const fn new(
        hub: ChannelDelivery,
        publisher: Arc<PeerPublisher>,
        request_client: Arc<RequestClient>,
        subscription_gate: SubscriptionGate,
    ) -> Self {
        Self { hub, publisher, request_client, subscription_gate }
    }

    /// Queues a frame for the members of each group on other pods.
    fn publish_to_peers(&self, audience: &Audience, outgoing: &OutgoingFrame) -> Result<(), DeliveryError> {
        let ResolvedAudience::Groups(groups) = audience.resolve() else { return Ok(()) };
        let drop_policy = match (&outgoing.placement, outgoing.priority) {
            (Some(_), _) => DropPolicy::Recoverable,
            (None, Priority::Ephemeral) => DropPolicy::Ephemeral,
            (None, _) => DropPolicy::Report,
        };
        if drop_policy == DropPolicy::Report && !self.publisher.is_redis_available() {
            return Err(DeliveryError::Unavailable(RedisUnavailableError.into()));
        }
        self.publisher
            .publish_to_groups(audience, &groups, outgoing, drop_policy)
            .map_err(|full| DeliveryError::Unavailable(full.into()))
    }

    /// Parses the id of a connection of another pod. Returns `None` for a local connection and for an invalid id.
    fn remote_connection(&self, connection: &ConnectionId) -> Option<GatewayId> {
        let id = gateway::id::parse_gateway_id(connection.as_str()).ok()?;
        let is_local = self.request_client.is_own_node(id.node_id()) || self.hub.connections().find(id).is_some();
        (!is_local).then_some(id)
    }

    async fn send_operation(
        &self,
        id: GatewayId,
        operation: PeerOperation,
        text: &[u8],
    ) -> Result<PeerReply, DeliveryError> {
        match self.request_client.send_request(id.node_id(), &operation, text).await {
            Ok(reply) => Ok(reply),
            Err(RequestError::NoLeaseHolder) => Ok(PeerReply::Gone),
            Err(error) => Err(DeliveryError::Unavailable(error.into())),
        }
    }

    async fn send_for_delivery(
        &self,
        id: GatewayId,
        operation: PeerOperation,
        text: &[u8],
    ) -> Result<DeliveryOutcome, DeliveryError> {
        match self.send_operation(id, operation, text).await? {
            PeerReply::Gone => Ok(DeliveryOutcome::ConnectionGone),
            _ => Ok(DeliveryOutcome::Delivered(Some(1))),
        }
    }
}

#[async_trait]
impl Delivery for PodDelivery {
    async fn deliver(&self, audience: &Audience, outgoing: OutgoingFrame) -> Result<DeliveryOutcome, DeliveryError> {
        if let Audience::Connection(connection) = audience {
            let Some(id) = self.remote_connection(connection) else {
                return self.hub.deliver(audience, outgoing).await;
            };
            let operation = PeerOperation::deliver_to(connection.to_string(), outgoing.priority, outgoing.placement);
            return self.send_for_delivery(id, operation, &outgoing.frame).await;
        }
        let published = self.publish_to_peers(audience, &outgoing);
        self.hub.deliver(audience, outgoing).await?;
        published.map(|()| DeliveryOutcome::Delivered(None))
    }

    async fn pause_channels(
        &self,
        connection: &ConnectionId,
        channels: &[Channel],
    ) -> Result<DeliveryOutcome, DeliveryError> {
        match self.remote_connection(connection) {
            None => self.subscription_gate.pause_channels(&self.hub, connection, channels).await,
            Some(id) => {
                let operation =
                    PeerOperation::Pause { connection_id: connection.to_string(), channels: channels.to_vec() };
                self.send_for_delivery(id, operation, &[]).await
            }
        }
    }

    async fn resume_channel(
        &self,
        connection: &ConnectionId,
        channel: &Channel,
        through: &Position,
    ) -> Result<ResumeOutcome, DeliveryError> {
        let Some(id) = self.remote_connection(connection) else {
            return self.hub.resume_channel(connection, channel, through).await;
        };
        let operation = PeerOperation::Resume {
            connection_id: connection.to_string(),
            channel: channel.clone(),
            through: through.clone(),
        };
        match self.send_operation(id, operation, &[]).await? {
            PeerReply::HeadAdvanced { offset } => Ok(ResumeOutcome::HeadAdvanced(offset)),
            _ => Ok(ResumeOutcome::Live),
        }
    }

    async fn detach_channels(
        &self,
        connection: &ConnectionId,
        channels: &[Channel],
    ) -> Result<DeliveryOutcome, DeliveryError> {
        let Some(id) = self.remote_connection(connection) else {
            return self.hub.detach_channels(connection, channels).await;
        };
        let operation = PeerOperation::Detach { connection_id: connection.to_string(), channels: channels.to_vec() };
        self.send_for_delivery(id, operation, &[]).await
    }

    async fn close_connection(
        &self,
        connection: &ConnectionId,
        reason: CloseReason,
    ) -> Result<DeliveryOutcome, DeliveryError> {
        let Some(id) = self.remote_connection(connection) else {
            return self.hub.close_connection(connection, reason).await;
        };
        let operation = PeerOperation::Close { connection_id: connection.to_string(), reason };
        self.send_for_delivery(id, operation, &[]).await
    }
}
