//! What the sessions of one API share.

use std::sync::Arc;

use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use gateway::reply::IntegrationError;

use super::{EventStamper, run_disconnect};
use crate::access::Throttle;
use crate::config::SessionConfig;
use crate::connection::{ConnectionIds, ConnectionLifecycle, DisconnectRetry};
use crate::functions::ApiIntegration;
use crate::metrics::SessionMetrics;

/// Everything that a session needs besides its own connection.
pub struct SessionContext {
    /// The API and the functions behind it.
    pub integration: ApiIntegration,
    /// How often the API may be used.
    pub throttle: Arc<Throttle>,
    /// How sessions are run.
    pub settings: SessionConfig,
    /// Who takes part when a connection opens and ends.
    pub lifecycle: ConnectionLifecycle,
    /// What sessions count.
    pub metrics: Arc<SessionMetrics>,
}

/// Runs `$disconnect` for connections without a session: those of dead pods, and those whose first run failed.
#[derive(Clone)]
pub struct DisconnectRunner {
    /// The API and the functions behind it.
    pub integration: ApiIntegration,
    /// Where the ids of the events come from.
    pub ids: Arc<ConnectionIds>,
    /// Whether a run that failed may be repeated.
    pub retry: DisconnectRetry,
}

impl DisconnectRunner {
    /// Runs the `$disconnect` of a connection that ended for `cause`.
    ///
    /// # Errors
    /// How the handler failed; it is logged already.
    pub async fn run(&self, facts: &ConnectionFacts, cause: &CloseCause) -> Result<(), IntegrationError> {
        let mut stamps = EventStamper::new(self.ids.event_ids_of(facts.connection_id));
        run_disconnect(&self.integration, facts, &mut stamps, cause).await
    }
}
