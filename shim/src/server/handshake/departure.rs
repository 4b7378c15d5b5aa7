//! A client that leaves while `$connect` runs: the server drops the handshake, and what the handler has done by then is undone by
//! a `$disconnect`. Where there are other pods the [`Enrolment`](crate::cluster::Enrolment) sees to it.

use std::sync::Arc;

use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use gateway::id::EventIds;

use crate::endpoint::Endpoint;
use crate::session::{Stamps, fire};

/// Dropped, it fires the `$disconnect`, unless [`Self::did_not_happen`].
pub(super) struct Departure(Option<(Arc<Endpoint>, Arc<ConnectionFacts>, EventIds)>);

impl Departure {
    /// For the time that `$connect` takes.
    pub(super) fn during_connect(endpoint: &Arc<Endpoint>, facts: &Arc<ConnectionFacts>, ids: &EventIds) -> Self {
        let undone_here = endpoint.registry.is_none() && endpoint.api.routes.has_connect;
        Self(undone_here.then(|| (endpoint.clone(), facts.clone(), ids.clone())))
    }

    /// `$connect` has answered, and the client was there.
    pub(super) fn did_not_happen(mut self) {
        self.0 = None;
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        if let Some((endpoint, facts, ids)) = self.0.take() {
            let tasks = endpoint.tasks.clone();
            tasks.spawn(async move {
                // A failure is logged already.
                let _ = fire(&endpoint, &facts, &mut Stamps::new(ids), &CloseCause::ConnectionLost).await;
            });
        }
    }
}
