//! Server of requests from other pods about the connections of this pod.
//!
//! Each request runs in its own task, because a delivery may wait for room in the outbox. Of more than
//! [`MAX_CONCURRENT_REQUESTS`] concurrent requests the excess receives no reply, and its callers fail with
//! `Unavailable`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway::close::CloseCause;
use handlers::id::ConnectionId;
use handlers::ports::{Delivery as _, DeliveryError, DeliveryOutcome, Placement, Priority, ResumeOutcome};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::publisher::PeerPublisher;
use super::subscription_gate::SubscriptionGate;
use super::wire::{PeerOperation, PeerReply, WireDescription};
use crate::connection::{Connection, EnqueueOutcome, OutboundFrame};
use crate::hub::ChannelDelivery;

/// Maximum number of concurrent requests.
const MAX_CONCURRENT_REQUESTS: usize = 1_024;

/// Executes requests and publishes the replies.
pub(super) struct RequestServer {
    operations: Arc<LocalOperations>,
    publisher: Arc<PeerPublisher>,
    tasks: TaskTracker,
    permits: Arc<Semaphore>,
}

/// Operations on the connections of this pod.
pub(super) struct LocalOperations {
    hub: ChannelDelivery,
    subscription_gate: SubscriptionGate,
    capacity_timeout: Duration,
}

impl RequestServer {
    pub(super) fn new(operations: LocalOperations, publisher: Arc<PeerPublisher>, tasks: TaskTracker) -> Self {
        let permits = Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS));
        Self { operations: Arc::new(operations), publisher, tasks, permits }
    }

    /// Executes request `id` of the pod with incarnation `origin` and publishes the reply.
    pub(super) fn serve_request(&self, origin: u64, id: u64, operation: PeerOperation, text: Bytes) {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else { return };
        let (operations, publisher) = (self.operations.clone(), self.publisher.clone());
        self.tasks.spawn(async move {
            let _permit: OwnedSemaphorePermit = permit;
            // A failed operation receives no reply, so the caller times out and reports `Unavailable`.
            let Ok(reply) = operations.execute_operation(operation, text).await else { return };
            publisher.publish_reply(origin, id, &reply);
        });
    }
}

impl LocalOperations {
    /// A delivery waits for room in the outbox for half of `request_timeout`, so that the reply arrives before the
    /// caller's timeout.
    pub(super) fn new(hub: ChannelDelivery, subscription_gate: SubscriptionGate, request_timeout: Duration) -> Self {
        Self { hub, subscription_gate, capacity_timeout: request_timeout / 2 }
    }

    async fn execute_operation(&self, operation: PeerOperation, text: Bytes) -> Result<PeerReply, DeliveryError> {
        let hub = &self.hub;
        let id = gateway::id::parse_gateway_id(operation.connection_id()).ok();
        let connection = id.and_then(|id| hub.connections().find(id));
        let Some(connection) = connection.filter(|connection| !connection.is_closing()) else {
            return Ok(PeerReply::Gone);
        };
        let Ok(connection_id) = ConnectionId::parse(operation.connection_id()) else { return Ok(PeerReply::Gone) };
        Ok(match operation {
            PeerOperation::Deliver { priority, channel, position, .. } => {
                let placement = channel.zip(position).map(|(channel, position)| Placement { channel, position });
                let frame = OutboundFrame { text: text.into(), placement: placement.map(Arc::new) };
                deliver_with_capacity(&connection, priority, frame, self.capacity_timeout).await
            }
            PeerOperation::Post { .. } if !connection.has_capacity(text.len()) => PeerReply::OutboxFull,
            PeerOperation::Post { .. } => {
                push_frame(&connection, Priority::Direct, OutboundFrame { text: text.into(), placement: None })
            }
            PeerOperation::Describe { .. } => PeerReply::Described(describe_connection(&connection)),
            PeerOperation::Delete { .. } => {
                connection.close(CloseCause::Deleted);
                PeerReply::Done
            }
            PeerOperation::Close { reason, .. } => reply_of(hub.close_connection(&connection_id, reason).await?),
            PeerOperation::Pause { channels, .. } => {
                reply_of(self.subscription_gate.pause_channels(hub, &connection_id, &channels).await?)
            }
            PeerOperation::Detach { channels, .. } => reply_of(hub.detach_channels(&connection_id, &channels).await?),
            PeerOperation::Resume { channel, through, .. } => {
                match hub.resume_channel(&connection_id, &channel, &through).await? {
                    ResumeOutcome::Live => PeerReply::Live,
                    ResumeOutcome::HeadAdvanced(offset) => PeerReply::HeadAdvanced { offset },
                }
            }
        })
    }
}

async fn deliver_with_capacity(
    connection: &Connection,
    priority: Priority,
    frame: OutboundFrame,
    timeout: Duration,
) -> PeerReply {
    let _ = tokio::time::timeout(timeout, connection.wait_for_capacity(frame.text.len())).await;
    push_frame(connection, priority, frame)
}

fn push_frame(connection: &Connection, priority: Priority, frame: OutboundFrame) -> PeerReply {
    match connection.push(priority, frame) {
        EnqueueOutcome::Queued | EnqueueOutcome::Dropped(_) => PeerReply::Done,
        EnqueueOutcome::Closed => PeerReply::Gone,
    }
}

fn reply_of(outcome: DeliveryOutcome) -> PeerReply {
    match outcome {
        DeliveryOutcome::Delivered(_) => PeerReply::Done,
        DeliveryOutcome::ConnectionGone => PeerReply::Gone,
    }
}

fn describe_connection(connection: &Connection) -> WireDescription {
    WireDescription {
        connected_at: connection.facts.connected_at,
        last_active_at: connection.last_active().0,
        source_ip: connection.facts.identity.source_ip.to_string(),
        user_agent: connection.facts.identity.user_agent.as_deref().map(ToOwned::to_owned),
    }
}
