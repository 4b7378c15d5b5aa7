//! Typed configuration, parsed once at start-up.
//!
//! Values come from four sources, each overriding the one before it: defaults, `twinway.toml`, environment, flags. The
//! table of keys ([`keys`]) also generates the flags, `docs/CONFIGURATION.md` and the output of `twinway config print`.
//! A [`Config`] has passed every check; all errors are reported together. No other module reads the environment; this
//! one opens no socket and creates no file.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use shim::config::{FlagValues, load_config};
//!
//! let environment = BTreeMap::from([("PORT".to_owned(), "9000".to_owned())]);
//! let loaded = load_config(&environment, &FlagValues::new([("mode", "embedded")]), None);
//! assert_eq!(loaded.config?.server.listen.port(), 9_000);
//! # Ok::<(), shim::config::ConfigError>(())
//! ```

mod application;
mod auth;
mod build;
mod cluster;
mod file;
mod functions;
pub mod keys;
mod management;
pub mod reference;
mod sources;
mod throttle;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use gateway::handshake::CompressionMode;
use handlers::limits::Limits;
use templates::Application;

pub use gateway::api::ApiKeySource;

pub use self::application::{describe_finding, read_application};
pub use self::auth::{ApiKeyConfig, AuthConfig, JwksSource, KeyFetchConfig};
pub use self::build::{LoadedConfig, load_config};
pub use self::cluster::{ClusterConfig, JournalConfig};
pub use self::file::ConfigFile;
pub use self::functions::{FunctionSource, FunctionVariables, FunctionsConfig, MessageResponse};
pub use self::management::{FunctionCredentials, ManagementAccess};
pub use self::sources::{
    CONFIG_FILE_VARIABLE, ConfigSources, ConfigValue, FlagValues, ProcessEnvironment, ValueOrigin, VariableSource,
};
pub use self::throttle::{PerSecond, RateConfig, ThrottleConfig};
use crate::access::client_address::ProxyConfig;
use crate::access::origin::{HostRule, OriginRule};
use crate::access::{ApiHosts, ClientKeyConfig, IamCredentials};
use crate::postgres::PostgresSettings;
use crate::redis::RedisSettings;

/// Upper bound of the time that leaving the cluster takes after a drain: one second for background tasks, one for the
/// bus, two for releasing the lease. [`DrainConfig::min_termination_grace`] includes it.
pub const EXIT_ALLOWANCE: Duration = Duration::from_secs(4);

/// Deployment mode, `DEPLOYMENT_MODE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeploymentMode {
    /// AWS, where API Gateway is the server.
    Aws,
    /// Pods of a cluster that share a Redis.
    Kubernetes,
    /// A single process with a data directory.
    Embedded,
}

/// Complete configuration, one struct per component.
#[derive(Debug, Clone)]
pub struct Config {
    pub mode: DeploymentMode,
    pub server: ServerConfig,
    pub api: ApiConfig,
    pub throttle: ThrottleConfig,
    pub session: SessionConfig,
    pub functions: FunctionsConfig,
    pub auth: AuthConfig,
    /// Credentials accepted in signed requests.
    pub iam: IamCredentials,
    /// Whether function processes receive credentials of this server.
    pub function_credentials: FunctionCredentials,
    pub storage: StorageConfig,
    pub cluster: ClusterConfig,
    pub drain: DrainConfig,
    pub logging: LoggingConfig,
    /// Redis connection settings; `None` if no address is set. Unused in embedded mode.
    pub redis: Option<RedisSettings>,
    /// PostgreSQL connection settings; `None` if no address is set. Unused unless [`StorageConfig::log`] is
    /// [`LogStorage::Postgres`].
    pub postgres: Option<PostgresSettings>,
    /// Limits of the messaging application.
    pub limits: Limits,
    /// Application of `api.template`, see [`Config::load_application`].
    pub application: Option<Arc<Application>>,
}

/// Listeners and their limits.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Address of WebSockets, the HTTP API and `@connections`. Port 0 selects a free port.
    pub listen: SocketAddr,
    /// Address of health, readiness and metrics; not to be exposed outside the cluster.
    pub ops_listen: SocketAddr,
    /// Timeout for receiving the headers of a connection's first request.
    pub header_timeout: Duration,
    /// Idle timeout of keep-alive HTTP connections; longer than that of every proxy in front of the server.
    pub keep_alive_timeout: Duration,
    /// Time in which an HTTP client must read at least 16 KiB of a response that it has not received completely.
    pub write_timeout: Duration,
    /// Maximum bytes of all request bodies that are received or handled at a time.
    pub body_budget: usize,
    /// Timeout of a handshake, from its headers until the WebSocket is open.
    pub handshake_timeout: Duration,
    /// Maximum number of open connections; further handshakes are answered with 503.
    pub max_connections: usize,
    /// `requestContext.domainName`; `None` uses the request's `Host`, or one of `api_hosts`.
    pub domain_name: Option<String>,
    /// Names of the API under which its functions reach it; set at assembly, not a key.
    pub api_hosts: Option<ApiHosts>,
    /// Proxies in front of `listen`.
    pub proxies: ProxyConfig,
    /// Hosts of requests that `listen` accepts; `None` selects the default of the listen address.
    pub hosts: Option<HostRule>,
    /// Web origins that all listeners accept; `None` selects the default of the listen address.
    pub origins: Option<OriginRule>,
    /// Length of the kernel's accept queue.
    pub tcp_backlog: u32,
    /// Time after which the kernel closes the socket of a peer that acknowledges nothing; `None` leaves the kernel's
    /// own settings.
    pub tcp_timeout: Option<Duration>,
    /// Access to `@connections` on the traffic port.
    pub management: ManagementAccess,
    /// Loopback address of unsigned `@connections` calls; `None` without such a listener.
    pub management_listen: Option<SocketAddr>,
}

/// Quotas to enforce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaProfile {
    /// API Gateway's quotas, exactly.
    Aws,
    /// No quotas; one warning is logged per quota that a client would exceed on AWS.
    Open,
}

/// Order of message handling per connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageOrdering {
    /// One message at a time, in the order of arrival.
    Connection,
    /// Several messages at a time, as on AWS.
    Concurrent,
}

/// Identity and behaviour of the emulated API.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// `requestContext.apiId`.
    pub id: String,
    /// `requestContext.stage`, and the first segment of the URL.
    pub stage: String,
    /// Whether the stage was configured, so that it overrides that of the template.
    pub is_stage_set: bool,
    /// Whether the configuration sets the region.
    pub is_region_set: bool,
    /// Whether the id was configured, so that it overrides that of the template.
    pub is_id_set: bool,
    /// Region in ARNs.
    pub region: String,
    /// Account id in ARNs: 12 digits.
    pub account_id: String,
    /// Quotas to enforce.
    pub profile: QuotaProfile,
    /// Order of message handling per connection.
    pub ordering: MessageOrdering,
    /// `stageVariables` of every event.
    pub stage_variables: BTreeMap<String, String>,
    /// Base paths of custom domains.
    pub base_paths: Vec<String>,
    /// Whether `$connect` requires an API key.
    pub key_required: bool,
    /// Source of the client's API key.
    pub key_source: ApiKeySource,
    /// API keys of clients.
    pub keys: Vec<ClientKeyConfig>,
}

/// Queues, compression and timeouts of each WebSocket.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// Capacity of a connection's outbox, in bytes.
    pub outbox_bytes: usize,
    /// Maximum number of messages of a connection that wait for their handler; at this number the server stops reading
    /// from the socket.
    pub inbound_queue: usize,
    /// Bytes of waiting messages from which the server stops reading from the socket. One message may always wait.
    pub inbound_bytes: usize,
    /// Maximum number of messages of a connection handled at a time with [`MessageOrdering::Concurrent`].
    pub in_flight: usize,
    /// Negotiation of permessage-deflate.
    pub compression: CompressionMode,
    /// Timeout of the WebSocket closing handshake.
    pub close_timeout: Duration,
    /// Time without write progress after which a connection is closed as a slow consumer.
    pub stalled_write_timeout: Duration,
    /// Interval of the pings to each client; `None` sends none.
    pub ping_interval: Option<Duration>,
    /// Time after a ping without any byte from the client after which the connection is lost.
    pub ping_timeout: Duration,
}

/// Storage of the message log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStorage {
    /// `messages.redb` in the data directory.
    File,
    /// Memory; lost at exit.
    Memory,
    /// The Redis of kubernetes mode.
    Redis,
    Postgres,
}

/// Storage and retention of messages.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// Directory of the message log and the generated secret.
    pub data_dir: PathBuf,
    /// Storage of the message log.
    pub log: LogStorage,
    /// Maximum number of messages retained per channel; the oldest are deleted first.
    pub retention_entries: u64,
    /// Maximum age of a retained message.
    pub retention_age: Duration,
}

/// Drain of the connections at shutdown.
#[derive(Debug, Clone)]
pub struct DrainConfig {
    /// Time after SIGTERM during which the server still accepts connections while `/ready` answers 503.
    pub delay: Duration,
    /// Minimum number of connections that are asked to reconnect per batch.
    pub batch_size: usize,
    /// Interval between two batches.
    pub batch_interval: Duration,
    /// Timeout of the drain after `delay`; then the remaining connections are closed.
    pub grace: Duration,
    /// `terminationGracePeriodSeconds` of the pod, if configured.
    pub termination_grace: Option<Duration>,
}

impl DrainConfig {
    /// Returns the batch size for this number of connections: `batch_size`, or more if all batches would otherwise not
    /// fit into half of the grace.
    #[must_use]
    pub fn batch_size_for(&self, connections: usize) -> usize {
        let interval = self.batch_interval.max(Duration::from_millis(1));
        let intervals = (self.grace / 2).as_millis() / interval.as_millis();
        let batches = usize::try_from(intervals).unwrap_or(usize::MAX).max(1);
        self.batch_size.max(connections.div_ceil(batches))
    }

    /// Returns the minimum `terminationGracePeriodSeconds` of a pod with this configuration: delay, grace and
    /// [`EXIT_ALLOWANCE`], rounded up to whole seconds.
    #[must_use]
    pub fn min_termination_grace(&self) -> Duration {
        let minimum = self.delay + self.grace + EXIT_ALLOWANCE;
        Duration::from_secs(minimum.as_secs() + u64::from(minimum.subsec_nanos() > 0))
    }
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// [`Pretty`](Self::Pretty) on a terminal, otherwise [`Json`](Self::Json).
    Auto,
    /// One JSON object per line.
    Json,
    /// Human-readable lines.
    Pretty,
}

/// Format and filter of log lines.
#[derive(Debug, Clone)]
pub struct LoggingConfig {
    pub format: LogFormat,
    /// Directives in the syntax of `RUST_LOG`.
    pub filter: String,
}

/// All errors of a configuration, displayed one per line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// One text per error, with the key, the source of the value, and the expected form.
    pub errors: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.errors.len();
        write!(f, "the configuration has {count} error{}:", if count == 1 { "" } else { "s" })?;
        self.errors.iter().try_for_each(|error| write!(f, "\n  - {error}"))
    }
}

impl DeploymentMode {
    /// Returns the value of `DEPLOYMENT_MODE` that selects this mode.
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
    /// Returns the host names of the API under which its Lambda functions reach it; `None` without an endpoint proxy.
    #[must_use]
    pub fn api_hosts(&self) -> Option<ApiHosts> {
        let has_proxy = self.functions.source == FunctionSource::Lambda && self.functions.endpoint_proxy;
        let listed = self.server.hosts.iter().flat_map(HostRule::exact_names);
        let custom = self.server.domain_name.as_deref().into_iter().chain(listed);
        has_proxy.then(|| ApiHosts::new(&self.api.id, &self.api.region, custom))
    }

    /// Checks that this process can serve with the configuration.
    ///
    /// # Errors
    /// [`ConfigError`] in `aws` mode, in `kubernetes` mode without a Redis address, and for Lambda functions without a
    /// template and without a function `message`.
    pub fn check_servable(&self) -> Result<(), ConfigError> {
        self.check_mode()?;
        self.functions.check_message_function().map_err(|error| ConfigError { errors: vec![error] })
    }

    fn check_mode(&self) -> Result<(), ConfigError> {
        let error = match self.mode {
            DeploymentMode::Embedded => return Ok(()),
            DeploymentMode::Aws => {
                "DEPLOYMENT_MODE is aws: in this mode API Gateway is the server and the handlers run as Lambda \
                 functions; set DEPLOYMENT_MODE=embedded to serve from this process"
            }
            DeploymentMode::Kubernetes if self.redis.is_some() => return Ok(()),
            DeploymentMode::Kubernetes => {
                "DEPLOYMENT_MODE is kubernetes, which requires a Redis shared by all pods, but redis.url is not set; \
                 set REDIS_URL (or REDIS_URL_FILE), or set DEPLOYMENT_MODE=embedded and run exactly one replica with a \
                 volume mounted at storage.data_dir"
            }
        };
        Err(ConfigError { errors: vec![error.to_owned()] })
    }

    /// Returns a configuration for tests: embedded defaults, free ports on loopback, messages in memory, no interval
    /// between drain batches, a fixed secret.
    #[must_use]
    pub fn for_tests() -> Self {
        let flags = FlagValues::new([
            ("mode", "embedded"),
            ("server.listen", "127.0.0.1:0"),
            ("server.ops_listen", "127.0.0.1:0"),
            ("server.management_listen", "127.0.0.1:0"),
            ("storage.log", "memory"),
            ("drain.batch_interval", "0s"),
        ]);
        let environment =
            BTreeMap::from([("TWINWAY_AUTH_SECRET".to_owned(), "a-secret-for-tests-of-32-bytes!!".to_owned())]);
        load_config(&environment, &flags, None).config.expect("the configuration for tests is valid")
    }
}

#[cfg(test)]
mod tests;
