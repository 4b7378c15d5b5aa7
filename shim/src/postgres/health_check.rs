//! What PostgreSQL is asked to find out whether it is there.

use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgArguments;
use tokio::time::Instant;

use super::client::{PostgresClientInner, SqlStatement};
use crate::breaker::HealthCheck;

/// A server that follows another answers, but is of no use.
const RECOVERY_CHECK_SQL: &str = "SELECT pg_is_in_recovery()";

/// Whether the server leads.
pub(super) struct PrimaryCheck {
    inner: Arc<PostgresClientInner>,
    statement: SqlStatement,
}

impl PrimaryCheck {
    /// The question for the server behind this link.
    pub(super) fn new(core: Arc<PostgresClientInner>) -> Self {
        Self { inner: core, statement: RECOVERY_CHECK_SQL.into() }
    }
}

impl HealthCheck for PrimaryCheck {
    async fn is_healthy(&mut self) -> bool {
        let deadline = Instant::now() + self.inner.settings.operation_timeout();
        let answer = self.inner.run_statement(&self.statement, PgArguments::default(), deadline).await;
        let follows = answer.ok().and_then(|rows| rows.first()?.try_get::<bool, _>(0).ok());
        if follows == Some(true) {
            self.inner.replace_connections();
        }
        follows == Some(false)
    }
}
