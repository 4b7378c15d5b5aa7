//! Running server: listeners, background tasks and shutdown.

mod ops_port;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::ops_port::OpsPort;

use crate::bus::Bus;
use crate::cluster::{Cluster, ServerContext};
use crate::config::{DrainConfig, ManagementAccess, ServerConfig};
use crate::drain::{ConnectionDrain, DrainOutcome};
use crate::hub::ChannelDelivery;
use crate::postgres::{LinkState, PostgresClient};
use crate::readiness::{ExternalDependency, Readiness, ReadinessState};
use crate::server::descriptors::allowed_connections;
use crate::server::endpoint_proxy::EndpointProxy;
use crate::server::http_api::HttpApi;
use crate::server::listener::{BoxedRoutes, ListenerConfig, accept_connections, bind_listener};
use crate::server::management::local_management_routes;
use crate::server::request_policy::RequestPolicy;
use crate::server::{ApiServer, traffic_routes};

/// Interval between evictions of idle channels.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum open sockets of the listener of unsigned `@connections` calls, whose clients are processes of this machine.
const LOCAL_MANAGEMENT_CONNECTIONS: usize = 1024;

/// Maximum time that background tasks, and the bus, each may take to stop after a drain; part of
/// [`EXIT_ALLOWANCE`](crate::config::EXIT_ALLOWANCE).
const BACKGROUND_STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Error of binding a listener.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({key})")]
pub struct ListenError {
    /// The configuration key of the address.
    pub key: &'static str,
    /// The configured address.
    pub address: SocketAddr,
    /// The error of the operating system.
    #[source]
    pub source: io::Error,
}

/// A server that accepts connections.
pub struct ListeningServer {
    /// Address of the clients' port.
    pub traffic_address: SocketAddr,
    /// Address of the ops port.
    pub ops_address: SocketAddr,
    /// Address of unsigned `@connections` calls, if there is such a listener.
    pub management_address: Option<SocketAddr>,
    server: ApiServer,
    readiness: Arc<Readiness>,
    stop_traffic: CancellationToken,
    stop_all: CancellationToken,
    background: TaskTracker,
    cluster_runtime: Option<ClusterRuntime>,
}

/// A pod's membership in the cluster.
pub struct ClusterRuntime {
    /// Lease, heartbeat and reaper.
    pub cluster: Cluster,
    /// Messages and requests to and from other pods.
    pub bus: Bus,
}

/// Components with background tasks; the deployment mode decides which exist.
#[derive(Default)]
pub struct Background {
    /// The messaging application's delivery, for the eviction of idle channels.
    pub delivery: Option<ChannelDelivery>,
    /// Membership in the cluster.
    pub cluster_runtime: Option<ClusterRuntime>,
    /// PostgreSQL, when it stores the messages.
    pub postgres: Option<PostgresClient>,
    /// The endpoint proxy of function processes, and the routes that it serves.
    pub endpoint_proxy: Option<(EndpointProxy, BoxedRoutes)>,
}

impl ListeningServer {
    /// Binds all ports and accepts connections; the process is ready when this returns.
    ///
    /// # Errors
    /// [`ListenError`] when a port cannot be bound.
    pub fn start(
        config: &ServerConfig,
        server: ApiServer,
        management: ManagementAccess,
        http_api: Option<Arc<HttpApi>>,
    ) -> Result<Self, ListenError> {
        Self::start_with_ops(OpsPort::open(config)?, config, server, management, http_api)
    }

    /// Binds the other ports and accepts connections, as [`Self::start`] does, with an ops port that is open already.
    ///
    /// # Errors
    /// [`ListenError`] when a port cannot be bound.
    pub fn start_with_ops(
        ops: OpsPort,
        config: &ServerConfig,
        server: ApiServer,
        management: ManagementAccess,
        http_api: Option<Arc<HttpApi>>,
    ) -> Result<Self, ListenError> {
        let (traffic, traffic_address) = bind_address("server.listen", config.listen, config)?;
        let bind_local = |address| bind_address("server.management_listen", address, config);
        let local = config.management_listen.map(bind_local).transpose()?;
        ops.status.attach_server(server.connections().clone(), server.metrics.clone());
        let running = Self {
            traffic_address,
            ops_address: ops.address,
            management_address: local.as_ref().map(|(_, address)| *address),
            server,
            readiness: ops.status.readiness.clone(),
            stop_traffic: CancellationToken::new(),
            stop_all: ops.stop,
            background: ops.tasks,
            cluster_runtime: None,
        };
        running.serve_traffic(config, traffic, management, http_api);
        if let Some((local, _)) = local {
            running.serve_local_management(config, local);
        }
        running.readiness.set_state(ReadinessState::Ready);
        Ok(running)
    }

    /// Starts the background tasks, which run until the server stops. The server must have been built from the same
    /// components.
    #[must_use]
    pub fn with_background(mut self, background: Background, drain: &DrainConfig) -> Self {
        let Background { delivery, cluster_runtime, postgres, endpoint_proxy } = background;
        if let Some(delivery) = delivery {
            self.background.spawn(run_eviction(delivery, self.stop_all.clone()));
        }
        if let Some(runtime) = cluster_runtime {
            self = self.join_cluster(runtime, drain);
        }
        if let Some(postgres) = &postgres {
            self.watch_postgres(postgres);
        }
        if let Some((proxy, routes)) = endpoint_proxy {
            // Until after the drain, because `$disconnect` functions may post.
            self.background.spawn(proxy.serve(routes, self.background.clone(), self.stop_all.clone()));
        }
        self
    }

    /// Starts the cluster's tasks: heartbeat, reaper, bus.
    fn join_cluster(mut self, runtime: ClusterRuntime, drain: &DrainConfig) -> Self {
        self.cluster_runtime = Some(runtime);
        let context = ServerContext {
            disconnects: self.server.disconnects(),
            drain: self.drain(drain),
            readiness: self.readiness.clone(),
        };
        if let Some(runtime) = &self.cluster_runtime {
            runtime.cluster.spawn_tasks(context, &self.background, &self.stop_all);
        }
        self
    }

    /// Marks the process as not ready while PostgreSQL is unavailable.
    fn watch_postgres(&self, postgres: &PostgresClient) {
        let (mut link, readiness, stop) = (postgres.link_state(), self.readiness.clone(), self.stop_all.clone());
        let watch = async move {
            loop {
                readiness
                    .set_available(ExternalDependency::Postgres, *link.borrow_and_update() == LinkState::Available);
                if link.changed().await.is_err() {
                    return;
                }
            }
        };
        self.background.spawn(async move { stop.run_until_cancelled(watch).await });
    }

    fn drain(&self, config: &DrainConfig) -> ConnectionDrain {
        let lifecycle = self.server.lifecycle();
        let (connections, notices) = (lifecycle.connections.clone(), lifecycle.notices.clone());
        let peers = self.cluster_runtime.as_ref().map(|runtime| runtime.cluster.peer_connections());
        ConnectionDrain { config: config.clone(), connections, notices, tasks: lifecycle.tasks.clone(), peers }
    }

    /// Drains the connections, stops the background tasks and leaves the cluster.
    pub async fn stop(self, config: &DrainConfig) -> DrainOutcome {
        let drained = self.drain(config).run(&self.readiness, &self.stop_traffic).await;
        self.stop_all.cancel();
        self.background.close();
        // Bounded, because a scraper may keep its connection to the ops port open.
        let _ = tokio::time::timeout(BACKGROUND_STOP_TIMEOUT, self.background.wait()).await;
        if let Some(runtime) = &self.cluster_runtime {
            runtime.leave_cluster().await;
        }
        drained
    }

    fn serve_traffic(
        &self,
        config: &ServerConfig,
        listener: TcpListener,
        management: ManagementAccess,
        http_api: Option<Arc<HttpApi>>,
    ) {
        let policy = RequestPolicy::for_traffic(config);
        let limits = listener_config(config, policy, allowed_connections(config.max_connections));
        let routes = traffic_routes(&self.server, management, http_api);
        let tasks = self.server.lifecycle().tasks.clone();
        self.background.spawn(accept_connections(listener, routes, limits, tasks, self.stop_traffic.clone()));
    }

    /// Serves unsigned `@connections` calls until after the drain, because `$disconnect` functions may post.
    fn serve_local_management(&self, config: &ServerConfig, listener: TcpListener) {
        let limits = listener_config(config, RequestPolicy::syntax_only(), LOCAL_MANAGEMENT_CONNECTIONS);
        let routes = local_management_routes(self.server.management.clone());
        let (tasks, stop) = (self.background.clone(), self.stop_all.clone());
        self.background.spawn(accept_connections(listener, routes, limits, tasks, stop));
    }
}

impl ClusterRuntime {
    /// Flushes the bus and releases the lease, so that other pods need not wait for it to expire.
    pub async fn leave_cluster(&self) {
        if tokio::time::timeout(BACKGROUND_STOP_TIMEOUT, self.bus.stop()).await.is_err() {
            tracing::warn!("final bus flush timed out, queued records dropped");
        }
        self.cluster.leave().await;
    }
}

fn listener_config(config: &ServerConfig, policy: RequestPolicy, max_connections: usize) -> ListenerConfig {
    let ServerConfig { header_timeout, keep_alive_timeout, write_timeout, .. } = *config;
    let policy = Arc::new(policy);
    ListenerConfig {
        header_timeout,
        keep_alive_timeout,
        write_timeout,
        max_connections,
        spare_descriptor: false,
        policy,
    }
}

fn bind_address(
    key: &'static str,
    address: SocketAddr,
    config: &ServerConfig,
) -> Result<(TcpListener, SocketAddr), ListenError> {
    let listener = bind_listener(address, config.tcp_backlog, config.tcp_timeout).map_err(|source| ListenError {
        key,
        address,
        source,
    })?;
    let bound = listener.local_addr().map_err(|source| ListenError { key, address, source })?;
    Ok((listener, bound))
}

async fn run_eviction(delivery: ChannelDelivery, stop: CancellationToken) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            _ = interval.tick() => delivery.evict_idle_channels(),
            () = stop.cancelled() => return,
        }
    }
}
