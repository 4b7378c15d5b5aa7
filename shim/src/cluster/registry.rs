//! Registry of this pod's connections in Redis, from which peers reap them when this pod dies.
//!
//! ```text
//! authorizer ── register ── $connect ── 101 ── session ── $disconnect ── delete
//!                  └─ Redis unavailable: the handshake fails before `$connect` runs
//! ```
//! Guarantees: a connection is registered from before its `$connect` until after its `$disconnect`, so a pod's death
//! never leaves a `$connect` without a `$disconnect`. For a connection that this pod no longer owns, another pod runs
//! `$disconnect`, and this one does not. The record is API Gateway's own, not the application's.

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

/// Maximum number of ids queued for deletion. Further ids are not queued: the next resync finds their records.
const MAX_QUEUED_DELETIONS: usize = 1 << 18;

/// Connections whose `$disconnect` this pod has to run; clones share the state.
#[derive(Clone)]
pub struct ClusterRegistry {
    inner: Arc<RegistryInner>,
}

struct RegistryInner {
    lease_store: LeaseStore,
    lease_id: watch::Receiver<LeaseId>,
    /// Connections that are registered in Redis or being registered: at most `max_connections`.
    connections: DashMap<GatewayId, RegisteredConnection, RandomState>,
    max_connections: usize,
    queued: Mutex<QueuedWork>,
    /// Set when Redis may differ from `connections` by more than the queued deletions.
    needs_resync: AtomicBool,
    /// Notified after each resync that left Redis with all of `connections`.
    resynced: watch::Sender<()>,
    wakeups: MaintenanceWakeups,
    metrics: Arc<ClusterMetrics>,
}

struct RegisteredConnection {
    facts: Arc<ConnectionFacts>,
    pending_disconnect: Option<Box<PendingDisconnect>>,
}

/// An ended connection whose `$disconnect` has not run successfully.
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
    /// Creates a registry of at most `max_connections` connections, which it registers under the current `lease_id`.
    pub(super) fn new(
        lease_store: LeaseStore,
        lease_id: watch::Receiver<LeaseId>,
        max_connections: usize,
        metrics: Arc<ClusterMetrics>,
    ) -> Self {
        let inner = RegistryInner {
            lease_store,
            lease_id,
            connections: DashMap::default(),
            max_connections,
            queued: Mutex::default(),
            needs_resync: AtomicBool::new(false),
            resynced: watch::Sender::new(()),
            wakeups: MaintenanceWakeups::default(),
            metrics,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Releases all connections, because other pods run their `$disconnect`. Returns how many there were.
    pub(super) fn release_all(&self) -> usize {
        let count = self.inner.connections.len();
        self.inner.connections.clear();
        *self.inner.queued.lock() = QueuedWork::default();
        count
    }

    /// Requests a resync with Redis, which may lack registered connections or still have deleted ones.
    pub(super) fn request_resync(&self) {
        self.inner.needs_resync.store(true, Ordering::Release);
        self.inner.wakeups.notify_resync();
    }

    /// Returns a receiver that changes after each successful resync.
    pub(super) fn watch_resyncs(&self) -> watch::Receiver<()> {
        self.inner.resynced.subscribe()
    }

    /// Returns the number of connections whose `$disconnect` this pod has to run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.connections.len()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.connections.is_empty()
    }
}

#[async_trait]
impl ConnectionRegistry for ClusterRegistry {
    /// Registers the connection with one command.
    async fn register(&self, facts: &Arc<ConnectionFacts>) -> Result<RegistrationGuard, RegisterError> {
        let inner = &self.inner;
        let (id, lease_id) = (facts.connection_id, inner.lease_id.borrow().clone());
        if id.node_id() != lease_id.node_id() {
            return Err(RegisterError::Fenced);
        }
        if inner.connections.len() >= inner.max_connections {
            return Err(RegisterError::LimitReached);
        }
        // Inserted before the command, so that a concurrent resync does not delete the new record. From here on the
        // guard removes the entry, also when this future is dropped.
        inner.connections.insert(id, RegisteredConnection { facts: facts.clone(), pending_disconnect: None });
        let guard = RegistrationGuard::pending(Arc::new(self.clone()), id);
        let registered = inner.lease_store.register_connections(&lease_id, &[(id, facts.to_record())]).await;
        if matches!(registered, Ok(true)) && self.owns_connection(id) {
            return Ok(guard.registered());
        }
        Err(registered.map_or_else(|error| RegisterError::Store(error.into()), |_| RegisterError::Fenced))
    }

    fn owns_connection(&self, id: GatewayId) -> bool {
        self.inner.connections.contains_key(&id)
    }

    fn is_current(&self, id: GatewayId) -> bool {
        self.owns_connection(id) && id.node_id() == self.inner.lease_id.borrow().node_id()
    }

    fn delete_connection(&self, id: GatewayId) {
        self.inner.connections.remove(&id);
        let mut queued = self.inner.queued.lock();
        if queued.deletions.len() < MAX_QUEUED_DELETIONS {
            queued.deletions.push_back(id);
        } else {
            self.inner.needs_resync.store(true, Ordering::Release);
        }
        drop(queued);
        self.inner.wakeups.notify_work();
    }

    fn defer_disconnect(&self, id: GatewayId, cause: &CloseCause) {
        let Some(mut connection) = self.inner.connections.get_mut(&id) else { return };
        connection.pending_disconnect = Some(Box::new(PendingDisconnect { cause: cause.clone(), attempts: 0 }));
        drop(connection);
        // Bounded by the number of connections.
        self.inner.queued.lock().disconnects.push(id);
        self.inner.wakeups.notify_work();
    }

    fn reclaim(&self, facts: &Arc<ConnectionFacts>) {
        self.inner
            .connections
            .insert(facts.connection_id, RegisteredConnection { facts: facts.clone(), pending_disconnect: None });
    }
}
