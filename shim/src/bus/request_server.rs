//! Answering for the connections of this pod.
//!
//! Invariant: the answer says what happened here. Each request runs on a task of its own, because a delivery may wait for
//! room; at most [`MAX_CONCURRENT_REQUESTS`] at a time, beyond which a request is not answered and its caller is told `Unavailable`.

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

/// Most requests that are carried out at a time.
const MAX_CONCURRENT_REQUESTS: usize = 1_024;

/// What answers.
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

    /// Carries out request `id` of the pod `origin` and replies to it.
    pub(super) fn serve_request(&self, origin: u64, id: u64, operation: PeerOperation, text: Bytes) {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else { return };
        let (hub, shared) = (self.hub.clone(), self.shared.clone());
        self.tasks.spawn(async move {
            let _running: OwnedSemaphorePermit = permit;
            // What fails is not answered: the caller cannot be told more than that it is unavailable.
            let Ok(answer) = execute_operation(&hub, &shared, operation, text).await else { return };
            let topic = shared.redis.prefixed_key(&redis_channel::channel_of_pod(origin));
            let reply = Publication {
                redis_channel: topic,
                record: wire::reply_record(id, &answer),
                drop_policy: DropPolicy::Report,
            };
            if shared.publish_queue.push(vec![reply]).is_err() {
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
    let Some(handle) = id.and_then(|id| hub.connections().find(id)).filter(|handle| !handle.is_closing()) else {
        return Ok(PeerReply::Gone);
    };
    let Ok(connection) = ConnectionId::parse(operation.connection_id()) else { return Ok(PeerReply::Gone) };
    Ok(match operation {
        PeerOperation::Deliver { lane, channel, position, .. } => {
            let placement = channel.zip(position).map(|(channel, position)| Placement { channel, position });
            // Half of what the caller waits, so that the answer is in time.
            let patience = shared.settings.request_timeout / 2;
            deliver_with_capacity(
                &handle,
                lane,
                OutboundFrame { text: text.into(), placement: placement.map(Arc::new) },
                patience,
            )
            .await
        }
        PeerOperation::Post { .. } if !handle.has_capacity(text.len()) => PeerReply::OutboxFull,
        PeerOperation::Post { .. } => {
            push_frame(&handle, Priority::Direct, OutboundFrame { text: text.into(), placement: None })
        }
        PeerOperation::Describe { .. } => PeerReply::Described(describe_connection(&handle)),
        PeerOperation::Delete { .. } => {
            handle.close(CloseCause::Deleted);
            PeerReply::Done
        }
        PeerOperation::Close { reason, .. } => reply_of(hub.close_connection(&connection, reason).await?),
        PeerOperation::Pause { channels, .. } => reply_of(pause_local(hub, shared, &connection, &channels).await?),
        PeerOperation::Detach { channels, .. } => reply_of(hub.detach_channels(&connection, &channels).await?),
        PeerOperation::Resume { channel, through, .. } => {
            match hub.resume_channel(&connection, &channel, &through).await? {
                ResumeOutcome::Live => PeerReply::Live,
                ResumeOutcome::HeadAdvanced(offset) => PeerReply::HeadAdvanced { offset },
            }
        }
    })
}

async fn deliver_with_capacity(
    handle: &Connection,
    priority: Priority,
    queued: OutboundFrame,
    patience: Duration,
) -> PeerReply {
    let _ = tokio::time::timeout(patience, handle.wait_for_capacity(queued.text.len())).await;
    push_frame(handle, priority, queued)
}

fn push_frame(handle: &Connection, priority: Priority, queued: OutboundFrame) -> PeerReply {
    match handle.push(priority, queued) {
        EnqueueOutcome::Queued | EnqueueOutcome::Dropped(_) => PeerReply::Done,
        EnqueueOutcome::Closed => PeerReply::Gone,
    }
}

fn reply_of(delivered: DeliveryOutcome) -> PeerReply {
    match delivered {
        DeliveryOutcome::Delivered(_) => PeerReply::Done,
        DeliveryOutcome::ConnectionGone => PeerReply::Gone,
    }
}

fn describe_connection(handle: &Connection) -> WireDescription {
    WireDescription {
        connected_at: handle.facts.connected_at,
        last_active_at: handle.last_active().0,
        source_ip: handle.facts.identity.source_ip.to_string(),
        user_agent: handle.facts.identity.user_agent.as_deref().map(ToOwned::to_owned),
    }
}
