//! What the traffic port's handlers share: one context for handshakes, one for `@connections`.

use std::sync::Arc;
use std::time::Duration;

use gateway::api::WebSocketApi;
use handlers::ports::Clock;

use crate::access::AccessControl;
use crate::config::{ServerConfig, SessionConfig};
use crate::connection::{ConnectionDirectory, ConnectionIds, ConnectionIndex, ConnectionLifecycle, RemoteConnections};
use crate::functions::ApiIntegration;
use crate::metrics::{HandshakeMetrics, ManagementMetrics, ShimMetrics};
use crate::session::{DisconnectRunner, SessionContext};

/// Everything that a handshake needs.
pub struct HandshakeContext {
    /// What the session that follows needs.
    pub sessions: Arc<SessionContext>,
    /// Who may use the API, and how often.
    pub access: Arc<AccessControl>,
    /// Where connection ids come from.
    pub ids: Arc<ConnectionIds>,
    /// How handshakes are treated.
    pub settings: HandshakeSettings,
    /// What handshakes count.
    pub metrics: Arc<HandshakeMetrics>,
}

/// How handshakes are treated.
#[derive(Debug, Clone)]
pub struct HandshakeSettings {
    /// The name that events give as `domainName` instead of the `Host` header.
    pub domain_name: Option<Arc<str>>,
    /// Whether `X-Forwarded-For` names the client, because a trusted proxy stands in front.
    pub trust_forwarded_for: bool,
    /// How long a client may take to read its `101`.
    pub timeout: Duration,
}

/// Everything that `@connections` needs.
pub struct ManagementContext {
    /// The API whose connections are managed.
    pub api: Arc<WebSocketApi>,
    /// Who may call, and how often.
    pub access: Arc<AccessControl>,
    /// Where a connection is found.
    pub directory: ConnectionDirectory,
    /// Where request ids come from.
    pub ids: Arc<ConnectionIds>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// What calls count.
    pub metrics: Arc<ManagementMetrics>,
}

/// What an API server is made of.
pub struct ApiServerParts {
    /// The API and the functions behind it.
    pub integration: ApiIntegration,
    /// Who may use it, and how often.
    pub access: AccessControl,
    /// Where connection ids come from.
    pub ids: ConnectionIds,
    /// Who takes part when a connection opens and ends.
    pub lifecycle: ConnectionLifecycle,
    /// The connections of other pods; `None` where there are none.
    pub remote: Option<Arc<dyn RemoteConnections>>,
    /// What is counted.
    pub metrics: ShimMetrics,
}

/// One API, served by this process: the contexts of those who serve it.
#[derive(Clone)]
pub struct ApiServer {
    /// For handshakes, and the sessions after them.
    pub handshakes: Arc<HandshakeContext>,
    /// For `@connections`.
    pub management: Arc<ManagementContext>,
    /// What the ops port renders.
    pub metrics: Arc<ShimMetrics>,
}

impl ApiServer {
    /// Builds the contexts, once.
    #[must_use]
    pub fn new(parts: ApiServerParts, server: &ServerConfig, sessions: &SessionConfig) -> Self {
        let ApiServerParts { integration, access, ids, lifecycle, remote, metrics } = parts;
        let (access, ids, metrics) = (Arc::new(access), Arc::new(ids), Arc::new(metrics));
        let management = ManagementContext {
            api: integration.api.clone(),
            access: access.clone(),
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
            trust_forwarded_for: server.trust_forwarded_for,
            timeout: server.handshake_timeout,
        };
        let (sessions, counted) = (Arc::new(sessions), metrics.handshakes.clone());
        let handshakes = HandshakeContext { sessions, access, ids, settings, metrics: counted };
        Self { handshakes: Arc::new(handshakes), management: Arc::new(management), metrics }
    }

    /// The open connections.
    #[must_use]
    pub fn connections(&self) -> &ConnectionIndex {
        &self.lifecycle().connections
    }

    /// Who takes part when a connection opens and ends.
    #[must_use]
    pub fn lifecycle(&self) -> &ConnectionLifecycle {
        &self.handshakes.sessions.lifecycle
    }

    /// What runs `$disconnect` for connections without a session.
    #[must_use]
    pub fn disconnects(&self) -> DisconnectRunner {
        let HandshakeContext { sessions, ids, .. } = &*self.handshakes;
        let (integration, retry) = (sessions.integration.clone(), sessions.lifecycle.disconnect_retry);
        DisconnectRunner { integration, ids: ids.clone(), retry }
    }
}
