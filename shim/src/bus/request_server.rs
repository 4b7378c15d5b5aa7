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

use super::delivery::pause_local;
use super::publish_queue::{DropPolicy, Publication};
use super::wire::{self, PeerOperation, PeerReply, WireDescription};
use super::{BusState, redis_channel};
use crate::connection::{Connection, EnqueueOutcome, OutboundFrame};
use crate::hub::ChannelDelivery;

/// Maximum number of concurrent requests.
const MAX_CONCURRENT_REQUESTS: usize = 1_024;

/// Executes requests and publishes the replies.
pub(super) struct RequestServer {
    hub: ChannelDelivery,
    shared: Arc<BusState>,
    tasks: TaskTracker,
    permits: Arc<Semaphore>,
}

impl RequestServer {
    pub(super) fn new(hub: ChannelDelivery, shared: Arc<BusState>, tasks: TaskTracker) -> Self {
        Self { hub, shared, tasks, permits: Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS)) }
    }

    /// Executes request `id` of the pod with incarnation `origin` and publishes the reply.
    pub(super) fn serve_request(&self, origin: u64, id: u64, operation: PeerOperation, text: Bytes) {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else { return };
        let (hub, shared) = (self.hub.clone(), self.shared.clone());
        self.tasks.spawn(async move {
            let _permit: OwnedSemaphorePermit = permit;
            // A failed operation receives no reply, so the caller times out and reports `Unavailable`.
            let Ok(reply) = execute_operation(&hub, &shared, operation, text).await else { return };
            let publication = Publication {
                redis_channel: shared.redis.prefixed_key(&redis_channel::channel_of_pod(origin)),
                record: wire::reply_record(id, &reply),
                drop_policy: DropPolicy::Report,
            };
            if shared.publish_queue.push(vec![publication]).is_err() {
                shared.metrics.dropped_unrecoverable_records.inc();
            }
        });
    }
}

async fn execute_operation(
    hub: &ChannelDelivery,
    shared: &BusState,
    operation: PeerOperation,
    text: Bytes,
) -> Result<PeerReply, DeliveryError> {
    let id = gateway::id::parse_gateway_id(operation.connection_id()).ok();
    let Some(connection) = id.and_then(|id| hub.connections().find(id)).filter(|connection| !connection.is_closing())
    else {
        return Ok(PeerReply::Gone);
    };
    let Ok(connection_id) = ConnectionId::parse(operation.connection_id()) else { return Ok(PeerReply::Gone) };
    Ok(match operation {
        PeerOperation::Deliver { priority, channel, position, .. } => {
            let placement = channel.zip(position).map(|(channel, position)| Placement { channel, position });
            let frame = OutboundFrame { text: text.into(), placement: placement.map(Arc::new) };
            // Half of the caller's timeout, so that the reply arrives in time.
            let capacity_timeout = shared.settings.request_timeout / 2;
            deliver_with_capacity(&connection, priority, frame, capacity_timeout).await
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
        PeerOperation::Pause { channels, .. } => reply_of(pause_local(hub, shared, &connection_id, &channels).await?),
        PeerOperation::Detach { channels, .. } => reply_of(hub.detach_channels(&connection_id, &channels).await?),
        PeerOperation::Resume { channel, through, .. } => {
            match hub.resume_channel(&connection_id, &channel, &through).await? {
                ResumeOutcome::Live => PeerReply::Live,
                ResumeOutcome::HeadAdvanced(offset) => PeerReply::HeadAdvanced { offset },
            }
        }
    })
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
