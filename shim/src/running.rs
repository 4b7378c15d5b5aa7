//! Running server: listeners, background tasks and shutdown.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::Bus;
use crate::cluster::{Cluster, ServerContext};
use crate::config::{DrainConfig, ManagementAccess, ServerConfig};
use crate::drain::{ConnectionDrain, DrainOutcome};
use crate::hub::ChannelDelivery;
use crate::postgres::{LinkState, PostgresClient};
use crate::readiness::{ExternalDependency, Readiness, ReadinessState};
use crate::server::http_api::HttpApi;
use crate::server::listener::{ListenerConfig, accept_connections, bind_listener};
use crate::server::management::local_management_routes;
use crate::server::request_policy::RequestPolicy;
use crate::server::{ApiServer, ops, traffic_routes};

/// Interval between evictions of idle channels.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum open sockets of the ops port, whose clients are a few scrapers and probes.
const OPS_CONNECTIONS: usize = 64;
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
    /// Whether clients are asked to reconnect after Redis has lost its data, because the connection records were there.
    pub reconnect_on_data_loss: bool,
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
        let (traffic, traffic_address) = bind_address("server.listen", config.listen, config.tcp_backlog)?;
        let (ops, ops_address) = bind_address("server.ops_listen", config.ops_listen, config.tcp_backlog)?;
        let bind_local = |address| bind_address("server.management_listen", address, config.tcp_backlog);
        let local = config.management_listen.map(bind_local).transpose()?;
        let running = Self {
            traffic_address,
            ops_address,
            management_address: local.as_ref().map(|(_, address)| *address),
            server,
            readiness: Arc::default(),
            stop_traffic: CancellationToken::new(),
            stop_all: CancellationToken::new(),
            background: TaskTracker::new(),
            cluster_runtime: None,
        };
        running.serve_traffic(config, traffic, management, http_api);
        running.serve_ops(config, ops);
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
        let Background { delivery, cluster_runtime, postgres } = background;
        if let Some(delivery) = delivery {
            self.background.spawn(run_eviction(delivery, self.stop_all.clone()));
        }
        if let Some(runtime) = cluster_runtime {
            self = self.join_cluster(runtime, drain);
        }
        if let Some(postgres) = &postgres {
            self.watch_postgres(postgres);
        }
        self
    }

    /// Starts the cluster's tasks: heartbeat, reaper, bus.
    fn join_cluster(mut self, runtime: ClusterRuntime, drain: &DrainConfig) -> Self {
        let context = ServerContext {
            disconnects: self.server.disconnects(),
            drain: self.drain(drain),
            readiness: self.readiness.clone(),
            reconnect_on_data_loss: runtime.reconnect_on_data_loss,
        };
        runtime.cluster.spawn_tasks(context, &self.background, &self.stop_all);
        self.cluster_runtime = Some(runtime);
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
        ConnectionDrain { config: config.clone(), connections, notices, tasks: lifecycle.tasks.clone() }
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
        let limits = ListenerConfig {
            header_timeout: config.header_timeout,
            max_connections: config.max_connections,
            policy: Arc::new(RequestPolicy::for_traffic(config)),
        };
        let routes = traffic_routes(&self.server, management, http_api);
        let tasks = self.server.lifecycle().tasks.clone();
        self.background.spawn(accept_connections(listener, routes, limits, tasks, self.stop_traffic.clone()));
    }

    /// Serves unsigned `@connections` calls until after the drain, because `$disconnect` functions may post.
    fn serve_local_management(&self, config: &ServerConfig, listener: TcpListener) {
        let limits = ListenerConfig {
            header_timeout: config.header_timeout,
            max_connections: LOCAL_MANAGEMENT_CONNECTIONS,
            policy: Arc::new(RequestPolicy::syntax_only()),
        };
        let routes = local_management_routes(self.server.management.clone());
        let (tasks, stop) = (self.background.clone(), self.stop_all.clone());
        self.background.spawn(accept_connections(listener, routes, limits, tasks, stop));
    }

    fn serve_ops(&self, config: &ServerConfig, listener: TcpListener) {
        let limits = ListenerConfig {
            header_timeout: config.header_timeout,
            max_connections: OPS_CONNECTIONS,
            policy: Arc::new(RequestPolicy::for_ops(config)),
        };
        let routes =
            ops::ops_routes(self.readiness.clone(), self.server.connections().clone(), self.server.metrics.clone());
        self.background.spawn(accept_connections(
            listener,
            routes,
            limits,
            self.background.clone(),
            self.stop_all.clone(),
        ));
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

fn bind_address(
    key: &'static str,
    address: SocketAddr,
    backlog: u32,
) -> Result<(TcpListener, SocketAddr), ListenError> {
    let listener = bind_listener(address, backlog).map_err(|source| ListenError { key, address, source })?;
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
