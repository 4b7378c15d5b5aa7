//! Registry of this pod's connections in Redis, from which peers reap them when this pod dies.
//!
//! ```text
//! authorizer ── register ── $connect ── 101 ── session ── $disconnect ── delete
//!                  └─ Redis unavailable: the handshake fails before `$connect` runs
//! ```
//! Guarantees: a connection is registered from before its `$connect` until after its `$disconnect`, so a pod's death
//! never leaves a `$connect` without a `$disconnect`. For a connection that this pod no longer owns, another pod runs
//! `$disconnect`, and this one does not. The record is API Gateway's own, not the application's.

mod connections;
mod maintenance;
mod queue;
mod wakeups;

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use gateway::id::GatewayId;
use handlers::ports::StoreError;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

pub(super) use self::connections::RegisteredConnections;
pub(super) use self::maintenance::RegistryMaintenance;

use self::queue::MaintenanceQueue;
use super::journal::{ConnectionJournal, JournalEvent, JournalSource};
use super::lease_store::{LeaseId, LeaseStore};
use crate::connection::{ConnectionRegistry, RegisterError, RegistrationGuard};
use crate::redis::{RedisClientError, RedisRevocations};

/// Maximum number of connections per command, for registering, looking up and deleting.
const MAX_IDS_PER_COMMAND: usize = 256;

/// Maximum time that a command or a `$disconnect` waits until this pod has registered its connections again after a
/// loss of data: a heartbeat, which is sent at once, and the registration.
const MAX_RESYNC_WAIT: Duration = Duration::from_secs(5);

/// Writes the application's record of a connection again.
#[async_trait]
pub(super) trait RecordRestorer: Send + Sync {
    /// Restores the record of an open connection of this pod, if it is missing or lacks joined channels.
    ///
    /// # Errors
    /// The store failed; the record may have been written.
    async fn restore_record(&self, id: GatewayId) -> Result<(), StoreError>;
}

/// Connections whose `$disconnect` this pod has to run; clones share the state.
#[derive(Clone)]
pub struct ClusterRegistry {
    inner: Arc<RegistryInner>,
}

struct RegistryInner {
    lease: OwnLease,
    connections: RegisteredConnections,
    queue: MaintenanceQueue,
    /// Changes after each resync that left Redis with all registered connections, and when all were released.
    resynced: watch::Sender<()>,
    /// Wakes the heartbeat task.
    heartbeat_requests: Notify,
    restorer: OnceLock<Weak<dyn RecordRestorer>>,
    revocations: OnceLock<Arc<RedisRevocations>>,
    journal: OnceLock<ConnectionJournal>,
}

/// The lease of this pod, under which its connections are registered.
struct OwnLease {
    store: LeaseStore,
    current_id: watch::Receiver<LeaseId>,
}

impl OwnLease {
    fn id(&self) -> LeaseId {
        self.current_id.borrow().clone()
    }
}

impl ClusterRegistry {
    /// Creates a registry of at most `max_connections` connections, which it registers under the current `lease_id`.
    pub(super) fn new(lease_store: LeaseStore, lease_id: watch::Receiver<LeaseId>, max_connections: usize) -> Self {
        let inner = RegistryInner {
            lease: OwnLease { store: lease_store, current_id: lease_id },
            connections: RegisteredConnections::new(max_connections),
            queue: MaintenanceQueue::default(),
            resynced: watch::Sender::new(()),
            heartbeat_requests: Notify::new(),
            restorer: OnceLock::new(),
            revocations: OnceLock::new(),
            journal: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Releases all connections, because other pods run their `$disconnect`. Returns how many there were.
    pub(super) fn release_all(&self) -> usize {
        let count = self.inner.connections.remove_all();
        self.inner.queue.discard_all();
        self.inner.record_event(|| JournalEvent::Released);
        self.inner.resynced.send_replace(());
        count
    }

    /// Sets the journal. Only the first call has an effect.
    pub(super) fn attach_journal(&self, journal: ConnectionJournal) {
        let _ = self.inner.journal.set(journal);
    }

    /// Returns the journal, if there is one.
    pub(super) fn journal(&self) -> Option<&ConnectionJournal> {
        self.inner.journal.get()
    }

    /// Returns the registered connections, which the journal writes when it writes its file again.
    pub(super) fn journal_source(&self) -> Weak<dyn JournalSource> {
        let source: Arc<dyn JournalSource> = self.inner.clone();
        Arc::downgrade(&source)
    }

    /// Sets the component that restores the application's records. Only the first call has an effect.
    pub(super) fn restore_records_with(&self, restorer: Weak<dyn RecordRestorer>) {
        let _ = self.inner.restorer.set(restorer);
    }

    /// Sets the revocations, which a resync restores. Only the first call has an effect.
    pub fn attach_revocations(&self, revocations: Arc<RedisRevocations>) {
        let _ = self.inner.revocations.set(revocations);
    }

    /// Waits for the next request of a heartbeat.
    pub(super) async fn heartbeat_requested(&self) {
        self.inner.heartbeat_requests.notified().await;
    }

    /// Returns whether this pod holds its lease. If not, requests a heartbeat, which claims the lease again after a
    /// loss of data.
    async fn holds_lease(&self) -> bool {
        let RegistryInner { lease, heartbeat_requests, .. } = &*self.inner;
        let held = lease.store.register_connections(&lease.id(), &[]).await;
        if matches!(held, Ok(false)) {
            heartbeat_requests.notify_one();
        }
        matches!(held, Ok(true))
    }

    /// Makes sure that Redis has the registration of a connection, so that another pod runs its `$disconnect` if this
    /// one dies. While this pod does not hold its lease, for example because Redis lost its data, waits until it does
    /// and has registered its connections again, at most [`MAX_RESYNC_WAIT`]. Returns `false` for a connection that
    /// this pod does not own any more.
    ///
    /// # Errors
    /// Redis failed, or the wait was too long.
    pub(super) async fn confirm_registration(&self, id: GatewayId) -> Result<bool, RedisClientError> {
        let RegistryInner { lease, connections, resynced, heartbeat_requests, .. } = &*self.inner;
        let mut resynced = resynced.subscribe();
        loop {
            let Some(facts) = connections.find_facts(id) else { return Ok(false) };
            if lease.store.register_connections(&lease.id(), &[(id, facts.to_record())]).await? {
                return Ok(connections.contains(id));
            }
            heartbeat_requests.notify_one();
            let changed = timeout(MAX_RESYNC_WAIT, resynced.changed()).await;
            changed.map_err(|_| RedisClientError::Timeout)?.map_err(|_| RedisClientError::Timeout)?;
        }
    }

    /// Returns the application's records of the connections, as far as this pod knows.
    pub(super) fn records(&self) -> &RegisteredConnections {
        &self.inner.connections
    }

    /// Requests a resync with Redis, which may lack registered connections or still have deleted ones.
    pub(super) fn request_resync(&self) {
        self.inner.queue.request_resync();
    }

    /// Deletes the records of ended connections, batch by batch. Ids stay queued until their deletion succeeds.
    pub(super) async fn flush_deletions(&self) -> Result<(), RedisClientError> {
        let RegistryInner { lease, queue, .. } = &*self.inner;
        loop {
            let ids = queue.next_deletions(MAX_IDS_PER_COMMAND);
            if ids.is_empty() {
                return Ok(());
            }
            lease.store.delete_connections(&lease.id(), &ids).await?;
            queue.remove_deletions(&ids);
        }
    }

    /// Returns the number of connections whose `$disconnect` this pod has to run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.connections.len()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[async_trait]
impl ConnectionRegistry for ClusterRegistry {
    /// Registers the connection with one command.
    async fn register(&self, facts: &Arc<ConnectionFacts>) -> Result<RegistrationGuard, RegisterError> {
        let RegistryInner { lease, connections, .. } = &*self.inner;
        let (id, lease_id) = (facts.connection_id, lease.id());
        if id.node_id() != lease_id.node_id() {
            return Err(RegisterError::Fenced);
        }
        // Inserted before the command, so that a concurrent resync does not delete the new record. From here on the
        // guard removes the entry, also when this future is dropped.
        if !connections.insert_within_limit(facts) {
            return Err(RegisterError::LimitReached);
        }
        let guard = RegistrationGuard::pending(Arc::new(self.clone()), id);
        let record = facts.to_record();
        self.inner.record_event(|| JournalEvent::Opened(id, record.clone()));
        let registered = lease.store.register_connections(&lease_id, &[(id, record)]).await;
        if matches!(registered, Ok(true)) && self.owns_connection(id) {
            return Ok(guard.registered());
        }
        Err(registered.map_or_else(|error| RegisterError::Store(error.into()), |_| RegisterError::Fenced))
    }

    fn owns_connection(&self, id: GatewayId) -> bool {
        self.inner.connections.contains(id)
    }

    fn is_current(&self, id: GatewayId) -> bool {
        self.owns_connection(id) && id.node_id() == self.inner.lease.current_id.borrow().node_id()
    }

    fn delete_connection(&self, id: GatewayId) {
        self.inner.connections.remove(id);
        self.inner.record_event(|| JournalEvent::Ended(id));
        self.inner.queue.push_deletion(id);
    }

    fn defer_disconnect(&self, id: GatewayId, cause: &CloseCause) {
        if self.inner.connections.mark_ended(id, cause) {
            self.inner.queue.push_disconnect(id);
        }
    }

    fn reclaim(&self, facts: &Arc<ConnectionFacts>) {
        self.inner.connections.insert(facts);
        self.inner.record_event(|| JournalEvent::Opened(facts.connection_id, facts.to_record()));
    }
}

impl RegistryInner {
    fn record_event(&self, event: impl FnOnce() -> JournalEvent) {
        if let Some(journal) = self.journal.get() {
            journal.record(event());
        }
    }
}

impl JournalSource for RegistryInner {
    fn for_each_record(&self, each: &mut dyn FnMut(GatewayId, &[u8])) {
        self.connections.for_each(|facts| each(facts.connection_id, &facts.to_record()));
    }
}
