//! Assembly of the message log in PostgreSQL, for all modes that support it.

use std::sync::Arc;

use anyhow::Context as _;
use handlers::ports::Clock;

use crate::config::Config;
use crate::metrics::ShimMetrics;
use crate::postgres::{PostgresClient, PostgresLog, PostgresRetention};

/// Connects to the configured database and opens the message log in it.
pub(super) async fn open_postgres_log(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &mut ShimMetrics,
) -> anyhow::Result<(Arc<PostgresLog>, PostgresClient)> {
    let settings = config.postgres.clone().context("storage.log is postgres, but no address is configured")?;
    let postgres = PostgresClient::connect(settings).await?;
    postgres.metrics().register(metrics.registry_mut());
    let retention =
        PostgresRetention { max_messages: config.storage.retention_entries, max_age: config.storage.retention_age };
    let log = PostgresLog::open_log(postgres.clone(), clock.clone(), retention);
    Ok((Arc::new(log), postgres))
}
