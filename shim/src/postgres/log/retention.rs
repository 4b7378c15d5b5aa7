//! Dropping what is too old or too much, in small steps, from every process that has the log open.
//!
//! A step looks at [`PAGE`] channels and drops at most [`BUDGET`] messages, in one transaction that skips channels which are
//! being written to. Processes that sweep at the same time skip what the other holds.

use std::sync::Arc;
use std::time::Duration;

use handlers::ports::Clock;
use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;
use tokio::time::sleep;

use super::super::link::{Postgres, Statement};
use super::super::trouble::PostgresTrouble;
use super::row::column;
use super::{PostgresRetention, arguments};

/// How many channels a step looks at: about a millisecond of the server's time when nothing is to be dropped.
const PAGE: i32 = 2_000;
/// How many messages a step drops: some 10 ms, which appends to the same channel may wait.
const BUDGET: i32 = 1_000;
/// How long between two steps.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long when there was more to drop than one step may.
const BACKLOG_INTERVAL: Duration = Duration::from_millis(50);

const EXPIRE: &str = "SELECT next, dropped FROM {schema}.expire($1, $2, $3, $4, $5)";

pub(super) struct Sweeper {
    postgres: Postgres,
    expire: Statement,
    clock: Arc<dyn Clock>,
    retention: PostgresRetention,
    /// Behind which channel the next step begins.
    behind: i64,
}

impl Sweeper {
    pub(super) fn new(postgres: Postgres, clock: Arc<dyn Clock>, retention: PostgresRetention) -> Self {
        Self { expire: postgres.statement(EXPIRE), postgres, clock, retention, behind: 0 }
    }

    /// Sweeps for ever; dropped with the log.
    pub(super) async fn run(mut self) {
        loop {
            let pause = match self.step().await {
                Ok(dropped) if dropped >= i64::from(BUDGET) => BACKLOG_INTERVAL,
                Ok(_) => INTERVAL,
                Err(trouble) => {
                    // An outage is told elsewhere; what remains would go on for ever unheard.
                    if !trouble.is_transient() {
                        tracing::warn!(error = %errors::chain(&trouble), "dropping old messages failed; it is tried again");
                    }
                    INTERVAL
                }
            };
            sleep(pause).await;
        }
    }

    /// One step; answers how many messages it dropped.
    async fn step(&mut self) -> Result<i64, PostgresTrouble> {
        let most = i64::try_from(self.retention.entries).unwrap_or(i64::MAX).max(1);
        let age = i64::try_from(self.retention.age.as_millis()).unwrap_or(i64::MAX);
        let too_old = self.clock.now().0.saturating_sub(age);
        let rows = self.postgres.fetch(&self.expire, arguments![self.behind, most, too_old, PAGE, BUDGET]).await?;
        let row = rows.first().ok_or(PostgresTrouble::Row("a sweep answers with a row"))?;
        self.behind = column(row, 0)?;
        let dropped = column(row, 1)?;
        self.postgres.metrics().expired.inc_by(u64::try_from(dropped).unwrap_or(0));
        Ok(dropped)
    }
}
