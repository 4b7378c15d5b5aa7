//! What calls the upkeep to its next turn.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// How long after something failed it is tried again.
const MAINTENANCE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Calls for the upkeep; one that comes while it is busy counts for the turn behind.
#[derive(Default)]
pub(super) struct MaintenanceWakeups {
    work: Notify,
    resync: Notify,
}

impl MaintenanceWakeups {
    /// There is something to strike off or to finish.
    pub(super) fn notify_work(&self) {
        self.work.notify_one();
    }

    /// Redis may not have what it should have. This does not wait for what failed: until it is answered, nobody would finish the
    /// connections of this pod if it died.
    pub(super) fn notify_resync(&self) {
        self.resync.notify_one();
    }

    /// Waits for the next call. Behind a turn that left something undone, work waits for [`MAINTENANCE_RETRY_DELAY`] to pass, so that what ends
    /// in an outage does not have the upkeep try again each time, and the pause is a call itself.
    pub(super) async fn wait_for_wakeup(&self, done: bool) {
        tokio::select! {
            () = self.resync.notified() => {}
            () = self.work.notified(), if done => {}
            () = sleep(MAINTENANCE_RETRY_DELAY), if !done => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// How long the upkeep rests.
    async fn rests(calls: &MaintenanceWakeups, done: bool) -> Duration {
        let begun = Instant::now();
        calls.wait_for_wakeup(done).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_done_at_once_unless_the_last_turn_failed() {
        let calls = MaintenanceWakeups::default();
        calls.notify_work();
        assert_eq!(rests(&calls, true).await, Duration::ZERO);
        calls.notify_work();
        assert!(rests(&calls, false).await >= MAINTENANCE_RETRY_DELAY);
        assert_eq!(rests(&calls, true).await, Duration::ZERO, "the call is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubt_does_not_wait_for_what_failed() {
        let calls = MaintenanceWakeups::default();
        calls.notify_resync();
        assert_eq!(rests(&calls, false).await, Duration::ZERO);
        assert!(rests(&calls, false).await >= MAINTENANCE_RETRY_DELAY, "it is one turn");
    }
}
