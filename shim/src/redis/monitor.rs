//! What Redis is asked to find out whether it is there.

use std::time::Duration;

use redis::{Cmd, Value};
use tokio::time::timeout;

use super::check::Greeting;
use super::line::Line;
use super::settings::Topology;
use crate::breaker::{Breaker, Question};

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
}

impl Question for Writes {
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
}

impl Writes {
    async fn ask(&self) -> Option<Value> {
        // A server's greeting also says whether it may write; in a Cluster every node with slots is asked for a sign of life.
        let question = if self.topology == Topology::Cluster { Cmd::ping() } else { Greeting::question() };
        let (_, wire) = self.line.wire().await;
        wire.ok()?.send(&question).await.and_then(Value::extract_error).ok()
    }
}
