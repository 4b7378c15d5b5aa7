//! Start of a pod whose dependencies may start later.
//!
//! In Kubernetes mode the server is assembled again until Redis and PostgreSQL are available; meanwhile the ops port
//! serves `/ready` with the reason. Wrong configuration ends the start (`docs/adr/0036-waiting-for-dependencies.md`).

use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

use crate::cluster::ClusterJoinError;
use crate::config::{Config, DeploymentMode};
use crate::postgres::{PostgresClientError, PostgresStartupError};
use crate::readiness::{ExternalDependency, Readiness};
use crate::redis::{RedisClientError, RedisStartupError};
use crate::wiring::{self, ServerAssembly};

/// Delay before the second attempt; it doubles with each attempt.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Maximum delay between two attempts. With the default of `redis.connect_timeout` (2 s), which with its diagnosis
/// limits an attempt that is in progress when the dependency arrives, a pod is ready within 3 s of the arrival.
const MAX_RETRY_DELAY: Duration = Duration::from_millis(300);
/// Interval at which an unchanged reason is logged again.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);

/// Assembles the server. In Kubernetes mode, waits for unavailable dependencies and reports them in `readiness`.
///
/// # Errors
/// As [`wiring::assemble_server`], except unavailable dependencies in Kubernetes mode.
pub async fn assemble_when_available(config: &Config, readiness: &Readiness) -> anyhow::Result<ServerAssembly> {
    let mut wait = DependencyWait::new(readiness);
    let mut delays = retry_delays();
    loop {
        let error = match wiring::assemble_server(config).await {
            Ok(assembly) => {
                wait.finish();
                return Ok(assembly);
            }
            Err(error) => error,
        };
        let dependency = unavailable_dependency(&error).filter(|_| config.mode == DeploymentMode::Kubernetes);
        let Some(dependency) = dependency else { return Err(error) };
        wait.report(dependency, &error);
        tokio::time::sleep(delays.next().unwrap_or(MAX_RETRY_DELAY)).await;
    }
}

fn retry_delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_RETRY_DELAY)
        .with_max_delay(MAX_RETRY_DELAY)
        .without_max_times()
        .build()
}

/// Returns the dependency whose outage caused the error; `None` if a later attempt with the same configuration would
/// fail too.
fn unavailable_dependency(error: &anyhow::Error) -> Option<ExternalDependency> {
    error.chain().find_map(|cause| {
        if let Some(ClusterJoinError::NoFreeNodeId) = cause.downcast_ref() {
            return Some(ExternalDependency::Lease);
        }
        let redis = cause.downcast_ref().is_some_and(RedisStartupError::is_outage)
            || cause.downcast_ref().is_some_and(RedisClientError::is_outage);
        let postgres = cause.downcast_ref().is_some_and(PostgresStartupError::is_outage)
            || cause.downcast_ref().is_some_and(PostgresClientError::is_transient);
        redis.then_some(ExternalDependency::Redis).or(postgres.then_some(ExternalDependency::Postgres))
    })
}

/// Reported state of the wait for dependencies.
struct DependencyWait<'r> {
    readiness: &'r Readiness,
    started: Instant,
    reported: Option<(String, Instant)>,
}

impl<'r> DependencyWait<'r> {
    fn new(readiness: &'r Readiness) -> Self {
        Self { readiness, started: Instant::now(), reported: None }
    }

    /// Publishes the reason in `/ready`, and logs it when it changes and every [`REPORT_INTERVAL`].
    fn report(&mut self, dependency: ExternalDependency, error: &anyhow::Error) {
        let reason = errors::chain(&**error).to_string();
        self.readiness.wait_for(dependency, reason.clone());
        if self.reported.as_ref().is_some_and(|(text, at)| *text == reason && at.elapsed() < REPORT_INTERVAL) {
            return;
        }
        tracing::warn!(
            dependency = dependency.as_str(),
            waited_ms = self.waited_ms(),
            error = %errors::chain(&**error),
            "waiting for a dependency, not ready"
        );
        self.reported = Some((reason, Instant::now()));
    }

    fn finish(self) {
        self.readiness.end_wait();
        if self.reported.is_some() {
            tracing::info!(waited_ms = self.waited_ms(), "dependencies available");
        }
    }

    fn waited_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn dependency(error: impl std::error::Error + Send + Sync + 'static) -> Option<ExternalDependency> {
        unavailable_dependency(&Err::<(), _>(error).context("opening the message log failed").unwrap_err())
    }

    #[test]
    fn an_outage_is_waited_for() {
        let address = || "db:1".to_owned();
        let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let unreachable = RedisStartupError::Unreachable { address: address(), source: refused().into() };
        assert_eq!(dependency(unreachable), Some(ExternalDependency::Redis));
        let failing_over = RedisStartupError::ReadOnly { address: address() };
        assert_eq!(dependency(failing_over), Some(ExternalDependency::Redis));
        assert_eq!(dependency(RedisClientError::CircuitOpen), Some(ExternalDependency::Redis));
        assert_eq!(dependency(ClusterJoinError::Redis(RedisClientError::Timeout)), Some(ExternalDependency::Redis));
        assert_eq!(dependency(ClusterJoinError::NoFreeNodeId), Some(ExternalDependency::Lease));
        let unreachable = PostgresStartupError::Unreachable { address: address(), source: sqlx::Error::Io(refused()) };
        assert_eq!(dependency(unreachable), Some(ExternalDependency::Postgres));
        let standby = PostgresStartupError::ReadOnly { address: address() };
        assert_eq!(dependency(standby), Some(ExternalDependency::Postgres));
    }

    #[test]
    fn wrong_configuration_is_not_waited_for() {
        let address = || "db:1".to_owned();
        assert_eq!(dependency(RedisStartupError::InvalidCredentials { address: address() }), None);
        assert_eq!(dependency(RedisStartupError::TlsRequired { address: address() }), None);
        assert_eq!(dependency(RedisStartupError::InvalidAddress("x".to_owned())), None);
        let user = "app".to_owned();
        assert_eq!(dependency(PostgresStartupError::InvalidCredentials { address: address(), user }), None);
        assert_eq!(unavailable_dependency(&anyhow::anyhow!("invalid API definition")), None);
    }

    #[test]
    fn an_attempt_and_a_delay_fit_into_three_seconds() {
        let attempt = crate::redis::RedisSettings::single_server("redis://db").connect_timeout;
        assert!(attempt + attempt / 4 + MAX_RETRY_DELAY < Duration::from_secs(3));
        assert!(retry_delays().take(50).all(|delay| delay <= MAX_RETRY_DELAY));
    }
}
