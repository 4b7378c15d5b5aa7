//! Execution of one Redis operation: command, connection, retries and the record of its outcome.

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

/// Maximum number of retries of an operation, within its timeout.
const MAX_OPERATION_RETRIES: usize = 3;
/// Delay before the first retry. It doubles with each retry, with jitter.
const FIRST_OPERATION_RETRY_DELAY: Duration = Duration::from_millis(20);

/// State shared by all clones of a client.
pub(super) struct RedisClientInner {
    pub(super) settings: RedisSettings,
    pub(super) connector: Arc<RedisConnector>,
    pub(super) command_connection: ReconnectingConnection,
    pub(super) publish_connection: ReconnectingConnection,
    pub(super) pool: ConnectionPool,
    pub(super) breaker: CircuitBreaker,
}

/// Connection that an operation uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionClass {
    /// The connection shared by all short commands.
    SharedCommands,
    /// The connection shared by all publishes.
    SharedPublishes,
    /// A connection from the pool.
    Dedicated,
}

/// Retry policy of an operation that may have taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryPolicy {
    /// May be retried: executing it twice has the same effect as once.
    Idempotent,
    /// Retried only if it was certainly not executed.
    AtMostOnce,
}

/// Commands to send, and the shape of the outcome.
#[derive(Clone, Copy)]
pub(super) enum RedisOperation<'a> {
    /// One command. The outcome is its reply.
    Command(&'a Cmd),
    /// One script. The outcome is its reply.
    Script(&'a ScriptInvocation<'a>),
    /// One script, followed by `WAIT`. The outcome is a list of the script's reply and the number of replicas.
    DurableScript(&'a ScriptInvocation<'a>, ReplicaWait<'a>),
    /// Several commands. The outcome is the list of their replies.
    Pipeline(&'a Pipeline),
}

/// Parameters of `WAIT`.
#[derive(Clone, Copy)]
pub(super) struct ReplicaWait<'a> {
    /// A key that was written. It selects the Cluster node.
    pub(super) key: &'a [u8],
    /// Number of replicas to wait for.
    pub(super) replicas: u32,
    /// Timeout of `WAIT`.
    pub(super) timeout: Duration,
}

/// Error of one attempt.
struct AttemptError {
    error: RedisClientError,
    /// Whether the operation was certainly not executed.
    not_executed: bool,
}

impl RedisClientInner {
    /// Runs an operation with retries as allowed by `retry_policy`, within the operation timeout.
    pub(super) async fn run_operation(
        &self,
        operation: RedisOperation<'_>,
        connection_class: ConnectionClass,
        retry_policy: RetryPolicy,
    ) -> Result<Value, RedisClientError> {
        if !self.breaker.is_closed() {
            return Err(RedisClientError::CircuitOpen);
        }
        let backoff = ExponentialBuilder::default()
            .with_min_delay(FIRST_OPERATION_RETRY_DELAY)
            .with_max_times(MAX_OPERATION_RETRIES)
            .with_jitter();
        let may_retry = |attempt: &AttemptError| {
            let allowed = attempt.not_executed || retry_policy == RetryPolicy::Idempotent;
            self.breaker.is_closed() && allowed && attempt.error.is_transient()
        };
        let attempts = (|| self.attempt_operation(operation, connection_class)).retry(backoff).when(may_retry);
        let outcome = timeout(self.settings.operation_timeout(), attempts).await;
        outcome.map_err(|_| RedisClientError::Timeout)?.map_err(|attempt| attempt.error)
    }

    async fn attempt_operation(
        &self,
        operation: RedisOperation<'_>,
        connection_class: ConnectionClass,
    ) -> Result<Value, AttemptError> {
        let pooled;
        let connection = match connection_class {
            ConnectionClass::SharedCommands => &self.command_connection,
            ConnectionClass::SharedPublishes => &self.publish_connection,
            ConnectionClass::Dedicated => {
                let acquired = self.pool.get().await;
                pooled = acquired.map_err(|_| AttemptError { error: RedisClientError::Timeout, not_executed: true })?;
                &*pooled
            }
        };
        let (generation, driver) = connection.current_connection().await;
        let mut driver = driver.map_err(|error| {
            self.breaker.record_failure();
            AttemptError { error: error.into(), not_executed: true }
        })?;
        let outcome = operation.send_on(&mut driver).await;
        self.record_outcome(connection, generation, &outcome);
        outcome.map_err(|error| {
            let not_executed = classify_error(&error) == RedisErrorClass::Unavailable
                && !matches!(operation, RedisOperation::Pipeline(_));
            AttemptError { error: error.into(), not_executed }
        })
    }

    /// Records the outcome in the breaker, and discards the connection where a new one may help.
    fn record_outcome(&self, connection: &ReconnectingConnection, generation: u64, outcome: &RedisResult<Value>) {
        let class = match outcome {
            Ok(_) => return self.breaker.record_success(),
            Err(error) => classify_error(error),
        };
        match class {
            // A server that rejects writes may have been replaced as the master; reconnecting finds the new one. A
            // Cluster connection finds its nodes by itself.
            RedisErrorClass::Connection | RedisErrorClass::Unavailable => {
                if self.settings.topology != RedisTopology::Cluster {
                    connection.discard(generation);
                }
                self.breaker.record_failure();
            }
            RedisErrorClass::OutOfMemory => {
                tracing::error!("redis is out of memory: raise maxmemory, or lower storage.retention_age");
                self.breaker.record_success();
            }
            RedisErrorClass::UnexpectedReply | RedisErrorClass::Rejected => self.breaker.record_success(),
        }
    }
}

impl RedisOperation<'_> {
    async fn send_on(self, driver: &mut DriverConnection) -> RedisResult<Value> {
        match self {
            RedisOperation::Command(command) => driver.send_command(command).await.and_then(Value::extract_error),
            RedisOperation::Script(invocation) => invocation.invoke_async(driver).await,
            RedisOperation::DurableScript(invocation, replica_wait) => {
                let reply = invocation.invoke_async(driver).await?;
                Ok(Value::Array(vec![reply, replica_wait.wait_for_replicas(driver).await?]))
            }
            RedisOperation::Pipeline(pipeline) => {
                driver.send_pipeline(pipeline).await.map(Value::Array).and_then(Value::extract_error)
            }
        }
    }
}

impl ReplicaWait<'_> {
    /// Returns the number of replicas that have all writes of this connection.
    async fn wait_for_replicas(self, driver: &mut DriverConnection) -> RedisResult<Value> {
        let timeout_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        let wait = cmd("WAIT").arg(self.replicas).arg(timeout_ms).take();
        match driver {
            DriverConnection::Server(_) => driver.send_command(&wait).await,
            DriverConnection::Cluster(cluster) => {
                let node = Route::with_key(self.key, SlotAddr::Master);
                let node = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(node));
                cluster.route_command(wait, node).await
            }
        }
    }
}

/// Parses a reply. The error contains neither the reply nor the expected value, since replies may contain message
/// bodies.
pub(super) fn parse_reply<T: redis::FromRedisValue>(value: Value) -> Result<T, RedisClientError> {
    T::from_redis_value(value).map_err(|_| RedisClientError::UnexpectedReply)
}
