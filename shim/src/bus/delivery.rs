//! [`Delivery`] across pods.
//!
//! Invariant: what is for a group is handed to this pod's members at once, whatever the state of Redis, and put in line for
//! the others. What is for one connection is done where the connection is, and the owner's answer is the answer: `Gone` only
//! when the owner said so or nobody holds its node's lease.

use std::sync::Arc;

use async_trait::async_trait;
use gateway::id::GatewayId;
use handlers::audience::{Audience, Group, Members};
use handlers::channel::{Channel, Position};
use handlers::id::ConnectionId;
use handlers::ports::{CloseReason, Delivered, Delivery, DeliveryError, Outgoing, Priority, Released};

use super::queue::{Publication, Worth};
use super::requests::AskError;
use super::wire::{self, Answer, Operation};
use super::{Shared, topic};
use crate::hub::{ChannelDelivery, Neighbours as _};

/// Delivery to the connections of all pods.
pub struct PodDelivery {
    hub: ChannelDelivery,
    shared: Arc<Shared>,
}

/// The bus has no way to the other pods now.
#[derive(Debug, thiserror::Error)]
#[error("redis is away")]
struct Away;

impl PodDelivery {
    pub(super) const fn new(hub: ChannelDelivery, shared: Arc<Shared>) -> Self {
        Self { hub, shared }
    }

    /// Puts a frame in line for the other pods' members of each group.
    fn publish(&self, audience: &Audience, outgoing: &Outgoing) -> Result<(), DeliveryError> {
        let Members::Union(groups) = audience.members() else { return Ok(()) };
        let worth = match (&outgoing.placement, outgoing.priority) {
            (Some(_), _) => Worth::Logged,
            (None, Priority::Ephemeral) => Worth::Ephemeral,
            (None, _) => Worth::Unlogged,
        };
        if worth == Worth::Unlogged && !self.shared.is_up() {
            return Err(DeliveryError::Unavailable(Away.into()));
        }
        let publication = |(group, part): (&Group, u8)| Publication {
            topic: self.shared.redis.key(&topic::of_group(group)),
            record: wire::frame_record(audience, part, outgoing),
            worth,
        };
        let metrics = &self.shared.metrics;
        let pushed = self.shared.queue.push(groups.iter().zip(0..).map(publication).collect());
        match (pushed, worth) {
            (Ok(()), _) => return Ok(()),
            (Err(_), Worth::Logged) => metrics.dropped.inc_by(groups.len() as u64),
            (Err(_), Worth::Ephemeral) => metrics.shed.inc_by(groups.len() as u64),
            (Err(full), Worth::Unlogged) => {
                metrics.shed.inc_by(groups.len() as u64);
                return Err(DeliveryError::Unavailable(full.into()));
            }
        };
        Ok(())
    }

    /// The node that a connection is on, when that is another pod's.
    fn elsewhere(&self, connection: &ConnectionId) -> Option<GatewayId> {
        let id = gateway::id::check(connection.as_str()).ok()?;
        let here = id.node() == self.shared.nodes.node() || self.hub.connections().find(id).is_some();
        (!here).then_some(id)
    }

    async fn ask(&self, id: GatewayId, operation: Operation, text: &[u8]) -> Result<Answer, DeliveryError> {
        match self.shared.ask(id.node(), &operation, text).await {
            Ok(answer) => Ok(answer),
            Err(AskError::NobodyThere) => Ok(Answer::Gone),
            Err(error) => Err(DeliveryError::Unavailable(error.into())),
        }
    }

    async fn ask_to(&self, id: GatewayId, operation: Operation, text: &[u8]) -> Result<Delivered, DeliveryError> {
        match self.ask(id, operation, text).await? {
            Answer::Gone => Ok(Delivered::Gone),
            _ => Ok(Delivered::To(Some(1))),
        }
    }
}

/// [`Delivery::hold`] for a connection of this pod. What is sent after it either reaches this pod or is in the log that the
/// caller reads next.
pub(super) async fn hold_here(
    hub: &ChannelDelivery,
    shared: &Shared,
    connection: &ConnectionId,
    channels: &[Channel],
) -> Result<Delivered, DeliveryError> {
    let held = hub.hold(connection, channels).await?;
    let groups = channels.iter().flat_map(|channel| hub.groups_here(channel)).collect();
    if let Some(settled) = shared.settle(groups) {
        settled.await;
    }
    Ok(held)
}

#[async_trait]
impl Delivery for PodDelivery {
    async fn deliver(&self, audience: &Audience, outgoing: Outgoing) -> Result<Delivered, DeliveryError> {
        if let Audience::Connection(connection) = audience {
            let Some(id) = self.elsewhere(connection) else { return self.hub.deliver(audience, outgoing).await };
            let operation = Operation::deliver(connection.to_string(), outgoing.priority, outgoing.placement);
            return self.ask_to(id, operation, &outgoing.frame).await;
        }
        let published = self.publish(audience, &outgoing);
        self.hub.deliver(audience, outgoing).await?;
        published.map(|()| Delivered::To(None))
    }

    async fn hold(&self, connection: &ConnectionId, channels: &[Channel]) -> Result<Delivered, DeliveryError> {
        match self.elsewhere(connection) {
            None => hold_here(&self.hub, &self.shared, connection, channels).await,
            Some(id) => {
                let operation = Operation::Hold { of: connection.to_string(), channels: channels.to_vec() };
                self.ask_to(id, operation, &[]).await
            }
        }
    }

    async fn release(
        &self,
        connection: &ConnectionId,
        channel: &Channel,
        through: &Position,
    ) -> Result<Released, DeliveryError> {
        let Some(id) = self.elsewhere(connection) else { return self.hub.release(connection, channel, through).await };
        let operation =
            Operation::Release { of: connection.to_string(), channel: channel.clone(), through: through.clone() };
        match self.ask(id, operation, &[]).await? {
            Answer::Behind { offset } => Ok(Released::Behind(offset)),
            _ => Ok(Released::Live),
        }
    }

    async fn detach(&self, connection: &ConnectionId, channels: &[Channel]) -> Result<Delivered, DeliveryError> {
        let Some(id) = self.elsewhere(connection) else { return self.hub.detach(connection, channels).await };
        let operation = Operation::Detach { of: connection.to_string(), channels: channels.to_vec() };
        self.ask_to(id, operation, &[]).await
    }

    async fn close(&self, connection: &ConnectionId, reason: CloseReason) -> Result<Delivered, DeliveryError> {
        let Some(id) = self.elsewhere(connection) else { return self.hub.close(connection, reason).await };
        let operation = Operation::Close { of: connection.to_string(), reason };
        self.ask_to(id, operation, &[]).await
    }
}
