//! The message log in PostgreSQL, for every mode that may keep messages there.

use std::sync::Arc;

use anyhow::Context as _;
use handlers::ports::Clock;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::postgres::{Postgres, PostgresLog, PostgresRetention};

/// Reaches the configured database and opens the log in it.
pub(super) async fn open(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &mut Metrics,
) -> anyhow::Result<(Arc<PostgresLog>, Postgres)> {
    let settings = config.postgres.clone().context("storage.log is postgres, but no address is configured")?;
    let postgres = Postgres::connect(settings).await?;
    postgres.metrics().register(metrics.registry());
    let retention = PostgresRetention { entries: config.storage.retention_entries, age: config.storage.retention_age };
    let log = PostgresLog::open(postgres.clone(), clock.clone(), retention);
    Ok((Arc::new(log), postgres))
}
