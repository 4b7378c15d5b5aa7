//! A client that leaves while `$connect` runs: the server drops the handshake, and what the handler has done by then is undone by
//! a `$disconnect`. Where there are other pods the [`RegistrationGuard`](crate::connection::RegistrationGuard) sees to it.

use std::sync::Arc;

use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use gateway::id::EventIds;

use crate::session::{EventStamper, SessionContext, run_disconnect};

/// Dropped, it fires the `$disconnect`, unless [`Self::disarm`].
pub(super) struct ConnectAbortGuard(Option<(Arc<SessionContext>, Arc<ConnectionFacts>, EventIds)>);

impl ConnectAbortGuard {
    /// For the time that `$connect` takes.
    pub(super) fn for_connect(sessions: &Arc<SessionContext>, facts: &Arc<ConnectionFacts>, ids: &EventIds) -> Self {
        let undone_here = sessions.lifecycle.registry.is_none() && sessions.integration.api.routes.has_connect;
        Self(undone_here.then(|| (sessions.clone(), facts.clone(), ids.clone())))
    }

    /// `$connect` has answered, and the client was there.
    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for ConnectAbortGuard {
    fn drop(&mut self) {
        if let Some((sessions, facts, ids)) = self.0.take() {
            let tasks = sessions.lifecycle.tasks.clone();
            tasks.spawn(async move {
                // A failure is logged already.
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
