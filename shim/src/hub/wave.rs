//! Passing frames on to many connections.
//!
//! Frames are put in line for each connection in turn. Where that are many, a few tasks, the writers, write their outboxes in
//! groups, instead of every session being woken: a session's turn costs more than the writing itself. Between two groups
//! writers let everything else go first, so that nobody waits behind a broadcast for longer than a group takes, and what is
//! put in line meanwhile leaves in the same write. For the receiver it makes no difference who writes
//! (`docs/adr/0019-broadcasts-are-written-in-groups.md`).

use std::collections::VecDeque;
use std::sync::Arc;

use handlers::ports::{Delivered, Priority};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{ChannelDelivery, Shared};
use crate::connection::{Connection, Enqueued, Pushed, Queued};

/// Connections written to in one go: a tenth of a millisecond of work, and far from the budget that a task has for one poll
/// (128 operations).
const GROUP: usize = 16;
/// Connections after which writers begin while the rest is put in line.
const HEAD_START: usize = 256;
/// As many or fewer sessions are woken one by one.
const FEW: usize = 3;
/// Places in line that are kept for the next broadcast.
const KEPT: usize = 1024;

/// Connections with something in line, and how many tasks write it. A connection stands here at most once; what is put in line
/// while it is being written to brings it here again.
pub(super) struct Writers {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    due: VecDeque<Arc<Connection>>,
    running: usize,
}

impl Writers {
    /// As many as there are cores.
    pub(super) fn new() -> Self {
        Self { most: std::thread::available_parallelism().map_or(1, usize::from), state: Mutex::default() }
    }

    /// Puts connections in line and returns how many writers more it takes.
    fn add(&self, due: &mut Vec<Arc<Connection>>) -> usize {
        let mut state = self.state.lock();
        state.due.extend(due.drain(..));
        let more = state.due.len().div_ceil(GROUP).min(self.most).saturating_sub(state.running);
        state.running += more;
        more
    }

    /// Moves the next connections to `group`; without any the writer that asks has to end.
    fn next(&self, group: &mut Vec<Arc<Connection>>) {
        let mut state = self.state.lock();
        let count = state.due.len().min(GROUP);
        group.extend(state.due.drain(..count));
        if group.is_empty() {
            state.running -= 1;
            state.due.shrink_to(KEPT);
        }
    }
}

/// Writes until nothing is in line any more.
async fn write(shared: Arc<Shared>) {
    let mut group = Vec::with_capacity(GROUP);
    loop {
        shared.writers.next(&mut group);
        if group.is_empty() {
            return;
        }
        let now = Instant::now();
        shared.metrics.sent.inc_by(group.drain(..).map(|handle| handle.write_through(now)).sum());
        tokio::task::yield_now().await;
    }
}

/// Frames on their way to many connections. What was handed over is written when it is dropped, at the latest.
pub(super) struct Wave<'a> {
    shared: &'a Arc<Shared>,
    due: Vec<Arc<Connection>>,
    queued: u64,
}

impl<'a> Wave<'a> {
    pub(super) const fn new(hub: &'a ChannelDelivery) -> Self {
        Self { shared: &hub.shared, due: Vec::new(), queued: 0 }
    }

    /// Puts a frame in line for one of them.
    pub(super) fn hand_over(&mut self, handle: &Arc<Connection>, priority: Priority, queued: Queued) -> Delivered {
        let enqueued = handle.enqueue(priority, queued);
        if matches!(enqueued, Enqueued::NeedsFlush(_)) {
            self.due.push(handle.clone());
            if self.due.len() == HEAD_START {
                self.write();
            }
        }
        match enqueued.pushed() {
            Pushed::Queued => self.queued += 1,
            Pushed::Shed(frames) => drop(self.shared.metrics.shed.inc_by(u64::from(frames))),
            Pushed::Closed => return Delivered::Gone,
        }
        Delivered::To(Some(1))
    }

    fn write(&mut self) {
        for _ in 0..self.shared.writers.add(&mut self.due) {
            self.shared.tasks.spawn(write(self.shared.clone()));
        }
    }
}

impl Drop for Wave<'_> {
    fn drop(&mut self) {
        self.shared.metrics.frames.inc_by(self.queued);
        if self.due.len() > FEW {
            self.write();
        } else {
            self.due.iter().for_each(|handle| handle.leave_to_session());
        }
    }
}

#[cfg(test)]
mod tests {
    use handlers::identity::Role;
    use handlers::ports::{Delivery as _, Outgoing};

    use super::*;
    use crate::connection::transport::tests::TestConnection;
    use crate::hub::tests::{channel, connect_at, hub};

    fn clients(hub: &ChannelDelivery, count: usize) -> Vec<TestConnection> {
        let numbers = 0..u32::try_from(count).unwrap();
        let user = |number| connect_at(hub, number, 1, &format!("user-{number}"), Role::User);
        numbers.map(|number| TestConnection::of(user(number), 1024)).collect()
    }

    /// How many were reached.
    async fn broadcast(hub: &ChannelDelivery, text: &'static str) -> Delivered {
        let everyone = handlers::audience::Audience::Channel(channel("everyone"));
        let outgoing = Outgoing { frame: text.into(), priority: Priority::Broadcast, placement: None };
        hub.deliver(&everyone, outgoing).await.unwrap()
    }

    #[tokio::test]
    async fn many_are_written_to_and_their_sessions_sleep() {
        let (hub, _) = hub();
        let mut clients = clients(&hub, HEAD_START + GROUP + 1);
        for text in ["one", "two"] {
            assert_eq!(broadcast(&hub, text).await, Delivered::To(Some(clients.len() as u64)));
        }
        for client in &mut clients {
            assert_eq!(client.read(2).await, ["one", "two"]);
            assert_eq!(client.wakes(), 0);
        }
        assert_eq!(hub.shared.metrics.sent.get(), 2 * clients.len() as u64);
        assert_eq!(hub.shared.metrics.frames.get(), 2 * clients.len() as u64);
        // The writers have ended: the next broadcast starts new ones.
        broadcast(&hub, "three").await;
        for client in &mut clients {
            assert_eq!(client.read(1).await, ["three"]);
        }
        hub.shared.tasks.close();
        hub.shared.tasks.wait().await;
        assert_eq!(hub.shared.writers.state.lock().running, 0);
    }

    #[tokio::test]
    async fn few_are_woken_once_for_all_that_waits() {
        let (hub, _) = hub();
        let clients = clients(&hub, FEW);
        broadcast(&hub, "one").await;
        broadcast(&hub, "two").await;
        assert!(clients.iter().all(|client| client.wakes() == 1));
        assert!(hub.shared.tasks.is_empty());
    }
}
