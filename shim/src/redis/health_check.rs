//! What Redis is asked to find out whether it is there. Of an outage it tells once what is wrong and what helps, as the checks
//! at the start would.

use std::mem::{Discriminant, discriminant};

use redis::RedisResult;
use tokio::time::timeout;

use super::error::{RedisErrorClass, classify_error};
use super::preflight::{RedisPreflight, RedisStartupError};
use super::reconnecting::ReconnectingConnection;
use super::settings::RedisTopology;
use super::write_probe;
use crate::breaker::{CircuitBreaker, HealthCheck};

/// How many questions without an answer lie between two looks at what is wrong: ten seconds or so.
const CHECKS_PER_DIAGNOSIS: u32 = 8;

/// Whether the server answers, and may write.
pub(super) struct WriteHealthCheck {
    /// The line that it asks on, which is the one that commands use.
    pub(super) connection: ReconnectingConnection,
    /// What the answer opens and closes.
    pub(super) breaker: CircuitBreaker,
    /// What finds out what is wrong, and how long an answer may take.
    pub(super) preflight: RedisPreflight,
    /// What was told so far.
    pub(super) outage: OutageReport,
}

/// What was said about an outage.
#[derive(Default)]
pub(super) struct OutageReport {
    failed_checks: u32,
    reported: Vec<Discriminant<RedisStartupError>>,
}

impl HealthCheck for WriteHealthCheck {
    async fn is_healthy(&mut self) -> bool {
        let generation = self.connection.generation();
        let answer = timeout(self.preflight.settings.operation_timeout(), self.probe_connection()).await;
        let well = matches!(answer, Ok(Ok(())));
        if matches!(answer, Ok(Err(error)) if classify_error(&error) == RedisErrorClass::Unavailable) {
            self.breaker.open();
        }
        // A Cluster's connection finds its nodes by itself, until none of them answers.
        if !well && (self.preflight.settings.topology != RedisTopology::Cluster || !self.breaker.is_closed()) {
            self.connection.discard(generation);
        }
        if well {
            self.outage = OutageReport::default();
        }
        well
    }

    /// Tells what is wrong, each kind of trouble once in an outage. A link that has only stumbled is none.
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
            tracing::warn!(error = %errors::chain(&error), "redis cannot be used");
        }
    }
}

impl WriteHealthCheck {
    async fn probe_connection(&self) -> RedisResult<()> {
        let (_, wire) = self.connection.current_connection().await;
        write_probe::probe_writes(&mut wire?, &self.preflight.settings.prefix).await.map_err(|refusal| refusal.error)
    }
}
