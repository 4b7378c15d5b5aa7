//! Message bus between pods over Redis publish/subscribe.
//!
//! ```text
//! PodDelivery ── publish queue ── publisher ──▶ Redis ──▶ subscriber ── inbound ──▶ hub of another pod
//!      └──────── local hub, at once                                      └── requests about a connection, replies
//! ```
//! Each elementary group of connections has a Redis channel, and a pod subscribes to the groups of which it has
//! members.
//!
//! - The bus may lose, repeat and reorder records. For messages in a log, the hub restores the order by offset and the
//!   head check detects a loss without a successor. Frames that no log has are delivered at most once.
//! - A pod ignores its own records.
//! - Delivery to local connections does not depend on Redis.
//!
//! Rationale: `docs/adr/0012-bus-between-pods.md`.

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

/// Port to the leases of node ids: the node id of this pod, and the liveness of others.
#[async_trait]
pub trait NodeLiveness: Send + Sync {
    /// Returns the node id in the connection ids of this pod. It changes after the loss of the lease.
    fn node_id(&self) -> u16;

    /// Returns whether a pod holds the lease of a node id. `false` is never cached, because a new pod may claim the
    /// node id at any time; `true` may be cached for a time that the implementation documents.
    async fn is_node_alive(&self, node: u16) -> Result<bool, RedisClientError>;
}

/// Limits and timeouts of the bus.
#[derive(Debug, Clone)]
pub struct BusSettings {
    /// Maximum size of the publish queue, in bytes.
    pub max_queue_bytes: usize,
    /// Interval of the heartbeats that this pod sends to itself through Redis.
    pub heartbeat_interval: Duration,
    /// Time without received data after which the subscriber connection is replaced.
    pub silence_timeout: Duration,
    /// Time after which a group without members is unsubscribed, so that a reconnecting client causes no commands.
    pub unsubscribe_delay: Duration,
    /// Maximum time that a handshake or a resume waits for Redis to confirm its subscriptions.
    pub subscribe_timeout: Duration,
    /// Timeout of a request to another pod.
    pub request_timeout: Duration,
    /// Interval of the head check of channels with recent messages.
    pub head_check_interval: Duration,
    /// Interval of the head check of all other channels.
    pub full_head_check_interval: Duration,
    /// Duration of a Redis outage after which clients are notified.
    pub degraded_delay: Duration,
}

impl BusSettings {
    /// Settings for production. A heartbeat every second and a timeout of three detect a dead connection before clients
    /// notice; 16 MiB hold about 30,000 messages, one second of a pod's maximum rate.
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

/// Dependencies of a [`Bus`].
pub struct BusParts {
    /// Client of the shared Redis.
    pub redis: RedisClient,
    /// Delivery to this pod's connections.
    pub hub: ChannelDelivery,
    /// Message log, for head checks.
    pub log: Arc<dyn MessageLog>,
    /// Leases of node ids.
    pub node_liveness: Arc<dyn NodeLiveness>,
    /// Limits and timeouts.
    pub settings: BusSettings,
    /// Counters of the bus.
    pub metrics: Arc<BusMetrics>,
}

/// Handle of the running bus.
pub struct Bus {
    shared: Arc<BusState>,
    hub: ChannelDelivery,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// State shared by the tasks of the bus. Does not own the hub, because the hub owns it.
struct BusState {
    redis: RedisClient,
    /// Random number that identifies this process, also against an earlier one with the same node id.
    incarnation: u64,
    node_liveness: Arc<dyn NodeLiveness>,
    settings: BusSettings,
    metrics: Arc<BusMetrics>,
    publish_queue: PublishQueue,
    subscriptions: Arc<GroupSubscriptions>,
    pending_requests: PendingRequests,
    /// Requests a head check of all channels, after this pod may have missed messages.
    resync_requested: Notify,
}

impl Bus {
    /// Starts the tasks of the bus and attaches it to the hub. Must be called before the hub has connections. A drain
    /// does not wait for these tasks, because they publish the messages of the drain itself.
    ///
    /// # Errors
    /// Reading random bytes from the operating system failed.
    pub fn start(parts: BusParts) -> Result<Self, getrandom::Error> {
        let BusParts { redis, hub, log, node_liveness, settings, metrics } = parts;
        let shared = Arc::new(BusState {
            redis,
            incarnation: getrandom::u64()?,
            node_liveness,
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

    /// Returns the delivery to the connections of all pods.
    #[must_use]
    pub fn delivery(&self) -> Arc<PodDelivery> {
        Arc::new(PodDelivery::new(self.hub.clone(), self.shared.clone()))
    }

    /// Returns the management API of other pods' connections.
    #[must_use]
    pub fn remote(&self) -> Arc<dyn RemoteConnections> {
        self.shared.clone()
    }

    /// Starts to notify clients of outages of the link to the other pods, with frames of `notices`.
    pub fn notify_clients(&self, notices: Arc<dyn ClientNotices>) {
        let connections = self.hub.connections().clone();
        self.tasks.spawn(degraded::run_degraded_notifier(self.shared.clone(), connections, notices, self.stop.clone()));
    }

    /// Publishes the rest of the queue and stops all tasks. To be called after the last connection has closed.
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
