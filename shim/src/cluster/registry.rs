//! This pod's connections, written down where the other pods find them when this one dies.
//!
//! ```text
//! authorizer ── enrol ── $connect ── 101 ── session ── $disconnect ── forget
//!                 └─ Redis away: the handshake fails before anything has happened
//! ```
//! Invariants: a connection is written down before its `$connect` runs and until its `$disconnect` has run, so that no death
//! of a pod leaves one without the other; what this pod no longer holds, another pod finishes, and this one does not. It
//! is API Gateway's own record, not the application's.

mod calls;
mod upkeep;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use gateway::id::GatewayId;
use parking_lot::Mutex;
use tokio::sync::watch;

pub(super) use self::upkeep::Upkeep;

use self::calls::Calls;
use super::ledger::{Ledger, Name};
use super::metrics::ClusterMetrics;
use crate::connection::{ConnectionRegistry, RegisterError, RegistrationGuard};

/// Most ids that wait to be struck off. Beyond it they are not remembered one by one: the next comparison with Redis finds
/// them.
const UNSTRUCK: usize = 1 << 18;

/// The connections that this pod has to finish; clones share them.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

struct Shared {
    ledger: Ledger,
    lease: watch::Receiver<Name>,
    /// At most `limit`. What is in here is written down, or is about to be.
    held: DashMap<GatewayId, Held, RandomState>,
    limit: usize,
    pending: Mutex<Pending>,
    /// Whether what Redis has may differ from `held` by more than `pending` says.
    doubtful: AtomicBool,
    /// Told of each comparison behind which Redis has all that is held.
    compared: watch::Sender<()>,
    calls: Calls,
    metrics: Arc<ClusterMetrics>,
}

struct Held {
    facts: Arc<ConnectionFacts>,
    unfinished: Option<Box<Unfinished>>,
}

/// A connection that has ended and whose `$disconnect` has not run.
#[derive(Clone)]
struct Unfinished {
    cause: CloseCause,
    attempts: u8,
}

#[derive(Default)]
struct Pending {
    strike: VecDeque<GatewayId>,
    finish: Vec<GatewayId>,
}

impl Registry {
    /// A registry that holds at most `limit` connections and writes them down under the present name of `lease`.
    pub(super) fn new(
        ledger: Ledger,
        lease: watch::Receiver<Name>,
        limit: usize,
        metrics: Arc<ClusterMetrics>,
    ) -> Self {
        let shared = Shared {
            ledger,
            lease,
            held: DashMap::default(),
            limit,
            pending: Mutex::default(),
            doubtful: AtomicBool::new(false),
            compared: watch::Sender::new(()),
            calls: Calls::default(),
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Lets go of all connections, because other pods finish them; answers how many there were.
    pub(super) fn surrender(&self) -> usize {
        let count = self.shared.held.len();
        self.shared.held.clear();
        *self.shared.pending.lock() = Pending::default();
        count
    }

    /// Has Redis compared with what is held: it may have forgotten some, or not have heard of ends.
    pub(super) fn doubt(&self) {
        self.shared.doubtful.store(true, Ordering::Release);
        self.shared.calls.doubt();
    }

    /// Changes with each comparison behind which Redis has all that is held.
    pub(super) fn comparisons(&self) -> watch::Receiver<()> {
        self.shared.compared.subscribe()
    }

    /// How many connections this pod has to finish.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.held.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.held.is_empty()
    }
}

#[async_trait]
impl ConnectionRegistry for Registry {
    /// One command.
    async fn register(&self, facts: &Arc<ConnectionFacts>) -> Result<RegistrationGuard, RegisterError> {
        let shared = &self.shared;
        let (id, name) = (facts.connection_id, shared.lease.borrow().clone());
        if id.node() != name.node() {
            return Err(RegisterError::Fenced);
        }
        if shared.held.len() >= shared.limit {
            return Err(RegisterError::Full);
        }
        // Before the command, so that a comparison with Redis meanwhile does not take it for a leftover. From here on the
        // guard takes it out again, also when this future is dropped.
        shared.held.insert(id, Held { facts: facts.clone(), unfinished: None });
        let guard = RegistrationGuard::pending(Arc::new(self.clone()), id);
        let written = shared.ledger.enrol(&name, &[(id, facts.to_record())]).await;
        if matches!(written, Ok(true)) && self.holds(id) {
            return Ok(guard.registered());
        }
        Err(written.map_or_else(|error| RegisterError::Store(error.into()), |_| RegisterError::Fenced))
    }

    fn holds(&self, id: GatewayId) -> bool {
        self.shared.held.contains_key(&id)
    }

    fn is_current(&self, id: GatewayId) -> bool {
        self.holds(id) && id.node() == self.shared.lease.borrow().node()
    }

    fn forget(&self, id: GatewayId) {
        self.shared.held.remove(&id);
        let mut pending = self.shared.pending.lock();
        if pending.strike.len() < UNSTRUCK {
            pending.strike.push_back(id);
        } else {
            self.shared.doubtful.store(true, Ordering::Release);
        }
        drop(pending);
        self.shared.calls.work();
    }

    fn leave_unfinished(&self, id: GatewayId, cause: &CloseCause) {
        let Some(mut held) = self.shared.held.get_mut(&id) else { return };
        held.unfinished = Some(Box::new(Unfinished { cause: cause.clone(), attempts: 0 }));
        drop(held);
        // No more than `held` has.
        self.shared.pending.lock().finish.push(id);
        self.shared.calls.work();
    }

    fn reclaim(&self, facts: &Arc<ConnectionFacts>) {
        self.shared.held.insert(facts.connection_id, Held { facts: facts.clone(), unfinished: None });
    }
}
