//! When a function that does not start may be tried again.
//!
//! Lambda tries at every invocation. Here a start costs the machine that also serves, so the pause doubles from 100 ms to
//! 10 s; invocations within it fail at once with what the last start failed with.

use std::time::Duration;

use tokio::time::Instant;

use crate::invocation::InvokeError;

const INITIAL_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct StartBackoff {
    failure_count: u32,
    last_failure: Option<(Instant, InvokeError)>,
}

impl StartBackoff {
    /// A start failed.
    pub fn record_failure(&mut self, now: Instant, failure: InvokeError) {
        let pause = INITIAL_DELAY.saturating_mul(1 << self.failure_count.min(10)).min(MAX_DELAY);
        self.failure_count += 1;
        self.last_failure = Some((now + pause, failure));
    }

    /// A start succeeded.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// When the next start may be.
    pub fn retry_at(&self) -> Option<Instant> {
        self.last_failure.as_ref().map(|(until, _)| *until)
    }

    /// Whether there may be none now.
    pub fn is_active(&self, now: Instant) -> bool {
        self.retry_at().is_some_and(|until| now < until)
    }

    /// What the last start failed with, as long as there may be no other.
    pub fn active_failure(&self, now: Instant) -> Option<InvokeError> {
        self.last_failure.as_ref().filter(|(until, _)| now < *until).map(|(_, failure)| failure.clone())
    }
}
