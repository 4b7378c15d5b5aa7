//! Ops port, which is open from the start of the process: also while the server waits for its dependencies.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{ListenError, bind_address, listener_config};
use crate::config::ServerConfig;
use crate::server::listener::{ListenerConfig, accept_connections};
use crate::server::ops::{OpsStatus, ops_routes};
use crate::server::request_policy::RequestPolicy;

/// Maximum open sockets of the ops port, whose clients are a few scrapers and probes.
const OPS_CONNECTIONS: usize = 64;

/// Open ops port: `/health`, `/ready` and `/metrics`.
pub struct OpsPort {
    /// Bound address.
    pub address: SocketAddr,
    /// State that the port reports.
    pub status: Arc<OpsStatus>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl OpsPort {
    /// Binds the port and serves it until the server that takes it over stops.
    ///
    /// # Errors
    /// [`ListenError`] when the port cannot be bound.
    pub fn open(config: &ServerConfig) -> Result<Self, ListenError> {
        let (listener, address) = bind_address("server.ops_listen", config.ops_listen, config)?;
        let port = Self { address, status: Arc::default(), tasks: TaskTracker::new(), stop: CancellationToken::new() };
        let limits = ListenerConfig {
            spare_descriptor: true,
            ..listener_config(config, RequestPolicy::for_ops(config), OPS_CONNECTIONS)
        };
        let routes = ops_routes(port.status.clone());
        port.tasks.spawn(accept_connections(listener, routes, limits, port.tasks.clone(), port.stop.clone()));
        Ok(port)
    }
}
