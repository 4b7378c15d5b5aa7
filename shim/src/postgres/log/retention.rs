//! Dropping what is too old or too much, in small steps, from every process that has the log open.
//!
//! A step looks at [`CHANNELS_PER_SWEEP`] channels and drops at most [`MAX_MESSAGES_PER_SWEEP`] messages, in one transaction that skips channels which are
//! being written to. Processes that sweep at the same time skip what the other holds.

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

/// How many channels a step looks at: about a millisecond of the server's time when nothing is to be dropped.
const CHANNELS_PER_SWEEP: i32 = 2_000;
/// How many messages a step drops: some 10 ms, which appends to the same channel may wait.
const MAX_MESSAGES_PER_SWEEP: i32 = 1_000;
/// How long between two steps.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How long when there was more to drop than one step may.
const BACKLOG_SWEEP_INTERVAL: Duration = Duration::from_millis(50);

const EXPIRE_SQL: &str = "SELECT next, dropped FROM {schema}.expire($1, $2, $3, $4, $5)";

pub(super) struct RetentionSweeper {
    postgres: PostgresClient,
    expire: SqlStatement,
    clock: Arc<dyn Clock>,
    retention: PostgresRetention,
    /// Behind which channel the next step begins.
    after_channel: i64,
}

impl RetentionSweeper {
    pub(super) fn new(postgres: PostgresClient, clock: Arc<dyn Clock>, retention: PostgresRetention) -> Self {
        Self { expire: postgres.schema_statement(EXPIRE_SQL), postgres, clock, retention, after_channel: 0 }
    }

    /// Sweeps for ever; dropped with the log.
    pub(super) async fn run(mut self) {
        loop {
            let pause = match self.sweep_once().await {
                Ok(dropped) if dropped >= i64::from(MAX_MESSAGES_PER_SWEEP) => BACKLOG_SWEEP_INTERVAL,
                Ok(_) => SWEEP_INTERVAL,
                Err(trouble) => {
                    // An outage is told elsewhere; what remains would go on for ever unheard.
                    if !trouble.is_transient() {
                        tracing::warn!(error = %errors::chain(&trouble), "dropping old messages failed; it is tried again");
                    }
                    SWEEP_INTERVAL
                }
            };
            sleep(pause).await;
        }
    }

    /// One step; answers how many messages it dropped.
    async fn sweep_once(&mut self) -> Result<i64, PostgresClientError> {
        let most = i64::try_from(self.retention.max_messages).unwrap_or(i64::MAX).max(1);
        let age = i64::try_from(self.retention.max_age.as_millis()).unwrap_or(i64::MAX);
        let too_old = self.clock.now().0.saturating_sub(age);
        let rows = self
            .postgres
            .fetch_rows(
                &self.expire,
                arguments![self.after_channel, most, too_old, CHANNELS_PER_SWEEP, MAX_MESSAGES_PER_SWEEP],
            )
            .await?;
        let row = rows.first().ok_or(PostgresClientError::InvalidRow("a sweep answers with a row"))?;
        self.after_channel = read_column(row, 0)?;
        let dropped = read_column(row, 1)?;
        self.postgres.metrics().expired_messages.inc_by(u64::try_from(dropped).unwrap_or(0));
        Ok(dropped)
    }
}
