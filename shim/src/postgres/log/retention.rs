//! Deletion of messages that exceed the retention limits, by every process that has the log open.
//!
//! One sweep checks [`CHANNELS_PER_SWEEP`] channels and deletes at most [`MAX_MESSAGES_PER_SWEEP`] messages, in one
//! transaction. It skips channels that an append or the sweep of another process has locked.

use std::sync::Arc;
use std::time::Duration;

use handlers::ports::Clock;
use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;
use tokio::time::sleep;

use super::super::client::{PostgresClient, SqlStatement};
use super::super::error::PostgresClientError;
use super::row::read_column;
use super::{PostgresRetention, arguments};

/// Number of channels that one sweep checks: about 1 ms of server time if no message is deleted.
const CHANNELS_PER_SWEEP: i32 = 2_000;
/// Maximum number of messages that one sweep deletes: about 10 ms, for which appends to the same channel wait.
const MAX_MESSAGES_PER_SWEEP: i32 = 1_000;
/// Interval between two sweeps.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Interval after a sweep that reached [`MAX_MESSAGES_PER_SWEEP`].
const BACKLOG_SWEEP_INTERVAL: Duration = Duration::from_millis(50);

const EXPIRE_SQL: &str = "SELECT next, dropped FROM {schema}.expire($1, $2, $3, $4, $5)";

pub(super) struct RetentionSweeper {
    postgres: PostgresClient,
    expire: SqlStatement,
    clock: Arc<dyn Clock>,
    retention: PostgresRetention,
    /// Id of the channel after which the next sweep starts.
    after_channel: i64,
}

impl RetentionSweeper {
    pub(super) fn new(postgres: PostgresClient, clock: Arc<dyn Clock>, retention: PostgresRetention) -> Self {
        Self { expire: postgres.schema_statement(EXPIRE_SQL), postgres, clock, retention, after_channel: 0 }
    }

    /// Sweeps until the task is aborted, which dropping the log does.
    pub(super) async fn run(mut self) {
        loop {
            let interval = match self.sweep_once().await {
                Ok(dropped) if dropped >= i64::from(MAX_MESSAGES_PER_SWEEP) => BACKLOG_SWEEP_INTERVAL,
                Ok(_) => SWEEP_INTERVAL,
                Err(error) => {
                    // The circuit breaker reports outages; only other errors are logged here.
                    if !error.is_transient() {
                        tracing::warn!(
                            error = %errors::chain(&error),
                            "message retention sweep failed; retried at the next interval"
                        );
                    }
                    SWEEP_INTERVAL
                }
            };
            sleep(interval).await;
        }
    }

    /// Runs one sweep and returns the number of deleted messages.
    async fn sweep_once(&mut self) -> Result<i64, PostgresClientError> {
        let max_messages = i64::try_from(self.retention.max_messages).unwrap_or(i64::MAX).max(1);
        let age = i64::try_from(self.retention.max_age.as_millis()).unwrap_or(i64::MAX);
        let too_old = self.clock.now().0.saturating_sub(age);
        let rows = self
            .postgres
            .fetch_rows(
                &self.expire,
                arguments![self.after_channel, max_messages, too_old, CHANNELS_PER_SWEEP, MAX_MESSAGES_PER_SWEEP],
            )
            .await?;
        let row = rows.first().ok_or(PostgresClientError::InvalidRow("expire returned no row"))?;
        self.after_channel = read_column(row, 0)?;
        let dropped = read_column(row, 1)?;
        self.postgres.metrics().expired_messages.inc_by(u64::try_from(dropped).unwrap_or(0));
        Ok(dropped)
    }
}
