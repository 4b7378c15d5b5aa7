//! Circuit breaker for Redis and PostgreSQL.
//!
//! The published state is also the state that decides: while it is [`LinkState::Unavailable`], only the health check
//! sends commands. Callers fail immediately instead of queueing until their timeouts.

mod health_monitor;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub(crate) use self::health_monitor::{HealthCheck, monitor_health};

/// Consecutive failures that open the breaker. A single broken connection fails every command in flight on it.
const FAILURE_THRESHOLD: u32 = 5;
/// Minimum duration of a run of failures before the breaker opens. A connection that breaks with a hundred commands in
/// flight is one event, and the next attempt reconnects.
const MIN_FAILURE_DURATION: Duration = Duration::from_millis(500);

/// Availability of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// The server answers.
    Available,
    /// The server does not answer, or cannot serve.
    Unavailable {
        /// Time of the first failure of the outage.
        since: Instant,
    },
}

/// Counts failures and publishes the state; clones share it.
#[derive(Clone)]
pub(crate) struct CircuitBreaker {
    failures: Arc<Mutex<FailureStreak>>,
    state: watch::Sender<LinkState>,
    failure_notify: Arc<Notify>,
    check_requested: Arc<Notify>,
}

#[derive(Default)]
struct FailureStreak {
    count: u32,
    since: Option<Instant>,
}

impl CircuitBreaker {
    /// Creates a closed breaker, which lets all commands pass.
    pub(crate) fn new() -> Self {
        Self {
            failures: Arc::default(),
            state: watch::Sender::new(LinkState::Available),
            failure_notify: Arc::default(),
            check_requested: Arc::default(),
        }
    }

    /// Returns whether commands may be sent.
    pub(crate) fn is_closed(&self) -> bool {
        *self.state.borrow() == LinkState::Available
    }

    /// Returns a receiver of the state.
    pub(crate) fn watch_state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    /// Records a reply of the server. Resets the run of failures, but never closes an open breaker.
    pub(crate) fn record_success(&self) {
        let mut failures = self.failures.lock();
        if failures.count > 0 {
            *failures = FailureStreak::default();
        }
    }

    /// Records a command that the server did not answer, or could not serve. Opens the breaker after
    /// [`FAILURE_THRESHOLD`] failures that span [`MIN_FAILURE_DURATION`].
    pub(crate) fn record_failure(&self) {
        let mut failures = self.failures.lock();
        failures.count = failures.count.saturating_add(1);
        let since = *failures.since.get_or_insert_with(Instant::now);
        let opens = failures.count >= FAILURE_THRESHOLD && since.elapsed() >= MIN_FAILURE_DURATION;
        drop(failures);
        if opens {
            self.open();
        }
        self.failure_notify.notify_one();
    }

    /// Opens the breaker at once: the server reported that it cannot serve. It may still answer other commands, as a
    /// replica answers reads and publishes.
    pub(crate) fn open(&self) {
        let since = *self.failures.lock().since.get_or_insert_with(Instant::now);
        self.state.send_if_modified(|state| {
            let opens = *state == LinkState::Available;
            *state = if opens { LinkState::Unavailable { since } } else { *state };
            opens
        });
    }

    /// Closes the breaker after a successful health check.
    pub(crate) fn close(&self) {
        self.record_success();
        self.state.send_if_modified(|state| std::mem::replace(state, LinkState::Available) != LinkState::Available);
    }

    /// Requests a health check at once: what caused the failures may have ended.
    pub(crate) fn request_check(&self) {
        self.check_requested.notify_one();
    }

    /// Waits for the next requested check.
    pub(crate) async fn check_requested(&self) {
        self.check_requested.notified().await;
    }

    /// Waits for the next recorded failure.
    pub(crate) async fn failure_notified(&self) {
        self.failure_notify.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_failures_is_one_event() {
        let breaker = CircuitBreaker::new();
        for _ in 0..100 {
            breaker.record_failure();
        }
        assert!(breaker.is_closed(), "all commands on one lost connection fail together");
        advance(MIN_FAILURE_DURATION).await;
        breaker.record_failure();
        assert!(!breaker.is_closed(), "failures that continue are an outage");
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_resets_the_count_of_failures() {
        let breaker = CircuitBreaker::new();
        for _ in 0..10 {
            breaker.record_failure();
            advance(MIN_FAILURE_DURATION).await;
            breaker.record_success();
        }
        assert!(breaker.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reported_outage_opens_the_breaker_at_once() {
        let breaker = CircuitBreaker::new();
        breaker.open();
        breaker.record_success();
        assert!(!breaker.is_closed(), "a successful read does not prove that writes succeed");
    }

    #[tokio::test(start_paused = true)]
    async fn the_state_has_the_start_of_the_outage_and_only_the_health_check_closes_it() {
        let breaker = CircuitBreaker::new();
        let mut state = breaker.watch_state();
        let started = Instant::now();
        for _ in 0..=FAILURE_THRESHOLD {
            breaker.record_failure();
            advance(MIN_FAILURE_DURATION).await;
        }
        assert_eq!(*state.borrow_and_update(), LinkState::Unavailable { since: started });
        breaker.record_success();
        assert!(!breaker.is_closed(), "a reply to an earlier command proves nothing");
        breaker.close();
        assert_eq!(*state.borrow_and_update(), LinkState::Available);
    }
}
