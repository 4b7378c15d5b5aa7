//! When a function that does not start may be tried again.
//!
//! Lambda tries at every invocation. Here a start costs the machine that also serves, so the pause doubles from 100 ms to
//! 10 s; invocations within it fail at once with what the last start failed with.

use std::time::Duration;

use tokio::time::Instant;

use crate::invocation::InvokeError;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
    last: Option<(Instant, InvokeError)>,
}

impl Backoff {
    /// A start failed.
    pub fn note(&mut self, now: Instant, failure: InvokeError) {
        let pause = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures += 1;
        self.last = Some((now + pause, failure));
    }

    /// A start succeeded.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// When the next start may be.
    pub fn until(&self) -> Option<Instant> {
        self.last.as_ref().map(|(until, _)| *until)
    }

    /// Whether there may be none now.
    pub fn is_active(&self, now: Instant) -> bool {
        self.until().is_some_and(|until| now < until)
    }

    /// What the last start failed with, as long as there may be no other.
    pub fn failure(&self, now: Instant) -> Option<InvokeError> {
        self.last.as_ref().filter(|(until, _)| now < *until).map(|(_, failure)| failure.clone())
    }
}
