//! The bus between pods: what is delivered on one reaches the sockets of all, through Redis publish and subscribe.
//!
//! ```text
//! PodDelivery ── queue ── publisher ──▶ Redis ──▶ subscriber ── receiver ──▶ hub of another pod
//!      └──────────── this pod's hub, at once                       └── requests about one connection, and replies
//! ```
//! Each elementary group of connections has a topic, and a pod listens to those of which it has members. Invariants: the
//! bus may lose, repeat and reorder; the hub's order by offset makes that unseen for what is in a log, and the tail check
//! finds what was lost without a successor. What is in no log is sent at most once. A pod never takes in what it published
//! itself. Delivery on this pod does not depend on Redis. Why: `docs/adr/0012-bus-between-pods.md`.

mod degraded;
mod delivery;
mod head_check;
mod inbound;
mod metrics;
mod peer_router;
mod publish_queue;
mod publisher;
mod request_client;
mod request_server;
mod subscriber;
mod subscriptions;

pub mod redis_channel;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use handlers::ports::MessageLog;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::delivery::PodDelivery;
pub use self::metrics::BusMetrics;

use self::publish_queue::PublishQueue;
use self::request_client::PendingRequests;
use self::subscriptions::GroupSubscriptions;
use crate::connection::{ClientNotices, RemoteConnections};
use crate::hub::ChannelDelivery;
use crate::redis::{LinkState, RedisClient, RedisClientError};

/// Which node this pod is, and which others live. Leases decide.
#[async_trait]
pub trait NodeLiveness: Send + Sync {
    /// The node in the ids of this pod's connections. It changes when this pod lost its lease.
    fn node_id(&self) -> u16;

    /// Whether a pod holds the lease of a node. `false` is the state at this moment, because a new pod may claim the number at
    /// any time; `true` may be as old as a bound that the implementation states.
    async fn is_node_alive(&self, node: u16) -> Result<bool, RedisClientError>;
}

/// How the bus behaves.
#[derive(Debug, Clone)]
pub struct BusSettings {
    /// Most bytes that wait to be published.
    pub max_queue_bytes: usize,
    /// How often this pod sends itself a heartbeat through Redis.
    pub heartbeat_interval: Duration,
    /// After how much silence the subscription's connection is taken for dead.
    pub silence_timeout: Duration,
    /// How long a group without members is listened for, so that who reconnects causes no traffic.
    pub unsubscribe_delay: Duration,
    /// How long a handshake or a resume waits for Redis to confirm what it listens for.
    pub subscribe_timeout: Duration,
    /// How long a request to another pod may take.
    pub request_timeout: Duration,
    /// How often the log's ends are compared with what was passed on, in channels with recent traffic.
    pub head_check_interval: Duration,
    /// How often they are in all others.
    pub full_head_check_interval: Duration,
    /// How long the link must be away before clients are told.
    pub degraded_delay: Duration,
}

impl BusSettings {
    /// What runs in production. One second of heartbeats and three of silence find a dead connection well inside the time
    /// in which a client would notice; 16 MiB are some 30,000 messages, a second's worth at the rate that one pod serves.
    pub const PRODUCTION: Self = Self {
        max_queue_bytes: 16 * 1024 * 1024,
        heartbeat_interval: Duration::from_secs(1),
        silence_timeout: Duration::from_secs(3),
        unsubscribe_delay: Duration::from_secs(5),
        subscribe_timeout: Duration::from_secs(1),
        request_timeout: Duration::from_secs(2),
        head_check_interval: Duration::from_secs(2),
        full_head_check_interval: Duration::from_secs(60),
        degraded_delay: Duration::from_millis(500),
    };
}

/// What a bus is made of.
pub struct BusParts {
    /// The way to Redis.
    pub redis: RedisClient,
    /// This pod's connections.
    pub hub: ChannelDelivery,
    /// From where holes are filled.
    pub log: Arc<dyn MessageLog>,
    /// Who is who.
    pub node_liveness: Arc<dyn NodeLiveness>,
    /// How it behaves.
    pub settings: BusSettings,
    /// What it counts.
    pub metrics: Arc<BusMetrics>,
}

/// A bus that runs.
pub struct Bus {
    shared: Arc<BusState>,
    hub: ChannelDelivery,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What all its tasks share. It does not hold the hub, which holds it.
struct BusState {
    redis: RedisClient,
    /// Tells this process from all others, also from an earlier one of the same node.
    incarnation: u64,
    node_liveness: Arc<dyn NodeLiveness>,
    settings: BusSettings,
    metrics: Arc<BusMetrics>,
    publish_queue: PublishQueue,
    subscriptions: Arc<GroupSubscriptions>,
    pending_requests: PendingRequests,
    /// Set off when this pod may have missed something.
    resync_requested: Notify,
}

impl Bus {
    /// Starts the bus and makes the hub one of several. Before the hub has connections, and outside of the tasks that a
    /// drain waits for: what happens during it is still to be published.
    ///
    /// # Errors
    /// The system's random source does not answer.
    pub fn start(parts: BusParts) -> Result<Self, getrandom::Error> {
        let BusParts { redis, hub, log, node_liveness: nodes, settings, metrics } = parts;
        let shared = Arc::new(BusState {
            redis,
            incarnation: getrandom::u64()?,
            node_liveness: nodes,
            publish_queue: PublishQueue::new(settings.max_queue_bytes),
            subscriptions: Arc::new(GroupSubscriptions::new(settings.unsubscribe_delay)),
            pending_requests: PendingRequests::default(),
            resync_requested: Notify::new(),
            settings,
            metrics,
        });
        hub.attach_peers(shared.clone());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(publisher::run_publisher(shared.clone(), stop.clone()));
        tasks.spawn(subscriber::run_subscriber(shared.clone(), hub.clone(), tasks.clone(), stop.clone()));
        tasks.spawn(head_check::run_head_check(shared.clone(), hub.clone(), log, stop.clone()));
        Ok(Self { shared, hub, tasks, stop })
    }

    /// The way to everyone's connections.
    #[must_use]
    pub fn delivery(&self) -> Arc<PodDelivery> {
        Arc::new(PodDelivery::new(self.hub.clone(), self.shared.clone()))
    }

    /// The way to the management of other pods' connections.
    #[must_use]
    pub fn remote(&self) -> Arc<dyn RemoteConnections> {
        self.shared.clone()
    }

    /// From now on clients are notified, in these frames, of outages of the link to the other pods.
    pub fn notify_clients(&self, notices: Arc<dyn ClientNotices>) {
        let connections = self.hub.connections().clone();
        self.tasks.spawn(degraded::run_degraded_notifier(self.shared.clone(), connections, notices, self.stop.clone()));
    }

    /// Publishes what still waits and ends. When the last connection is gone.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl BusState {
    fn is_redis_available(&self) -> bool {
        matches!(*self.redis.link_state().borrow(), LinkState::Available)
    }
}

#[cfg(test)]
mod tests;
