//! One of several pods: a number, a lease, and the duty to finish what dead pods left.
//!
//! ```text
//! join: claim a number ── heartbeats ── … ── leave: give it back
//!                            ├─ Redis lost its data ── claim the same number again, write all connections down again
//!                            ├─ lease taken away ── close all connections (1012), claim another number, go on
//!                            └─ somebody else's lease lapsed ── fence it, finish its connections (`reaper`)
//! ```
//! Invariants: two living pods never have the same number; a connection's `$disconnect` has effects once, whichever pod runs
//! it; a Redis that was away costs no connection. Delivery between pods is not done here. Why all of it is as it is:
//! `docs/adr/0013-leases-and-reaper.md`.

pub mod lease_store;

mod heartbeat;
mod metrics;
mod nodes;
mod reaper;
mod registry;

use std::sync::Arc;
use std::time::Duration;

use handlers::ports::Clock;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::metrics::ClusterMetrics;
pub use self::nodes::LeasedNodes;
pub use self::registry::ClusterRegistry;

use self::heartbeat::HeartbeatTask;
use self::lease_store::{ClaimedLease, LeaseId, LeaseStore, ReleaseOutcome};
use self::reaper::Reaper;
use self::registry::RegistryMaintenance;
use crate::config::ClusterConfig;
use crate::drain::ConnectionDrain;
use crate::readiness::Readiness;
use crate::redis::{RedisClient, RedisClientError};
use crate::session::DisconnectRunner;

/// How many random numbers one attempt tries. All of them being taken is a matter of chance only when most of the 65,535
/// numbers are.
const NODE_IDS_PER_ATTEMPT: usize = 16;
/// How many attempts are made.
const MAX_CLAIM_ATTEMPTS: usize = 4;
/// How long giving the lease back may take; after that it lapses by itself.
const LEASE_RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a pod could not join.
#[derive(Debug, thiserror::Error)]
pub enum ClusterJoinError {
    /// Redis did not let it.
    #[error("claiming a node number in Redis failed")]
    Redis(#[from] RedisClientError),
    /// Nearly all numbers belong to pods that live or whose connections are not finished.
    #[error("no free node number was found among {} of 65,535", NODE_IDS_PER_ATTEMPT * MAX_CLAIM_ATTEMPTS)]
    NoFreeNodeId,
    /// The operating system gives no random bytes.
    #[error("the system's random source does not answer")]
    RandomSource(#[from] getrandom::Error),
}

/// This pod's place among the others.
pub struct Cluster {
    inner: Arc<ClusterInner>,
}

/// What the cluster's tasks share.
struct ClusterInner {
    lease_store: LeaseStore,
    redis: RedisClient,
    settings: ClusterConfig,
    lease_id: watch::Sender<LeaseId>,
    data_epoch: Mutex<String>,
    registry: ClusterRegistry,
    metrics: Arc<ClusterMetrics>,
    clock: Arc<dyn Clock>,
}

/// Pods whose connections are to be finished, as a heartbeat found them.
#[derive(Debug, Clone, Default)]
struct ReapablePods {
    lapsed: Vec<LeaseId>,
    fenced: Vec<LeaseId>,
}

/// What a running cluster needs of the server.
pub struct ServerContext {
    /// What runs the `$disconnect`s that are left over, and the ids of new connections.
    pub disconnects: DisconnectRunner,
    /// How connections are sent away when the lease is lost.
    pub drain: ConnectionDrain,
    /// What the ops port says.
    pub readiness: Arc<Readiness>,
    /// Whether connections are sent away when Redis has lost its data, because the functions know them from there: only
    /// another `$connect` makes them known again.
    pub reconnect_on_data_loss: bool,
}

impl Cluster {
    /// Claims a number. At most `connections` are kept that are not finished.
    ///
    /// # Errors
    /// [`ClusterJoinError`].
    pub async fn join(
        redis: RedisClient,
        settings: ClusterConfig,
        connections: usize,
        clock: Arc<dyn Clock>,
        metrics: Arc<ClusterMetrics>,
    ) -> Result<Self, ClusterJoinError> {
        let ledger = LeaseStore::new(redis.clone(), settings.lease);
        let ClaimedLease { lease_id: name, data_epoch: epoch } = claim_random_node_id(&ledger, &*clock).await?;
        tracing::info!(pod = %name, "joined the cluster");
        let lease = watch::Sender::new(name);
        let registry = ClusterRegistry::new(ledger.clone(), lease.subscribe(), connections, metrics.clone());
        let epoch = Mutex::new(epoch);
        let member = ClusterInner {
            lease_store: ledger,
            redis,
            settings,
            lease_id: lease,
            data_epoch: epoch,
            registry,
            metrics,
            clock,
        };
        Ok(Self { inner: Arc::new(member) })
    }

    /// The number in the ids of this pod's connections, as of now.
    #[must_use]
    pub fn node_id(&self) -> u16 {
        self.inner.lease_id().node_id()
    }

    /// Where this pod's connections are written down.
    #[must_use]
    pub fn connection_registry(&self) -> ClusterRegistry {
        self.inner.registry.clone()
    }

    /// Who is who, for those who talk to other pods.
    #[must_use]
    pub fn leased_nodes(&self) -> Arc<LeasedNodes> {
        Arc::new(LeasedNodes::new(
            self.inner.lease_store.clone(),
            self.inner.lease_id.subscribe(),
            self.inner.settings.heartbeat,
        ))
    }

    /// Starts heartbeats, upkeep of the registry, and the reaper; they end with `stop`, which should come after the drain.
    pub fn spawn_tasks(&self, served: ServerContext, tasks: &TaskTracker, stop: &CancellationToken) {
        let member = &self.inner;
        let disconnects = &served.disconnects;
        disconnects.ids.set_node_id(self.node_id());
        let (found, reapable) = watch::channel(ReapablePods::default());
        let reaper = Reaper::new(member.clone(), disconnects.clone(), served.readiness.clone());
        tasks.spawn(reaper.run(reapable, stop.clone()));
        let upkeep = RegistryMaintenance {
            registry: member.registry.clone(),
            disconnects: disconnects.clone(),
            redis_state: member.redis.link_state(),
        };
        tasks.spawn(upkeep.run(stop.clone()));
        let heartbeat = HeartbeatTask::new(member.clone(), served, found);
        tasks.spawn(heartbeat.run(stop.clone()));
    }

    /// Gives the lease back, after the tasks have ended: nobody has to wait for it to lapse.
    pub async fn leave(&self) {
        let leaving = async {
            self.inner.registry.flush_deletions().await?;
            self.inner.lease_store.release_lease(&self.inner.lease_id()).await
        };
        match tokio::time::timeout(LEASE_RELEASE_TIMEOUT, leaving).await {
            Ok(Ok(ReleaseOutcome::Freed)) => tracing::info!(pod = %self.inner.lease_id(), "left the cluster"),
            Ok(Ok(ReleaseOutcome::Lapsed)) => tracing::warn!("left connections to the other pods"),
            Ok(Ok(ReleaseOutcome::NotHeld)) => tracing::warn!("the lease was not held any more"),
            Ok(Err(error)) => tracing::warn!(error = %errors::chain(&error), "the lease was not given back; it lapses"),
            Err(_) => tracing::warn!("the lease was not given back in time; it lapses"),
        }
    }
}

impl ClusterInner {
    fn lease_id(&self) -> LeaseId {
        self.lease_id.borrow().clone()
    }
}

/// Claims a number, trying random ones.
async fn claim_random_node_id(ledger: &LeaseStore, clock: &dyn Clock) -> Result<ClaimedLease, ClusterJoinError> {
    for _ in 0..MAX_CLAIM_ATTEMPTS {
        let mut bytes = [0; NODE_IDS_PER_ATTEMPT * 2];
        getrandom::fill(&mut bytes)?;
        let nodes: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .filter(|node| *node != 0)
            .collect();
        if let Some(claimed) = ledger.claim_lease(&clock.fresh_id(), &clock.fresh_id(), &nodes).await? {
            return Ok(claimed);
        }
    }
    Err(ClusterJoinError::NoFreeNodeId)
}
