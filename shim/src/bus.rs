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
mod group_channels;
mod head_check;
mod inbound;
mod metrics;
mod pod_channels;
mod publish_queue;
mod publisher;
mod remote_connections;
mod request_client;
mod request_server;
mod subscriber;
mod subscription_gate;
mod subscriptions;

pub mod redis_channel;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use handlers::ports::MessageLog;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::delivery::PodDelivery;
pub use self::metrics::BusMetrics;

use self::degraded::DegradedNotifier;
use self::group_channels::GroupChannels;
use self::head_check::{HeadChecker, ResyncSignal};
use self::inbound::InboundDispatcher;
use self::pod_channels::PodChannels;
use self::publisher::PeerPublisher;
use self::request_client::{PendingRequests, RequestClient};
use self::request_server::{LocalOperations, RequestServer};
use self::subscriber::{BusSubscriber, ReceiveMonitor};
use self::subscription_gate::SubscriptionGate;
use self::subscriptions::GroupSubscriptions;
use crate::connection::{ClientNotices, RemoteConnections};
use crate::hub::ChannelDelivery;
use crate::redis::{RedisClient, RedisClientError};

/// Port to the leases of node ids: the node id of this pod, and the liveness of others.
///
/// ```
/// use async_trait::async_trait;
/// use shim::bus::NodeLiveness;
/// use shim::redis::RedisClientError;
///
/// /// Two pods that are always alive.
/// struct TwoNodes;
///
/// #[async_trait]
/// impl NodeLiveness for TwoNodes {
///     fn node_id(&self) -> u16 {
///         1
///     }
///
///     async fn is_node_alive(&self, node: u16) -> Result<bool, RedisClientError> {
///         Ok(matches!(node, 1 | 2))
///     }
/// }
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// assert!(TwoNodes.is_node_alive(TwoNodes.node_id()).await.unwrap());
/// assert!(!TwoNodes.is_node_alive(3).await.unwrap());
/// # });
/// ```
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

impl BusParts {
    fn build_publisher(&self, incarnation: u64) -> PeerPublisher {
        PeerPublisher::new(self.redis.clone(), incarnation, self.settings.max_queue_bytes, self.metrics.clone())
    }

    fn build_request_client(&self, publisher: Arc<PeerPublisher>, pending: Arc<PendingRequests>) -> RequestClient {
        let (node_liveness, timeout) = (self.node_liveness.clone(), self.settings.request_timeout);
        RequestClient::new(publisher, node_liveness, pending, timeout, self.metrics.clone())
    }

    fn build_subscriber(
        &self,
        incarnation: u64,
        subscriptions: Arc<GroupSubscriptions>,
        resync: Arc<ResyncSignal>,
        inbound: InboundDispatcher,
    ) -> BusSubscriber {
        let (redis, metrics) = (self.redis.clone(), self.metrics.clone());
        BusSubscriber {
            pod_channels: PodChannels { redis: redis.clone(), incarnation, node_liveness: self.node_liveness.clone() },
            group_channels: GroupChannels {
                redis: redis.clone(),
                hub: self.hub.clone(),
                subscriptions,
                resync,
                metrics: metrics.clone(),
            },
            inbound,
            receive_monitor: ReceiveMonitor::new(self.settings.heartbeat_interval, self.settings.silence_timeout),
            redis,
            metrics,
        }
    }

    fn build_head_checker(&self, resync: Arc<ResyncSignal>) -> HeadChecker {
        let BusSettings { head_check_interval, full_head_check_interval, .. } = self.settings;
        let (hub, log, metrics) = (self.hub.clone(), self.log.clone(), self.metrics.clone());
        HeadChecker::new(hub, log, resync, head_check_interval, full_head_check_interval, metrics)
    }

    fn build_degraded_notifier(&self) -> DegradedNotifier {
        DegradedNotifier::new(self.hub.connections().clone(), self.redis.link_state(), self.settings.degraded_delay)
    }
}

/// Handle of the running bus.
pub struct Bus {
    delivery: Arc<PodDelivery>,
    request_client: Arc<RequestClient>,
    degraded_notifier: DegradedNotifier,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Bus {
    /// Starts the tasks of the bus and attaches it to the hub. Must be called before the hub has connections. A drain
    /// does not wait for these tasks, because they publish the messages of the drain itself.
    ///
    /// # Errors
    /// Reading random bytes from the operating system failed.
    pub fn start(parts: BusParts) -> Result<Self, getrandom::Error> {
        // Identifies this process, also against an earlier one with the same node id.
        let incarnation = getrandom::u64()?;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let subscriptions = Arc::new(GroupSubscriptions::new(parts.settings.unsubscribe_delay));
        let gate = SubscriptionGate::new(subscriptions.clone(), parts.settings.subscribe_timeout);
        parts.hub.attach_peers(Arc::new(gate.clone()));
        let publisher = Arc::new(parts.build_publisher(incarnation));
        let pending_requests = Arc::new(PendingRequests::default());
        let request_client = Arc::new(parts.build_request_client(publisher.clone(), pending_requests.clone()));
        let operations = LocalOperations::new(parts.hub.clone(), gate.clone(), parts.settings.request_timeout);
        let inbound = InboundDispatcher {
            hub: parts.hub.clone(),
            incarnation,
            pending_requests,
            request_server: RequestServer::new(operations, publisher.clone(), tasks.clone()),
            metrics: parts.metrics.clone(),
        };
        let resync = Arc::new(ResyncSignal::default());
        let subscriber = parts.build_subscriber(incarnation, subscriptions, resync.clone(), inbound);
        tasks.spawn(publisher::run_publisher(publisher.clone(), stop.clone()));
        tasks.spawn(subscriber.run_subscriber(stop.clone()));
        tasks.spawn(parts.build_head_checker(resync).run_head_check(stop.clone()));
        let degraded_notifier = parts.build_degraded_notifier();
        let delivery = Arc::new(PodDelivery::new(parts.hub, publisher, request_client.clone(), gate));
        Ok(Self { delivery, request_client, degraded_notifier, tasks, stop })
    }

    /// Returns the delivery to the connections of all pods.
    #[must_use]
    pub fn delivery(&self) -> Arc<PodDelivery> {
        self.delivery.clone()
    }

    /// Returns the management API of other pods' connections.
    #[must_use]
    pub fn remote(&self) -> Arc<dyn RemoteConnections> {
        self.request_client.clone()
    }

    /// Starts to notify clients of outages of the link to the other pods, with frames of `notices`.
    pub fn notify_clients(&self, notices: Arc<dyn ClientNotices>) {
        self.tasks.spawn(self.degraded_notifier.clone().run_notifier(notices, self.stop.clone()));
    }

    /// Publishes the rest of the queue and stops all tasks. To be called after the last connection has closed.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests;
