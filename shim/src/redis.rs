//! The link to Redis: one server, a Cluster, or servers behind Sentinels, behind one type.
//!
//! Every operation has a deadline, every key and topic the prefix, and no caller waits for a Redis that is known to be away.
//! Short commands share a multiplexed connection, publishes have another of their own, and what would hold others up takes
//! a connection out of a pool (`docs/adr/0009-redis-link.md`). What is stored how is not known here.

mod connections;
mod connector;
mod error;
mod health_check;
mod log;
mod operation;
mod pool;
mod preflight;
mod protocol_probe;
mod reconnecting;
mod settings;
mod slots;
mod subscriber;
mod write_probe;

use std::sync::Arc;

use bytes::Bytes;
use redis::{Cmd, FromRedisValue, Pipeline, Script, ScriptInvocation, ToRedisArgs, Value};
use tokio::sync::watch;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub use self::connections::RedisConnections;
pub use self::error::RedisClientError;
pub use self::log::{RedisLog, RedisRetention};
pub use self::preflight::RedisStartupError;
pub use self::settings::{RedisSettings, RedisTopology};
pub use self::subscriber::{RedisPush, RedisPushStream, RedisSubscriber, SubscriptionHandle};
pub use crate::breaker::LinkState;

use self::connector::RedisConnector;
use self::health_check::{OutageReport, WriteHealthCheck};
use self::operation::{ConnectionClass, RedisClientInner, RedisOperation, ReplicaWait, RetryPolicy, parse_reply};
use self::preflight::RedisPreflight;
use self::reconnecting::ReconnectingConnection;
use crate::breaker::{self, CircuitBreaker};

/// The link; clones share it. It ends, with its background task, when the last clone is dropped.
#[derive(Clone)]
pub struct RedisClient {
    inner: Arc<RedisClientInner>,
    _monitor: Arc<AbortOnDropHandle<()>>,
}

impl RedisClient {
    /// Connects and checks what answers.
    ///
    /// # Errors
    /// [`StartError`], which says what to change.
    pub async fn connect(settings: RedisSettings) -> Result<Self, RedisStartupError> {
        let certificates =
            match &settings.ca_file {
                None => None,
                Some(path) => Some(tokio::fs::read(path).await.map_err(|source| {
                    RedisStartupError::CertificateFile { path: path.display().to_string(), source }
                })?),
            };
        let connector = RedisConnector::new(&settings, certificates.clone())
            .map_err(|error| RedisStartupError::InvalidAddress(error.category().to_owned()))?;
        let checks = RedisPreflight { settings, certificates, connector: Arc::new(connector) };
        checks.run().await?;
        Ok(Self::new(checks))
    }

    fn new(checks: RedisPreflight) -> Self {
        let (settings, connector) = (checks.settings.clone(), checks.connector.clone());
        let core = RedisClientInner {
            command_connection: ReconnectingConnection::new(connector.clone()),
            publish_connection: ReconnectingConnection::new(connector.clone()),
            pool: pool::build_pool(&settings, connector.clone()),
            breaker: CircuitBreaker::new(),
            connector,
            settings,
        };
        let question = WriteHealthCheck {
            connection: core.command_connection.clone(),
            breaker: core.breaker.clone(),
            preflight: checks,
            outage: OutageReport::default(),
        };
        let task = TaskTracker::new().spawn(breaker::monitor_health(core.breaker.clone(), question));
        Self { inner: Arc::new(core), _monitor: Arc::new(AbortOnDropHandle::new(task)) }
    }

    /// The key or topic `rest` of this application: the prefix, a colon, `rest`. What stands between braces in `rest`
    /// decides the Cluster's slot; the prefix has no braces.
    #[must_use]
    pub fn prefixed_key(&self, rest: &str) -> String {
        format!("{}:{rest}", self.inner.settings.prefix)
    }

    /// How the servers are arranged.
    #[must_use]
    pub fn topology(&self) -> RedisTopology {
        self.inner.settings.topology
    }

    /// Whether Redis answers, as it changes.
    #[must_use]
    pub fn link_state(&self) -> watch::Receiver<LinkState> {
        self.inner.breaker.watch_state()
    }

    /// Sends one command on the shared connection and returns its answer. It may be sent more than once: doing it twice must
    /// be as good as once.
    ///
    /// # Errors
    /// [`RedisClientError`]; when it is transient the command may have taken effect.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisClientError> {
        parse_reply(
            self.inner
                .run_operation(
                    RedisOperation::Command(command),
                    ConnectionClass::SharedCommands,
                    RetryPolicy::Idempotent,
                )
                .await?,
        )
    }

    /// Runs a script by its hash, and sends the script itself where it is not known. Otherwise as [`Self::query`].
    ///
    /// # Errors
    /// [`RedisClientError`]; when it is transient the script may have taken effect.
    pub async fn invoke_script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[impl ToRedisArgs],
        arguments: &[impl ToRedisArgs],
    ) -> Result<T, RedisClientError> {
        let invocation = script_invocation(script, keys, arguments);
        parse_reply(
            self.inner
                .run_operation(
                    RedisOperation::Script(&invocation),
                    ConnectionClass::SharedCommands,
                    RetryPolicy::Idempotent,
                )
                .await?,
        )
    }

    /// As [`Self::invoke_script`]; when `redis.wait_replicas` is not 0, on a connection of its own, and returning only once so many
    /// replicas have what was written to `keys`.
    ///
    /// # Errors
    /// [`RedisClientError`]; [`RedisClientError::Timeout`] also when the replicas did not confirm in time.
    pub async fn invoke_script_durably<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[impl ToRedisArgs],
    ) -> Result<T, RedisClientError> {
        let replicas = self.inner.settings.wait_replicas;
        let (Some(key), 1..) = (keys.first(), replicas) else {
            return self.invoke_script(script, keys, arguments).await;
        };
        let invocation = script_invocation(script, keys, arguments);
        // Half of the time for an answer: replicas that are late must not look like a connection that is lost.
        let patience = self.inner.settings.response_timeout / 2;
        let work = RedisOperation::DurableScript(
            &invocation,
            ReplicaWait { key: key.as_bytes(), replicas, timeout: patience },
        );
        let (answer, confirmed): (Value, u32) =
            parse_reply(self.inner.run_operation(work, ConnectionClass::Dedicated, RetryPolicy::Idempotent).await?)?;
        if confirmed < replicas { Err(RedisClientError::Timeout) } else { parse_reply(answer) }
    }

    /// Sends several commands at once, in one round trip on a server, on a connection of their own. Not atomic; `ignore` is
    /// not heeded: `T` is read from the list of all answers. May be sent more than once, as [`Self::query`].
    ///
    /// # Errors
    /// [`RedisClientError`] of the first command that failed.
    pub async fn run_pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, RedisClientError> {
        if pipeline.is_empty() {
            return parse_reply(Value::Array(Vec::new()));
        }
        parse_reply(
            self.inner
                .run_operation(RedisOperation::Pipeline(pipeline), ConnectionClass::Dedicated, RetryPolicy::Idempotent)
                .await?,
        )
    }

    /// Publishes all messages, to topics made with [`Self::prefixed_key`], in one round trip. A server publishes them in order.
    /// In a Cluster messages of one call may change places, which the bus mends by offset. Sent again only when surely nobody got them; in a Cluster, whose client
    /// repeats by itself, a message may arrive twice when a node is lost.
    ///
    /// # Errors
    /// [`RedisClientError`]; when it is transient some may have been published.
    pub async fn publish_all(&self, messages: Vec<(String, Bytes)>) -> Result<(), RedisClientError> {
        if messages.is_empty() {
            return Ok(());
        }
        let publish = if self.topology() == RedisTopology::Cluster { "SPUBLISH" } else { "PUBLISH" };
        let mut pipeline = Pipeline::with_capacity(messages.len());
        for (topic, payload) in &messages {
            pipeline.cmd(publish).arg(topic).arg(&payload[..]);
        }
        self.inner
            .run_operation(
                RedisOperation::Pipeline(&pipeline),
                ConnectionClass::SharedPublishes,
                RetryPolicy::AtMostOnce,
            )
            .await
            .map(drop)
    }

    /// A connection for subscriptions and nothing else.
    ///
    /// # Errors
    /// [`RedisClientError`] when none can be made in time.
    pub async fn open_subscriber(&self) -> Result<RedisSubscriber, RedisClientError> {
        RedisSubscriber::connect_subscriber(&self.inner.connector, self.inner.settings.operation_timeout()).await
    }
}

fn script_invocation<'a>(
    script: &'a Script,
    keys: &[impl ToRedisArgs],
    arguments: &[impl ToRedisArgs],
) -> ScriptInvocation<'a> {
    let mut invocation = script.prepare_invoke();
    for key in keys {
        invocation.key(key);
    }
    for argument in arguments {
        invocation.arg(argument);
    }
    invocation
}
