//! Whether a server (Redis, PostgreSQL) is there, and not asking it while it is not.
//!
//! Invariant: the state that is told is the state that decides: while it is [`LinkState::Unavailable`] no command is sent but the
//! monitor's own question, so that callers fail at once instead of piling up behind deadlines.

mod health_monitor;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub(crate) use self::health_monitor::{HealthCheck, monitor_health};

/// How many failures in a row mean that it is away: one broken connection alone fails every command that is on it.
const FAILURE_THRESHOLD: u32 = 5;
/// How long failures must have gone on: a connection that breaks with a hundred commands on it is one event, not a
/// hundred, and the next attempt heals it.
const MIN_FAILURE_DURATION: Duration = Duration::from_millis(500);

/// Whether the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// It does.
    Available,
    /// It does not, since then.
    Unavailable {
        /// When the first of the failures was seen.
        since: Instant,
    },
}

/// Counts failures and tells the state; clones share it.
#[derive(Clone)]
pub(crate) struct CircuitBreaker {
    failures: Arc<Mutex<FailureStreak>>,
    state: watch::Sender<LinkState>,
    failure_notify: Arc<Notify>,
}

#[derive(Default)]
struct FailureStreak {
    count: u32,
    since: Option<Instant>,
}

impl CircuitBreaker {
    /// A breaker that lets everything pass.
    pub(crate) fn new() -> Self {
        Self {
            failures: Arc::default(),
            state: watch::Sender::new(LinkState::Available),
            failure_notify: Arc::default(),
        }
    }

    /// Whether commands may be sent.
    pub(crate) fn is_closed(&self) -> bool {
        *self.state.borrow() == LinkState::Available
    }

    /// Follows the state.
    pub(crate) fn watch_state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    /// The server answered.
    pub(crate) fn record_success(&self) {
        let mut failures = self.failures.lock();
        if failures.count > 0 {
            *failures = FailureStreak::default();
        }
    }

    /// The server did not answer, or could not do what it is there for.
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

    /// The server itself says that it cannot serve, whatever other commands are answered: a replica still reads and publishes.
    pub(crate) fn open(&self) {
        let since = *self.failures.lock().since.get_or_insert_with(Instant::now);
        self.state.send_if_modified(|state| {
            let opens = *state == LinkState::Available;
            *state = if opens { LinkState::Unavailable { since } } else { *state };
            opens
        });
    }

    /// The monitor's question was answered: commands may be sent again.
    pub(crate) fn close(&self) {
        self.record_success();
        self.state.send_if_modified(|state| std::mem::replace(state, LinkState::Available) != LinkState::Available);
    }

    /// Waits until something has failed.
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
        assert!(breaker.is_closed(), "everything on one lost connection fails together");
        advance(MIN_FAILURE_DURATION).await;
        breaker.record_failure();
        assert!(!breaker.is_closed(), "failures that go on are an outage");
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_in_between_begins_the_count_anew() {
        let breaker = CircuitBreaker::new();
        for _ in 0..10 {
            breaker.record_failure();
            advance(MIN_FAILURE_DURATION).await;
            breaker.record_success();
        }
        assert!(breaker.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_says_itself_counts_at_once() {
        let breaker = CircuitBreaker::new();
        breaker.open();
        breaker.record_success();
        assert!(!breaker.is_closed(), "what it still does is no sign of what it cannot do");
    }

    #[tokio::test(start_paused = true)]
    async fn the_state_tells_since_when_and_only_the_monitor_ends_it() {
        let breaker = CircuitBreaker::new();
        let mut state = breaker.watch_state();
        let began = Instant::now();
        for _ in 0..=FAILURE_THRESHOLD {
            breaker.record_failure();
            advance(MIN_FAILURE_DURATION).await;
        }
        assert_eq!(*state.borrow_and_update(), LinkState::Unavailable { since: began });
        breaker.record_success();
        assert!(!breaker.is_closed(), "an answer that was under way proves nothing");
        breaker.close();
        assert_eq!(*state.borrow_and_update(), LinkState::Available);
    }
}
