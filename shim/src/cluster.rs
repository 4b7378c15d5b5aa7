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
mod lease_claims;
mod leaving_channels;
mod metrics;
mod namespace;
mod nodes;
mod peer_connections;
mod pod_lease;
mod reaper;
mod registry;
mod restoring_connections;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use handlers::ports::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::metrics::ClusterMetrics;
pub use self::namespace::NamespaceIdentity;
pub use self::nodes::LeasedNodes;
pub use self::registry::ClusterRegistry;
pub use self::restoring_connections::RestoringConnections;

use self::heartbeat::{HeartbeatSettings, HeartbeatTask};
use self::journal::{ConnectionJournal, JournalHeader, LostPodJournal};
use self::lease_claims::{LeaseClaims, MAX_CLAIMED_CANDIDATES};
use self::lease_store::{LeaseId, ReleaseOutcome};
use self::peer_connections::RegisteredPeerConnections;
use self::pod_lease::PodLease;
use self::reaper::Reaper;
use self::registry::RegistryMaintenance;
use crate::config::{ClusterConfig, JournalConfig};
use crate::drain::{ConnectionDrain, PeerConnections};
use crate::readiness::Readiness;
use crate::redis::{LinkState, RedisClient, RedisClientError};
use crate::session::DisconnectRunner;

/// Timeout of releasing the lease. After it the lease expires by itself.
const LEASE_RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Error of [`Cluster::join`].
#[derive(Debug, thiserror::Error)]
pub enum ClusterJoinError {
    /// A Redis command failed.
    #[error("claiming a node id in Redis failed")]
    Redis(#[from] RedisClientError),
    /// The namespace belongs to a deployment with other secrets, or to another API. The text says what to change.
    #[error(
        "another deployment uses {namespace} of this Redis: its signing secret and identity provider, or its API id and \
         stage if it runs functions, are not the ones configured here; give this deployment its own redis.prefix or \
         database number; after a change of auth.secret, list the old one in auth.previous_secrets; if issuer, audience \
         or provider were changed on purpose, or the other deployment no longer exists, delete the key {key}"
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
    #[error("no free node id: {} random ids of 65,535 are all in use", MAX_CLAIMED_CANDIDATES)]
    NoFreeNodeId,
    /// The operating system returned no random bytes.
    #[error("the operating system's random source failed")]
    RandomSource(#[from] getrandom::Error),
}

/// This pod's membership in the cluster.
pub struct Cluster {
    claims: LeaseClaims,
    lease: PodLease,
    registry: ClusterRegistry,
    redis_state: watch::Receiver<LinkState>,
    settings: ClusterConfig,
    metrics: Arc<ClusterMetrics>,
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
    /// Claims the namespace and a random node id. The registry accepts at most `max_connections` connections, including
    /// those whose `$disconnect` is pending.
    ///
    /// # Errors
    /// Returns [`ClusterJoinError`] when Redis fails, another deployment uses the namespace, or no free node id is
    /// found.
    pub async fn join(
        redis: RedisClient,
        namespace: NamespaceIdentity,
        settings: ClusterConfig,
        max_connections: usize,
        clock: Arc<dyn Clock>,
        metrics: Arc<ClusterMetrics>,
    ) -> Result<Self, ClusterJoinError> {
        let redis_state = redis.link_state();
        let claims = LeaseClaims::new(redis.clone(), settings.lease, namespace, clock);
        claims.claim_namespace().await?;
        let journals = find_journals(&settings, &redis)?;
        let claimed = claims.claim_random_node_id().await?;
        tracing::info!(pod = %claimed.lease_id, "joined the cluster");
        let lease_store = claims.lease_store();
        journal::restore_lost_pods(lease_store, journals).await?;
        let lease = PodLease::new(claimed);
        let registry = ClusterRegistry::new(lease_store.clone(), lease.subscribe(), max_connections);
        start_journal(&registry, &settings, &redis, &lease)?;
        Ok(Self { claims, lease, registry, redis_state, settings, metrics })
    }

    /// Returns the node id in the ids of new connections. It changes when the lease is lost.
    #[must_use]
    pub fn node_id(&self) -> u16 {
        self.lease.lease_id().node_id()
    }

    /// Returns the registry of this pod's connections.
    #[must_use]
    pub fn connection_registry(&self) -> ClusterRegistry {
        self.registry.clone()
    }

    /// Returns the liveness of node ids, for cross-pod requests.
    #[must_use]
    pub fn leased_nodes(&self) -> Arc<LeasedNodes> {
        Arc::new(LeasedNodes::new(self.claims.lease_store().clone(), self.lease.subscribe(), self.settings.heartbeat))
    }

    /// Returns the number of connections of the other pods, for the pace of a drain.
    #[must_use]
    pub fn peer_connections(&self) -> Arc<dyn PeerConnections> {
        let (lease_store, lease_id) = (self.claims.lease_store().clone(), self.lease.subscribe());
        Arc::new(RegisteredPeerConnections { lease_store, lease_id })
    }

    /// Spawns the heartbeat, the registry maintenance and the reaper. They run until `stop`, which should follow the
    /// drain.
    pub fn spawn_tasks(&self, server: ServerContext, tasks: &TaskTracker, stop: &CancellationToken) {
        let disconnects = &server.disconnects;
        disconnects.ids.set_node_id(self.node_id());
        let (reapable_sender, reapable) = watch::channel(ReapablePods::default());
        let reaper = Reaper::new(
            self.claims.lease_store().clone(),
            self.lease.clone(),
            &self.settings,
            self.metrics.clone(),
            disconnects.clone(),
            server.readiness.clone(),
        );
        tasks.spawn(reaper.run(reapable, stop.clone()));
        let maintenance = RegistryMaintenance::new(
            self.registry.clone(),
            disconnects.clone(),
            self.redis_state.clone(),
            self.metrics.pending_disconnects.clone(),
            self.lease.clone(),
        );
        tasks.spawn(maintenance.run(stop.clone()));
        self.heartbeat_task(server, reapable_sender).spawn_thread(tasks, stop.clone());
    }

    fn heartbeat_task(&self, server: ServerContext, reapable_pods: watch::Sender<ReapablePods>) -> HeartbeatTask {
        HeartbeatTask::new(
            self.claims.with_own_connection(self.settings.lease),
            self.lease.clone(),
            self.registry.clone(),
            HeartbeatSettings {
                interval: self.settings.heartbeat,
                lease: self.settings.lease,
                redis_state: self.redis_state.clone(),
            },
            self.metrics.clone(),
            server,
            reapable_pods,
        )
    }

    /// Flushes pending deletions and releases the lease. Called after the tasks have stopped, so that peers need not
    /// wait for the lease to expire.
    pub async fn leave(&self) {
        let release = async {
            self.registry.flush_deletions().await?;
            self.claims.lease_store().release_lease(&self.lease.lease_id()).await
        };
        match tokio::time::timeout(LEASE_RELEASE_TIMEOUT, release).await {
            Ok(Ok(ReleaseOutcome::Freed)) => {
                if let Some(journal) = self.registry.journal() {
                    journal.discard();
                }
                tracing::info!(pod = %self.lease.lease_id(), "left the cluster");
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
    lease: &PodLease,
) -> Result<(), ClusterJoinError> {
    let Some(directory) = settings.journal.directory() else { return Ok(()) };
    let header = JournalHeader { lease_id: lease.lease_id(), data_epoch: lease.data_epoch() };
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
