//! This pod's connections, written down where the other pods find them when this one dies.
//!
//! ```text
//! authorizer ── enrol ── $connect ── 101 ── session ── $disconnect ── forget
//!                 └─ Redis away: the handshake fails before anything has happened
//! ```
//! Invariants: a connection is written down before its `$connect` runs and until its `$disconnect` has run, so that no death
//! of a pod leaves one without the other; what this pod no longer holds, another pod finishes, and this one does not. It
//! is API Gateway's own record, not the application's.

mod maintenance;
mod wakeups;

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

pub(super) use self::maintenance::RegistryMaintenance;

use self::wakeups::MaintenanceWakeups;
use super::lease_store::{LeaseId, LeaseStore};
use super::metrics::ClusterMetrics;
use crate::connection::{ConnectionRegistry, RegisterError, RegistrationGuard};

/// Most ids that wait to be struck off. Beyond it they are not remembered one by one: the next comparison with Redis finds
/// them.
const MAX_QUEUED_DELETIONS: usize = 1 << 18;

/// The connections that this pod has to finish; clones share them.
#[derive(Clone)]
pub struct ClusterRegistry {
    inner: Arc<RegistryInner>,
}

struct RegistryInner {
    lease_store: LeaseStore,
    lease_id: watch::Receiver<LeaseId>,
    /// At most `limit`. What is in here is written down, or is about to be.
    connections: DashMap<GatewayId, RegisteredConnection, RandomState>,
    max_connections: usize,
    queued: Mutex<QueuedWork>,
    /// Whether what Redis has may differ from `held` by more than `pending` says.
    needs_resync: AtomicBool,
    /// Told of each comparison behind which Redis has all that is held.
    resynced: watch::Sender<()>,
    wakeups: MaintenanceWakeups,
    metrics: Arc<ClusterMetrics>,
}

struct RegisteredConnection {
    facts: Arc<ConnectionFacts>,
    pending_disconnect: Option<Box<PendingDisconnect>>,
}

/// A connection that has ended and whose `$disconnect` has not run.
#[derive(Clone)]
struct PendingDisconnect {
    cause: CloseCause,
    attempts: u8,
}

#[derive(Default)]
struct QueuedWork {
    deletions: VecDeque<GatewayId>,
    disconnects: Vec<GatewayId>,
}

impl ClusterRegistry {
    /// A registry that holds at most `limit` connections and writes them down under the present name of `lease`.
    pub(super) fn new(
        ledger: LeaseStore,
        lease: watch::Receiver<LeaseId>,
        limit: usize,
        metrics: Arc<ClusterMetrics>,
    ) -> Self {
        let shared = RegistryInner {
            lease_store: ledger,
            lease_id: lease,
            connections: DashMap::default(),
            max_connections: limit,
            queued: Mutex::default(),
            needs_resync: AtomicBool::new(false),
            resynced: watch::Sender::new(()),
            wakeups: MaintenanceWakeups::default(),
            metrics,
        };
        Self { inner: Arc::new(shared) }
    }

    /// Lets go of all connections, because other pods finish them; answers how many there were.
    pub(super) fn release_all(&self) -> usize {
        let count = self.inner.connections.len();
        self.inner.connections.clear();
        *self.inner.queued.lock() = QueuedWork::default();
        count
    }

    /// Has Redis compared with what is held: it may have forgotten some, or not have heard of ends.
    pub(super) fn request_resync(&self) {
        self.inner.needs_resync.store(true, Ordering::Release);
        self.inner.wakeups.notify_resync();
    }

    /// Changes with each comparison behind which Redis has all that is held.
    pub(super) fn watch_resyncs(&self) -> watch::Receiver<()> {
        self.inner.resynced.subscribe()
    }

    /// How many connections this pod has to finish.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.connections.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.connections.is_empty()
    }
}

#[async_trait]
impl ConnectionRegistry for ClusterRegistry {
    /// One command.
    async fn register(&self, facts: &Arc<ConnectionFacts>) -> Result<RegistrationGuard, RegisterError> {
        let shared = &self.inner;
        let (id, name) = (facts.connection_id, shared.lease_id.borrow().clone());
        if id.node_id() != name.node_id() {
            return Err(RegisterError::Fenced);
        }
        if shared.connections.len() >= shared.max_connections {
            return Err(RegisterError::LimitReached);
        }
        // Before the command, so that a comparison with Redis meanwhile does not take it for a leftover. From here on the
        // guard takes it out again, also when this future is dropped.
        shared.connections.insert(id, RegisteredConnection { facts: facts.clone(), pending_disconnect: None });
        let guard = RegistrationGuard::pending(Arc::new(self.clone()), id);
        let written = shared.lease_store.register_connections(&name, &[(id, facts.to_record())]).await;
        if matches!(written, Ok(true)) && self.owns_connection(id) {
            return Ok(guard.registered());
        }
        Err(written.map_or_else(|error| RegisterError::Store(error.into()), |_| RegisterError::Fenced))
    }

    fn owns_connection(&self, id: GatewayId) -> bool {
        self.inner.connections.contains_key(&id)
    }

    fn is_current(&self, id: GatewayId) -> bool {
        self.owns_connection(id) && id.node_id() == self.inner.lease_id.borrow().node_id()
    }

    fn delete_connection(&self, id: GatewayId) {
        self.inner.connections.remove(&id);
        let mut pending = self.inner.queued.lock();
        if pending.deletions.len() < MAX_QUEUED_DELETIONS {
            pending.deletions.push_back(id);
        } else {
            self.inner.needs_resync.store(true, Ordering::Release);
        }
        drop(pending);
        self.inner.wakeups.notify_work();
    }

    fn defer_disconnect(&self, id: GatewayId, cause: &CloseCause) {
        let Some(mut held) = self.inner.connections.get_mut(&id) else { return };
        held.pending_disconnect = Some(Box::new(PendingDisconnect { cause: cause.clone(), attempts: 0 }));
        drop(held);
        // No more than `held` has.
        self.inner.queued.lock().disconnects.push(id);
        self.inner.wakeups.notify_work();
    }

    fn reclaim(&self, facts: &Arc<ConnectionFacts>) {
        self.inner
            .connections
            .insert(facts.connection_id, RegisteredConnection { facts: facts.clone(), pending_disconnect: None });
    }
}
