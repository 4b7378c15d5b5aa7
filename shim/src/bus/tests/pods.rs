//! Two pods that share a Redis server and a log: the local pod sends, the remote pod owns the receivers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gateway::id::GatewayId;
use handlers::channel::{Channel, Epoch, Offset, Position};
use handlers::conformance::delivery::{DeliveryFixture, TestReceivers};
use handlers::id::{ConnectionId, MessageId, UserId};
use handlers::memory::{ChannelRetention, ManualClock, MemoryConnections, MemoryLog};
use handlers::ports::{self, AppendRequest, MessageSender, Placement, Timestamp};
use prometheus_client::registry::Registry;
use serde_json::value::RawValue;

use super::*;
use crate::connection::{Connection, ConnectionIndex, ConnectionObserver as _};
use crate::functions::MessagingNotices;
use crate::hub::tests::{close_reason_of, open};
use crate::redis::RedisSettings;

/// Node id of the sending pod.
pub const LOCAL_NODE: u16 = 1;
/// Node id of the receiving pod, as in the connection ids of the contract suites.
const REMOTE_NODE: u16 = 0;
/// A node id that a pod claims during the test. The pod does not reply to requests.
pub const CLAIMED_LATER_NODE: u16 = 10;
/// A node id with a lease, whose pod does not reply to requests.
pub const UNRESPONSIVE_NODE: u16 = 9;
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

pub struct Pod {
    pub hub: ChannelDelivery,
    pub delivery: Arc<PodDelivery>,
    pub redis: RedisClient,
    pub bus: Arc<Bus>,
    metrics: Arc<BusMetrics>,
    /// Liveness of [`CLAIMED_LATER_NODE`] as seen by this pod.
    pub later_node_claimed: Arc<AtomicBool>,
}

/// The two pods and their log.
#[derive(Clone)]
pub struct PodPair {
    pub local: Arc<Pod>,
    pub remote: Arc<Pod>,
    log: Arc<MemoryLog>,
}

/// Fixed leases. [`CLAIMED_LATER_NODE`] is alive once `later_node_claimed` is set.
struct FixedLiveness {
    own_node: u16,
    later_node_claimed: Arc<AtomicBool>,
}

#[async_trait]
impl NodeLiveness for FixedLiveness {
    fn node_id(&self) -> u16 {
        self.own_node
    }

    async fn is_node_alive(&self, node: u16) -> Result<bool, RedisClientError> {
        Ok([LOCAL_NODE, REMOTE_NODE, UNRESPONSIVE_NODE].contains(&node)
            || (node == CLAIMED_LATER_NODE && self.later_node_claimed.load(Ordering::SeqCst)))
    }
}

/// Waits until `condition` is true.
pub async fn eventually(description: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(TEST_TIMEOUT, waiting).await.is_ok(), "not within {TEST_TIMEOUT:?}: {description}");
}

/// Runs an operation that must not wait for Redis.
pub async fn within_timeout<T>(operation: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_millis(500), operation).await.expect("the operation does not wait")
}

/// Drains the outbox of a connection and returns the offsets of its messages.
pub fn offsets(connection: &Connection) -> Vec<u64> {
    let frames = drain_texts(connection);
    let values = frames.iter().filter_map(|frame| serde_json::from_str::<serde_json::Value>(frame).ok());
    values.filter_map(|value| value["offset"].as_u64()).collect()
}

impl Pod {
    async fn start(server: &RedisServer, prefix: &str, node: u16, log: Arc<MemoryLog>, settings: BusSettings) -> Self {
        let redis = RedisSettings { prefix: prefix.to_owned(), ..RedisSettings::single_server(&server.url()) };
        let redis = RedisClient::connect(redis).await.expect("the server answers");
        let hub = ChannelDelivery::new(ConnectionIndex::default(), log.clone(), TaskTracker::new(), Arc::default());
        let metrics = BusMetrics::registered_in(&mut Registry::default());
        let later_node_claimed = Arc::new(AtomicBool::new(false));
        let parts = BusParts {
            redis: redis.clone(),
            hub: hub.clone(),
            log,
            node_liveness: Arc::new(FixedLiveness { own_node: node, later_node_claimed: later_node_claimed.clone() }),
            settings,
            metrics: metrics.clone(),
        };
        let bus = Arc::new(Bus::start(parts).unwrap());
        bus.notify_clients(Arc::new(MessagingNotices));
        Self { hub, delivery: bus.delivery(), redis, bus, metrics, later_node_claimed }
    }

    pub fn bus_metrics(&self) -> &BusMetrics {
        &self.metrics
    }
}

impl PodPair {
    pub async fn start(server: &RedisServer) -> Self {
        Self::start_with(server, |_| {}).await
    }

    /// Starts two pods with a unique key prefix and short intervals.
    pub async fn start_with(server: &RedisServer, configure: impl FnOnce(&mut BusSettings)) -> Self {
        static PAIRS: AtomicU64 = AtomicU64::new(0);
        let prefix = format!("pair{}", PAIRS.fetch_add(1, Ordering::Relaxed));
        let mut settings = BusSettings {
            heartbeat_interval: Duration::from_millis(100),
            unsubscribe_delay: Duration::from_millis(50),
            subscribe_timeout: TEST_TIMEOUT,
            request_timeout: Duration::from_secs(2),
            head_check_interval: Duration::from_millis(200),
            full_head_check_interval: Duration::from_secs(1),
            ..BusSettings::PRODUCTION
        };
        configure(&mut settings);
        let log =
            Arc::new(MemoryLog::new(Epoch("e".into()), ChannelRetention { max_entries: 1_000, max_bytes: 1 << 20 }));
        let local = Pod::start(server, &prefix, LOCAL_NODE, log.clone(), settings.clone()).await;
        let remote = Pod::start(server, &prefix, REMOTE_NODE, log.clone(), settings).await;
        let pair = Self { local: Arc::new(local), remote: Arc::new(remote), log };
        for redis_channel in [redis_channel::channel_of_node(LOCAL_NODE), redis_channel::channel_of_node(REMOTE_NODE)] {
            eventually("both pods are subscribed", async || pair.subscribers_of(&redis_channel).await == 1).await;
        }
        pair
    }

    /// Opens a connection on the remote pod, as its handshake does, and resumes its conversation.
    pub async fn connect_remote(&self, user: &str, role: Role) -> Arc<Connection> {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
        let sequence = u32::try_from(CONNECTIONS.fetch_add(1, Ordering::Relaxed)).unwrap();
        let connection = connect_on_node(&self.remote.hub, sequence, REMOTE_NODE, user, role);
        if let Some(subscribed) = self.remote.hub.subscribed(&connection) {
            subscribed.await;
        }
        self.join_remote(&connection, &channel(&format!("conversation:{user}"))).await;
        connection
    }

    /// Joins a channel at its head.
    pub async fn join_remote(&self, connection: &Connection, channel: &Channel) -> ResumeOutcome {
        let delivery = &self.remote.delivery;
        delivery.pause_channels(&id(connection), std::slice::from_ref(channel)).await.unwrap();
        let head = self.log.heads(std::slice::from_ref(channel)).await.unwrap().remove(0);
        delivery.resume_channel(&id(connection), channel, &head).await.unwrap()
    }

    /// Appends message `offset` and delivers it from the local pod.
    pub async fn append_and_deliver(&self, channel: &Channel, offset: u64) {
        self.append(channel, offset).await;
        self.deliver_placed(channel, offset).await;
    }

    /// Appends message `offset`.
    pub async fn append(&self, channel: &Channel, offset: u64) {
        let append = AppendRequest {
            channel: channel.clone(),
            sender: MessageSender { user: UserId::parse("alice").unwrap(), role: Role::User },
            id: MessageId::parse(&format!("m{offset}")).unwrap(),
            sent_at: Timestamp(0),
            body: RawValue::from_string("1".to_owned()).unwrap().into(),
        };
        let appended = self.log.append(append).await.unwrap();
        assert_eq!(appended.position.offset, Offset(offset));
    }

    /// Delivers message `offset` from the local pod.
    pub async fn deliver_placed(&self, channel: &Channel, offset: u64) {
        let position = Position { epoch: Epoch("e".into()), offset: Offset(offset) };
        let placement = Some(Placement { channel: channel.clone(), position });
        let frame = Bytes::from(format!("{{\"offset\":{offset}}}"));
        let outgoing = OutgoingFrame { frame, priority: Priority::for_channel(&channel.name), placement };
        self.local.delivery.deliver(&Audience::Channel(channel.clone()), outgoing).await.expect("deliver");
    }

    /// Waits until the remote pod has received everything that the local pod published: a request takes the same path,
    /// and is processed last.
    pub async fn flush(&self) {
        let unknown = ConnectionId::parse(&GatewayId::for_connection(u64::MAX, REMOTE_NODE)).unwrap();
        let outcome = self.local.delivery.close_connection(&unknown, CloseReason::Kicked).await.expect("flush");
        assert_eq!(outcome, DeliveryOutcome::ConnectionGone);
    }

    /// Returns the number of pods subscribed to a group.
    pub async fn subscriber_count(&self, group: &Group) -> u64 {
        self.subscribers_of(&redis_channel::channel_of_group(group)).await
    }

    async fn subscribers_of(&self, redis_channel: &str) -> u64 {
        let mut command = redis::cmd("PUBSUB");
        command.arg("NUMSUB").arg(self.local.redis.redis_channel(redis_channel));
        let (_, subscribers): (String, u64) = self.local.redis.query(&command).await.unwrap();
        subscribers
    }

    /// Makes Redis close every subscriber connection, as it does with slow subscribers.
    pub async fn kill_subscriptions(&self) {
        let mut command = redis::cmd("CLIENT");
        command.arg("KILL").arg("TYPE").arg("pubsub");
        let closed: u64 = self.local.redis.query(&command).await.unwrap();
        assert_eq!(closed, 2);
    }

    /// Creates the fixture of the contract suites: local delivery, remote receivers.
    pub fn fixture(self) -> DeliveryFixture {
        DeliveryFixture {
            delivery: self.local.delivery.clone(),
            connections: Arc::new(MemoryConnections::new(Arc::new(ManualClock::new(Timestamp(0))))),
            log: self.log.clone(),
            receivers: Arc::new(self),
            now: Timestamp(0),
        }
    }
}

#[async_trait]
impl TestReceivers for PodPair {
    async fn open_connection(&self, connection: &ports::ClientConnection) {
        let id = gateway::id::parse_gateway_id(connection.id.as_str()).unwrap();
        let connection = open(&self.remote.hub, id, &connection.identity);
        if let Some(subscribed) = self.remote.hub.subscribed(&connection) {
            subscribed.await;
        }
    }

    async fn received_frames(&self, id: &ConnectionId) -> Vec<Bytes> {
        self.flush().await;
        let connection =
            gateway::id::parse_gateway_id(id.as_str()).ok().and_then(|id| self.remote.hub.connections().find(id));
        connection.map(|connection| drain_texts(&connection)).unwrap_or_default().into_iter().map(Bytes::from).collect()
    }

    async fn close_reason(&self, id: &ConnectionId) -> Option<CloseReason> {
        close_reason_of(&*self.remote.hub.connections().find(gateway::id::parse_gateway_id(id.as_str()).ok()?)?)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.bus.stop.cancel();
    }
}
