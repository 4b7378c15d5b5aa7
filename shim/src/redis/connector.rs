//! Connections to Redis in every topology, and their creation.
//!
//! A [`DriverConnection`] is multiplexed and cheap to clone. It does not reconnect to another address:
//! [`ReconnectingConnection`](super::reconnecting::ReconnectingConnection) does that. All connections use RESP3, in
//! which a lost connection is reported at once and subscriptions arrive as push messages.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::try_join_all;
use redis::aio::{AsyncPushSender, ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo as _, Pipeline, ProtocolVersion, RedisConnectionInfo, RedisError, RedisFuture, RedisResult,
    TlsCertificates, TlsMode, Value,
};
use socket2::TcpKeepalive;
use tls_client::{TlsFileError, TlsFiles, TlsMaterial};

use super::settings::{RedisSettings, RedisTopology};
use super::slots;

/// Capacity of the queue of commands to be written to one connection. When it is full, callers wait, within their
/// timeout.
const MAX_QUEUED_COMMANDS: usize = 1_024;
/// Interval of TCP keep-alive probes, which detect pods and servers that vanish without closing the connection.
const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Multiplexed connection.
#[derive(Clone)]
pub(super) enum DriverConnection {
    /// Connection to one server.
    Server(MultiplexedConnection),
    /// Connections to the nodes of a Cluster.
    Cluster(ClusterConnection),
}

impl DriverConnection {
    /// Sends one command and returns its reply.
    pub(super) async fn send_command(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Server(connection) => connection.send_packed_command(command).await,
            Self::Cluster(connection) => connection.req_packed_command(command).await,
        }
    }

    /// Sends several commands and returns their replies: in one round trip to a server; in a Cluster in one per slot,
    /// all concurrently.
    pub(super) async fn send_pipeline(&mut self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        match self {
            Self::Server(connection) => connection.send_packed_commands(pipeline, 0, pipeline.len()).await,
            Self::Cluster(connection) => {
                let sends = slots::split_by_slot(pipeline).into_iter().map(|part| {
                    let mut connection = connection.clone();
                    async move {
                        let replies = connection.req_packed_commands(&part.pipeline, 0, part.pipeline.len()).await?;
                        RedisResult::Ok((part, replies))
                    }
                });
                Ok(slots::merge_replies(try_join_all(sends).await?))
            }
        }
    }
}

/// Used by `redis::Script`, which sends its source to servers that do not have it.
impl ConnectionLike for DriverConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        self.send_command(command).boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// Factory of connections.
pub(super) struct RedisConnector {
    source: ConnectionSource,
    config: AsyncConnectionConfig,
}

enum ConnectionSource {
    Server(Box<Client>),
    Cluster(Box<dyn Fn() -> ClusterClientBuilder + Send + Sync>),
    Sentinel(Box<dyn Fn() -> RedisResult<SentinelClient> + Send + Sync>),
}

impl RedisConnector {
    /// Parses addresses and certificates. Connects to nothing.
    ///
    /// # Errors
    /// Returns an error for an invalid address or certificate.
    pub(super) fn new(settings: &RedisSettings, certificates: Option<TlsCertificates>) -> RedisResult<Self> {
        let nodes: Vec<ConnectionInfo> =
            settings.urls.iter().map(|url| url.expose().into_connection_info()).collect::<RedisResult<_>>()?;
        let source = match settings.topology {
            RedisTopology::Single => ConnectionSource::Server(Box::new(server_client(settings, &nodes, certificates)?)),
            RedisTopology::Cluster => ConnectionSource::Cluster(cluster_client_factory(settings, nodes, certificates)),
            RedisTopology::Sentinel => {
                ConnectionSource::Sentinel(sentinel_client_factory(settings, nodes, certificates)?)
            }
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(Some(settings.response_timeout))
            .set_pipeline_buffer_size(MAX_QUEUED_COMMANDS);
        Ok(Self { source, config })
    }

    /// Opens a connection for commands. `watch` is notified when the connection to a server is lost. A Cluster
    /// connection replaces lost nodes by itself.
    pub(super) async fn connect_for_commands(&self, watch: Arc<dyn AsyncPushSender>) -> RedisResult<DriverConnection> {
        match &self.source {
            ConnectionSource::Cluster(builder) => {
                builder().build()?.get_async_connection().await.map(DriverConnection::Cluster)
            }
            ConnectionSource::Server(_) | ConnectionSource::Sentinel(_) => self.connect_for_pushes(watch).await,
        }
    }

    /// Opens a connection for subscriptions. `pushes` receives the push messages, and a notification when the
    /// connection, or the one to any node of a Cluster, is lost.
    pub(super) async fn connect_for_pushes(&self, pushes: Arc<dyn AsyncPushSender>) -> RedisResult<DriverConnection> {
        let config = self.config.clone().set_push_sender(pushes.clone());
        match &self.source {
            ConnectionSource::Server(client) => {
                client.get_multiplexed_async_connection_with_config(&config).await.map(DriverConnection::Server)
            }
            ConnectionSource::Cluster(builder) => {
                builder().push_sender(pushes).build()?.get_async_connection().await.map(DriverConnection::Cluster)
            }
            ConnectionSource::Sentinel(client) => {
                // Resolved for every connection, because the master may have changed.
                let client = client()?.async_get_client().await?;
                client.get_multiplexed_async_connection_with_config(&config).await.map(DriverConnection::Server)
            }
        }
    }
}

/// Reads the files of authorities and client certificate. `None` if the driver's default, the authorities of the system,
/// applies.
///
/// # Errors
/// [`TlsFileError`] if a file cannot be used.
pub(super) fn tls_certificates(files: &TlsFiles) -> Result<Option<TlsCertificates>, TlsFileError> {
    let TlsMaterial { authorities, client } = files.load()?;
    let client_tls =
        client.map(|identity| ClientTlsConfig { client_cert: identity.certificate, client_key: identity.key });
    let configured = authorities.is_some() || client_tls.is_some();
    Ok(configured.then_some(TlsCertificates { client_tls, root_cert: authorities }))
}

/// Returns a client for one configured address: the server, a Cluster node, or a Sentinel.
pub(super) fn client_for_node(
    settings: &RedisSettings,
    certificates: Option<TlsCertificates>,
    node: usize,
) -> RedisResult<Client> {
    let url = settings.urls.get(node).ok_or_else(missing_address_error)?;
    let info = url.expose().into_connection_info()?;
    let info = if settings.topology == RedisTopology::Sentinel {
        with_client_settings(info)
    } else {
        with_credentials(info, settings)
    };
    open_client(info, certificates)
}

fn missing_address_error() -> RedisError {
    RedisError::from((ErrorKind::InvalidClientConfig, "no address is configured"))
}

fn server_client(
    settings: &RedisSettings,
    nodes: &[ConnectionInfo],
    certificates: Option<TlsCertificates>,
) -> RedisResult<Client> {
    let info = nodes.first().ok_or_else(missing_address_error)?.clone();
    open_client(with_credentials(info, settings), certificates)
}

fn open_client(info: ConnectionInfo, certificates: Option<TlsCertificates>) -> RedisResult<Client> {
    match certificates {
        Some(certificates) if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) => {
            Client::build_with_tls(info, certificates)
        }
        _ => Client::open(info),
    }
}

fn cluster_client_factory(
    settings: &RedisSettings,
    nodes: Vec<ConnectionInfo>,
    certificates: Option<TlsCertificates>,
) -> Box<dyn Fn() -> ClusterClientBuilder + Send + Sync> {
    let nodes: Vec<_> = nodes.into_iter().map(|node| with_credentials(node, settings)).collect();
    let (connect_timeout, response_timeout) = (settings.connect_timeout, settings.response_timeout);
    let operation_timeout = settings.operation_timeout();
    Box::new(move || {
        let builder = ClusterClientBuilder::new(nodes.clone())
            .use_protocol(ProtocolVersion::RESP3)
            .connection_timeout(connect_timeout)
            .response_timeout(response_timeout)
            .overall_response_timeout(Some(operation_timeout))
            // Covers moved slots. Longer failures are retried by `RedisClientInner::run_operation`.
            .retries(4)
            .tcp_settings(tcp_settings());
        match &certificates {
            Some(certificates) => builder.certs(certificates.clone()),
            None => builder,
        }
    })
}

fn sentinel_client_factory(
    settings: &RedisSettings,
    nodes: Vec<ConnectionInfo>,
    certificates: Option<TlsCertificates>,
) -> RedisResult<Box<dyn Fn() -> RedisResult<SentinelClient> + Send + Sync>> {
    let first = nodes.first().ok_or_else(missing_address_error)?.clone();
    let addresses: Vec<ConnectionAddr> = nodes.iter().map(|node| node.addr().clone()).collect();
    let tls = matches!(first.addr(), ConnectionAddr::TcpTls { .. });
    let (master, database) = (settings.sentinel_master.clone(), first.redis_settings().db());
    let (username, password) = (settings.username.clone(), settings.password.clone());
    Ok(Box::new(move || {
        let mut builder = SentinelClientBuilder::new(addresses.clone(), master.as_str(), SentinelServerType::Master)?
            .set_client_to_redis_db(database)
            .set_client_to_redis_protocol(ProtocolVersion::RESP3)
            .set_client_to_redis_tcp_settings(tcp_settings());
        if tls {
            // Masters of Sentinels that use TLS use it too: `tls-replication` is one setting for both.
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let (true, Some(certificates)) = (tls, &certificates) {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        if let Some(username) = &username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &password {
            builder = builder.set_client_to_redis_password(password.expose());
        }
        if let Some(username) = first.redis_settings().username() {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = first.redis_settings().password() {
            builder = builder.set_client_to_sentinel_password(password);
        }
        builder.build()
    }))
}

/// Replaces the user and password of an address by those of the settings.
fn with_credentials(info: ConnectionInfo, settings: &RedisSettings) -> ConnectionInfo {
    let info = with_client_settings(info);
    let mut connection_settings: RedisConnectionInfo = info.redis_settings().clone();
    if let Some(username) = &settings.username {
        connection_settings = connection_settings.set_username(username);
    }
    if let Some(password) = &settings.password {
        connection_settings = connection_settings.set_password(password.expose());
    }
    info.set_redis_settings(connection_settings)
}

fn with_client_settings(info: ConnectionInfo) -> ConnectionInfo {
    let connection_settings = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3)
        .set_lib_name("twinway", env!("CARGO_PKG_VERSION"));
    info.set_redis_settings(connection_settings).set_tcp_settings(tcp_settings())
}

fn tcp_settings() -> TcpSettings {
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(TcpKeepalive::new().with_time(TCP_KEEPALIVE_INTERVAL).with_interval(TCP_KEEPALIVE_INTERVAL))
}
