//! The task that asks Redis whether it is there: now and then while all is well, with growing pauses while it is not.
//!
//! It alone closes the breaker, so no caller's command is the one that finds out. Of an outage it tells once what is wrong and
//! what helps, as the checks at the start would.

use std::error::Error;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use redis::{Cmd, Value};
use tokio::time::{sleep, timeout};

use super::check::{Checks, Greeting, StartError};
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
/// How many questions without an answer lie between two looks at what is wrong: ten seconds or so.
const LOOK_EVERY: u32 = 8;

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
    /// What finds out what is wrong.
    pub(super) checks: Checks,
}

/// What was said about an outage.
#[derive(Default)]
struct Outage {
    questions: u32,
    told: Vec<Discriminant<StartError>>,
}

impl Monitor {
    /// Asks for ever; dropped with the link.
    pub(super) async fn run(self) {
        let (mut pauses, mut outage) = (growing(), Outage::default());
        loop {
            if self.is_well().await {
                self.breaker.close();
                (pauses, outage) = (growing(), Outage::default());
                tokio::select! {
                    () = sleep(QUIET) => {}
                    () = self.breaker.suspicion() => sleep(SOON).await,
                }
            } else {
                self.breaker.failed();
                self.look(&mut outage).await;
                sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
            }
        }
    }

    /// Tells what is wrong, each kind of trouble once in an outage. A link that has only stumbled is none.
    async fn look(&self, outage: &mut Outage) {
        if self.breaker.is_closed() {
            return;
        }
        outage.questions += 1;
        if outage.questions % LOOK_EVERY != 1 {
            return;
        }
        let Err(error) = self.checks.run().await else { return };
        if !outage.told.contains(&discriminant(&error)) {
            outage.told.push(discriminant(&error));
            tracing::warn!(error = &error as &dyn Error, "redis cannot be used");
        }
    }

    async fn is_well(&self) -> bool {
        let generation = self.line.generation();
        let answer = timeout(self.patience, self.ask()).await.ok().flatten();
        let well = match (answer, self.topology) {
            (None, _) => false,
            (Some(_), Topology::Cluster) => true,
            (Some(answer), _) => {
                let writable = Greeting::read(&answer).map(|greeting| greeting.is_writable());
                if writable == Some(false) {
                    self.breaker.open();
                }
                writable == Some(true)
            }
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
