//! Creation of connections to Redis in every topology.
//!
//! A [`DriverConnection`] is multiplexed and cheap to clone. It does not reconnect to another address:
//! [`ReconnectingConnection`](super::reconnecting::ReconnectingConnection) does that. All connections use RESP3, in
//! which a lost connection is reported at once and subscriptions arrive as push messages.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::AsyncPushSender;
use redis::cluster::ClusterClientBuilder;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _,
    ProtocolVersion, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, TlsMode,
};
use socket2::TcpKeepalive;
use tls_client::{TlsFileError, TlsFiles, TlsMaterial};

use super::driver_connection::DriverConnection;
use super::master_selection::{MasterFacts, MasterSelection};
use super::replication::NodeAddress;
use super::settings::{RedisSettings, RedisTopology};
use crate::host_watch::HostWatch;

/// Capacity of the queue of commands to be written to one connection. When it is full, callers wait, within their
/// timeout.
const MAX_QUEUED_COMMANDS: usize = 1_024;
/// Interval of TCP keep-alive probes, which detect pods and servers that vanish without closing the connection.
const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Factory of connections.
pub(super) struct RedisConnector {
    source: ConnectionSource,
    config: AsyncConnectionConfig,
    settings: RedisSettings,
    certificates: Option<TlsCertificates>,
    /// Set where another server may become the master.
    selection: Option<Arc<MasterSelection>>,
    /// Nodes of a Cluster in its latest reply.
    cluster_nodes: Mutex<Vec<NodeAddress>>,
}

/// Returns a builder for these nodes, or for the configured ones.
type ClusterBuilderFactory = Box<dyn Fn(Option<Vec<ConnectionInfo>>) -> ClusterClientBuilder + Send + Sync>;

enum ConnectionSource {
    Server(Box<Client>),
    Cluster(ClusterBuilderFactory),
    Sentinel(Box<dyn Fn() -> RedisResult<SentinelClient> + Send + Sync>),
}

impl RedisConnector {
    /// Parses addresses and certificates. Connects to nothing.
    ///
    /// # Errors
    /// Returns an error for an invalid address or certificate.
    pub(super) fn new(settings: &RedisSettings, certificates: Option<TlsCertificates>) -> RedisResult<Self> {
        let (settings_of_nodes, certificates_of_nodes) = (settings.clone(), certificates.clone());
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
        let selection = match settings.topology {
            RedisTopology::Single => Some(Arc::default()),
            RedisTopology::Sentinel => Some(Arc::new(MasterSelection::probed())),
            RedisTopology::Cluster => None,
        };
        Ok(Self {
            source,
            config,
            settings: settings_of_nodes,
            certificates: certificates_of_nodes,
            selection,
            cluster_nodes: Mutex::default(),
        })
    }

    /// Returns the selection of the master; `None` in a Cluster, where the driver selects it.
    pub(super) const fn selection(&self) -> Option<&Arc<MasterSelection>> {
        self.selection.as_ref()
    }

    /// Returns whether a prober finds the master.
    pub(super) fn is_probed(&self) -> bool {
        self.selection.as_ref().is_some_and(|selection| selection.is_probed())
    }

    /// Returns a watch of the host name of a single server, if it has one.
    pub(super) fn host_watch(&self) -> Option<HostWatch> {
        let ConnectionSource::Server(client) = &self.source else { return None };
        match client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => HostWatch::new(host, *port),
            _ => None,
        }
    }

    /// Returns the generation of the master that new connections connect to.
    pub(super) fn master_generation(&self) -> u64 {
        self.selection.as_ref().map_or(0, |selection| selection.generation())
    }

    /// Returns the facts about the master.
    pub(super) fn master_facts(&self) -> MasterFacts {
        let unknown = MasterFacts { generation: 0, online_replicas: 0, confirms_alone: false };
        self.selection.as_ref().map_or(unknown, |selection| selection.facts())
    }

    /// Requests a probe of the servers, after a doubt about the master.
    pub(super) fn request_probe(&self) {
        if let Some(selection) = &self.selection {
            selection.request_probe();
        }
    }

    /// Remembers the nodes of a Cluster, for when all configured ones have left it.
    pub(super) fn remember_nodes(&self, nodes: Vec<NodeAddress>) {
        *self.cluster_nodes.lock() = nodes;
    }

    /// Connects to a Cluster by its configured nodes or, if none answers, by those that were remembered.
    async fn connect_to_cluster(
        &self,
        builder: &ClusterBuilderFactory,
        complete: impl Fn(ClusterClientBuilder) -> ClusterClientBuilder,
    ) -> RedisResult<DriverConnection> {
        let connecting = async |nodes| complete(builder(nodes)).build()?.get_async_connection().await;
        let connected = connecting(None).await;
        let remembered = self.cluster_nodes.lock().clone();
        if connected.is_ok() || remembered.is_empty() {
            return connected.map(DriverConnection::Cluster);
        }
        let node = |node: &NodeAddress| info_for_address(&self.settings, node);
        let nodes = remembered.iter().map(node).collect::<RedisResult<Vec<_>>>()?;
        connecting(Some(nodes)).await.map(DriverConnection::Cluster)
    }

    /// Opens a connection for commands. `watch` is notified when the connection to a server is lost. A Cluster
    /// connection replaces lost nodes by itself.
    pub(super) async fn connect_for_commands(&self, watch: Arc<dyn AsyncPushSender>) -> RedisResult<DriverConnection> {
        match &self.source {
            ConnectionSource::Cluster(builder) => self.connect_to_cluster(builder, |builder| builder).await,
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
                self.connect_to_cluster(builder, |builder| builder.push_sender(pushes.clone())).await
            }
            ConnectionSource::Sentinel(client) => {
                let client = match self.selection.as_ref().and_then(|selection| selection.node()) {
                    Some(node) => client_for_address(&self.settings, self.certificates.clone(), &node)?,
                    None => client()?.async_get_client().await?,
                };
                client.get_multiplexed_async_connection_with_config(&config).await.map(DriverConnection::Server)
            }
        }
    }
}

/// Reads the files of authorities and client certificate. `None` if the driver's default, the authorities of the
/// system, applies.
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

/// Returns a client for a server behind Sentinels.
pub(super) fn client_for_address(
    settings: &RedisSettings,
    certificates: Option<TlsCertificates>,
    node: &NodeAddress,
) -> RedisResult<Client> {
    open_client(info_for_address(settings, node)?, certificates)
}

/// Returns the connection settings of a server that Sentinels or Cluster nodes named.
fn info_for_address(settings: &RedisSettings, node: &NodeAddress) -> RedisResult<ConnectionInfo> {
    let configured = settings.urls.first().ok_or_else(missing_address_error)?.expose().into_connection_info()?;
    let (host, port) = (node.host.clone(), node.port);
    let address = match configured.addr() {
        // Servers of Sentinels that use TLS use it too: `tls-replication` is one setting for both.
        ConnectionAddr::TcpTls { .. } => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        _ => ConnectionAddr::Tcp(host, port),
    };
    let connection_settings = RedisConnectionInfo::default().set_db(configured.redis_settings().db());
    let info = address.into_connection_info()?.set_redis_settings(connection_settings);
    Ok(with_credentials(info, settings))
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
) -> ClusterBuilderFactory {
    let nodes: Vec<_> = nodes.into_iter().map(|node| with_credentials(node, settings)).collect();
    let (connect_timeout, response_timeout) = (settings.connect_timeout, settings.response_timeout);
    let operation_timeout = settings.operation_timeout();
    Box::new(move |other_nodes| {
        let builder = ClusterClientBuilder::new(other_nodes.unwrap_or_else(|| nodes.clone()))
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
