//! Shared state of the traffic port's request handlers: one context for handshakes, one for `@connections`.

use std::sync::Arc;
use std::time::Duration;

use gateway::api::WebSocketApi;
use handlers::ports::Clock;

use super::body::BodyBudget;
use crate::access::{AccessControl, ApiHosts};
use crate::config::{ServerConfig, SessionConfig};
use crate::connection::{ConnectionDirectory, ConnectionIds, ConnectionIndex, ConnectionLifecycle, RemoteConnections};
use crate::functions::ApiIntegration;
use crate::metrics::{HandshakeMetrics, ManagementMetrics, ShimMetrics};
use crate::session::{DisconnectRunner, SessionContext};

/// Shared state of handshakes.
pub struct HandshakeContext {
    /// Shared state of the sessions that accepted handshakes start.
    pub sessions: Arc<SessionContext>,
    /// API keys, signing callers and rate limits.
    pub access: Arc<AccessControl>,
    /// Generator of connection ids.
    pub ids: Arc<ConnectionIds>,
    pub settings: HandshakeSettings,
    pub metrics: Arc<HandshakeMetrics>,
}

/// Settings of handshakes.
#[derive(Debug, Clone)]
pub struct HandshakeSettings {
    /// `domainName` of all events, if configured.
    pub domain_name: Option<Arc<str>>,
    /// Names from which the `Host` header selects `domainName`; `None` to use the header itself.
    pub api_hosts: Option<ApiHosts>,
    /// Timeout of the whole handshake, up to the client's reading of its `101`.
    pub timeout: Duration,
}

/// Shared state of `@connections`.
pub struct ManagementContext {
    pub api: Arc<WebSocketApi>,
    /// Signing callers and rate limits.
    pub access: Arc<AccessControl>,
    /// Memory for request bodies, also for those of the HTTP API.
    pub bodies: BodyBudget,
    /// Lookup of connections on this pod and on others.
    pub directory: ConnectionDirectory,
    /// Generator of request ids.
    pub ids: Arc<ConnectionIds>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<ManagementMetrics>,
}

/// Components of an [`ApiServer`].
pub struct ApiServerParts {
    /// The API and its functions.
    pub integration: ApiIntegration,
    /// API keys, signing callers and rate limits.
    pub access: AccessControl,
    /// Generator of connection ids.
    pub ids: ConnectionIds,
    /// Components that are notified when a connection opens and closes.
    pub lifecycle: ConnectionLifecycle,
    /// Access to the connections of other pods; `None` outside a cluster.
    pub remote: Option<Arc<dyn RemoteConnections>>,
    pub metrics: ShimMetrics,
}

/// One API served by this process.
#[derive(Clone)]
pub struct ApiServer {
    /// Context of handshakes and of their sessions.
    pub handshakes: Arc<HandshakeContext>,
    /// Context of `@connections`.
    pub management: Arc<ManagementContext>,
    /// Metrics that the ops port renders.
    pub metrics: Arc<ShimMetrics>,
}

impl HandshakeSettings {
    /// Returns `domainName` of the events of a connection whose handshake has this `Host`, without its port.
    pub(super) fn event_domain(&self, host: &str) -> Arc<str> {
        match (&self.domain_name, &self.api_hosts) {
            (Some(name), _) => name.clone(),
            (None, Some(hosts)) => hosts.event_domain(host),
            (None, None) => host.into(),
        }
    }
}

impl ApiServer {
    /// Builds the contexts of handshakes and of `@connections`.
    #[must_use]
    pub fn new(parts: ApiServerParts, server: &ServerConfig, sessions: &SessionConfig) -> Self {
        let ApiServerParts { integration, access, ids, lifecycle, remote, metrics } = parts;
        let (access, ids, metrics) = (Arc::new(access), Arc::new(ids), Arc::new(metrics));
        let management = ManagementContext {
            api: integration.api.clone(),
            access: access.clone(),
            bodies: BodyBudget::new(server.body_budget),
            directory: ConnectionDirectory { local: lifecycle.connections.clone(), remote },
            ids: ids.clone(),
            clock: integration.clock.clone(),
            metrics: metrics.management.clone(),
        };
        let sessions = SessionContext {
            integration,
            throttle: access.throttle.clone(),
            settings: sessions.clone(),
            lifecycle,
            metrics: metrics.sessions.clone(),
        };
        let settings = HandshakeSettings {
            domain_name: server.domain_name.as_deref().map(Arc::from),
            api_hosts: server.api_hosts.clone(),
            timeout: server.handshake_timeout,
        };
        let (sessions, handshake_metrics) = (Arc::new(sessions), metrics.handshakes.clone());
        let handshakes = HandshakeContext { sessions, access, ids, settings, metrics: handshake_metrics };
        Self { handshakes: Arc::new(handshakes), management: Arc::new(management), metrics }
    }

    /// Returns the index of open connections.
    #[must_use]
    pub fn connections(&self) -> &ConnectionIndex {
        &self.lifecycle().connections
    }

    /// Returns the components that are notified when a connection opens and closes.
    #[must_use]
    pub fn lifecycle(&self) -> &ConnectionLifecycle {
        &self.handshakes.sessions.lifecycle
    }

    /// Returns a runner of `$disconnect` for connections without a session.
    #[must_use]
    pub fn disconnects(&self) -> DisconnectRunner {
        let HandshakeContext { sessions, ids, .. } = &*self.handshakes;
        let (integration, retry) = (sessions.integration.clone(), sessions.lifecycle.disconnect_retry);
        DisconnectRunner { integration, ids: ids.clone(), retry }
    }
}
