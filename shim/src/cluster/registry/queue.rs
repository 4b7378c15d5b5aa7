//! Work of the registry's maintenance task: deletions of records, pending `$disconnect`s, and resync requests.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use gateway::id::GatewayId;
use parking_lot::Mutex;

use super::wakeups::MaintenanceWakeups;

/// Maximum number of ids queued for deletion. Further ids are not queued: the next resync finds their records.
const MAX_QUEUED_DELETIONS: usize = 1 << 18;

/// Work of the maintenance task. Every new piece of work wakes the task.
#[derive(Default)]
pub(super) struct MaintenanceQueue {
    queued: Mutex<QueuedWork>,
    /// Set when Redis may differ from the registered connections by more than the queued deletions.
    needs_resync: AtomicBool,
    wakeups: MaintenanceWakeups,
}

#[derive(Default)]
struct QueuedWork {
    deletions: VecDeque<GatewayId>,
    disconnects: Vec<GatewayId>,
    /// Connections whose application's record has to be restored.
    restores: Vec<GatewayId>,
}

impl MaintenanceQueue {
    /// Queues the deletion of a connection's record.
    pub(super) fn push_deletion(&self, id: GatewayId) {
        let mut queued = self.queued.lock();
        if queued.deletions.len() < MAX_QUEUED_DELETIONS {
            queued.deletions.push_back(id);
        } else {
            self.needs_resync.store(true, Ordering::Release);
        }
        drop(queued);
        self.wakeups.notify_work();
    }

    /// Returns the oldest `limit` queued deletions, which stay queued.
    pub(super) fn next_deletions(&self, limit: usize) -> Vec<GatewayId> {
        self.queued.lock().deletions.iter().take(limit).copied().collect()
    }

    /// Removes completed deletions, which [`next_deletions`](Self::next_deletions) returned.
    pub(super) fn remove_deletions(&self, completed: &[GatewayId]) {
        let mut queued = self.queued.lock();
        for id in completed {
            // The front differs when `discard_all` cleared the queue during the command.
            if queued.deletions.front() == Some(id) {
                queued.deletions.pop_front();
            }
        }
    }

    /// Queues the `$disconnect` of an ended connection. Bounded by the number of connections.
    pub(super) fn push_disconnect(&self, id: GatewayId) {
        self.queued.lock().disconnects.push(id);
        self.wakeups.notify_work();
    }

    /// Removes and returns all queued `$disconnect`s.
    pub(super) fn take_disconnects(&self) -> Vec<GatewayId> {
        std::mem::take(&mut self.queued.lock().disconnects)
    }

    /// Queues failed `$disconnect`s again, without a wake-up. Returns the number of queued ones.
    pub(super) fn requeue_disconnects(&self, failed: Vec<GatewayId>) -> usize {
        let mut queued = self.queued.lock();
        queued.disconnects.extend(failed);
        queued.disconnects.len()
    }

    /// Queues connections whose application's record has to be restored, without a wake-up. Bounded by the number of
    /// connections.
    pub(super) fn push_restores(&self, ids: impl IntoIterator<Item = GatewayId>) {
        self.queued.lock().restores.extend(ids);
    }

    /// Removes and returns all connections whose record has to be restored.
    pub(super) fn take_restores(&self) -> Vec<GatewayId> {
        std::mem::take(&mut self.queued.lock().restores)
    }

    /// Discards all deletions and `$disconnect`s, because other pods run them.
    pub(super) fn discard_all(&self) {
        *self.queued.lock() = QueuedWork::default();
    }

    /// Requests a resync, to be run at once even after a failure.
    pub(super) fn request_resync(&self) {
        self.needs_resync.store(true, Ordering::Release);
        self.wakeups.notify_resync();
    }

    /// Requests another resync after a failed one, without a wake-up.
    pub(super) fn retry_resync(&self) {
        self.needs_resync.store(true, Ordering::Release);
    }

    /// Returns whether a resync was requested, and clears the request.
    pub(super) fn take_resync_request(&self) -> bool {
        self.needs_resync.swap(false, Ordering::AcqRel)
    }

    /// Waits for the next work; see [`MaintenanceWakeups::wait_for_wakeup`].
    pub(super) async fn wait_for_work(&self, completed: bool) {
        self.wakeups.wait_for_wakeup(completed).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(sequence: u32) -> GatewayId {
        GatewayId::for_connection(sequence.into(), 1)
    }

    #[test]
    fn deletions_stay_queued_until_they_are_completed() {
        let queue = MaintenanceQueue::default();
        (1..=3).for_each(|sequence| queue.push_deletion(id(sequence)));
        let first = queue.next_deletions(2);
        assert_eq!(first, [id(1), id(2)]);
        assert_eq!(queue.next_deletions(2), first);
        queue.remove_deletions(&first);
        assert_eq!(queue.next_deletions(2), [id(3)]);
    }

    #[test]
    fn a_deletion_queued_after_a_discard_is_not_removed_with_the_discarded_ones() {
        let queue = MaintenanceQueue::default();
        queue.push_deletion(id(1));
        let sent = queue.next_deletions(256);
        queue.discard_all();
        queue.push_deletion(id(2));
        queue.remove_deletions(&sent);
        assert_eq!(queue.next_deletions(256), [id(2)]);
    }

    #[test]
    fn deletions_beyond_the_limit_request_a_resync_instead() {
        let queue = MaintenanceQueue::default();
        (0..MAX_QUEUED_DELETIONS).for_each(|_| queue.push_deletion(id(1)));
        assert!(!queue.take_resync_request());
        queue.push_deletion(id(2));
        assert!(queue.take_resync_request() && !queue.take_resync_request());
        assert_eq!(queue.next_deletions(usize::MAX).len(), MAX_QUEUED_DELETIONS);
    }
}
