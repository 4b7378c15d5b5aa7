//! Start-up checks: the address is that of a Redis with all features that the application requires.
//!
//! Each failure is a [`RedisStartupError`] that says what to change. The checks leave nothing in Redis: the key they
//! write expires after 1 ms.

mod error;

use std::sync::Arc;

use redis::{
    Cmd, ErrorKind, FromRedisValue as _, RedisError, RedisResult, ServerErrorKind, TlsCertificates, Value, cmd,
};
use tls_client::ConnectFailure;
use tokio::time::timeout;

pub use self::error::RedisStartupError;
use super::connector::{self, RedisConnector};
use super::driver_connection::DriverConnection;
use super::error::{RedisErrorClass, classify_error};
use super::protocol_probe::{self, PortProtocol};
use super::replication;
use super::settings::{RedisSettings, RedisTopology};
use super::write_probe;

/// Redis 6.2 introduced trimming of streams by id (`XADD … MINID`), which retention by age needs.
const MIN_VERSION: RedisVersion = RedisVersion(6, 2);
/// Redis 7.0 introduced sharded publish/subscribe, without which every message would reach every node of a Cluster.
const MIN_CLUSTER_VERSION: RedisVersion = RedisVersion(7, 0);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RedisVersion(u32, u32);

/// Reply to `HELLO`.
#[derive(Debug)]
pub(super) struct HelloReply {
    version: String,
    mode: String,
    role: String,
}

impl HelloReply {
    /// Returns the `HELLO` command.
    pub(super) fn hello_command() -> Cmd {
        cmd("HELLO").arg(3).take()
    }

    /// Parses the reply.
    ///
    /// # Errors
    /// Returns an error when a field is missing.
    pub(super) fn from_value(reply: &Value) -> RedisResult<Self> {
        let unexpected = || RedisError::from((ErrorKind::UnexpectedReturnType, "HELLO returned an unexpected reply"));
        Self::parse_fields(reply).ok_or_else(unexpected)
    }

    fn parse_fields(reply: &Value) -> Option<Self> {
        let field = |name: &str| {
            let mut pairs = reply.as_map_iter()?;
            let (_, value) = pairs.find(|(key, _)| String::from_redis_value_ref(key).is_ok_and(|key| key == name))?;
            String::from_redis_value_ref(value).ok()
        };
        Some(Self { version: field("version")?, mode: field("mode")?, role: field("role").unwrap_or_default() })
    }

    /// Returns whether the server is a master.
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

/// Checks of one client, run at start-up and for the diagnosis of an outage.
pub(super) struct RedisPreflight {
    pub(super) settings: RedisSettings,
    pub(super) certificates: Option<TlsCertificates>,
    pub(super) connector: Arc<RedisConnector>,
}

impl RedisPreflight {
    /// Runs the checks, on new connections.
    ///
    /// # Errors
    /// Returns [`RedisStartupError`], whose text says what to change.
    pub(super) async fn run(&self) -> Result<(), RedisStartupError> {
        check_servers(&self.settings, self.certificates.as_ref(), &self.connector).await
    }

    /// Warns if a master has fewer replicas than a write has to wait for: no message would be acknowledged.
    pub(super) async fn warn_about_replicas(&self) {
        if self.settings.wait_replicas == 0 {
            return;
        }
        let counting = async {
            let mut connection = self.connector.connect_for_pushes(Arc::new(|_| Ok::<(), ()>(()))).await?;
            replication::min_online_replicas(&mut connection).await
        };
        // The checks succeeded just now. A failure here is not worth an error.
        let Ok(Ok(found)) = timeout(self.settings.operation_timeout(), counting).await else { return };
        if found < self.settings.wait_replicas as usize {
            tracing::warn!(
                required = self.settings.wait_replicas,
                found,
                "a redis master has fewer replicas than redis.wait_replicas requires: messages are not acknowledged \
                 until they are there; add replicas, or set redis.wait_replicas to 0 and accept that a failover loses \
                 the last messages"
            );
        }
    }
}

/// Tries the addresses in order until one can be used, then checks the servers that it names.
async fn check_servers(
    settings: &RedisSettings,
    certificates: Option<&TlsCertificates>,
    connector: &RedisConnector,
) -> Result<(), RedisStartupError> {
    let mut result = Err(RedisStartupError::InvalidAddress("no address is configured".to_owned()));
    for node in 0..settings.urls.len() {
        result = RedisProbe::connect_to_node(settings, certificates, node).await;
        if !matches!(&result, Err(error) if error.is_transient()) {
            break;
        }
    }
    let RedisProbe { address, connection: mut probe_connection } = result?;
    let connection =
        timeout(settings.operation_timeout(), connector.connect_for_pushes(Arc::new(|_| Ok::<(), ()>(()))))
            .await
            .map_err(|elapsed| timeout_error(&address, elapsed))?;
    let mut connection = match connection {
        Ok(connection) => connection,
        Err(error) if is_failing_over(&mut probe_connection, settings, &error).await => {
            return Err(RedisStartupError::Unreachable { address, source: error });
        }
        Err(error) => return Err(startup_error(settings, &address, error)),
    };
    if settings.topology == RedisTopology::Sentinel {
        let hello = fetch_hello(&mut connection, &address).await?;
        check_version(&hello, settings.topology, &address)?;
    }
    check_writable(&mut connection, settings, &address).await?;
    check_permissions(&mut connection, settings, &address).await
}

/// First connection to one of the configured addresses.
struct RedisProbe {
    address: String,
    connection: DriverConnection,
}

impl RedisProbe {
    async fn connect_to_node(
        settings: &RedisSettings,
        certificates: Option<&TlsCertificates>,
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
        let mut connection = DriverConnection::Server(connection);
        let hello = fetch_hello(&mut connection, &address).await?;
        check_topology(&hello, settings.topology, &address)?;
        if settings.topology != RedisTopology::Sentinel {
            check_version(&hello, settings.topology, &address)?;
        }
        if settings.topology == RedisTopology::Single && !hello.is_writable() {
            return Err(RedisStartupError::ReadOnly { address });
        }
        Ok(Self { address, connection })
    }
}

/// Returns whether the Sentinels know the master, but it does not accept connections at the moment.
async fn is_failing_over(sentinel: &mut DriverConnection, settings: &RedisSettings, error: &RedisError) -> bool {
    if error.kind() != ErrorKind::MasterNameNotFoundBySentinel {
        return false;
    }
    let command = cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&settings.sentinel_master).take();
    matches!(sentinel.send_command(&command).await, Ok(Value::Array(address)) if address.len() == 2)
}

async fn fetch_hello(connection: &mut DriverConnection, address: &str) -> Result<HelloReply, RedisStartupError> {
    let reply = connection.send_command(&HelloReply::hello_command()).await.and_then(Value::extract_error);
    let hello = reply.and_then(|reply| HelloReply::from_value(&reply));
    hello.map_err(|source| RedisStartupError::Other { address: address.to_owned(), source })
}

fn check_topology(hello: &HelloReply, configured: RedisTopology, address: &str) -> Result<(), RedisStartupError> {
    let found = hello.reported_topology();
    if found == configured {
        return Ok(());
    }
    let description = match found {
        RedisTopology::Single => "a server without Cluster",
        RedisTopology::Cluster => "a node of a Cluster",
        RedisTopology::Sentinel => "a Sentinel",
    };
    Err(RedisStartupError::WrongTopology {
        address: address.to_owned(),
        found: description,
        configured: configured.as_str(),
        expected: found.as_str(),
    })
}

fn check_version(hello: &HelloReply, topology: RedisTopology, address: &str) -> Result<(), RedisStartupError> {
    let (minimum, reason) = match topology {
        RedisTopology::Cluster => (MIN_CLUSTER_VERSION, "sharded publish/subscribe"),
        RedisTopology::Single | RedisTopology::Sentinel => (MIN_VERSION, "streams that are trimmed by age"),
    };
    if hello.version_number() >= minimum {
        return Ok(());
    }
    Err(unsupported_version(address, &hello.version, minimum, reason))
}

fn unsupported_version(address: &str, found: &str, minimum: RedisVersion, reason: &'static str) -> RedisStartupError {
    let minimum = format!("{}.{}", minimum.0, minimum.1);
    RedisStartupError::UnsupportedVersion { address: address.to_owned(), found: found.to_owned(), minimum, reason }
}

/// Checks that every server accepts writes.
async fn check_writable(
    connection: &mut DriverConnection,
    settings: &RedisSettings,
    address: &str,
) -> Result<(), RedisStartupError> {
    let probe = write_probe::probe_writes(connection, &settings.prefix);
    let reply =
        timeout(settings.operation_timeout(), probe).await.map_err(|elapsed| timeout_error(address, elapsed))?;
    reply.map_err(|probe_error| {
        startup_error(settings, probe_error.node.as_deref().unwrap_or(address), probe_error.error)
    })
}

/// Sends one command of each kind, so that a missing permission is reported at start-up and not with the first message.
async fn check_permissions(
    connection: &mut DriverConnection,
    settings: &RedisSettings,
    address: &str,
) -> Result<(), RedisStartupError> {
    let key = format!("{}:{{check}}", settings.prefix);
    let publish = if settings.topology == RedisTopology::Cluster { "SPUBLISH" } else { "PUBLISH" };
    let commands = [
        cmd("DEL").arg(&key).take(),
        cmd("EVAL").arg("return redis.call('SET', KEYS[1], '1', 'PX', 1)").arg(1).arg(&key).take(),
        cmd("XLEN").arg(format!("{key}:stream")).take(),
        cmd("ZCARD").arg(format!("{key}:set")).take(),
        cmd(publish).arg(&key).arg("").take(),
        cmd("EVAL").arg("return #redis.call('INFO', 'replication')").arg(1).arg(&key).take(),
        cmd("EVAL").arg("return redis.call('TIME')").arg(1).arg(&key).take(),
    ];
    for command in commands {
        let reply = timeout(settings.operation_timeout(), connection.send_command(&command))
            .await
            .map_err(|elapsed| timeout_error(address, elapsed))?;
        reply.and_then(Value::extract_error).map_err(|error| startup_error(settings, address, error))?;
    }
    Ok(())
}

fn timeout_error(address: &str, elapsed: tokio::time::error::Elapsed) -> RedisStartupError {
    let source = RedisError::from(std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed));
    RedisStartupError::Unreachable { address: address.to_owned(), source }
}

/// Converts the error of the first connection. If the cause is unclear, probes the protocol of the port.
async fn diagnose_connect_error(
    settings: &RedisSettings,
    addr: &redis::ConnectionAddr,
    error: RedisError,
) -> RedisStartupError {
    let address = addr.to_string();
    // A port that speaks another protocol may leave the client without an answer. Often nothing is there at all, and a
    // start that waits has to try again soon.
    let detection_timeout = if error.is_timeout() { settings.connect_timeout / 4 } else { settings.connect_timeout };
    let cause = startup_error(settings, &address, error);
    if !matches!(cause, RedisStartupError::Unreachable { .. } | RedisStartupError::Other { .. }) {
        return cause;
    }
    match (protocol_probe::detect_protocol(addr, detection_timeout).await, addr) {
        (PortProtocol::PlainRedis, redis::ConnectionAddr::TcpTls { .. }) => {
            RedisStartupError::TlsUnsupported { address }
        }
        (PortProtocol::Tls, redis::ConnectionAddr::Tcp(..)) => RedisStartupError::TlsRequired { address },
        _ => cause,
    }
}

/// Converts an error of the TLS handshake, or returns another error unchanged.
fn tls_error(address: &str, error: RedisError) -> Result<RedisStartupError, RedisError> {
    let address = address.to_owned();
    match ConnectFailure::of(&error).filter(|_| error.is_io_error()) {
        Some(cause) if cause.is_untrusted() => {
            Ok(RedisStartupError::UntrustedCertificate { address, cause, source: error })
        }
        Some(cause) if cause.is_rejected_client() => {
            Ok(RedisStartupError::RejectedClient { address, cause, source: error })
        }
        _ => Err(error),
    }
}

fn startup_error(settings: &RedisSettings, address: &str, error: RedisError) -> RedisStartupError {
    let address = address.to_owned();
    let error = match tls_error(&address, error) {
        Ok(error) => return error,
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::AuthenticationFailed => RedisStartupError::InvalidCredentials { address },
        ErrorKind::RESP3NotSupported => {
            unsupported_version(&address, "5 or older", MIN_VERSION, "HELLO is not supported")
        }
        ErrorKind::MasterNameNotFoundBySentinel => {
            RedisStartupError::UnknownMaster { address, name: settings.sentinel_master.clone() }
        }
        ErrorKind::Server(ServerErrorKind::NoPerm) => RedisStartupError::MissingPermission {
            reason: error.detail().unwrap_or("a command was rejected").to_owned(),
            prefix: settings.prefix.clone(),
        },
        ErrorKind::Server(ServerErrorKind::ReadOnly) => RedisStartupError::ReadOnly { address },
        _ if error.code() == Some("MISCONF") => RedisStartupError::PersistenceFailed { address, source: error },
        _ if error.code() == Some("NOREPLICAS") => RedisStartupError::TooFewReplicas { address },
        _ if classify_error(&error) == RedisErrorClass::OutOfMemory => RedisStartupError::OutOfMemory { address },
        _ if matches!(error.code(), Some("WRONGPASS" | "NOAUTH")) => RedisStartupError::InvalidCredentials { address },
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => {
            RedisStartupError::Unreachable { address, source: error }
        }
        _ => RedisStartupError::Other { address, source: error },
    }
}
