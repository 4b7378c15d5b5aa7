//! A server that runs: its listeners, its background work, and its end.

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
use crate::server::{ApiServer, ops, traffic_routes};

/// How often the delivery forgets what it no longer needs.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Most sockets of the ops port: a handful of scrapers and probes.
const OPS_CONNECTIONS: usize = 64;

/// How long background work, and the bus to other pods, each may take to end after a drain; part of
/// [`EXIT_ALLOWANCE`](crate::config::EXIT_ALLOWANCE).
const BACKGROUND_STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    /// Which address.
    pub address: SocketAddr,
    /// What the operating system says.
    #[source]
    pub source: io::Error,
}

/// A server that accepts connections.
pub struct ListeningServer {
    /// Where clients connect.
    pub traffic_address: SocketAddr,
    /// Where probes and scrapers connect.
    pub ops_address: SocketAddr,
    server: ApiServer,
    readiness: Arc<Readiness>,
    stop_traffic: CancellationToken,
    stop_all: CancellationToken,
    background: TaskTracker,
    cluster_runtime: Option<ClusterRuntime>,
}

/// A pod's ties to the others.
pub struct ClusterRuntime {
    /// Its place among them.
    pub cluster: Cluster,
    /// The way to their connections.
    pub bus: Bus,
    /// Whether connections are sent away when Redis has lost its data, because the functions know them from there.
    pub reconnect_on_data_loss: bool,
}

/// What runs behind the listeners, as far as the mode has it.
#[derive(Default)]
pub struct Background {
    /// The messaging application's delivery.
    pub delivery: Option<ChannelDelivery>,
    /// The ties to other pods.
    pub cluster_runtime: Option<ClusterRuntime>,
    /// The link to PostgreSQL, when messages are kept there.
    pub postgres: Option<PostgresClient>,
}

impl ListeningServer {
    /// Binds both ports and starts to serve; the process is ready when this returns.
    ///
    /// # Errors
    /// [`ListenError`] when a port cannot be bound.
    pub fn start(
        config: &ServerConfig,
        server: ApiServer,
        management: ManagementAccess,
        http_api: Option<Arc<HttpApi>>,
    ) -> Result<Self, ListenError> {
        let (traffic, traffic_address) = bind_address(config.listen, config.tcp_backlog)?;
        let (ops, ops_address) = bind_address(config.ops_listen, config.tcp_backlog)?;
        let running = Self {
            traffic_address,
            ops_address,
            server,
            readiness: Arc::default(),
            stop_traffic: CancellationToken::new(),
            stop_all: CancellationToken::new(),
            background: TaskTracker::new(),
            cluster_runtime: None,
        };
        running.serve_traffic(config, traffic, management, http_api);
        running.serve_ops(config, ops);
        running.readiness.set_state(ReadinessState::Ready);
        Ok(running)
    }

    /// Starts what runs behind the listeners, until the server stops. The server has to be wired to the same parts.
    #[must_use]
    pub fn with_background(mut self, background: Background, drain: &DrainConfig) -> Self {
        let Background { delivery, cluster_runtime: pods, postgres } = background;
        if let Some(delivery) = delivery {
            self.background.spawn(run_eviction(delivery, self.stop_all.clone()));
        }
        if let Some(pods) = pods {
            self = self.join_cluster(pods, drain);
        }
        if let Some(postgres) = &postgres {
            self.watch_postgres(postgres);
        }
        self
    }

    /// Takes this pod's place among the others.
    fn join_cluster(mut self, pods: ClusterRuntime, drain: &DrainConfig) -> Self {
        let served = ServerContext {
            disconnects: self.server.disconnects(),
            drain: self.drain(drain),
            readiness: self.readiness.clone(),
            reconnect_on_data_loss: pods.reconnect_on_data_loss,
        };
        pods.cluster.spawn_tasks(served, &self.background, &self.stop_all);
        self.cluster_runtime = Some(pods);
        self
    }

    /// Says that it is not ready while PostgreSQL, where the messages are, is away.
    fn watch_postgres(&self, postgres: &PostgresClient) {
        let (mut link, readiness, stop) = (postgres.link_state(), self.readiness.clone(), self.stop_all.clone());
        let watching = async move {
            loop {
                readiness
                    .set_available(ExternalDependency::Postgres, *link.borrow_and_update() == LinkState::Available);
                if link.changed().await.is_err() {
                    return;
                }
            }
        };
        self.background.spawn(async move { stop.run_until_cancelled(watching).await });
    }

    fn drain(&self, config: &DrainConfig) -> ConnectionDrain {
        let lifecycle = self.server.lifecycle();
        let (connections, notices) = (lifecycle.connections.clone(), lifecycle.notices.clone());
        ConnectionDrain { config: config.clone(), connections, notices, tasks: lifecycle.tasks.clone() }
    }

    /// Sends everyone away and stops.
    pub async fn stop(self, config: &DrainConfig) -> DrainOutcome {
        let drained = self.drain(config).run(&self.readiness, &self.stop_traffic).await;
        self.stop_all.cancel();
        self.background.close();
        // The ops port has nothing to lose; a scraper that holds its connection open does not hold up the exit.
        let _ = tokio::time::timeout(BACKGROUND_STOP_TIMEOUT, self.background.wait()).await;
        if let Some(pods) = &self.cluster_runtime {
            pods.leave_cluster().await;
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
        let limits = ListenerConfig { header_timeout: config.header_timeout, max_connections: config.max_connections };
        let routes = traffic_routes(&self.server, management, http_api);
        let tasks = self.server.lifecycle().tasks.clone();
        self.background.spawn(accept_connections(listener, routes, limits, tasks, self.stop_traffic.clone()));
    }

    fn serve_ops(&self, config: &ServerConfig, listener: TcpListener) {
        let limits = ListenerConfig { header_timeout: config.header_timeout, max_connections: OPS_CONNECTIONS };
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
    /// Publishes what still waits and gives the lease back, so that nobody waits for it to lapse.
    pub async fn leave_cluster(&self) {
        if tokio::time::timeout(BACKGROUND_STOP_TIMEOUT, self.bus.stop()).await.is_err() {
            tracing::warn!("what was to be published last was given up");
        }
        self.cluster.leave().await;
    }
}

fn bind_address(address: SocketAddr, backlog: u32) -> Result<(TcpListener, SocketAddr), ListenError> {
    let listener = bind_listener(address, backlog).map_err(|source| ListenError { address, source })?;
    let bound = listener.local_addr().map_err(|source| ListenError { address, source })?;
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
