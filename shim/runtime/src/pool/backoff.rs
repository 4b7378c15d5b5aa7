//! Exponential backoff of failed process starts.
//!
//! Lambda starts a process for every invocation. Here a start uses the CPU of the server, so the delay doubles from 100
//! ms to 10 s; invocations during the delay fail immediately with the error of the last start.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use crate::invocation::InvokeError;

const INITIAL_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(10);

pub(super) struct StartBackoff {
    delays: ExponentialBackoff,
    last_failure: Option<(Instant, InvokeError)>,
}

impl Default for StartBackoff {
    fn default() -> Self {
        let delays =
            ExponentialBuilder::default().with_min_delay(INITIAL_DELAY).with_max_delay(MAX_DELAY).without_max_times();
        Self { delays: delays.build(), last_failure: None }
    }
}

impl StartBackoff {
    /// Records a failed start.
    pub fn record_failure(&mut self, now: Instant, failure: InvokeError) {
        let delay = self.delays.next().unwrap_or(MAX_DELAY);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_delay_doubles_up_to_its_maximum_and_a_reset_starts_again() {
        let (mut backoff, now) = (StartBackoff::default(), Instant::now());
        let mut delays = Vec::new();
        for _ in 0..9 {
            backoff.record_failure(now, InvokeError::Stopped);
            delays.push((backoff.retry_at().unwrap() - now).as_millis());
        }
        assert_eq!(delays, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert!(backoff.is_active(now) && !backoff.is_active(now + MAX_DELAY));
        backoff.reset();
        backoff.record_failure(now, InvokeError::Stopped);
        assert_eq!(backoff.retry_at(), Some(now + INITIAL_DELAY));
    }
}
