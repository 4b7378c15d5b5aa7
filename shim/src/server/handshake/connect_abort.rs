//! Guard for a client that leaves while `$connect` runs.
//!
//! The server then drops the handshake, and a `$disconnect` reverts the handler's effects. In a cluster the
//! [`RegistrationGuard`](crate::connection::RegistrationGuard) runs it instead.

use std::sync::Arc;

use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use gateway::id::EventIds;

use crate::session::{EventStamper, SessionContext, run_disconnect};

/// Runs `$disconnect` when dropped without [`Self::disarm`].
pub(super) struct ConnectAbortGuard(Option<(Arc<SessionContext>, Arc<ConnectionFacts>, EventIds)>);

impl ConnectAbortGuard {
    /// Returns a guard to be held while `$connect` runs.
    pub(super) fn for_connect(sessions: &Arc<SessionContext>, facts: &Arc<ConnectionFacts>, ids: &EventIds) -> Self {
        let is_armed = sessions.lifecycle.registry.is_none() && sessions.integration.api.routes.connect.is_some();
        Self(is_armed.then(|| (sessions.clone(), facts.clone(), ids.clone())))
    }

    /// Cancels the `$disconnect`: `$connect` has returned.
    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for ConnectAbortGuard {
    fn drop(&mut self) {
        if let Some((sessions, facts, ids)) = self.0.take() {
            let tasks = sessions.lifecycle.tasks.clone();
            tasks.spawn(async move {
                // `run_disconnect` has logged a failure.
                let _ = run_disconnect(
                    &sessions.integration,
                    &facts,
                    &mut EventStamper::new(ids),
                    &CloseCause::ConnectionLost,
                )
                .await;
            });
        }
    }
}
