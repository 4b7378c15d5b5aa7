//! The loop that asks a server whether it is there: now and then while all is well, with growing pauses while it is not.
//!
//! It alone closes the breaker, so no caller's command is the one that finds out.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::sleep;

use super::CircuitBreaker;

/// How often a quiet link is tried: bounds how long a silent loss goes unnoticed.
const HEALTHY_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// How soon a link is tried after a failure.
const FIRST_RECHECK_DELAY: Duration = Duration::from_millis(100);
/// The longest pause between two questions while the server is away, before jitter doubles it at most: how late a recovery is
/// noticed at worst.
const MAX_RECHECK_DELAY: Duration = Duration::from_secs(1);

/// What a server is asked.
pub(crate) trait HealthCheck: Send {
    /// Whether the server answers, and is of use; within a deadline of its own.
    fn is_healthy(&mut self) -> impl Future<Output = bool> + Send;

    /// Tells what is wrong, behind each question that it was not well to.
    fn diagnose_failure(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Asks for ever; dropped with the link.
pub(crate) async fn monitor_health(breaker: CircuitBreaker, mut question: impl HealthCheck) {
    let mut pauses = recheck_backoff();
    loop {
        if question.is_healthy().await {
            breaker.close();
            pauses = recheck_backoff();
            tokio::select! {
                () = sleep(HEALTHY_CHECK_INTERVAL) => {}
                () = breaker.failure_notified() => sleep(FIRST_RECHECK_DELAY).await,
            }
        } else {
            breaker.record_failure();
            question.diagnose_failure().await;
            sleep(pauses.next().unwrap_or(MAX_RECHECK_DELAY)).await;
        }
    }
}

fn recheck_backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_RECHECK_DELAY)
        .with_max_delay(MAX_RECHECK_DELAY)
        .without_max_times()
        .with_jitter()
        .build()
}
