//! What Redis is asked to find out whether it is there. Of an outage it tells once what is wrong and what helps, as the checks
//! at the start would.

use std::mem::{Discriminant, discriminant};

use redis::RedisResult;
use tokio::time::timeout;

use super::check::{Checks, StartError};
use super::line::Line;
use super::settings::Topology;
use super::trial;
use super::trouble::{Verdict, verdict};
use crate::breaker::{Breaker, Question};

/// How many questions without an answer lie between two looks at what is wrong: ten seconds or so.
const LOOK_EVERY: u32 = 8;

/// Whether the server answers, and may write.
pub(super) struct Writes {
    /// The line that it asks on, which is the one that commands use.
    pub(super) line: Line,
    /// What the answer opens and closes.
    pub(super) breaker: Breaker,
    /// What finds out what is wrong, and how long an answer may take.
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
        let answer = timeout(self.checks.settings.deadline(), self.ask()).await;
        let well = matches!(answer, Ok(Ok(())));
        if matches!(answer, Ok(Err(error)) if verdict(&error) == Verdict::Server) {
            self.breaker.open();
        }
        // A Cluster's connection finds its nodes by itself, until none of them answers.
        if !well && (self.checks.settings.topology != Topology::Cluster || !self.breaker.is_closed()) {
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
            tracing::warn!(error = %errors::chain(&error), "redis cannot be used");
        }
    }
}

impl Writes {
    async fn ask(&self) -> RedisResult<()> {
        let (_, wire) = self.line.wire().await;
        trial::takes_writes(&mut wire?, &self.checks.settings.prefix).await.map_err(|refusal| refusal.error)
    }
}
