//! Fan-out of frames to many connections.
//!
//! A fan-out enqueues a frame in the outbox of each connection. If many connections need a flush, a few writer tasks
//! flush their outboxes in batches, because waking a session costs more than the write itself. Writers yield between
//! batches, so that a broadcast delays other tasks by at most one batch; frames enqueued before a flush are part of the
//! same write. Receivers cannot distinguish the two ways of flushing (`docs/adr/0019-grouped-broadcast-writes.md`).

use std::collections::VecDeque;
use std::sync::Arc;

use handlers::ports::{DeliveryOutcome, Priority};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{ChannelDelivery, HubState};
use crate::connection::{Connection, EnqueueOutcome, Enqueued, OutboundFrame};

/// Connections that a writer flushes between two yields: about 0.1 ms of work, well below the cooperative budget of a
/// task (128 operations per poll).
const CONNECTIONS_PER_WRITER_BATCH: usize = 16;
/// Number of pending connections at which writers start while the fan-out is still enqueueing.
const EARLY_WRITE_THRESHOLD: usize = 256;
/// Up to this many pending connections are flushed by waking their sessions instead of starting writers.
const MAX_SESSION_WAKES: usize = 3;
/// Capacity of the writer queue that is kept between broadcasts, in connections.
const RETAINED_QUEUE_CAPACITY: usize = 1024;

/// Queue of connections that need a flush, and the number of writer tasks. A connection is in the queue at most once; a
/// frame enqueued during its flush adds it again.
pub(super) struct OutboxWriters {
    max_writers: usize,
    queue: Mutex<WriterQueue>,
}

#[derive(Default)]
struct WriterQueue {
    pending: VecDeque<Arc<Connection>>,
    active_writers: usize,
}

impl OutboxWriters {
    /// Creates an empty queue, with at most one writer per core.
    pub(super) fn new() -> Self {
        Self { max_writers: std::thread::available_parallelism().map_or(1, usize::from), queue: Mutex::default() }
    }

    /// Moves `connections` to the queue and returns the number of additional writers to start.
    fn enqueue_connections(&self, connections: &mut Vec<Arc<Connection>>) -> usize {
        let mut queue = self.queue.lock();
        queue.pending.extend(connections.drain(..));
        let additional = queue
            .pending
            .len()
            .div_ceil(CONNECTIONS_PER_WRITER_BATCH)
            .min(self.max_writers)
            .saturating_sub(queue.active_writers);
        queue.active_writers += additional;
        additional
    }

    /// Moves the next connections to `batch`. An empty batch means that the calling writer must end.
    fn take_connections(&self, batch: &mut Vec<Arc<Connection>>) {
        let mut queue = self.queue.lock();
        let count = queue.pending.len().min(CONNECTIONS_PER_WRITER_BATCH);
        batch.extend(queue.pending.drain(..count));
        if batch.is_empty() {
            queue.active_writers -= 1;
            queue.pending.shrink_to(RETAINED_QUEUE_CAPACITY);
        }
    }
}

/// Flushes queued connections until the queue is empty.
async fn run_writer(shared: Arc<HubState>) {
    let mut batch = Vec::with_capacity(CONNECTIONS_PER_WRITER_BATCH);
    loop {
        shared.writers.take_connections(&mut batch);
        if batch.is_empty() {
            return;
        }
        let now = Instant::now();
        shared.metrics.sent_frames.inc_by(batch.drain(..).map(|connection| connection.try_flush(now)).sum());
        tokio::task::yield_now().await;
    }
}

/// A fan-out in progress. Dropping it starts the flush of every connection that still needs one.
pub(super) struct FanOut<'a> {
    shared: &'a Arc<HubState>,
    pending: Vec<Arc<Connection>>,
    enqueued_frames: u64,
}

impl<'a> FanOut<'a> {
    pub(super) const fn new(hub: &'a ChannelDelivery) -> Self {
        Self { shared: &hub.shared, pending: Vec::new(), enqueued_frames: 0 }
    }

    /// Enqueues a frame for one connection.
    pub(super) fn send_to(
        &mut self,
        connection: &Arc<Connection>,
        priority: Priority,
        frame: OutboundFrame,
    ) -> DeliveryOutcome {
        let enqueued = connection.enqueue(priority, frame);
        if matches!(enqueued, Enqueued::NeedsFlush(_)) {
            self.pending.push(connection.clone());
            if self.pending.len() == EARLY_WRITE_THRESHOLD {
                self.start_writers();
            }
        }
        match enqueued.outcome() {
            EnqueueOutcome::Queued => self.enqueued_frames += 1,
            EnqueueOutcome::Dropped(frames) => drop(self.shared.metrics.dropped_frames.inc_by(u64::from(frames))),
            EnqueueOutcome::Closed => return DeliveryOutcome::ConnectionGone,
        }
        DeliveryOutcome::Delivered(Some(1))
    }

    fn start_writers(&mut self) {
        for _ in 0..self.shared.writers.enqueue_connections(&mut self.pending) {
            self.shared.tasks.spawn(run_writer(self.shared.clone()));
        }
    }
}

impl Drop for FanOut<'_> {
    fn drop(&mut self) {
        self.shared.metrics.enqueued_frames.inc_by(self.enqueued_frames);
        if self.pending.len() > MAX_SESSION_WAKES {
            self.start_writers();
        } else {
            self.pending.iter().for_each(|connection| connection.wake_session());
        }
    }
}

#[cfg(test)]
mod tests {
    use handlers::identity::Role;
    use handlers::ports::{Delivery as _, OutgoingFrame};

    use super::*;
    use crate::connection::transport::tests::TestConnection;
    use crate::hub::tests::{channel, connect_on_node, hub};

    fn clients(hub: &ChannelDelivery, count: usize) -> Vec<TestConnection> {
        let numbers = 0..u32::try_from(count).unwrap();
        let user = |number| connect_on_node(hub, number, 1, &format!("user-{number}"), Role::User);
        numbers.map(|number| TestConnection::for_connection(user(number), 1024)).collect()
    }

    /// Sends `text` to all clients and returns the outcome with the number of connections reached.
    async fn broadcast(hub: &ChannelDelivery, text: &'static str) -> DeliveryOutcome {
        let everyone = handlers::audience::Audience::Channel(channel("everyone"));
        let outgoing = OutgoingFrame { frame: text.into(), priority: Priority::Broadcast, placement: None };
        hub.deliver(&everyone, outgoing).await.unwrap()
    }

    #[tokio::test]
    async fn a_fan_out_to_many_connections_wakes_no_session() {
        let (hub, _) = hub();
        let mut clients = clients(&hub, EARLY_WRITE_THRESHOLD + CONNECTIONS_PER_WRITER_BATCH + 1);
        for text in ["one", "two"] {
            assert_eq!(broadcast(&hub, text).await, DeliveryOutcome::Delivered(Some(clients.len() as u64)));
        }
        for client in &mut clients {
            assert_eq!(client.read_texts(2).await, ["one", "two"]);
            assert_eq!(client.wake_count(), 0);
        }
        assert_eq!(hub.shared.metrics.sent_frames.get(), 2 * clients.len() as u64);
        assert_eq!(hub.shared.metrics.enqueued_frames.get(), 2 * clients.len() as u64);
        // The writers have ended; the next broadcast starts new ones.
        broadcast(&hub, "three").await;
        for client in &mut clients {
            assert_eq!(client.read_texts(1).await, ["three"]);
        }
        hub.shared.tasks.close();
        hub.shared.tasks.wait().await;
        assert_eq!(hub.shared.writers.queue.lock().active_writers, 0);
    }

    #[tokio::test]
    async fn sessions_of_a_small_fan_out_are_woken_once_for_all_queued_frames() {
        let (hub, _) = hub();
        let clients = clients(&hub, MAX_SESSION_WAKES);
        broadcast(&hub, "one").await;
        broadcast(&hub, "two").await;
        assert!(clients.iter().all(|client| client.wake_count() == 1));
        assert!(hub.shared.tasks.is_empty());
    }
}
