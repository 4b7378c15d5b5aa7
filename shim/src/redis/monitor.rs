//! The task that asks Redis whether it is there: now and then while all is well, with growing pauses while it is not.
//!
//! It alone closes the breaker, so no caller's command is the one that finds out.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use redis::{Cmd, Value};
use tokio::time::{sleep, timeout};

use super::check::Greeting;
use super::line::Line;
use super::settings::Topology;
use crate::breaker::Breaker;

/// How often a quiet link is tried: bounds how long a silent loss goes unnoticed.
const QUIET: Duration = Duration::from_secs(2);
/// How soon a link is tried after a failure.
const SOON: Duration = Duration::from_millis(100);
/// The longest pause between two questions while Redis is away, before jitter doubles it at most: how late a recovery is
/// noticed at worst.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What the monitor watches.
pub(super) struct Monitor {
    /// The line that it asks on, which is the one that commands use.
    pub(super) line: Line,
    /// What it opens and closes.
    pub(super) breaker: Breaker,
    /// What to ask.
    pub(super) topology: Topology,
    /// How long an answer may take.
    pub(super) patience: Duration,
}

impl Monitor {
    /// Asks for ever; dropped with the link.
    pub(super) async fn run(self) {
        let mut pauses = growing();
        loop {
            if self.is_well().await {
                self.breaker.close();
                pauses = growing();
                tokio::select! {
                    () = sleep(QUIET) => {}
                    () = self.breaker.suspicion() => sleep(SOON).await,
                }
            } else {
                self.breaker.failed();
                sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
            }
        }
    }

    async fn is_well(&self) -> bool {
        let generation = self.line.generation();
        let answer = timeout(self.patience, self.ask()).await.ok().flatten();
        let well = match (answer, self.topology) {
            (None, _) => false,
            (Some(_), Topology::Cluster) => true,
            (Some(answer), _) => Greeting::read(&answer).is_some_and(|greeting| greeting.is_writable()),
        };
        // A Cluster's connection finds its nodes by itself, until none of them answers.
        if !well && (self.topology != Topology::Cluster || !self.breaker.is_closed()) {
            self.line.discard(generation);
        }
        well
    }

    async fn ask(&self) -> Option<Value> {
        // A server's greeting also says whether it may write; in a Cluster every node with slots is asked for a sign of life.
        let question = if self.topology == Topology::Cluster { Cmd::ping() } else { Greeting::question() };
        let (_, wire) = self.line.wire().await;
        wire.ok()?.send(&question).await.and_then(Value::extract_error).ok()
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
