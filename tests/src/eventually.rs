//! Timeouts of tests: waiting for a future or polling for a condition.
//!
//! No test assumes that something happened after a fixed time. It waits for a future with [`with_timeout`], or polls
//! until a condition holds with [`eventually!`](crate::eventually!); both fail the test after `TWINWAY_TEST_TIMEOUT`
//! seconds (default 10).

use std::time::Duration;

use shim::config::{ProcessEnvironment, VariableSource};
use tokio::time::Instant;

/// Variable with the timeout in seconds, to be raised on slow machines.
pub const TIMEOUT_VARIABLE: &str = "TWINWAY_TEST_TIMEOUT";
/// Sufficient for a debug build on two busy cores.
const DEFAULT_TIMEOUT_SECONDS: u64 = 10;
/// Interval between two attempts: short compared with the awaited events, long compared with an attempt.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Returns the timeout for an expected event.
#[must_use]
pub fn test_timeout() -> Duration {
    let configured = ProcessEnvironment.read_variable(TIMEOUT_VARIABLE).filter(|text| !text.is_empty());
    let seconds = configured.map_or(DEFAULT_TIMEOUT_SECONDS, |text| {
        text.parse().unwrap_or_else(|_| panic!("{TIMEOUT_VARIABLE} must be a whole number of seconds, not {text:?}"))
    });
    Duration::from_secs(seconds)
}

/// Awaits `future` and fails the test after the timeout. `what` completes the message "waited 10 s for …".
pub async fn with_timeout<T>(what: &str, future: impl Future<Output = T>) -> T {
    let timeout = test_timeout();
    tokio::time::timeout(timeout, future).await.unwrap_or_else(|_| panic!("waited {timeout:?} for {what}"))
}

/// Deadline of an [`eventually!`](crate::eventually!) loop.
#[derive(Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// Returns a deadline one timeout from now.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "the deadline depends on the current time")]
    pub fn new() -> Self {
        Self(Instant::now() + test_timeout())
    }

    /// Sleeps until the next attempt; fails the test after the deadline.
    pub async fn pause(&self, what: &str) {
        assert!(Instant::now() < self.0, "waited {:?} for {what}", test_timeout());
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Evaluates an expression, which may await, until it is `Some`, and returns the value.
#[macro_export]
macro_rules! eventually {
    ($what:expr, $attempt:expr) => {{
        let deadline = $crate::eventually::Deadline::new();
        loop {
            if let Some(found) = $attempt {
                break found;
            }
            deadline.pause($what).await;
        }
    }};
}
