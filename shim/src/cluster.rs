//! Cluster membership of this pod: node id, lease, connection registry and the reaper of dead pods.
//!
//! ```text
//! join: claim a node id ── heartbeats ── … ── leave: release the lease
//!                             ├─ Redis lost its data ── claim the same node id, register all connections again
//!                             ├─ this pod was fenced ── close all connections (1012), claim another node id, continue
//!                             └─ a peer's lease expired ── fence the peer, run `$disconnect` for its connections (`reaper`)
//! ```
//! Guarantees: no two live pods have the same node id; the effects of a connection's `$disconnect` happen once,
//! whichever pod runs it; a Redis outage never closes a client connection. Delivery between pods is the task of `bus`
//! and `hub`. Design: `docs/adr/0013-leases-and-reaper.md`.

pub mod lease_store;

mod heartbeat;
mod journal;
mod metrics;
mod namespace;
mod nodes;
mod peer_connections;
mod reaper;
mod registry;
mod restoring_connections;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use handlers::ports::Clock;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::metrics::ClusterMetrics;
pub use self::namespace::NamespaceIdentity;
pub use self::nodes::LeasedNodes;
pub use self::registry::ClusterRegistry;
pub use self::restoring_connections::RestoringConnections;

use self::heartbeat::HeartbeatTask;
use self::journal::{ConnectionJournal, JournalHeader, LostPodJournal};
use self::lease_store::{ClaimedLease, LeaseId, LeaseStore, ReleaseOutcome};
use self::peer_connections::RegisteredPeerConnections;
use self::reaper::Reaper;
use self::registry::RegistryMaintenance;
use crate::config::{ClusterConfig, JournalConfig};
use crate::drain::{ConnectionDrain, PeerConnections};
use crate::readiness::Readiness;
use crate::redis::{RedisClient, RedisClientError};
use crate::session::DisconnectRunner;

/// Random node ids that one attempt tries. It is unlikely that all of them are in use unless most of the 65,535 node
/// ids are.
const NODE_IDS_PER_ATTEMPT: usize = 16;
/// Attempts before [`Cluster::join`] fails.
const MAX_CLAIM_ATTEMPTS: usize = 4;
/// Timeout of releasing the lease. After it the lease expires by itself.
const LEASE_RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Error of [`Cluster::join`].
#[derive(Debug, thiserror::Error)]
pub enum ClusterJoinError {
    /// A Redis command failed.
    #[error("claiming a node id in Redis failed")]
    Redis(#[from] RedisClientError),
    /// The namespace belongs to a deployment with other secrets. The text says what to change.
    #[error(
        "another deployment uses {namespace} of this Redis: its signing secret and identity provider are not the ones \
         configured here; give this deployment its own redis.prefix or database number; after a change of auth.secret, \
         list the old one in auth.previous_secrets; if issuer, audience or provider were changed on purpose, or the \
         other deployment no longer exists, delete the key {key}"
    )]
    ForeignNamespace {
        /// Prefix and database number.
        namespace: String,
        /// Key of the stored fingerprints.
        key: String,
    },
    /// The configured directory of the journal cannot be used.
    #[error(
        "the journal of the connections cannot be written to {path}: {source}; grant this user write permission, set \
         another cluster.journal_dir, or set it to off"
    )]
    Journal {
        /// `cluster.journal_dir`.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// No candidate was free: nearly all node ids belong to pods that are live or still being reaped.
    #[error("no free node id: {} random ids of 65,535 are all in use", NODE_IDS_PER_ATTEMPT * MAX_CLAIM_ATTEMPTS)]
    NoFreeNodeId,
    /// The operating system returned no random bytes.
    #[error("the operating system's random source failed")]
    RandomSource(#[from] getrandom::Error),
}

/// This pod's membership in the cluster.
pub struct Cluster {
    inner: Arc<ClusterInner>,
}

/// State shared by the cluster's background tasks.
struct ClusterInner {
    lease_store: LeaseStore,
    redis: RedisClient,
    settings: ClusterConfig,
    lease_id: watch::Sender<LeaseId>,
    data_epoch: Arc<Mutex<String>>,
    namespace: NamespaceIdentity,
    registry: ClusterRegistry,
    metrics: Arc<ClusterMetrics>,
    clock: Arc<dyn Clock>,
}

/// Pods to reap, as reported by the latest heartbeat.
#[derive(Debug, Clone, Default)]
struct ReapablePods {
    expired: Vec<LeaseId>,
    fenced: Vec<LeaseId>,
}

/// Parts of the server that the cluster's tasks act on.
pub struct ServerContext {
    /// Runs the `$disconnect`s of dead pods, and the retried ones of this pod. Its id generator gets the node id.
    pub disconnects: DisconnectRunner,
    /// Closes connections in batches when the lease is lost.
    pub drain: ConnectionDrain,
    /// Availability of Redis and of the lease, reported on the ops port.
    pub readiness: Arc<Readiness>,
}

impl Cluster {
    /// Claims the namespace and a random node id. The registry accepts at most `max_connections` connections, including those whose
    /// `$disconnect` is pending.
    ///
    /// # Errors
    /// Returns [`ClusterJoinError`] when Redis fails, another deployment uses the namespace, or no free node id is found.
    pub async fn join(
        redis: RedisClient,
        namespace: NamespaceIdentity,
        settings: ClusterConfig,
        max_connections: usize,
        clock: Arc<dyn Clock>,
        metrics: Arc<ClusterMetrics>,
    ) -> Result<Self, ClusterJoinError> {
        claim_namespace(&namespace, &redis).await?;
        let lease_store = LeaseStore::new(redis.clone(), settings.lease);
        let journals = find_journals(&settings, &redis)?;
        let ClaimedLease { lease_id, data_epoch } = claim_random_node_id(&lease_store, &*clock).await?;
        tracing::info!(pod = %lease_id, "joined the cluster");
        journal::restore_lost_pods(&lease_store, journals).await?;
        let lease_id = watch::Sender::new(lease_id);
        let registry = ClusterRegistry::new(lease_store.clone(), lease_id.subscribe(), max_connections);
        start_journal(&registry, &settings, &redis, &lease_id.borrow(), &data_epoch)?;
        let data_epoch = Arc::new(Mutex::new(data_epoch));
        let inner =
            ClusterInner { lease_store, redis, settings, lease_id, data_epoch, namespace, registry, metrics, clock };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns the node id in the ids of new connections. It changes when the lease is lost.
    #[must_use]
    pub fn node_id(&self) -> u16 {
        self.inner.lease_id().node_id()
    }

    /// Returns the registry of this pod's connections.
    #[must_use]
    pub fn connection_registry(&self) -> ClusterRegistry {
        self.inner.registry.clone()
    }

    /// Returns the liveness of node ids, for cross-pod requests.
    #[must_use]
    pub fn leased_nodes(&self) -> Arc<LeasedNodes> {
        Arc::new(LeasedNodes::new(
            self.inner.lease_store.clone(),
            self.inner.lease_id.subscribe(),
            self.inner.settings.heartbeat,
        ))
    }

    /// Returns the number of connections of the other pods, for the pace of a drain.
    #[must_use]
    pub fn peer_connections(&self) -> Arc<dyn PeerConnections> {
        let (lease_store, lease_id) = (self.inner.lease_store.clone(), self.inner.lease_id.subscribe());
        Arc::new(RegisteredPeerConnections { lease_store, lease_id })
    }

    /// Spawns the heartbeat, the registry maintenance and the reaper. They run until `stop`, which should follow the
    /// drain.
    pub fn spawn_tasks(&self, server: ServerContext, tasks: &TaskTracker, stop: &CancellationToken) {
        let inner = &self.inner;
        let disconnects = &server.disconnects;
        disconnects.ids.set_node_id(self.node_id());
        let (reapable_sender, reapable) = watch::channel(ReapablePods::default());
        let reaper = Reaper::new(inner.clone(), disconnects.clone(), server.readiness.clone());
        tasks.spawn(reaper.run(reapable, stop.clone()));
        let maintenance = RegistryMaintenance::new(
            inner.registry.clone(),
            disconnects.clone(),
            inner.redis.link_state(),
            inner.metrics.pending_disconnects.clone(),
            inner.data_epoch.clone(),
        );
        tasks.spawn(maintenance.run(stop.clone()));
        let heartbeat = HeartbeatTask::new(inner.clone(), server, reapable_sender);
        heartbeat.spawn_thread(tasks, stop.clone());
    }

    /// Flushes pending deletions and releases the lease. Called after the tasks have stopped, so that peers need not
    /// wait for the lease to expire.
    pub async fn leave(&self) {
        let release = async {
            self.inner.registry.flush_deletions().await?;
            self.inner.lease_store.release_lease(&self.inner.lease_id()).await
        };
        match tokio::time::timeout(LEASE_RELEASE_TIMEOUT, release).await {
            Ok(Ok(ReleaseOutcome::Freed)) => {
                if let Some(journal) = self.inner.registry.journal() {
                    journal.discard();
                }
                tracing::info!(pod = %self.inner.lease_id(), "left the cluster");
            }
            Ok(Ok(ReleaseOutcome::Expired)) => tracing::warn!(
                "left the cluster: lease expired with open connections; other pods run their $disconnect"
            ),
            Ok(Ok(ReleaseOutcome::NotHeld)) => tracing::warn!("left the cluster: the lease had already been lost"),
            Ok(Err(error)) => {
                tracing::warn!(error = %errors::chain(&error), "lease release failed; the lease expires by itself")
            }
            Err(_) => tracing::warn!("lease release timed out; the lease expires by itself"),
        }
    }
}

impl ClusterInner {
    fn lease_id(&self) -> LeaseId {
        self.lease_id.borrow().clone()
    }
}

/// Claims the namespace for this deployment.
async fn claim_namespace(namespace: &NamespaceIdentity, redis: &RedisClient) -> Result<(), ClusterJoinError> {
    if namespace.claim_namespace(redis).await? {
        return Ok(());
    }
    let (namespace, key) = (redis.namespace_name(), redis.prefixed_key(namespace::NAMESPACE_KEY));
    Err(ClusterJoinError::ForeignNamespace { namespace, key })
}

/// Returns the journals of dead pods. An unusable default directory only disables the journal.
fn find_journals(settings: &ClusterConfig, redis: &RedisClient) -> Result<Vec<LostPodJournal>, ClusterJoinError> {
    let Some(directory) = settings.journal.directory() else { return Ok(Vec::new()) };
    let found = journal::find_lost_pods(directory, &redis.namespace_name());
    found.or_else(|source| journal_error(&settings.journal, directory, source).map(|()| Vec::new()))
}

/// Starts the journal of this pod, unless it is disabled.
fn start_journal(
    registry: &ClusterRegistry,
    settings: &ClusterConfig,
    redis: &RedisClient,
    lease_id: &LeaseId,
    data_epoch: &str,
) -> Result<(), ClusterJoinError> {
    let Some(directory) = settings.journal.directory() else { return Ok(()) };
    let header = JournalHeader { lease_id: lease_id.clone(), data_epoch: data_epoch.to_owned() };
    match ConnectionJournal::start(directory, &redis.namespace_name(), header, registry.journal_source()) {
        Ok(journal) => {
            registry.attach_journal(journal);
            Ok(())
        }
        Err(source) => journal_error(&settings.journal, directory, source),
    }
}

/// Returns the error of a configured directory. For the default one, logs it.
fn journal_error(journal: &JournalConfig, directory: &Path, source: io::Error) -> Result<(), ClusterJoinError> {
    let path = directory.to_owned();
    if matches!(journal, JournalConfig::Configured(_)) {
        return Err(ClusterJoinError::Journal { path, source });
    }
    tracing::warn!(
        path = %path.display(),
        error = %errors::chain(&source),
        "connection journal disabled: its default directory cannot be used; set cluster.journal_dir"
    );
    Ok(())
}

/// Claims the first free one of up to [`NODE_IDS_PER_ATTEMPT`] random node ids, in [`MAX_CLAIM_ATTEMPTS`] attempts.
async fn claim_random_node_id(lease_store: &LeaseStore, clock: &dyn Clock) -> Result<ClaimedLease, ClusterJoinError> {
    for _ in 0..MAX_CLAIM_ATTEMPTS {
        let mut bytes = [0; NODE_IDS_PER_ATTEMPT * 2];
        getrandom::fill(&mut bytes)?;
        let candidates: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .filter(|node_id| *node_id != 0)
            .collect();
        if let Some(claimed) = lease_store.claim_lease(&clock.fresh_id(), &clock.fresh_id(), &candidates).await? {
            return Ok(claimed);
        }
    }
    Err(ClusterJoinError::NoFreeNodeId)
}
