//! What PostgreSQL is asked to find out whether it is there.

use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgArguments;
use tokio::time::Instant;

use super::link::{Core, Statement};
use crate::breaker::Question;

/// A server that follows another answers, but is of no use.
const STATEMENT: &str = "SELECT pg_is_in_recovery()";

/// Whether the server leads.
pub(super) struct Leads {
    core: Arc<Core>,
    statement: Statement,
}

impl Leads {
    /// The question for the server behind this link.
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, statement: STATEMENT.into() }
    }
}

impl Question for Leads {
    async fn is_well(&mut self) -> bool {
        let deadline = Instant::now() + self.core.settings.deadline();
        let answer = self.core.attempt(&self.statement, PgArguments::default(), deadline).await;
        let follows = answer.ok().and_then(|rows| rows.first()?.try_get::<bool, _>(0).ok());
        if follows == Some(true) {
            self.core.discard_connections();
        }
        follows == Some(false)
    }
}
