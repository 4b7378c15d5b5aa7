//! Health check of Redis, and the diagnosis of an outage.
//!
//! During an outage the start-up checks run from time to time, so that the log names each cause once, with its remedy.

use std::mem::{Discriminant, discriminant};

use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::error::{RedisErrorClass, classify_error};
use super::preflight::{RedisPreflight, RedisStartupError};
use super::reconnecting::ReconnectingConnection;
use super::settings::RedisTopology;
use super::write_probe;
use crate::breaker::{CircuitBreaker, HealthCheck};

/// Failed checks between two diagnoses: about ten seconds.
const CHECKS_PER_DIAGNOSIS: u32 = 8;

/// Checks that the server answers and accepts writes.
pub(super) struct WriteHealthCheck {
    /// Connection shared with the commands.
    pub(super) connection: ReconnectingConnection,
    /// Breaker that the check opens on a reported outage, and replies close.
    pub(super) breaker: CircuitBreaker,
    /// Start-up checks for the diagnosis; its settings contain the timeouts.
    pub(super) preflight: RedisPreflight,
    /// State of the current outage.
    pub(super) outage: OutageReport,
}

/// Reported causes of one outage.
#[derive(Default)]
pub(super) struct OutageReport {
    failed_checks: u32,
    reported: Vec<Discriminant<RedisStartupError>>,
}

impl HealthCheck for WriteHealthCheck {
    async fn is_healthy(&mut self) -> bool {
        let is_cluster = self.preflight.settings.topology == RedisTopology::Cluster;
        let mut generation = self.connection.generation();
        let mut result = self.probe_connection().await;
        // A Cluster connection still takes a demoted node for a master. A new connection knows the promoted one.
        if is_cluster && matches!(&result, Ok(Err(error)) if is_read_only(error)) {
            self.connection.discard(generation);
            generation = self.connection.generation();
            result = self.probe_connection().await;
        }
        let healthy = matches!(result, Ok(Ok(())));
        if matches!(result, Ok(Err(error)) if classify_error(&error) == RedisErrorClass::Unavailable) {
            self.breaker.open();
        }
        // A Cluster connection rediscovers its nodes by itself, as long as one of them answers.
        if !healthy && (!is_cluster || !self.breaker.is_closed()) {
            self.connection.discard(generation);
        }
        if healthy {
            self.outage = OutageReport::default();
        }
        healthy
    }

    /// Logs the cause of an outage, each kind of cause once per outage. Does nothing while the breaker is closed.
    async fn diagnose_failure(&mut self) {
        if self.breaker.is_closed() {
            return;
        }
        self.outage.failed_checks += 1;
        if self.outage.failed_checks % CHECKS_PER_DIAGNOSIS != 1 {
            return;
        }
        let Err(error) = self.preflight.run().await else { return };
        if !self.outage.reported.contains(&discriminant(&error)) {
            self.outage.reported.push(discriminant(&error));
            tracing::warn!(error = %errors::chain(&error), "redis health check failed");
        }
    }
}

fn is_read_only(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

impl WriteHealthCheck {
    async fn probe_connection(&self) -> Result<RedisResult<()>, Elapsed> {
        let probe = async {
            let driver = self.connection.current_connection().await.driver;
            write_probe::probe_writes(&mut driver?, &self.preflight.settings.prefix)
                .await
                .map_err(|probe_error| probe_error.error)
        };
        timeout(self.preflight.settings.operation_timeout(), probe).await
    }
}
