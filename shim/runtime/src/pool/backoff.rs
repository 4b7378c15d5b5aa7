//! Exponential backoff of failed process starts.
//!
//! Lambda starts a process for every invocation. Here a start uses the CPU of the server, so the delay doubles from 100
//! ms to 10 s; invocations during the delay fail immediately with the error of the last start.

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
    /// Records a failed start.
    pub fn record_failure(&mut self, now: Instant, failure: InvokeError) {
        let delay = INITIAL_DELAY.saturating_mul(1 << self.failure_count.min(10)).min(MAX_DELAY);
        self.failure_count += 1;
        self.last_failure = Some((now + delay, failure));
    }

    /// Resets the backoff after a successful start.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Returns the time of the next start.
    pub fn retry_at(&self) -> Option<Instant> {
        self.last_failure.as_ref().map(|(until, _)| *until)
    }

    /// Returns whether starts are delayed.
    pub fn is_active(&self, now: Instant) -> bool {
        self.retry_at().is_some_and(|until| now < until)
    }

    /// Returns the error of the last start while starts are delayed.
    pub fn active_failure(&self, now: Instant) -> Option<InvokeError> {
        self.last_failure.as_ref().filter(|(until, _)| now < *until).map(|(_, failure)| failure.clone())
    }
}
