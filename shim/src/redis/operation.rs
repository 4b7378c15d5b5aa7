//! Execution of one Redis operation: command, connection, retries and the record of its outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ScriptInvocation, Value};
use tokio::time::timeout;

use super::connector::RedisConnector;
use super::driver_connection::DriverConnection;
use super::durable::{DurableWrite, WriteConfirmation};
use super::error::{RedisClientError, RedisErrorClass, classify_error};
use super::master_selection::MasterFacts;
use super::metrics::RedisMetrics;
use super::pool::ConnectionPool;
use super::reconnecting::{CurrentDriver, ReconnectingConnection};
use super::settings::{RedisSettings, RedisTopology};
use crate::breaker::CircuitBreaker;

/// Maximum number of retries of an operation, within its timeout.
const MAX_OPERATION_RETRIES: usize = 3;
/// Delay before the first retry. It doubles with each retry, with jitter.
const FIRST_OPERATION_RETRY_DELAY: Duration = Duration::from_millis(20);
/// Time without a reply after which the master behind Sentinels is probed.
const SLOW_REPLY: Duration = Duration::from_millis(100);

/// State shared by all clones of a client.
pub(super) struct RedisClientInner {
    pub(super) settings: RedisSettings,
    pub(super) connector: Arc<RedisConnector>,
    pub(super) connections: ClientConnections,
    pub(super) breaker: CircuitBreaker,
    pub(super) metrics: RedisMetrics,
    /// Set while replicas do not confirm writes, so that this is logged once.
    pub(super) unconfirmed: AtomicBool,
}

/// Connections of a client, by [`ConnectionClass`].
pub(super) struct ClientConnections {
    pub(super) commands: ReconnectingConnection,
    pub(super) publishes: ReconnectingConnection,
    pub(super) pool: ConnectionPool,
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
    /// A write that replicas must have received. The outcome is the reply to the write.
    Durable(DurableWrite<'a>),
    /// Several commands. The outcome is the list of their replies.
    Pipeline(&'a Pipeline),
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
            // The replicas had their time.
            let unconfirmed = matches!(attempt.error, RedisClientError::Unconfirmed);
            self.breaker.is_closed() && allowed && attempt.error.is_transient() && !unconfirmed
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
            ConnectionClass::SharedCommands => &self.connections.commands,
            ConnectionClass::SharedPublishes => &self.connections.publishes,
            ConnectionClass::Dedicated => {
                let acquired = self.connections.pool.get().await;
                pooled = acquired.map_err(|_| AttemptError { error: RedisClientError::Timeout, not_executed: true })?;
                &*pooled
            }
        };
        let CurrentDriver { generation, master_generation, driver } = connection.current_connection().await;
        let mut driver = driver.map_err(|error| {
            self.breaker.record_failure();
            self.connector.request_probe();
            AttemptError { error: error.into(), not_executed: true }
        })?;
        let facts = self.connector.master_facts();
        if facts.generation != master_generation {
            return Err(AttemptError { error: master_changed().into(), not_executed: true });
        }
        let outcome = self.until_master_changes(facts, operation.send_on(&mut driver, facts)).await;
        self.record_outcome(connection, generation, outcome.as_ref().map(drop));
        let (reply, confirmation) = outcome.map_err(|error| {
            let not_executed = classify_error(&error) == RedisErrorClass::Unavailable
                && !matches!(operation, RedisOperation::Pipeline(_) | RedisOperation::Durable(_));
            AttemptError { error: error.into(), not_executed }
        })?;
        if let (RedisOperation::Durable(write), Some(confirmation)) = (operation, confirmation) {
            self.check_confirmation(write.replicas, &confirmation, facts).await?;
            if write.replicas > 0 {
                self.unconfirmed.store(false, Ordering::Relaxed);
            }
        }
        Ok(reply)
    }

    /// Ends an attempt when another server becomes the master. A slow reply starts a probe for that.
    async fn until_master_changes<T>(
        &self,
        facts: MasterFacts,
        attempt: impl Future<Output = RedisResult<T>>,
    ) -> RedisResult<T> {
        let Some(selection) = self.connector.selection().filter(|selection| selection.is_probed()) else {
            return attempt.await;
        };
        let change = async {
            if timeout(SLOW_REPLY, selection.wait_changed(facts.generation)).await.is_err() {
                selection.request_probe();
                selection.wait_changed(facts.generation).await;
            }
        };
        tokio::select! {
            outcome = attempt => outcome,
            () = change => Err(master_changed()),
        }
    }

    /// Checks that a write survives a failover: enough replicas have it, and the server is still the master. `facts`
    /// are those from before the write.
    async fn check_confirmation(
        &self,
        required: u32,
        confirmation: &WriteConfirmation,
        facts: MasterFacts,
    ) -> Result<(), AttemptError> {
        let WriteConfirmation { replicas, state } = confirmation;
        let confirmed = state.is_master && *replicas >= required;
        let alone = facts.confirms_alone && state.is_master && state.online_replicas.is_empty();
        if alone || (confirmed && state.online_replicas.len() >= facts.online_replicas) {
            return Ok(());
        }
        if let Some(selection) = self.connector.selection() {
            let verified = selection.verify_master().await;
            if verified.generation != facts.generation || (verified.confirms_alone && !facts.confirms_alone) {
                return Err(AttemptError { error: master_changed().into(), not_executed: false });
            }
        }
        if confirmed {
            return Ok(());
        }
        self.metrics.unconfirmed_writes.inc();
        if !self.unconfirmed.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                required,
                confirmed = replicas,
                "redis replicas do not confirm writes: messages are not acknowledged (redis.wait_replicas)"
            );
        }
        Err(AttemptError { error: RedisClientError::Unconfirmed, not_executed: false })
    }

    /// Records the outcome in the breaker, and discards the connection where a new one may help.
    fn record_outcome(&self, connection: &ReconnectingConnection, generation: u64, outcome: Result<(), &RedisError>) {
        let class = match outcome {
            Ok(()) => return self.breaker.record_success(),
            Err(error) if is_master_changed(error) => return,
            Err(error) => classify_error(error),
        };
        match class {
            // A server that rejects writes may have been replaced as the master; reconnecting finds the new one. A
            // Cluster connection finds its nodes by itself.
            RedisErrorClass::Connection | RedisErrorClass::Unavailable => {
                if self.settings.topology != RedisTopology::Cluster {
                    connection.discard(generation);
                }
                self.connector.request_probe();
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
    async fn send_on(
        self,
        driver: &mut DriverConnection,
        facts: MasterFacts,
    ) -> RedisResult<(Value, Option<WriteConfirmation>)> {
        let reply = match self {
            RedisOperation::Command(command) => driver.send_command(command).await.and_then(Value::extract_error)?,
            RedisOperation::Script(invocation) => invocation.invoke_async(driver).await?,
            RedisOperation::Durable(write) => {
                let (reply, confirmation) = write.send_on(driver, facts.confirms_alone).await?;
                return Ok((reply, Some(confirmation)));
            }
            RedisOperation::Pipeline(pipeline) => {
                driver.send_pipeline(pipeline).await.map(Value::Array).and_then(Value::extract_error)?
            }
        };
        Ok((reply, None))
    }
}

/// Text of [`master_changed`].
const MASTER_CHANGED: &str = "another server became the master";

/// Returns the error of an attempt that another master makes void.
fn master_changed() -> RedisError {
    RedisError::from((ErrorKind::Io, MASTER_CHANGED))
}

fn is_master_changed(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Io && error.category() == MASTER_CHANGED
}

/// Parses a reply. The error contains neither the reply nor the expected value, since replies may contain message
/// bodies.
pub(super) fn parse_reply<T: redis::FromRedisValue>(value: Value) -> Result<T, RedisClientError> {
    T::from_redis_value(value).map_err(|_| RedisClientError::UnexpectedReply)
}
