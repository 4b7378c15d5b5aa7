//! Health check loop: at a fixed interval while the server is healthy, with exponential backoff while it is not.
//!
//! Only this loop closes the breaker, so no caller's command has to detect the recovery.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::sleep;

use super::CircuitBreaker;

/// Interval between checks of a healthy server: bounds how long a silently lost connection goes unnoticed.
const HEALTHY_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Delay of the first check after a failure.
const FIRST_RECHECK_DELAY: Duration = Duration::from_millis(100);
/// Maximum delay between checks during an outage, before jitter at most doubles it: bounds how late a recovery is
/// noticed.
const MAX_RECHECK_DELAY: Duration = Duration::from_secs(1);

/// Health check of one server, for the circuit breaker of its client. It is not a port: each implementation belongs to an
/// adapter ([`redis`](crate::redis), [`postgres`](crate::postgres)) and is not replaceable.
pub(crate) trait HealthCheck: Send {
    /// Returns whether the server answers and can serve. Implementations apply their own timeout.
    fn is_healthy(&mut self) -> impl Future<Output = bool> + Send;

    /// Logs the cause of the outage. Called after each failed check.
    fn diagnose_failure(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Runs health checks until it is dropped, which happens together with the client.
pub(crate) async fn monitor_health(breaker: CircuitBreaker, mut health_check: impl HealthCheck) {
    let mut delays = recheck_backoff();
    loop {
        if health_check.is_healthy().await {
            breaker.close();
            delays = recheck_backoff();
            tokio::select! {
                () = sleep(HEALTHY_CHECK_INTERVAL) => {}
                () = breaker.failure_notified() => sleep(FIRST_RECHECK_DELAY).await,
                () = breaker.check_requested() => {}
            }
        } else {
            breaker.record_failure();
            health_check.diagnose_failure().await;
            tokio::select! {
                () = sleep(delays.next().unwrap_or(MAX_RECHECK_DELAY)) => {}
                () = breaker.check_requested() => {}
            }
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
