//! Passing frames on to many connections.
//!
//! Frames are put in line for each connection in turn. Where that are many, a few tasks, the writers, write their outboxes in
//! groups, instead of every session being woken: a session's turn costs more than the writing itself. Between two groups
//! writers let everything else go first, so that nobody waits behind a broadcast for longer than a group takes, and what is
//! put in line meanwhile leaves in the same write. For the receiver it makes no difference who writes
//! (`docs/adr/0019-broadcasts-are-written-in-groups.md`).

use std::collections::VecDeque;
use std::sync::Arc;

use handlers::ports::{DeliveryOutcome, Priority};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{ChannelDelivery, HubState};
use crate::connection::{Connection, EnqueueOutcome, Enqueued, OutboundFrame};

/// Connections written to in one go: a tenth of a millisecond of work, and far from the budget that a task has for one poll
/// (128 operations).
const CONNECTIONS_PER_WRITE_TURN: usize = 16;
/// Connections after which writers begin while the rest is put in line.
const EARLY_WRITE_THRESHOLD: usize = 256;
/// As many or fewer sessions are woken one by one.
const MAX_SESSION_WAKES: usize = 3;
/// Places in line that are kept for the next broadcast.
const RETAINED_QUEUE_CAPACITY: usize = 1024;

/// Connections with something in line, and how many tasks write it. A connection stands here at most once; what is put in line
/// while it is being written to brings it here again.
pub(super) struct OutboxWriters {
    max_writers: usize,
    queue: Mutex<WriterQueue>,
}

#[derive(Default)]
struct WriterQueue {
    due: VecDeque<Arc<Connection>>,
    active_writers: usize,
}

impl OutboxWriters {
    /// As many as there are cores.
    pub(super) fn new() -> Self {
        Self { max_writers: std::thread::available_parallelism().map_or(1, usize::from), queue: Mutex::default() }
    }

    /// Puts connections in line and returns how many writers more it takes.
    fn enqueue_connections(&self, due: &mut Vec<Arc<Connection>>) -> usize {
        let mut state = self.queue.lock();
        state.due.extend(due.drain(..));
        let more = state
            .due
            .len()
            .div_ceil(CONNECTIONS_PER_WRITE_TURN)
            .min(self.max_writers)
            .saturating_sub(state.active_writers);
        state.active_writers += more;
        more
    }

    /// Moves the next connections to `group`; without any the writer that asks has to end.
    fn take_connections(&self, group: &mut Vec<Arc<Connection>>) {
        let mut state = self.queue.lock();
        let count = state.due.len().min(CONNECTIONS_PER_WRITE_TURN);
        group.extend(state.due.drain(..count));
        if group.is_empty() {
            state.active_writers -= 1;
            state.due.shrink_to(RETAINED_QUEUE_CAPACITY);
        }
    }
}

/// Writes until nothing is in line any more.
async fn run_writer(shared: Arc<HubState>) {
    let mut group = Vec::with_capacity(CONNECTIONS_PER_WRITE_TURN);
    loop {
        shared.writers.take_connections(&mut group);
        if group.is_empty() {
            return;
        }
        let now = Instant::now();
        shared.metrics.sent_frames.inc_by(group.drain(..).map(|handle| handle.try_flush(now)).sum());
        tokio::task::yield_now().await;
    }
}

/// Frames on their way to many connections. What was handed over is written when it is dropped, at the latest.
pub(super) struct FanOut<'a> {
    shared: &'a Arc<HubState>,
    due: Vec<Arc<Connection>>,
    enqueued_frames: u64,
}

impl<'a> FanOut<'a> {
    pub(super) const fn new(hub: &'a ChannelDelivery) -> Self {
        Self { shared: &hub.shared, due: Vec::new(), enqueued_frames: 0 }
    }

    /// Puts a frame in line for one of them.
    pub(super) fn send_to(
        &mut self,
        handle: &Arc<Connection>,
        priority: Priority,
        queued: OutboundFrame,
    ) -> DeliveryOutcome {
        let enqueued = handle.enqueue(priority, queued);
        if matches!(enqueued, Enqueued::NeedsFlush(_)) {
            self.due.push(handle.clone());
            if self.due.len() == EARLY_WRITE_THRESHOLD {
                self.start_writers();
            }
        }
        match enqueued.pushed() {
            EnqueueOutcome::Queued => self.enqueued_frames += 1,
            EnqueueOutcome::Dropped(frames) => drop(self.shared.metrics.dropped_frames.inc_by(u64::from(frames))),
            EnqueueOutcome::Closed => return DeliveryOutcome::ConnectionGone,
        }
        DeliveryOutcome::Delivered(Some(1))
    }

    fn start_writers(&mut self) {
        for _ in 0..self.shared.writers.enqueue_connections(&mut self.due) {
            self.shared.tasks.spawn(run_writer(self.shared.clone()));
        }
    }
}

impl Drop for FanOut<'_> {
    fn drop(&mut self) {
        self.shared.metrics.enqueued_frames.inc_by(self.enqueued_frames);
        if self.due.len() > MAX_SESSION_WAKES {
            self.start_writers();
        } else {
            self.due.iter().for_each(|handle| handle.wake_session());
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
        numbers.map(|number| TestConnection::for_handle(user(number), 1024)).collect()
    }

    /// How many were reached.
    async fn broadcast(hub: &ChannelDelivery, text: &'static str) -> DeliveryOutcome {
        let everyone = handlers::audience::Audience::Channel(channel("everyone"));
        let outgoing = OutgoingFrame { frame: text.into(), priority: Priority::Broadcast, placement: None };
        hub.deliver(&everyone, outgoing).await.unwrap()
    }

    #[tokio::test]
    async fn many_are_written_to_and_their_sessions_sleep() {
        let (hub, _) = hub();
        let mut clients = clients(&hub, EARLY_WRITE_THRESHOLD + CONNECTIONS_PER_WRITE_TURN + 1);
        for text in ["one", "two"] {
            assert_eq!(broadcast(&hub, text).await, DeliveryOutcome::Delivered(Some(clients.len() as u64)));
        }
        for client in &mut clients {
            assert_eq!(client.read_texts(2).await, ["one", "two"]);
            assert_eq!(client.wake_count(), 0);
        }
        assert_eq!(hub.shared.metrics.sent_frames.get(), 2 * clients.len() as u64);
        assert_eq!(hub.shared.metrics.enqueued_frames.get(), 2 * clients.len() as u64);
        // The writers have ended: the next broadcast starts new ones.
        broadcast(&hub, "three").await;
        for client in &mut clients {
            assert_eq!(client.read_texts(1).await, ["three"]);
        }
        hub.shared.tasks.close();
        hub.shared.tasks.wait().await;
        assert_eq!(hub.shared.writers.queue.lock().active_writers, 0);
    }

    #[tokio::test]
    async fn few_are_woken_once_for_all_that_waits() {
        let (hub, _) = hub();
        let clients = clients(&hub, MAX_SESSION_WAKES);
        broadcast(&hub, "one").await;
        broadcast(&hub, "two").await;
        assert!(clients.iter().all(|client| client.wake_count() == 1));
        assert!(hub.shared.tasks.is_empty());
    }
}
