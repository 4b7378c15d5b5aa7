//! What calls the upkeep to its next turn.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// How long after something failed it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Calls for the upkeep; one that comes while it is busy counts for the turn behind.
#[derive(Default)]
pub(super) struct Calls {
    work: Notify,
    doubt: Notify,
}

impl Calls {
    /// There is something to strike off or to finish.
    pub(super) fn work(&self) {
        self.work.notify_one();
    }

    /// Redis may not have what it should have. This does not wait for what failed: until it is answered, nobody would finish the
    /// connections of this pod if it died.
    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Waits for the next call. Behind a turn that left something undone, work waits for [`PAUSE`] to pass, so that what ends
    /// in an outage does not have the upkeep try again each time, and the pause is a call itself.
    pub(super) async fn next(&self, done: bool) {
        tokio::select! {
            () = self.doubt.notified() => {}
            () = self.work.notified(), if done => {}
            () = sleep(PAUSE), if !done => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// How long the upkeep rests.
    async fn rests(calls: &Calls, done: bool) -> Duration {
        let begun = Instant::now();
        calls.next(done).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_done_at_once_unless_the_last_turn_failed() {
        let calls = Calls::default();
        calls.work();
        assert_eq!(rests(&calls, true).await, Duration::ZERO);
        calls.work();
        assert!(rests(&calls, false).await >= PAUSE);
        assert_eq!(rests(&calls, true).await, Duration::ZERO, "the call is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubt_does_not_wait_for_what_failed() {
        let calls = Calls::default();
        calls.doubt();
        assert_eq!(rests(&calls, false).await, Duration::ZERO);
        assert!(rests(&calls, false).await >= PAUSE, "it is one turn");
    }
}
