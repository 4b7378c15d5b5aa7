//! What Redis is asked to find out whether it is there. Of an outage it tells once what is wrong and what helps, as the checks
//! at the start would.

use std::error::Error;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::time::timeout;

use super::check::{Checks, Greeting, StartError};
use super::line::Line;
use super::settings::Topology;
use crate::breaker::{Breaker, Question};

/// How many questions without an answer lie between two looks at what is wrong: ten seconds or so.
const LOOK_EVERY: u32 = 8;

/// Whether the server answers, and may write.
pub(super) struct Writes {
    /// The line that it asks on, which is the one that commands use.
    pub(super) line: Line,
    /// What the answer opens and closes.
    pub(super) breaker: Breaker,
    /// What to ask.
    pub(super) topology: Topology,
    /// How long an answer may take.
    pub(super) patience: Duration,
    /// What finds out what is wrong.
    pub(super) checks: Checks,
    /// What was told so far.
    pub(super) outage: Outage,
}

/// What was said about an outage.
#[derive(Default)]
pub(super) struct Outage {
    questions: u32,
    told: Vec<Discriminant<StartError>>,
}

impl Question for Writes {
    async fn is_well(&mut self) -> bool {
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
        if well {
            self.outage = Outage::default();
        }
        well
    }

    /// Tells what is wrong, each kind of trouble once in an outage. A link that has only stumbled is none.
    async fn look(&mut self) {
        if self.breaker.is_closed() {
            return;
        }
        self.outage.questions += 1;
        if self.outage.questions % LOOK_EVERY != 1 {
            return;
        }
        let Err(error) = self.checks.run().await else { return };
        if !self.outage.told.contains(&discriminant(&error)) {
            self.outage.told.push(discriminant(&error));
            tracing::warn!(error = &error as &dyn Error, "redis cannot be used");
        }
    }
}

impl Writes {
    async fn ask(&self) -> Option<Value> {
        // A server's greeting also says whether it may write; in a Cluster every node with slots is asked for a sign of life.
        let question = if self.topology == Topology::Cluster { Cmd::ping() } else { Greeting::question() };
        let (_, wire) = self.line.wire().await;
        wire.ok()?.send(&question).await.and_then(Value::extract_error).ok()
    }
}
