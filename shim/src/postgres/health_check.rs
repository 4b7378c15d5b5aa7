//! Health check of the circuit breaker for PostgreSQL.

use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgArguments;
use tokio::time::Instant;

use super::client::{PostgresClientInner, SqlStatement};
use crate::breaker::HealthCheck;

/// A standby server responds but rejects writes.
const RECOVERY_CHECK_SQL: &str = "SELECT pg_is_in_recovery()";

/// Checks that the server is a primary.
pub(super) struct PrimaryCheck {
    inner: Arc<PostgresClientInner>,
    statement: SqlStatement,
}

impl PrimaryCheck {
    pub(super) fn new(inner: Arc<PostgresClientInner>) -> Self {
        Self { inner, statement: RECOVERY_CHECK_SQL.into() }
    }
}

impl HealthCheck for PrimaryCheck {
    async fn is_healthy(&mut self) -> bool {
        let deadline = Instant::now() + self.inner.settings.operation_timeout();
        let result = self.inner.run_statement(&self.statement, PgArguments::default(), deadline).await;
        let in_recovery = result.ok().and_then(|rows| rows.first()?.try_get::<bool, _>(0).ok());
        if in_recovery == Some(true) {
            // After a failover the address may resolve to the new primary.
            self.inner.replace_connections();
        }
        in_recovery == Some(false)
    }
}
