//! Answering for the connections of this pod.
//!
//! Invariant: the answer says what happened here. Each request runs on a task of its own, because a delivery may wait for
//! room; at most [`MOST_RUNNING`] at a time, beyond which a request is not answered and its caller is told `Unavailable`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway::close::CloseCause;
use handlers::id::ConnectionId;
use handlers::ports::{Delivered, Delivery as _, DeliveryError, Placement, Priority, Released};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::delivery::hold_here;
use super::queue::{Publication, Worth};
use super::wire::{self, Answer, Described, Operation};
use super::{Shared, topic};
use crate::connection::{Connection, Pushed, Queued};
use crate::hub::ChannelDelivery;

/// Most requests that are carried out at a time.
const MOST_RUNNING: usize = 1_024;

/// What answers.
pub(super) struct Owner {
    hub: ChannelDelivery,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    running: Arc<Semaphore>,
}

impl Owner {
    pub(super) fn new(hub: ChannelDelivery, shared: Arc<Shared>, tasks: TaskTracker) -> Self {
        Self { hub, shared, tasks, running: Arc::new(Semaphore::new(MOST_RUNNING)) }
    }

    /// Carries out request `id` of the pod `origin` and replies to it.
    pub(super) fn take(&self, origin: u64, id: u64, operation: Operation, text: Bytes) {
        let Ok(permit) = self.running.clone().try_acquire_owned() else { return };
        let (hub, shared) = (self.hub.clone(), self.shared.clone());
        self.tasks.spawn(async move {
            let _running: OwnedSemaphorePermit = permit;
            // What fails is not answered: the caller cannot be told more than that it is unavailable.
            let Ok(answer) = carry_out(&hub, &shared, operation, text).await else { return };
            let topic = shared.redis.key(&topic::of_pod(origin));
            let reply = Publication { topic, record: wire::reply_record(id, &answer), worth: Worth::Unlogged };
            if shared.queue.push(vec![reply]).is_err() {
                shared.metrics.shed.inc();
            }
        });
    }
}

async fn carry_out(
    hub: &ChannelDelivery,
    shared: &Shared,
    operation: Operation,
    text: Bytes,
) -> Result<Answer, DeliveryError> {
    let id = gateway::id::check(operation.connection()).ok();
    let Some(handle) = id.and_then(|id| hub.connections().find(id)).filter(|handle| !handle.is_closing()) else {
        return Ok(Answer::Gone);
    };
    let Ok(connection) = ConnectionId::parse(operation.connection()) else { return Ok(Answer::Gone) };
    Ok(match operation {
        Operation::Deliver { lane, channel, position, .. } => {
            let placement = channel.zip(position).map(|(channel, position)| Placement { channel, position });
            // Half of what the caller waits, so that the answer is in time.
            let patience = shared.settings.request / 2;
            deliver(&handle, lane, Queued { text: text.into(), placement: placement.map(Arc::new) }, patience).await
        }
        Operation::Post { .. } if !handle.has_room(text.len()) => Answer::NoRoom,
        Operation::Post { .. } => push(&handle, Priority::Direct, Queued { text: text.into(), placement: None }),
        Operation::Describe { .. } => Answer::Described(describe(&handle)),
        Operation::Delete { .. } => {
            handle.close(CloseCause::Deleted);
            Answer::Done
        }
        Operation::Close { reason, .. } => done(hub.close(&connection, reason).await?),
        Operation::Hold { channels, .. } => done(hold_here(hub, shared, &connection, &channels).await?),
        Operation::Detach { channels, .. } => done(hub.detach(&connection, &channels).await?),
        Operation::Release { channel, through, .. } => match hub.release(&connection, &channel, &through).await? {
            Released::Live => Answer::Live,
            Released::Behind(offset) => Answer::Behind { offset },
        },
    })
}

async fn deliver(handle: &Connection, priority: Priority, queued: Queued, patience: Duration) -> Answer {
    let _ = tokio::time::timeout(patience, handle.wait_for_room(queued.text.len())).await;
    push(handle, priority, queued)
}

fn push(handle: &Connection, priority: Priority, queued: Queued) -> Answer {
    match handle.push(priority, queued) {
        Pushed::Queued | Pushed::Shed(_) => Answer::Done,
        Pushed::Closed => Answer::Gone,
    }
}

fn done(delivered: Delivered) -> Answer {
    match delivered {
        Delivered::To(_) => Answer::Done,
        Delivered::Gone => Answer::Gone,
    }
}

fn describe(handle: &Connection) -> Described {
    Described {
        connected_at: handle.facts.connected_at,
        last_active_at: handle.last_active().0,
        source_ip: handle.facts.identity.source_ip.to_string(),
        user_agent: handle.facts.identity.user_agent.as_deref().map(ToOwned::to_owned),
    }
}
