//! The link to Redis: one server, a Cluster, or servers behind Sentinels, behind one type.
//!
//! Every operation has a deadline, every key and topic the prefix, and no caller waits for a Redis that is known to be away.
//! Short commands share a multiplexed connection, publishes have another of their own, and what would hold others up takes
//! a connection out of a pool (`docs/adr/0009-redis-link.md`). What is stored how is not known here.

mod check;
mod connections;
mod diagnosis;
mod line;
mod log;
mod monitor;
mod pool;
mod settings;
mod slots;
mod subscriber;
mod trial;
mod trouble;
mod wire;
mod work;

use std::sync::Arc;

use bytes::Bytes;
use redis::{Cmd, FromRedisValue, Pipeline, Script, ScriptInvocation, ToRedisArgs, Value};
use tokio::sync::watch;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub use self::check::StartError;
pub use self::connections::RedisConnections;
pub use self::log::{RedisLog, RedisRetention};
pub use self::settings::{RedisSettings, Topology};
pub use self::subscriber::{Pushed, Pushes, Subscriber, Topics};
pub use self::trouble::RedisTrouble;
pub use crate::breaker::LinkState;

use self::check::Checks;
use self::line::Line;
use self::monitor::{Outage, Writes};
use self::wire::Connector;
use self::work::{Core, Durability, Lane, Repeat, Work, read};
use crate::breaker::{self, Breaker};

/// The link; clones share it. It ends, with its background task, when the last clone is dropped.
#[derive(Clone)]
pub struct Redis {
    core: Arc<Core>,
    _monitor: Arc<AbortOnDropHandle<()>>,
}

impl Redis {
    /// Connects and checks what answers.
    ///
    /// # Errors
    /// [`StartError`], which says what to change.
    pub async fn connect(settings: RedisSettings) -> Result<Self, StartError> {
        let certificates = match &settings.ca_file {
            None => None,
            Some(path) => Some(
                tokio::fs::read(path)
                    .await
                    .map_err(|source| StartError::CertificateFile { path: path.display().to_string(), source })?,
            ),
        };
        let connector = Connector::new(&settings, certificates.clone())
            .map_err(|error| StartError::Address(error.category().to_owned()))?;
        let checks = Checks { settings, certificates, connector: Arc::new(connector) };
        checks.run().await?;
        Ok(Self::new(checks))
    }

    fn new(checks: Checks) -> Self {
        let (settings, connector) = (checks.settings.clone(), checks.connector.clone());
        let core = Core {
            commands: Line::new(connector.clone()),
            publishes: Line::new(connector.clone()),
            pool: pool::pool(&settings, connector.clone()),
            breaker: Breaker::new(),
            connector,
            settings,
        };
        let question =
            Writes { line: core.commands.clone(), breaker: core.breaker.clone(), checks, outage: Outage::default() };
        let task = TaskTracker::new().spawn(breaker::monitor(core.breaker.clone(), question));
        Self { core: Arc::new(core), _monitor: Arc::new(AbortOnDropHandle::new(task)) }
    }

    /// The key or topic `rest` of this application: the prefix, a colon, `rest`. What stands between braces in `rest`
    /// decides the Cluster's slot; the prefix has no braces.
    #[must_use]
    pub fn key(&self, rest: &str) -> String {
        format!("{}:{rest}", self.core.settings.prefix)
    }

    /// How the servers are arranged.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.core.settings.topology
    }

    /// Whether Redis answers, as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.core.breaker.watch()
    }

    /// Sends one command on the shared connection and returns its answer. It may be sent more than once: doing it twice must
    /// be as good as once.
    ///
    /// # Errors
    /// [`RedisTrouble`]; when it is transient the command may have taken effect.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisTrouble> {
        read(self.core.perform(Work::Command(command), Lane::Commands, Repeat::Freely).await?)
    }

    /// Runs a script by its hash, and sends the script itself where it is not known. Otherwise as [`Self::query`].
    ///
    /// # Errors
    /// [`RedisTrouble`]; when it is transient the script may have taken effect.
    pub async fn invoke<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[impl ToRedisArgs],
        arguments: &[impl ToRedisArgs],
    ) -> Result<T, RedisTrouble> {
        let invocation = invocation(script, keys, arguments);
        read(self.core.perform(Work::Script(&invocation), Lane::Commands, Repeat::Freely).await?)
    }

    /// As [`Self::invoke`]; when `redis.wait_replicas` is not 0, on a connection of its own, and returning only once so many
    /// replicas have what was written to `keys`.
    ///
    /// # Errors
    /// [`RedisTrouble`]; [`RedisTrouble::Late`] also when the replicas did not confirm in time.
    pub async fn invoke_durably<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[impl ToRedisArgs],
    ) -> Result<T, RedisTrouble> {
        let replicas = self.core.settings.wait_replicas;
        let (Some(key), 1..) = (keys.first(), replicas) else {
            return self.invoke(script, keys, arguments).await;
        };
        let invocation = invocation(script, keys, arguments);
        // Half of the time for an answer: replicas that are late must not look like a connection that is lost.
        let patience = self.core.settings.response_timeout / 2;
        let work = Work::Durable(&invocation, Durability { key: key.as_bytes(), replicas, patience });
        let (answer, confirmed): (Value, u32) = read(self.core.perform(work, Lane::Own, Repeat::Freely).await?)?;
        if confirmed < replicas { Err(RedisTrouble::Late) } else { read(answer) }
    }

    /// Sends several commands at once, in one round trip on a server, on a connection of their own. Not atomic; `ignore` is
    /// not heeded: `T` is read from the list of all answers. May be sent more than once, as [`Self::query`].
    ///
    /// # Errors
    /// [`RedisTrouble`] of the first command that failed.
    pub async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, RedisTrouble> {
        if pipeline.is_empty() {
            return read(Value::Array(Vec::new()));
        }
        read(self.core.perform(Work::Pipeline(pipeline), Lane::Own, Repeat::Freely).await?)
    }

    /// Publishes all messages, to topics made with [`Self::key`], in one round trip. A server publishes them in order.
    /// In a Cluster messages of one call may change places, which the bus mends by offset. Sent again only when surely nobody got them; in a Cluster, whose client
    /// repeats by itself, a message may arrive twice when a node is lost.
    ///
    /// # Errors
    /// [`RedisTrouble`]; when it is transient some may have been published.
    pub async fn publish_all(&self, messages: Vec<(String, Bytes)>) -> Result<(), RedisTrouble> {
        if messages.is_empty() {
            return Ok(());
        }
        let publish = if self.topology() == Topology::Cluster { "SPUBLISH" } else { "PUBLISH" };
        let mut pipeline = Pipeline::with_capacity(messages.len());
        for (topic, payload) in &messages {
            pipeline.cmd(publish).arg(topic).arg(&payload[..]);
        }
        self.core.perform(Work::Pipeline(&pipeline), Lane::Publishes, Repeat::Carefully).await.map(drop)
    }

    /// A connection for subscriptions and nothing else.
    ///
    /// # Errors
    /// [`RedisTrouble`] when none can be made in time.
    pub async fn subscriber(&self) -> Result<Subscriber, RedisTrouble> {
        Subscriber::connect(&self.core.connector, self.core.settings.deadline()).await
    }
}

fn invocation<'a>(
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
