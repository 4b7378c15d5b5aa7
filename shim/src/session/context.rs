//! Dependencies shared by all sessions of an API.

use std::sync::Arc;

use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use gateway::reply::IntegrationError;

use super::{EventStamper, run_disconnect};
use crate::access::RequestThrottle;
use crate::config::SessionConfig;
use crate::connection::{ConnectionIds, ConnectionLifecycle, DisconnectRetry};
use crate::functions::ApiIntegration;
use crate::metrics::SessionMetrics;

/// Dependencies of a session, except its own connection.
pub struct SessionContext {
    /// The API and its functions.
    pub integration: ApiIntegration,
    /// Rate limits of the API.
    pub throttle: Arc<RequestThrottle>,
    /// Limits and timeouts of sessions.
    pub settings: SessionConfig,
    /// Components to notify when a connection opens and closes.
    pub lifecycle: ConnectionLifecycle,
    /// Metrics of sessions.
    pub metrics: Arc<SessionMetrics>,
}

/// Runs `$disconnect` for connections without a session: those of dead pods, and retries of failed runs.
#[derive(Clone)]
pub struct DisconnectRunner {
    /// The API and its functions.
    pub integration: ApiIntegration,
    /// Generator of the event ids.
    pub ids: Arc<ConnectionIds>,
    /// Retry policy of a failed run.
    pub retry: DisconnectRetry,
}

impl DisconnectRunner {
    /// Runs the `$disconnect` of a connection that closed with `cause`.
    ///
    /// # Errors
    /// The handler failed or timed out. The failure is already logged.
    pub async fn run(&self, facts: &ConnectionFacts, cause: &CloseCause) -> Result<(), IntegrationError> {
        let mut event_stamper = EventStamper::new(self.ids.event_ids_of(facts.connection_id));
        run_disconnect(&self.integration, facts, &mut event_stamper, cause).await
    }
}
