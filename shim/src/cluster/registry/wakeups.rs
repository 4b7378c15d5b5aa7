//! Wake-up signals of the registry's maintenance task.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// Delay before failed work is retried.
const MAINTENANCE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Wake-up signals. A signal sent while the task runs starts another run.
#[derive(Default)]
pub(super) struct MaintenanceWakeups {
    work: Notify,
    resync: Notify,
}

impl MaintenanceWakeups {
    /// Signals queued deletions or pending `$disconnect`s.
    pub(super) fn notify_work(&self) {
        self.work.notify_one();
    }

    /// Signals that Redis may lack registered connections. This signal is not delayed after a failure: until the resync
    /// succeeds, no peer would reap the missing connections if this pod died.
    pub(super) fn notify_resync(&self) {
        self.resync.notify_one();
    }

    /// Waits for the next signal. After an incomplete run, [`notify_work`](Self::notify_work) is ignored until
    /// [`MAINTENANCE_RETRY_DELAY`] has passed, and the delay itself wakes the task: connections that end during an
    /// outage do not each cause a retry.
    pub(super) async fn wait_for_wakeup(&self, completed: bool) {
        tokio::select! {
            () = self.resync.notified() => {}
            () = self.work.notified(), if completed => {}
            () = sleep(MAINTENANCE_RETRY_DELAY), if !completed => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// Returns how long the task waits for its next run.
    async fn wait_duration(wakeups: &MaintenanceWakeups, completed: bool) -> Duration {
        let started = Instant::now();
        wakeups.wait_for_wakeup(completed).await;
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn work_wakes_the_task_at_once_unless_the_last_run_failed() {
        let wakeups = MaintenanceWakeups::default();
        wakeups.notify_work();
        assert_eq!(wait_duration(&wakeups, true).await, Duration::ZERO);
        wakeups.notify_work();
        assert!(wait_duration(&wakeups, false).await >= MAINTENANCE_RETRY_DELAY);
        assert_eq!(wait_duration(&wakeups, true).await, Duration::ZERO, "the delayed signal is not repeated");
    }

    #[tokio::test(start_paused = true)]
    async fn a_resync_request_is_not_delayed_after_a_failure() {
        let wakeups = MaintenanceWakeups::default();
        wakeups.notify_resync();
        assert_eq!(wait_duration(&wakeups, false).await, Duration::ZERO);
        assert!(wait_duration(&wakeups, false).await >= MAINTENANCE_RETRY_DELAY, "the request starts one run");
    }
}
