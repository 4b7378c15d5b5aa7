//! Everything that an operator may decide, parsed once and typed.
//!
//! Values come in layers, defaults < `twinway.toml` < environment < flags, from one table ([`keys`]) that is also the
//! source of the flags, of `docs/CONFIGURATION.md` and of `twinway config print`. Invariant: a [`Config`] has passed
//! every check, and all mistakes are reported together. This module alone reads the environment; it opens no socket and
//! creates no file.

mod build;
mod file;
mod functions;
pub mod keys;
pub mod reference;
mod sources;
mod throttle;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use gateway::handshake::CompressionMode;
use handlers::id::{TenantId, UserId};
use handlers::limits::Limits;

pub use gateway::api::ApiKeySource;

pub use self::build::{LoadedConfig, load_config};
pub use self::file::ConfigFile;
pub use self::functions::{EnvironmentVariables, FunctionSource, FunctionsConfig, MessageResponse};
pub use self::sources::{
    CONFIG_FILE_VARIABLE, ConfigSources, ConfigValue, FlagValues, ProcessEnvironment, ValueOrigin, VariableSource,
};
pub use self::throttle::{PerSecond, RateConfig, ThrottleConfig};
pub use self::values::parse_duration;
use crate::access::{ClientKeyConfig, IamCredentials};
use crate::postgres::PostgresSettings;
use crate::redis::RedisSettings;
use crate::secret::Secret;

/// Longest time that leaving the cluster takes after a drain: one second for background work, one for the bus, two for
/// giving the lease back. [`DrainConfig::min_termination_grace`] includes it.
pub const EXIT_ALLOWANCE: Duration = Duration::from_secs(4);

/// Where the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeploymentMode {
    /// On AWS: API Gateway is the server.
    Aws,
    /// In a pod, with Redis behind it.
    Kubernetes,
    /// On its own: one process, one data directory.
    Embedded,
}

/// The whole configuration, one struct per component.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the process runs.
    pub mode: DeploymentMode,
    /// Listeners and their limits.
    pub server: ServerConfig,
    /// The API that is played.
    pub api: ApiConfig,
    /// How often it may be used.
    pub throttle: ThrottleConfig,
    /// Each WebSocket.
    pub session: SessionConfig,
    /// Where the handlers are.
    pub functions: FunctionsConfig,
    /// Who may connect.
    pub auth: AuthConfig,
    /// Who may sign requests.
    pub iam: IamCredentials,
    /// What is kept.
    pub storage: StorageConfig,
    /// How pods look after each other.
    pub cluster: ClusterConfig,
    /// How the server stops.
    pub drain: DrainConfig,
    /// What is logged, and how.
    pub logging: LoggingConfig,
    /// The way to Redis; `None` when no address is given. Unused in embedded mode.
    pub redis: Option<RedisSettings>,
    /// The way to PostgreSQL; `None` when no address is given. Unused unless messages are kept there.
    pub postgres: Option<PostgresSettings>,
    /// Limits of the messaging application.
    pub limits: Limits,
}

/// Listeners and their limits.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Sockets, HTTP API, `@connections`. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Health, readiness and metrics; not for the outside.
    pub ops_listen: SocketAddr,
    /// How long a request's head may take, and how long a kept-alive connection may idle.
    pub header_timeout: Duration,
    /// How long a handshake may take from its head until the WebSocket is open.
    pub handshake_timeout: Duration,
    /// Most open sockets; beyond it a client is answered 503.
    pub max_connections: usize,
    /// `requestContext.domainName`; `None` takes it from the request's `Host`.
    pub domain_name: Option<String>,
    /// Whether `X-Forwarded-For` names the client: only behind a proxy that overwrites it.
    pub trust_forwarded_for: bool,
    /// How many handshakes the kernel queues.
    pub tcp_backlog: u32,
    /// Who may use `@connections`.
    pub management: ManagementAccess,
}

/// Who may use `@connections`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManagementAccess {
    /// Peers on a loopback address that are no proxy.
    Loopback,
    /// Everyone who reaches the port.
    Open,
    /// Callers whose signature holds and whose policy allows it.
    Iam,
    /// Nobody.
    Off,
}

/// Which quotas are enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaProfile {
    /// API Gateway's, to the letter.
    Aws,
    /// Lifted, with one warning per kind of what would fail on AWS.
    Open,
}

/// In which order a connection's messages are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageOrdering {
    /// One at a time, in the order of arrival.
    Connection,
    /// Several at a time, as on AWS.
    Concurrent,
}

/// The API that is played.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// `requestContext.apiId`.
    pub id: String,
    /// `requestContext.stage`, and the first segment of the URL.
    pub stage: String,
    /// The region in ARNs.
    pub region: String,
    /// The account in ARNs: 12 digits.
    pub account_id: String,
    /// Which quotas are enforced.
    pub profile: QuotaProfile,
    /// In which order a connection's messages are handled.
    pub ordering: MessageOrdering,
    /// `stageVariables` of every event.
    pub stage_variables: BTreeMap<String, String>,
    /// Whether `$connect` needs an API key.
    pub key_required: bool,
    /// Where that key is read from.
    pub key_source: ApiKeySource,
    /// The API keys of clients.
    pub keys: Vec<ClientKeyConfig>,
}

/// Each WebSocket.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// What may wait for a slow reader, in bytes.
    pub outbox_bytes: usize,
    /// How many messages of a connection may wait for their handler before its socket is no longer read.
    pub inbound_queue: usize,
    /// How many messages of a connection are handled at a time when the ordering is concurrent.
    pub in_flight: usize,
    /// How permessage-deflate is offered.
    pub compression: CompressionMode,
    /// How long the closing handshake may take.
    pub close_timeout: Duration,
    /// How long a write may make no progress before the connection is closed as slow.
    pub stalled_write_timeout: Duration,
}

/// Where the keys of asymmetric tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// Fetched and refreshed from this `https://` address (`http://` for loopback).
    Url(String),
    /// A JWKS document, from the configuration or a file.
    Document(String),
}

/// A key that a backend presents as `X-Api-Key`.
#[derive(Debug, Clone)]
pub struct ApiKeyConfig {
    /// The service's name, which readers see as the sender.
    pub name: UserId,
    /// Whose deployment it belongs to.
    pub tenant: TenantId,
    /// The key.
    pub key: Secret,
}

/// Who may connect.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// The configured HS256 secret. `None` in embedded mode means the one in the data directory
    /// ([`signing_secret`](crate::embedded::secret::signing_secret)).
    pub secret: Option<Secret>,
    /// Earlier secrets, whose tokens are still good.
    pub previous_secrets: Vec<Secret>,
    /// Keys of asymmetric tokens.
    pub jwks: Option<JwksSource>,
    /// The `iss` that a token must have.
    pub issuer: Option<String>,
    /// The `aud` that a token must have.
    pub audience: Option<String>,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// API keys of backends.
    pub api_keys: Vec<ApiKeyConfig>,
}

/// Where messages are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStorage {
    /// `messages.redb` in the data directory.
    File,
    /// In memory, lost with the process.
    Memory,
    /// In the Redis of kubernetes mode.
    Redis,
    /// In PostgreSQL.
    Postgres,
}

/// What is kept.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// The directory of everything that survives a restart.
    pub data_dir: PathBuf,
    /// Where messages are kept.
    pub log: LogStorage,
    /// Most entries per channel; the oldest go first.
    pub retention_entries: u64,
    /// Longest life of an entry.
    pub retention_age: Duration,
}

/// How pods look after each other.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// How often a pod extends its lease and looks at the others'.
    pub heartbeat: Duration,
    /// How long a lease lasts without a heartbeat.
    pub lease: Duration,
    /// Most `$disconnect`s per second that a pod runs for dead ones.
    pub reap_rate: u32,
    /// How many of them run at a time.
    pub reap_concurrency: u32,
}

/// How the server stops.
#[derive(Debug, Clone)]
pub struct DrainConfig {
    /// How long it goes on accepting while it already says that it is not ready, until no load balancer sends more.
    pub delay: Duration,
    /// How many connections are told to reconnect at a time, at least.
    pub batch_size: usize,
    /// How long between two waves.
    pub batch_interval: Duration,
    /// How long after the delay everything may take; what is left then is cut.
    pub grace: Duration,
    /// The pod's `terminationGracePeriodSeconds`, when it was told.
    pub termination_grace: Option<Duration>,
}

impl DrainConfig {
    /// How many of so many connections are told at a time: as few as `wave_size` says, or as many more as it takes to have told
    /// all of them within half of the grace.
    #[must_use]
    pub fn batch_size_for(&self, connections: usize) -> usize {
        let interval = self.batch_interval.max(Duration::from_millis(1));
        let intervals = (self.grace / 2).as_millis() / interval.as_millis();
        let waves = usize::try_from(intervals).unwrap_or(usize::MAX).max(1);
        self.batch_size.max(connections.div_ceil(waves))
    }

    /// The least `terminationGracePeriodSeconds` of a pod with this configuration: delay, grace, and what leaving the cluster
    /// takes after that, in whole seconds.
    #[must_use]
    pub fn min_termination_grace(&self) -> Duration {
        let least = self.delay + self.grace + EXIT_ALLOWANCE;
        Duration::from_secs(least.as_secs() + u64::from(least.subsec_nanos() > 0))
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Readable on a terminal, JSON otherwise.
    Auto,
    /// One JSON object per line.
    Json,
    /// For people.
    Pretty,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LoggingConfig {
    /// How log lines look.
    pub format: LogFormat,
    /// Directives as `RUST_LOG` has them.
    pub filter: String,
}

/// Every mistake that was found, one per line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// What is wrong, each with its key, where the value came from, and what would be right.
    pub errors: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.errors.len();
        write!(f, "the configuration has {count} error{}:", if count == 1 { "" } else { "s" })?;
        self.errors.iter().try_for_each(|mistake| write!(f, "\n  - {mistake}"))
    }
}

impl DeploymentMode {
    /// The word for it in `DEPLOYMENT_MODE`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Kubernetes => "kubernetes",
            Self::Embedded => "embedded",
        }
    }
}

impl Config {
    /// Whether this process can serve with it.
    ///
    /// # Errors
    /// [`ConfigError`] that says what to do instead.
    pub fn check_servable(&self) -> Result<(), ConfigError> {
        let mistake = match self.mode {
            DeploymentMode::Embedded => return Ok(()),
            DeploymentMode::Aws => {
                "DEPLOYMENT_MODE is aws: in this mode API Gateway is the server and the handlers run as Lambda functions; \
                 set DEPLOYMENT_MODE=embedded to serve from this process"
            }
            DeploymentMode::Kubernetes if self.redis.is_some() => return Ok(()),
            DeploymentMode::Kubernetes => {
                "DEPLOYMENT_MODE is kubernetes, which requires a Redis shared by all pods, but redis.url is not set; set REDIS_URL (or \
                 REDIS_URL_FILE), or set DEPLOYMENT_MODE=embedded and run exactly one replica with a volume mounted at \
                 storage.data_dir"
            }
        };
        Err(ConfigError { errors: vec![mistake.to_owned()] })
    }

    /// A configuration for tests: embedded defaults, free ports on loopback, messages in memory, no delays, a fixed secret.
    #[must_use]
    pub fn for_tests() -> Self {
        let flags = FlagValues::new([
            ("mode", "embedded"),
            ("server.listen", "127.0.0.1:0"),
            ("server.ops_listen", "127.0.0.1:0"),
            ("storage.log", "memory"),
            ("drain.batch_interval", "0s"),
        ]);
        let environment =
            BTreeMap::from([("TWINWAY_AUTH_SECRET".to_owned(), "a-secret-for-tests-of-32-bytes!!".to_owned())]);
        load_config(&environment, &flags, None).config.expect("the test configuration is a valid one")
    }
}

#[cfg(test)]
mod tests;
