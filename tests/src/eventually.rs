//! Patience: how long a test waits for what must happen, in one place.
//!
//! Invariant: nothing here decides that something happened by waiting a fixed time. A test waits for an event with
//! [`with_timeout`], or asks again until an answer is right with [`eventually!`](crate::eventually!); both fail loudly when
//! `TWINWAY_TEST_PATIENCE` seconds (10 unless set) have passed.

use std::time::Duration;

use shim::config::{ProcessEnvironment, VariableSource};
use tokio::time::Instant;

/// The variable that a slow machine sets to a larger number of seconds.
pub const TIMEOUT_VARIABLE: &str = "TWINWAY_TEST_PATIENCE";
/// Ample for a debug build on two busy cores.
const DEFAULT_TIMEOUT_SECONDS: u64 = 10;
/// How long between two attempts: short beside everything that is waited for, long beside an attempt.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How long to wait for something that must happen.
#[must_use]
pub fn test_timeout() -> Duration {
    let given = ProcessEnvironment.read_variable(TIMEOUT_VARIABLE).filter(|text| !text.is_empty());
    let seconds = given.map_or(DEFAULT_TIMEOUT_SECONDS, |text| {
        text.parse().unwrap_or_else(|_| panic!("{TIMEOUT_VARIABLE} must be a whole number of seconds, not {text:?}"))
    });
    Duration::from_secs(seconds)
}

/// What `future` makes, which has to come in time. `what` ends the sentence "waited 10 s for …".
pub async fn with_timeout<T>(what: &str, future: impl Future<Output = T>) -> T {
    let patience = test_timeout();
    tokio::time::timeout(patience, future).await.unwrap_or_else(|_| panic!("waited {patience:?} for {what}"))
}

/// When an [`eventually!`](crate::eventually!) gives up.
#[derive(Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline that starts now.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a deadline is made at a moment, not out of nothing")]
    pub fn new() -> Self {
        Self(Instant::now() + test_timeout())
    }

    /// Waits until the next attempt. Fails the test when time is up.
    pub async fn pause(&self, what: &str) {
        assert!(Instant::now() < self.0, "waited {:?} for {what}", test_timeout());
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Evaluates an expression, which may await, until it is `Some`, and gives what is inside.
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
