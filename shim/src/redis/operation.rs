//! One operation: what it sends, on which connection, and when it may be tried again.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{Cmd, Pipeline, RedisResult, ScriptInvocation, Value, cmd};
use tokio::time::timeout;

use super::connector::{DriverConnection, RedisConnector};
use super::error::{RedisClientError, RedisErrorClass, classify_error};
use super::pool::ConnectionPool;
use super::reconnecting::ReconnectingConnection;
use super::settings::{RedisSettings, RedisTopology};
use crate::breaker::CircuitBreaker;

/// How often an operation is tried again, within its deadline.
const MAX_OPERATION_RETRIES: usize = 3;
/// The pause before the first repeat; it doubles, with jitter.
const FIRST_OPERATION_RETRY_DELAY: Duration = Duration::from_millis(20);

/// What all clones of a link share.
pub(super) struct RedisClientInner {
    pub(super) settings: RedisSettings,
    pub(super) connector: Arc<RedisConnector>,
    pub(super) command_connection: ReconnectingConnection,
    pub(super) publish_connection: ReconnectingConnection,
    pub(super) pool: ConnectionPool,
    pub(super) breaker: CircuitBreaker,
}

/// On which connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionClass {
    /// The one that all short commands share.
    SharedCommands,
    /// The one that all publishes share.
    SharedPublishes,
    /// One of its own.
    Dedicated,
}

/// Whether an operation may be tried again when it is not known whether it took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryPolicy {
    /// Doing it twice is as good as once.
    Idempotent,
    /// Only what surely did not happen.
    AtMostOnce,
}

/// What is sent.
#[derive(Clone, Copy)]
pub(super) enum RedisOperation<'a> {
    /// One command; its answer is the outcome.
    Command(&'a Cmd),
    /// One script; its answer is the outcome.
    Script(&'a ScriptInvocation<'a>),
    /// One script, then a wait for replicas. The outcome is the list of the script's answer and the number of replicas.
    DurableScript(&'a ScriptInvocation<'a>, ReplicaWait<'a>),
    /// Several commands; the list of their answers is the outcome.
    Pipeline(&'a Pipeline),
}

/// How many replicas are to have what was written.
#[derive(Clone, Copy)]
pub(super) struct ReplicaWait<'a> {
    /// A key that was written, for the node that holds it.
    pub(super) key: &'a [u8],
    /// How many replicas.
    pub(super) replicas: u32,
    /// How long they may take.
    pub(super) timeout: Duration,
}

/// Why one attempt failed.
struct AttemptError {
    error: RedisClientError,
    /// Whether it is sure that nothing was done.
    not_executed: bool,
}

impl RedisClientInner {
    /// Does the work, again if need be and allowed, within the deadline.
    pub(super) async fn run_operation(
        &self,
        work: RedisOperation<'_>,
        lane: ConnectionClass,
        repeat: RetryPolicy,
    ) -> Result<Value, RedisClientError> {
        if !self.breaker.is_closed() {
            return Err(RedisClientError::CircuitOpen);
        }
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_OPERATION_RETRY_DELAY)
            .with_max_times(MAX_OPERATION_RETRIES)
            .with_jitter();
        let again = |failure: &AttemptError| {
            let allowed = failure.not_executed || repeat == RetryPolicy::Idempotent;
            self.breaker.is_closed() && allowed && failure.error.is_transient()
        };
        let attempts = (|| self.attempt_operation(work, lane)).retry(pauses).when(again);
        let outcome = timeout(self.settings.operation_timeout(), attempts).await;
        outcome.map_err(|_| RedisClientError::Timeout)?.map_err(|failure| failure.error)
    }

    async fn attempt_operation(&self, work: RedisOperation<'_>, lane: ConnectionClass) -> Result<Value, AttemptError> {
        let pooled;
        let line = match lane {
            ConnectionClass::SharedCommands => &self.command_connection,
            ConnectionClass::SharedPublishes => &self.publish_connection,
            ConnectionClass::Dedicated => {
                let taken = self.pool.get().await;
                pooled = taken.map_err(|_| AttemptError { error: RedisClientError::Timeout, not_executed: true })?;
                &*pooled
            }
        };
        let (generation, wire) = line.current_connection().await;
        let mut wire = wire.map_err(|error| {
            self.breaker.record_failure();
            AttemptError { error: error.into(), not_executed: true }
        })?;
        let outcome = work.send_on(&mut wire).await;
        self.record_outcome(line, generation, &outcome);
        outcome.map_err(|error| {
            let undone =
                classify_error(&error) == RedisErrorClass::Unavailable && !matches!(work, RedisOperation::Pipeline(_));
            AttemptError { error: error.into(), not_executed: undone }
        })
    }

    /// What the outcome says about the connection and about Redis.
    fn record_outcome(&self, line: &ReconnectingConnection, generation: u64, outcome: &RedisResult<Value>) {
        let verdict = match outcome {
            Ok(_) => return self.breaker.record_success(),
            Err(error) => classify_error(error),
        };
        match verdict {
            // A server that cannot write may have been replaced by another one: connecting again finds that. A Cluster's
            // connection finds its nodes by itself.
            RedisErrorClass::Connection | RedisErrorClass::Unavailable => {
                if self.settings.topology != RedisTopology::Cluster {
                    line.discard(generation);
                }
                self.breaker.record_failure();
            }
            RedisErrorClass::OutOfMemory => {
                tracing::error!("redis has no memory left: raise its maxmemory, or lower storage.retention_age");
                self.breaker.record_success();
            }
            RedisErrorClass::UnexpectedReply | RedisErrorClass::Rejected => self.breaker.record_success(),
        }
    }
}

impl RedisOperation<'_> {
    async fn send_on(self, wire: &mut DriverConnection) -> RedisResult<Value> {
        match self {
            RedisOperation::Command(command) => wire.send_command(command).await.and_then(Value::extract_error),
            RedisOperation::Script(invocation) => invocation.invoke_async(wire).await,
            RedisOperation::DurableScript(invocation, durability) => {
                let answer = invocation.invoke_async(wire).await?;
                Ok(Value::Array(vec![answer, durability.wait_for_replicas(wire).await?]))
            }
            RedisOperation::Pipeline(pipeline) => {
                wire.send_pipeline(pipeline).await.map(Value::Array).and_then(Value::extract_error)
            }
        }
    }
}

impl ReplicaWait<'_> {
    /// How many replicas have everything that this connection wrote.
    async fn wait_for_replicas(self, wire: &mut DriverConnection) -> RedisResult<Value> {
        let patience = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        let wait = cmd("WAIT").arg(self.replicas).arg(patience).take();
        match wire {
            DriverConnection::Server(_) => wire.send_command(&wait).await,
            DriverConnection::Cluster(connection) => {
                let node = Route::with_key(self.key, SlotAddr::Master);
                let node = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(node));
                connection.route_command(wait, node).await
            }
        }
    }
}

/// Reads an answer. Neither the answer nor what was expected is told: it may be a message.
pub(super) fn parse_reply<T: redis::FromRedisValue>(value: Value) -> Result<T, RedisClientError> {
    T::from_redis_value(value).map_err(|_| RedisClientError::UnexpectedReply)
}
