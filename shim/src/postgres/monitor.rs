//! The task that asks PostgreSQL whether it is there: now and then while all is well, with growing pauses while it is not.
//!
//! It alone closes the breaker, so no caller's statement is the one that finds out.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use sqlx::Row as _;
use sqlx::postgres::PgArguments;
use tokio::time::{Instant, sleep};

use super::link::{Core, Statement};

/// How often a quiet link is tried: bounds how long a silent loss goes unnoticed.
const QUIET: Duration = Duration::from_secs(2);
/// How soon a link is tried after a failure.
const SOON: Duration = Duration::from_millis(100);
/// The longest pause between two questions while the server is away, before jitter doubles it at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A server that follows another answers, but is of no use.
const QUESTION: &str = "SELECT pg_is_in_recovery()";

/// What the monitor watches.
pub(super) struct Monitor {
    pub(super) core: Arc<Core>,
}

impl Monitor {
    /// Asks for ever; dropped with the link.
    pub(super) async fn run(self) {
        let question: Statement = QUESTION.into();
        let mut pauses = growing();
        loop {
            if self.is_well(&question).await {
                self.core.breaker.close();
                pauses = growing();
                tokio::select! {
                    () = sleep(QUIET) => {}
                    () = self.core.breaker.suspicion() => sleep(SOON).await,
                }
            } else {
                self.core.breaker.failed();
                sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
            }
        }
    }

    async fn is_well(&self, question: &Statement) -> bool {
        let deadline = Instant::now() + self.core.settings.deadline();
        let answer = self.core.attempt(question, PgArguments::default(), deadline).await;
        let follows = answer.ok().and_then(|rows| rows.first()?.try_get::<bool, _>(0).ok());
        if follows == Some(true) {
            self.core.discard_connections();
        }
        follows == Some(false)
    }
}

fn growing() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(SOON)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_jitter()
        .build()
}
