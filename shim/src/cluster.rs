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

pub mod ledger;

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
pub use self::registry::Registry;

use self::heartbeat::Heartbeat;
use self::ledger::{Claimed, Ledger, Name, Released};
use self::reaper::Reaper;
use self::registry::Upkeep;
use crate::config::ClusterConfig;
use crate::drain::ConnectionDrain;
use crate::readiness::Readiness;
use crate::redis::{Redis, RedisTrouble};
use crate::session::DisconnectRunner;

/// How many random numbers one attempt tries. All of them being taken is a matter of chance only when most of the 65,535
/// numbers are.
const PROBES: usize = 16;
/// How many attempts are made.
const ATTEMPTS: usize = 4;
/// How long giving the lease back may take; after that it lapses by itself.
const LEAVE: Duration = Duration::from_secs(2);

/// Why a pod could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Redis did not let it.
    #[error("claiming a node number in Redis failed")]
    Redis(#[from] RedisTrouble),
    /// Nearly all numbers belong to pods that live or whose connections are not finished.
    #[error("no free node number was found among {} of 65,535", PROBES * ATTEMPTS)]
    NoNumber,
    /// The operating system gives no random bytes.
    #[error("the system's random source does not answer")]
    Random(#[from] getrandom::Error),
}

/// This pod's place among the others.
pub struct Cluster {
    member: Arc<Member>,
}

/// What the cluster's tasks share.
struct Member {
    ledger: Ledger,
    redis: Redis,
    settings: ClusterConfig,
    lease: watch::Sender<Name>,
    epoch: Mutex<String>,
    registry: Registry,
    metrics: Arc<ClusterMetrics>,
    clock: Arc<dyn Clock>,
}

/// Pods whose connections are to be finished, as a heartbeat found them.
#[derive(Debug, Clone, Default)]
struct Reapable {
    lapsed: Vec<Name>,
    fenced: Vec<Name>,
}

/// What a running cluster needs of the server.
pub struct Served {
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
    /// [`JoinError`].
    pub async fn join(
        redis: Redis,
        settings: ClusterConfig,
        connections: usize,
        clock: Arc<dyn Clock>,
        metrics: Arc<ClusterMetrics>,
    ) -> Result<Self, JoinError> {
        let ledger = Ledger::new(redis.clone(), settings.lease);
        let Claimed { name, epoch } = claim(&ledger, &*clock).await?;
        tracing::info!(pod = %name, "joined the cluster");
        let lease = watch::Sender::new(name);
        let registry = Registry::new(ledger.clone(), lease.subscribe(), connections, metrics.clone());
        let epoch = Mutex::new(epoch);
        let member = Member { ledger, redis, settings, lease, epoch, registry, metrics, clock };
        Ok(Self { member: Arc::new(member) })
    }

    /// The number in the ids of this pod's connections, as of now.
    #[must_use]
    pub fn node(&self) -> u16 {
        self.member.name().node()
    }

    /// Where this pod's connections are written down.
    #[must_use]
    pub fn registry(&self) -> Registry {
        self.member.registry.clone()
    }

    /// Who is who, for those who talk to other pods.
    #[must_use]
    pub fn nodes(&self) -> Arc<LeasedNodes> {
        Arc::new(LeasedNodes::new(
            self.member.ledger.clone(),
            self.member.lease.subscribe(),
            self.member.settings.heartbeat,
        ))
    }

    /// Starts heartbeats, upkeep of the registry, and the reaper; they end with `stop`, which should come after the drain.
    pub fn run(&self, served: Served, tasks: &TaskTracker, stop: &CancellationToken) {
        let member = &self.member;
        let disconnects = &served.disconnects;
        disconnects.ids.renumber(self.node());
        let (found, reapable) = watch::channel(Reapable::default());
        let reaper = Reaper::new(member.clone(), disconnects.clone(), served.readiness.clone());
        tasks.spawn(reaper.run(reapable, stop.clone()));
        let upkeep =
            Upkeep { registry: member.registry.clone(), disconnects: disconnects.clone(), link: member.redis.state() };
        tasks.spawn(upkeep.run(stop.clone()));
        let heartbeat = Heartbeat::new(member.clone(), served, found);
        tasks.spawn(heartbeat.run(stop.clone()));
    }

    /// Gives the lease back, after the tasks have ended: nobody has to wait for it to lapse.
    pub async fn leave(&self) {
        let leaving = async {
            self.member.registry.strike().await?;
            self.member.ledger.release(&self.member.name()).await
        };
        match tokio::time::timeout(LEAVE, leaving).await {
            Ok(Ok(Released::Free)) => tracing::info!(pod = %self.member.name(), "left the cluster"),
            Ok(Ok(Released::Lapsed)) => tracing::warn!("left connections to the other pods"),
            Ok(Ok(Released::NotHeld)) => tracing::warn!("the lease was not held any more"),
            Ok(Err(error)) => tracing::warn!(error = %errors::chain(&error), "the lease was not given back; it lapses"),
            Err(_) => tracing::warn!("the lease was not given back in time; it lapses"),
        }
    }
}

impl Member {
    fn name(&self) -> Name {
        self.lease.borrow().clone()
    }
}

/// Claims a number, trying random ones.
async fn claim(ledger: &Ledger, clock: &dyn Clock) -> Result<Claimed, JoinError> {
    for _ in 0..ATTEMPTS {
        let mut bytes = [0; PROBES * 2];
        getrandom::fill(&mut bytes)?;
        let nodes: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .filter(|node| *node != 0)
            .collect();
        if let Some(claimed) = ledger.claim(&clock.fresh_id(), &clock.fresh_id(), &nodes).await? {
            return Ok(claimed);
        }
    }
    Err(JoinError::NoNumber)
}
