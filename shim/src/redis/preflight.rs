//! What is checked before the first command counts: that the address leads to a Redis that can do what is needed.
//!
//! Every failure is a [`StartError`] that says what to do. Nothing stays behind in Redis: the trial key expires at once.

mod error;

use std::sync::Arc;

use redis::{Cmd, ErrorKind, FromRedisValue as _, RedisError, RedisResult, ServerErrorKind, Value, cmd};
use tokio::time::timeout;

pub use self::error::RedisStartupError;
use super::connector::{self, DriverConnection, RedisConnector};
use super::error::{RedisErrorClass, classify_error};
use super::protocol_probe::{self, PortProtocol};
use super::settings::{RedisSettings, RedisTopology};
use super::write_probe;

/// Streams trimmed by id (`XADD … MINID`), which retention by age needs, came with 6.2.
const MIN_VERSION: RedisVersion = RedisVersion(6, 2);
/// Sharded publish/subscribe, without which every message would cross every node of a Cluster, came with 7.0.
const MIN_CLUSTER_VERSION: RedisVersion = RedisVersion(7, 0);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RedisVersion(u32, u32);

/// What a server says about itself.
#[derive(Debug)]
pub(super) struct HelloReply {
    version: String,
    mode: String,
    role: String,
}

impl HelloReply {
    /// The command that it answers.
    pub(super) fn hello_command() -> Cmd {
        cmd("HELLO").arg(3).take()
    }

    /// Reads the answer.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn from_value(answer: &Value) -> RedisResult<Self> {
        let odd = || RedisError::from((ErrorKind::UnexpectedReturnType, "HELLO is not answered as Redis does"));
        Self::parse_fields(answer).ok_or_else(odd)
    }

    fn parse_fields(answer: &Value) -> Option<Self> {
        let field = |name: &str| {
            let mut pairs = answer.as_map_iter()?;
            let (_, value) = pairs.find(|(key, _)| String::from_redis_value_ref(key).is_ok_and(|key| key == name))?;
            String::from_redis_value_ref(value).ok()
        };
        Some(Self { version: field("version")?, mode: field("mode")?, role: field("role").unwrap_or_default() })
    }

    /// Whether it takes writes.
    pub(super) fn is_writable(&self) -> bool {
        self.role != "replica" && self.role != "slave"
    }

    fn reported_topology(&self) -> RedisTopology {
        match self.mode.as_str() {
            "cluster" => RedisTopology::Cluster,
            "sentinel" => RedisTopology::Sentinel,
            _ => RedisTopology::Single,
        }
    }

    fn version_number(&self) -> RedisVersion {
        let mut parts = self.version.split('.').map(|part| part.parse().unwrap_or(0));
        RedisVersion(parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }
}

/// The checks of one link, to be run at its start and when something is wrong later.
pub(super) struct RedisPreflight {
    pub(super) settings: RedisSettings,
    pub(super) certificates: Option<Vec<u8>>,
    pub(super) connector: Arc<RedisConnector>,
}

impl RedisPreflight {
    /// Runs them, on connections of their own.
    ///
    /// # Errors
    /// [`StartError`], which says what to change.
    pub(super) async fn run(&self) -> Result<(), RedisStartupError> {
        check_servers(&self.settings, self.certificates.as_ref(), &self.connector).await
    }
}

/// Checks the addresses one after the other until one can be used, then the servers behind it.
async fn check_servers(
    settings: &RedisSettings,
    certificates: Option<&Vec<u8>>,
    connector: &RedisConnector,
) -> Result<(), RedisStartupError> {
    let mut outcome = Err(RedisStartupError::InvalidAddress("none is given".to_owned()));
    for node in 0..settings.urls.len() {
        outcome = RedisProbe::connect_to_node(settings, certificates, node).await;
        if !matches!(&outcome, Err(error) if error.is_transient()) {
            break;
        }
    }
    let RedisProbe { address, connection: mut asked } = outcome?;
    let wire = timeout(settings.operation_timeout(), connector.connect_for_pushes(Arc::new(|_| Ok::<(), ()>(()))))
        .await
        .map_err(|elapsed| timeout_error(&address, elapsed))?;
    let mut wire = match wire {
        Ok(wire) => wire,
        Err(error) if is_failing_over(&mut asked, settings, &error).await => {
            return Err(RedisStartupError::Unreachable { address, source: error });
        }
        Err(error) => return Err(startup_error(settings, &address, error)),
    };
    if settings.topology == RedisTopology::Sentinel {
        let greeting = fetch_hello(&mut wire, &address).await?;
        check_version(&greeting, settings.topology, &address)?;
    }
    check_writable(&mut wire, settings, &address).await?;
    check_permissions(&mut wire, settings, &address).await
}

/// The way in: the first connection to one of the addresses.
struct RedisProbe {
    address: String,
    connection: DriverConnection,
}

impl RedisProbe {
    async fn connect_to_node(
        settings: &RedisSettings,
        certificates: Option<&Vec<u8>>,
        node: usize,
    ) -> Result<Self, RedisStartupError> {
        let client = connector::client_for_node(settings, certificates.cloned(), node)
            .map_err(|error| RedisStartupError::InvalidAddress(error.category().to_owned()))?;
        let info = client.get_connection_info().clone();
        let address = info.addr().to_string();
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(Some(settings.response_timeout));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => return Err(diagnose_connect_error(settings, info.addr(), error).await),
        };
        let mut wire = DriverConnection::Server(connection);
        let greeting = fetch_hello(&mut wire, &address).await?;
        check_topology(&greeting, settings.topology, &address)?;
        if settings.topology != RedisTopology::Sentinel {
            check_version(&greeting, settings.topology, &address)?;
        }
        if settings.topology == RedisTopology::Single && !greeting.is_writable() {
            return Err(RedisStartupError::ReadOnly { address });
        }
        Ok(Self { address, connection: wire })
    }
}

/// Whether the Sentinels know the name, but nobody answers to it now.
async fn is_failing_over(sentinel: &mut DriverConnection, settings: &RedisSettings, error: &RedisError) -> bool {
    if error.kind() != ErrorKind::MasterNameNotFoundBySentinel {
        return false;
    }
    let question = cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&settings.sentinel_master).take();
    matches!(sentinel.send_command(&question).await, Ok(Value::Array(address)) if address.len() == 2)
}

async fn fetch_hello(wire: &mut DriverConnection, address: &str) -> Result<HelloReply, RedisStartupError> {
    let answer = wire.send_command(&HelloReply::hello_command()).await.and_then(Value::extract_error);
    let greeting = answer.and_then(|answer| HelloReply::from_value(&answer));
    greeting.map_err(|source| RedisStartupError::Other { address: address.to_owned(), source })
}

fn check_topology(greeting: &HelloReply, configured: RedisTopology, address: &str) -> Result<(), RedisStartupError> {
    let found = greeting.reported_topology();
    if found == configured {
        return Ok(());
    }
    let found_words = match found {
        RedisTopology::Single => "a server without Cluster",
        RedisTopology::Cluster => "a node of a Cluster",
        RedisTopology::Sentinel => "a Sentinel",
    };
    Err(RedisStartupError::WrongTopology {
        address: address.to_owned(),
        found: found_words,
        configured: configured.as_str(),
        right: found.as_str(),
    })
}

fn check_version(greeting: &HelloReply, topology: RedisTopology, address: &str) -> Result<(), RedisStartupError> {
    let (least, reason) = match topology {
        RedisTopology::Cluster => (MIN_CLUSTER_VERSION, "sharded publish/subscribe"),
        RedisTopology::Single | RedisTopology::Sentinel => (MIN_VERSION, "streams that are trimmed by age"),
    };
    if greeting.version_number() >= least {
        return Ok(());
    }
    Err(unsupported_version(address, &greeting.version, least, reason))
}

fn unsupported_version(address: &str, found: &str, least: RedisVersion, reason: &'static str) -> RedisStartupError {
    let least = format!("{}.{}", least.0, least.1);
    RedisStartupError::UnsupportedVersion { address: address.to_owned(), found: found.to_owned(), least, reason }
}

/// Has every server say whether it takes writes.
async fn check_writable(
    wire: &mut DriverConnection,
    settings: &RedisSettings,
    address: &str,
) -> Result<(), RedisStartupError> {
    let asked = write_probe::probe_writes(wire, &settings.prefix);
    let answer =
        timeout(settings.operation_timeout(), asked).await.map_err(|elapsed| timeout_error(address, elapsed))?;
    answer.map_err(|refusal| startup_error(settings, refusal.node.as_deref().unwrap_or(address), refusal.error))
}

/// Tries one command of each kind, so that a missing permission shows now and not at the first message.
async fn check_permissions(
    wire: &mut DriverConnection,
    settings: &RedisSettings,
    address: &str,
) -> Result<(), RedisStartupError> {
    let key = format!("{}:{{check}}", settings.prefix);
    let publish = if settings.topology == RedisTopology::Cluster { "SPUBLISH" } else { "PUBLISH" };
    let trials = [
        cmd("DEL").arg(&key).take(),
        cmd("EVAL").arg("return redis.call('SET', KEYS[1], '1', 'PX', 1)").arg(1).arg(&key).take(),
        cmd("XLEN").arg(format!("{key}:stream")).take(),
        cmd("ZCARD").arg(format!("{key}:set")).take(),
        cmd(publish).arg(&key).arg("").take(),
        cmd("EVAL").arg("return #redis.call('INFO', 'replication')").arg(1).arg(&key).take(),
        cmd("EVAL").arg("return redis.call('TIME')").arg(1).arg(&key).take(),
    ];
    for trial in trials {
        let answer = timeout(settings.operation_timeout(), wire.send_command(&trial))
            .await
            .map_err(|elapsed| timeout_error(address, elapsed))?;
        answer.and_then(Value::extract_error).map_err(|error| startup_error(settings, address, error))?;
    }
    Ok(())
}

fn timeout_error(address: &str, elapsed: tokio::time::error::Elapsed) -> RedisStartupError {
    let source = RedisError::from(std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed));
    RedisStartupError::Unreachable { address: address.to_owned(), source }
}

/// An error of the first connection, with a second look where the error itself does not tell.
async fn diagnose_connect_error(
    settings: &RedisSettings,
    place: &redis::ConnectionAddr,
    error: RedisError,
) -> RedisStartupError {
    let address = place.to_string();
    let told = startup_error(settings, &address, error);
    if !matches!(told, RedisStartupError::Unreachable { .. } | RedisStartupError::Other { .. }) {
        return told;
    }
    match (protocol_probe::detect_protocol(place, settings.connect_timeout).await, place) {
        (PortProtocol::PlainRedis, redis::ConnectionAddr::TcpTls { .. }) => {
            RedisStartupError::TlsUnsupported { address }
        }
        (PortProtocol::Tls, redis::ConnectionAddr::Tcp(..)) => RedisStartupError::TlsRequired { address },
        _ => told,
    }
}

fn startup_error(settings: &RedisSettings, address: &str, error: RedisError) -> RedisStartupError {
    let address = address.to_owned();
    match error.kind() {
        ErrorKind::AuthenticationFailed => RedisStartupError::InvalidCredentials { address },
        ErrorKind::RESP3NotSupported => {
            unsupported_version(&address, "5 or older", MIN_VERSION, "it does not know HELLO")
        }
        ErrorKind::MasterNameNotFoundBySentinel => {
            RedisStartupError::UnknownMaster { address, name: settings.sentinel_master.clone() }
        }
        ErrorKind::Server(ServerErrorKind::NoPerm) => RedisStartupError::MissingPermission {
            refused: error.detail().unwrap_or("a command was refused").to_owned(),
            prefix: settings.prefix.clone(),
        },
        ErrorKind::Server(ServerErrorKind::ReadOnly) => RedisStartupError::ReadOnly { address },
        _ if error.code() == Some("MISCONF") => RedisStartupError::PersistenceFailed { address, source: error },
        _ if error.code() == Some("NOREPLICAS") => RedisStartupError::TooFewReplicas { address },
        _ if classify_error(&error) == RedisErrorClass::OutOfMemory => RedisStartupError::OutOfMemory { address },
        _ if matches!(error.code(), Some("WRONGPASS" | "NOAUTH")) => RedisStartupError::InvalidCredentials { address },
        _ if is_untrusted_certificate(&error) => RedisStartupError::UntrustedCertificate { address, source: error },
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => {
            RedisStartupError::Unreachable { address, source: error }
        }
        _ => RedisStartupError::Other { address, source: error },
    }
}

/// rustls names no error that the Redis library passes on as such; its text is all there is.
fn is_untrusted_certificate(error: &RedisError) -> bool {
    error.is_io_error() && error.to_string().contains("invalid peer certificate")
}
