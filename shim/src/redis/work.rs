//! One operation: what it sends, on which connection, and when it may be tried again.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{Cmd, Pipeline, RedisResult, ScriptInvocation, Value, cmd};
use tokio::time::timeout;

use super::line::Line;
use super::pool::LinePool;
use super::settings::{RedisSettings, Topology};
use super::trouble::{RedisTrouble, Verdict, verdict};
use super::wire::{Connector, Wire};
use crate::breaker::Breaker;

/// How often an operation is tried again, within its deadline.
const REPEATS: usize = 3;
/// The pause before the first repeat; it doubles, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// What all clones of a link share.
pub(super) struct Core {
    pub(super) settings: RedisSettings,
    pub(super) connector: Arc<Connector>,
    pub(super) commands: Line,
    pub(super) publishes: Line,
    pub(super) pool: LinePool,
    pub(super) breaker: Breaker,
}

/// On which connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// The one that all short commands share.
    Commands,
    /// The one that all publishes share.
    Publishes,
    /// One of its own.
    Own,
}

/// Whether an operation may be tried again when it is not known whether it took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Doing it twice is as good as once.
    Freely,
    /// Only what surely did not happen.
    Carefully,
}

/// What is sent.
#[derive(Clone, Copy)]
pub(super) enum Work<'a> {
    /// One command; its answer is the outcome.
    Command(&'a Cmd),
    /// One script; its answer is the outcome.
    Script(&'a ScriptInvocation<'a>),
    /// One script, then a wait for replicas. The outcome is the list of the script's answer and the number of replicas.
    Durable(&'a ScriptInvocation<'a>, Durability<'a>),
    /// Several commands; the list of their answers is the outcome.
    Pipeline(&'a Pipeline),
}

/// How many replicas are to have what was written.
#[derive(Clone, Copy)]
pub(super) struct Durability<'a> {
    /// A key that was written, for the node that holds it.
    pub(super) key: &'a [u8],
    /// How many replicas.
    pub(super) replicas: u32,
    /// How long they may take.
    pub(super) patience: Duration,
}

/// Why one attempt failed.
struct Failure {
    trouble: RedisTrouble,
    /// Whether it is sure that nothing was done.
    undone: bool,
}

impl Core {
    /// Does the work, again if need be and allowed, within the deadline.
    pub(super) async fn perform(&self, work: Work<'_>, lane: Lane, repeat: Repeat) -> Result<Value, RedisTrouble> {
        if !self.breaker.is_closed() {
            return Err(RedisTrouble::Away);
        }
        let pauses = ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_times(REPEATS).with_jitter();
        let again = |failure: &Failure| {
            let allowed = failure.undone || repeat == Repeat::Freely;
            self.breaker.is_closed() && allowed && failure.trouble.is_transient()
        };
        let attempts = (|| self.attempt(work, lane)).retry(pauses).when(again);
        let outcome = timeout(self.settings.deadline(), attempts).await;
        outcome.map_err(|_| RedisTrouble::Late)?.map_err(|failure| failure.trouble)
    }

    async fn attempt(&self, work: Work<'_>, lane: Lane) -> Result<Value, Failure> {
        let pooled;
        let line = match lane {
            Lane::Commands => &self.commands,
            Lane::Publishes => &self.publishes,
            Lane::Own => {
                let taken = self.pool.get().await;
                pooled = taken.map_err(|_| Failure { trouble: RedisTrouble::Late, undone: true })?;
                &*pooled
            }
        };
        let (generation, wire) = line.wire().await;
        let mut wire = wire.map_err(|error| {
            self.breaker.failed();
            Failure { trouble: error.into(), undone: true }
        })?;
        let outcome = work.run(&mut wire).await;
        self.account(line, generation, &outcome);
        outcome.map_err(|error| {
            let undone = verdict(&error) == Verdict::Server && !matches!(work, Work::Pipeline(_));
            Failure { trouble: error.into(), undone }
        })
    }

    /// What the outcome says about the connection and about Redis.
    fn account(&self, line: &Line, generation: u64, outcome: &RedisResult<Value>) {
        let verdict = match outcome {
            Ok(_) => return self.breaker.succeeded(),
            Err(error) => verdict(error),
        };
        match verdict {
            // A server that cannot write may have been replaced by another one: connecting again finds that. A Cluster's
            // connection finds its nodes by itself.
            Verdict::Connection | Verdict::Server => {
                if self.settings.topology != Topology::Cluster {
                    line.discard(generation);
                }
                self.breaker.failed();
            }
            Verdict::Full => {
                tracing::error!("redis has no memory left: raise its maxmemory, or lower storage.retention_age");
                self.breaker.succeeded();
            }
            Verdict::Unexpected | Verdict::Refused => self.breaker.succeeded(),
        }
    }
}

impl Work<'_> {
    async fn run(self, wire: &mut Wire) -> RedisResult<Value> {
        match self {
            Work::Command(command) => wire.send(command).await.and_then(Value::extract_error),
            Work::Script(invocation) => invocation.invoke_async(wire).await,
            Work::Durable(invocation, durability) => {
                let answer = invocation.invoke_async(wire).await?;
                Ok(Value::Array(vec![answer, durability.confirmed(wire).await?]))
            }
            Work::Pipeline(pipeline) => wire.send_all(pipeline).await.map(Value::Array).and_then(Value::extract_error),
        }
    }
}

impl Durability<'_> {
    /// How many replicas have everything that this connection wrote.
    async fn confirmed(self, wire: &mut Wire) -> RedisResult<Value> {
        let patience = u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX);
        let wait = cmd("WAIT").arg(self.replicas).arg(patience).take();
        match wire {
            Wire::Server(_) => wire.send(&wait).await,
            Wire::Cluster(connection) => {
                let node = Route::with_key(self.key, SlotAddr::Master);
                let node = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(node));
                connection.route_command(wait, node).await
            }
        }
    }
}

/// Reads an answer. Neither the answer nor what was expected is told: it may be a message.
pub(super) fn read<T: redis::FromRedisValue>(value: Value) -> Result<T, RedisTrouble> {
    T::from_redis_value(value).map_err(|_| RedisTrouble::Unexpected)
}
