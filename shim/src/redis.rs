//! Redis client: one API for a single server, a Redis Cluster, and a master managed by Sentinel.
//!
//! Every operation has a timeout, every key and Redis channel has the configured prefix, and operations fail
//! immediately while the circuit breaker is open. Short commands share one multiplexed connection, publishes share
//! another, and long operations take a connection from a pool (`docs/adr/0009-redis-connections.md`). The data formats
//! belong to the stores that use the client.

mod connections;
mod connector;
mod driver_connection;
mod durable;
mod error;
mod health_check;
mod key_type;
mod log;
mod lost_subscriptions;
mod master_prober;
mod master_selection;
mod metrics;
mod operation;
mod pool;
mod preflight;
mod protocol_probe;
mod reconnecting;
mod replication;
mod revocations;
mod settings;
mod slots;
mod subscriber;
mod write_probe;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, FromRedisValue, Pipeline, Script, ScriptInvocation, ToRedisArgs, Value};
use tokio::sync::watch;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub use self::connections::RedisConnections;
pub use self::error::RedisClientError;
pub use self::log::{RedisLog, RedisRetention};
pub use self::lost_subscriptions::SubscriptionRevocation;
pub use self::metrics::RedisMetrics;
pub use self::preflight::RedisStartupError;
pub use self::revocations::RedisRevocations;
pub use self::settings::{RedisSettings, RedisTopology};
pub use self::subscriber::{RedisPush, RedisPushStream, RedisSubscriber, SubscriptionHandle};
pub use crate::breaker::LinkState;

use self::connector::RedisConnector;
use self::durable::{DurableCommands, DurableWrite};
use self::health_check::{OutageReport, WriteHealthCheck};
use self::master_prober::MasterProber;
use self::master_selection::MasterSelection;
use self::operation::{ClientConnections, ConnectionClass, RedisClientInner, RedisOperation, RetryPolicy, parse_reply};
use self::preflight::RedisPreflight;
use self::reconnecting::ReconnectingConnection;
use crate::breaker::{self, CircuitBreaker};
use crate::host_watch::HostWatch;

/// The Redis client; clones share its connections. When the last clone is dropped, the connections and the health check
/// end.
#[derive(Clone)]
pub struct RedisClient {
    inner: Arc<RedisClientInner>,
    channel_prefix: Arc<str>,
    _tasks: Arc<[AbortOnDropHandle<()>]>,
}

impl RedisClient {
    /// Connects and runs the start-up checks.
    ///
    /// # Errors
    /// Returns [`RedisStartupError`], whose text says what to change.
    pub async fn connect(settings: RedisSettings) -> Result<Self, RedisStartupError> {
        let certificates = connector::tls_certificates(&settings.tls).map_err(RedisStartupError::TlsFile)?;
        let connector = RedisConnector::new(&settings, certificates.clone())
            .map_err(|error| RedisStartupError::InvalidAddress(error.category().to_owned()))?;
        let preflight = RedisPreflight { settings, certificates, connector: Arc::new(connector) };
        preflight.run().await?;
        let metrics = RedisMetrics::default();
        preflight.warn_about_replicas().await;
        let prober = match preflight.connector.selection().filter(|selection| selection.is_probed()) {
            None => None,
            Some(selection) => {
                let (settings, certificates) = (preflight.settings.clone(), preflight.certificates.clone());
                let prober = MasterProber::new(selection.clone(), settings, certificates, metrics.clone());
                let mut prober =
                    prober.map_err(|error| RedisStartupError::InvalidAddress(error.category().to_owned()))?;
                prober.probe_once().await;
                Some(prober)
            }
        };
        Ok(Self::new(preflight, prober, metrics))
    }

    fn new(preflight: RedisPreflight, prober: Option<MasterProber>, metrics: RedisMetrics) -> Self {
        let (settings, connector) = (preflight.settings.clone(), preflight.connector.clone());
        let inner = RedisClientInner {
            connections: ClientConnections {
                commands: ReconnectingConnection::new(connector.clone()),
                publishes: ReconnectingConnection::new(connector.clone()),
                pool: pool::build_pool(&settings, connector.clone()),
            },
            breaker: CircuitBreaker::new(),
            connector,
            settings,
            metrics,
            unconfirmed: AtomicBool::new(false),
        };
        let health_check = WriteHealthCheck {
            connection: inner.connections.commands.clone(),
            breaker: inner.breaker.clone(),
            preflight,
            outage: OutageReport::default(),
        };
        let tracker = TaskTracker::new();
        let monitor = tracker.spawn(breaker::monitor_health(inner.breaker.clone(), health_check));
        let prober = prober.map(|prober| tracker.spawn(prober.run(inner.breaker.clone())));
        let host_watch = inner.connector.host_watch().zip(inner.connector.selection().cloned());
        let host_watch = host_watch.map(|(watch, selection)| {
            tracker.spawn(follow_host(watch, selection, inner.breaker.clone(), inner.metrics.clone()))
        });
        let tasks = std::iter::once(monitor).chain(prober).chain(host_watch).map(AbortOnDropHandle::new).collect();
        let channel_prefix = inner.settings.channel_prefix().into();
        Self { inner: Arc::new(inner), channel_prefix, _tasks: tasks }
    }

    /// Returns a client whose short commands use a connection of their own, so that they do not queue after other
    /// commands. Pool and circuit breaker are shared. The connection belongs to the runtime of its first command.
    #[must_use]
    pub fn with_own_connection(&self) -> Self {
        let connector = self.inner.connector.clone();
        let inner = RedisClientInner {
            settings: self.inner.settings.clone(),
            connections: ClientConnections {
                commands: ReconnectingConnection::new(connector.clone()),
                publishes: self.inner.connections.publishes.clone(),
                pool: self.inner.connections.pool.clone(),
            },
            breaker: self.inner.breaker.clone(),
            connector,
            metrics: self.inner.metrics.clone(),
            unconfirmed: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner), ..self.clone() }
    }

    /// Returns the key `PREFIX:rest`. In a Cluster, a part of `rest` in braces decides the slot ("Redis cluster
    /// specification", hash tags); the prefix contains no braces.
    #[must_use]
    pub fn prefixed_key(&self, rest: &str) -> String {
        format!("{}:{rest}", self.inner.settings.prefix)
    }

    /// Returns the Redis channel of `rest`, also of a sharded channel. Its name contains the number of the database
    /// ([`RedisSettings::channel_prefix`]).
    #[must_use]
    pub fn redis_channel(&self, rest: &str) -> String {
        format!("{}:{rest}", self.channel_prefix)
    }

    /// Returns the name of this application's namespace for messages to the operator: prefix and database number.
    #[must_use]
    pub fn namespace_name(&self) -> String {
        format!("prefix '{}' in database {}", self.inner.settings.prefix, self.inner.settings.database())
    }

    /// Returns the topology of the servers.
    #[must_use]
    pub fn topology(&self) -> RedisTopology {
        self.inner.settings.topology
    }

    /// Returns a receiver of the availability of Redis.
    #[must_use]
    pub fn link_state(&self) -> watch::Receiver<LinkState> {
        self.inner.breaker.watch_state()
    }

    /// Returns the number of changes of the master that this client has followed: always 0 in a Cluster, and for a single
    /// server whose host name is not followed.
    #[must_use]
    pub fn master_generation(&self) -> u64 {
        self.inner.connector.master_facts().generation
    }

    /// Returns the counters of the client, to be registered once.
    #[must_use]
    pub fn metrics(&self) -> &RedisMetrics {
        &self.inner.metrics
    }

    /// Sends one command on the shared connection and returns its reply. The command may be sent more than once, so it
    /// has to be idempotent.
    ///
    /// # Errors
    /// Returns [`RedisClientError`]. After a transient error the command may have taken effect.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisClientError> {
        let operation = RedisOperation::Command(command);
        let keys = || slots::first_key(command).map(<[u8]>::to_vec).into_iter().collect();
        self.run_named(operation, ConnectionClass::SharedCommands, keys).await
    }

    /// Runs an idempotent operation. The error of a key of the wrong type names the key, one of `keys`.
    async fn run_named<T: FromRedisValue>(
        &self,
        operation: RedisOperation<'_>,
        connection_class: ConnectionClass,
        keys: impl FnOnce() -> Vec<Vec<u8>>,
    ) -> Result<T, RedisClientError> {
        match self.inner.run_operation(operation, connection_class, RetryPolicy::Idempotent).await {
            Ok(reply) => parse_reply(reply),
            Err(error) => Err(self.inner.name_wrong_key(error, keys()).await),
        }
    }

    /// Runs a script by its hash, and sends its source to servers that do not have it. As with [`Self::query`], the
    /// script has to be idempotent.
    ///
    /// # Errors
    /// Returns [`RedisClientError`]. After a transient error the script may have taken effect.
    pub async fn invoke_script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[impl ToRedisArgs],
        arguments: &[impl ToRedisArgs],
    ) -> Result<T, RedisClientError> {
        let invocation = script_invocation(script, keys, arguments);
        let keys = || keys.iter().flat_map(ToRedisArgs::to_redis_args).collect();
        self.run_named(RedisOperation::Script(&invocation), ConnectionClass::SharedCommands, keys).await
    }

    /// Runs a script like [`Self::invoke_script`]. If `redis.wait_replicas` is not 0, it uses a dedicated connection
    /// and returns only after that many replicas have the writes. Just after a failover behind Sentinels, a master
    /// without a replica confirms them alone.
    ///
    /// # Errors
    /// Returns [`RedisClientError`], and [`RedisClientError::Unconfirmed`] when the replicas did not confirm in time.
    pub async fn invoke_script_durably<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[impl ToRedisArgs],
    ) -> Result<T, RedisClientError> {
        let (Some(key), replicas @ 1..) = (keys.first(), self.inner.settings.wait_replicas) else {
            return self.write_script(script, keys, arguments).await;
        };
        let invocation = script_invocation(script, keys, arguments);
        // Half of the response timeout, so that slow replicas do not look like a lost connection.
        let timeout = self.inner.settings.response_timeout / 2;
        let write =
            DurableWrite { commands: DurableCommands::Script(&invocation), key: key.as_bytes(), replicas, timeout };
        let named = || keys.iter().map(|key| key.clone().into_bytes()).collect();
        self.run_named(RedisOperation::Durable(write), ConnectionClass::Dedicated, named).await
    }

    /// Sends a command like [`Self::query`] whose effect is not to be lost in a planned failover. Behind Sentinels it
    /// checks afterwards that the server is still the master, and otherwise repeats the command on the new one. Waits
    /// for no replica.
    ///
    /// # Errors
    /// Returns [`RedisClientError`]. After a transient error the command may have taken effect.
    pub async fn write_command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisClientError> {
        if !self.inner.connector.is_probed() {
            return self.query(command).await;
        }
        let keys = || slots::first_key(command).map(<[u8]>::to_vec).into_iter().collect();
        self.write_checked(DurableCommands::Command(command), ConnectionClass::SharedCommands, keys).await
    }

    /// Runs a script like [`Self::invoke_script`], with the check of [`Self::write_command`].
    ///
    /// # Errors
    /// Returns [`RedisClientError`]. After a transient error the script may have taken effect.
    pub async fn write_script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[impl ToRedisArgs],
    ) -> Result<T, RedisClientError> {
        if !self.inner.connector.is_probed() {
            return self.invoke_script(script, keys, arguments).await;
        }
        let invocation = script_invocation(script, keys, arguments);
        let keys = || keys.iter().map(|key| key.clone().into_bytes()).collect();
        self.write_checked(DurableCommands::Script(&invocation), ConnectionClass::SharedCommands, keys).await
    }

    /// Sends several commands like [`Self::run_pipeline`], with the check of [`Self::write_command`].
    ///
    /// # Errors
    /// Returns the [`RedisClientError`] of the first command that failed.
    pub async fn write_pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, RedisClientError> {
        if pipeline.is_empty() || !self.inner.connector.is_probed() {
            return self.run_pipeline(pipeline).await;
        }
        let keys = || key_type::pipeline_keys(pipeline);
        self.write_checked(DurableCommands::Pipeline(pipeline), ConnectionClass::Dedicated, keys).await
    }

    async fn write_checked<T: FromRedisValue>(
        &self,
        commands: DurableCommands<'_>,
        connection_class: ConnectionClass,
        keys: impl FnOnce() -> Vec<Vec<u8>>,
    ) -> Result<T, RedisClientError> {
        // The key selects a node of a Cluster, which has no Sentinels.
        let write = DurableWrite { commands, key: b"", replicas: 0, timeout: Duration::ZERO };
        self.run_named(RedisOperation::Durable(write), connection_class, keys).await
    }

    /// Sends several commands on a dedicated connection: in one round trip to a server, in one per slot in a Cluster.
    /// The commands are not atomic. `T` is parsed from the list of all replies; `Cmd::ignore` has no effect. Commands
    /// may be sent more than once, as with [`Self::query`].
    ///
    /// # Errors
    /// Returns the [`RedisClientError`] of the first command that failed.
    pub async fn run_pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, RedisClientError> {
        if pipeline.is_empty() {
            return parse_reply(Value::Array(Vec::new()));
        }
        let keys = || key_type::pipeline_keys(pipeline);
        self.run_named(RedisOperation::Pipeline(pipeline), ConnectionClass::Dedicated, keys).await
    }

    /// Publishes all messages, to Redis channels made with [`Self::redis_channel`], in one round trip. A server
    /// publishes them in order. In a Cluster, messages of one call may be reordered; the receiver restores their order
    /// by offset. The client retries only if certainly no message was published. In a Cluster, whose driver retries by
    /// itself, a message may be published twice when a node is lost.
    ///
    /// # Errors
    /// Returns [`RedisClientError`]. After a transient error some messages may have been published.
    pub async fn publish_all(&self, messages: Vec<(String, Bytes)>) -> Result<(), RedisClientError> {
        if messages.is_empty() {
            return Ok(());
        }
        let publish = if self.topology() == RedisTopology::Cluster { "SPUBLISH" } else { "PUBLISH" };
        let mut pipeline = Pipeline::with_capacity(messages.len());
        for (redis_channel, payload) in &messages {
            pipeline.cmd(publish).arg(redis_channel).arg(&payload[..]);
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

    /// Opens a dedicated connection for subscriptions.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when no connection can be opened in time.
    pub async fn open_subscriber(&self) -> Result<RedisSubscriber, RedisClientError> {
        RedisSubscriber::connect_subscriber(&self.inner.connector, self.inner.settings.operation_timeout()).await
    }
}

/// Replaces all connections when the host name of a single server moves to another server.
async fn follow_host(
    mut watch: HostWatch,
    selection: Arc<MasterSelection>,
    breaker: CircuitBreaker,
    metrics: RedisMetrics,
) {
    loop {
        watch.wait_moved().await;
        metrics.master_changes.inc();
        tracing::warn!("redis host name resolves to another server: reconnecting");
        selection.follow_address();
        breaker.request_check();
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
