//! Two pods that share a Redis and a log: what is done happens here, who receives it is there.

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

/// The node of the pod that does things.
pub const LOCAL_NODE: u16 = 1;
/// The node of the pod that receives: that of the suites' connection ids.
const REMOTE_NODE: u16 = 0;
/// A node whose number a pod claims during the test; it does not answer.
pub const LATER: u16 = 10;
/// A node that lives and does not answer.
pub const UNRESPONSIVE_NODE: u16 = 9;
const PATIENCE: Duration = Duration::from_secs(30);

/// One pod.
pub struct Pod {
    pub hub: ChannelDelivery,
    pub delivery: Arc<PodDelivery>,
    pub redis: RedisClient,
    pub bus: Arc<Bus>,
    metrics: Arc<BusMetrics>,
    /// Whether [`LATER`] is claimed, as this pod sees it.
    pub later: Arc<AtomicBool>,
}

/// Both, and what they share.
#[derive(Clone)]
pub struct PodPair {
    pub local: Arc<Pod>,
    pub remote: Arc<Pod>,
    log: Arc<MemoryLog>,
}

/// The nodes of a world. [`LATER`] is alive once `later` is set.
struct FixedLiveness {
    own: u16,
    later: Arc<AtomicBool>,
}

#[async_trait]
impl NodeLiveness for FixedLiveness {
    fn node_id(&self) -> u16 {
        self.own
    }

    async fn is_node_alive(&self, node: u16) -> Result<bool, RedisClientError> {
        Ok([LOCAL_NODE, REMOTE_NODE, UNRESPONSIVE_NODE].contains(&node)
            || (node == LATER && self.later.load(Ordering::SeqCst)))
    }
}

/// Waits until something holds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "in {PATIENCE:?}: {what}");
}

/// Runs what must not wait for Redis.
pub async fn within_timeout<T>(doing: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_millis(500), doing).await.expect("it waits for nothing")
}

/// The offsets of the messages that reached a connection since the last look.
pub fn offsets(handle: &Connection) -> Vec<u64> {
    let frames = drain_texts(handle);
    let values = frames.iter().filter_map(|frame| serde_json::from_str::<serde_json::Value>(frame).ok());
    values.filter_map(|value| value["offset"].as_u64()).collect()
}

impl Pod {
    async fn start(server: &RedisServer, prefix: &str, node: u16, log: Arc<MemoryLog>, settings: BusSettings) -> Self {
        let redis = RedisSettings { prefix: prefix.to_owned(), ..RedisSettings::single_server(&server.url()) };
        let redis = RedisClient::connect(redis).await.expect("the server answers");
        let hub = ChannelDelivery::new(ConnectionIndex::default(), log.clone(), TaskTracker::new(), Arc::default());
        let metrics = BusMetrics::registered_in(&mut Registry::default());
        let later = Arc::new(AtomicBool::new(false));
        let parts = BusParts {
            redis: redis.clone(),
            hub: hub.clone(),
            log,
            node_liveness: Arc::new(FixedLiveness { own: node, later: later.clone() }),
            settings,
            metrics: metrics.clone(),
        };
        let bus = Arc::new(Bus::start(parts).unwrap());
        bus.notify_clients(Arc::new(MessagingNotices));
        Self { hub, delivery: bus.delivery(), redis, bus, metrics, later }
    }

    /// What its bus counted.
    pub fn bus_metrics(&self) -> &BusMetrics {
        &self.metrics
    }
}

impl PodPair {
    pub async fn start(server: &RedisServer) -> Self {
        Self::start_with(server, |_| {}).await
    }

    /// Two pods with a prefix of their own, with everything that takes time made short.
    pub async fn start_with(server: &RedisServer, change: impl FnOnce(&mut BusSettings)) -> Self {
        static WORLDS: AtomicU64 = AtomicU64::new(0);
        let prefix = format!("world{}", WORLDS.fetch_add(1, Ordering::Relaxed));
        let mut settings = BusSettings {
            heartbeat_interval: Duration::from_millis(100),
            unsubscribe_delay: Duration::from_millis(50),
            subscribe_timeout: PATIENCE,
            request_timeout: Duration::from_secs(2),
            head_check_interval: Duration::from_millis(200),
            full_head_check_interval: Duration::from_secs(1),
            ..BusSettings::PRODUCTION
        };
        change(&mut settings);
        let log =
            Arc::new(MemoryLog::new(Epoch("e".into()), ChannelRetention { max_entries: 1_000, max_bytes: 1 << 20 }));
        let here = Pod::start(server, &prefix, LOCAL_NODE, log.clone(), settings.clone()).await;
        let there = Pod::start(server, &prefix, REMOTE_NODE, log.clone(), settings).await;
        let world = Self { local: Arc::new(here), remote: Arc::new(there), log };
        for topic in [redis_channel::channel_of_node(LOCAL_NODE), redis_channel::channel_of_node(REMOTE_NODE)] {
            eventually("both listen", async || world.listeners_of(&topic).await == 1).await;
        }
        world
    }

    /// Opens a connection on the other pod, as its handshake does, and brings it live in its conversation.
    pub async fn connect_remote(&self, user: &str, role: Role) -> Arc<Connection> {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
        let sequence = u32::try_from(CONNECTIONS.fetch_add(1, Ordering::Relaxed)).unwrap();
        let handle = connect_on_node(&self.remote.hub, sequence, REMOTE_NODE, user, role);
        if let Some(settled) = self.remote.hub.subscribed(&handle) {
            settled.await;
        }
        self.join_remote(&handle, &channel(&format!("conversation:{user}"))).await;
        handle
    }

    /// Enters a channel at its end.
    pub async fn join_remote(&self, handle: &Connection, to: &Channel) -> ResumeOutcome {
        let delivery = &self.remote.delivery;
        delivery.pause_channels(&id(handle), std::slice::from_ref(to)).await.unwrap();
        let head = self.log.heads(std::slice::from_ref(to)).await.unwrap().remove(0);
        delivery.resume_channel(&id(handle), to, &head).await.unwrap()
    }

    /// Appends message `offset` and delivers it here.
    pub async fn append_and_deliver(&self, to: &Channel, offset: u64) {
        self.append(to, offset).await;
        self.deliver_placed(to, offset).await;
    }

    /// Appends message `offset`.
    pub async fn append(&self, to: &Channel, offset: u64) {
        let append = AppendRequest {
            channel: to.clone(),
            sender: MessageSender { user: UserId::parse("alice").unwrap(), role: Role::User },
            id: MessageId::parse(&format!("m{offset}")).unwrap(),
            sent_at: Timestamp(0),
            body: RawValue::from_string("1".to_owned()).unwrap().into(),
        };
        let appended = self.log.append(append).await.unwrap();
        assert_eq!(appended.position.offset, Offset(offset));
    }

    /// Delivers message `offset` here.
    pub async fn deliver_placed(&self, to: &Channel, offset: u64) {
        let position = Position { epoch: Epoch("e".into()), offset: Offset(offset) };
        let placement = Some(Placement { channel: to.clone(), position });
        let frame = Bytes::from(format!("{{\"offset\":{offset}}}"));
        let outgoing = OutgoingFrame { frame, priority: Priority::for_channel(&to.name), placement };
        self.local.delivery.deliver(&Audience::Channel(to.clone()), outgoing).await.expect("deliver");
    }

    /// Returns once everything that was published here has been taken in there: a request goes the same way behind it.
    pub async fn flush(&self) {
        let nobody = ConnectionId::parse(&GatewayId::for_connection(0, u32::MAX, REMOTE_NODE)).unwrap();
        let answer = self.local.delivery.close_connection(&nobody, CloseReason::Kicked).await.expect("flush");
        assert_eq!(answer, DeliveryOutcome::ConnectionGone);
    }

    /// How many pods listen for a group.
    pub async fn subscriber_count(&self, group: &Group) -> u64 {
        self.listeners_of(&redis_channel::channel_of_group(group)).await
    }

    async fn listeners_of(&self, topic: &str) -> u64 {
        let mut command = redis::cmd("PUBSUB");
        command.arg("NUMSUB").arg(self.local.redis.prefixed_key(topic));
        let (_, listeners): (String, u64) = self.local.redis.query(&command).await.unwrap();
        listeners
    }

    /// Has Redis close every subscription, as it does with readers that are too slow.
    pub async fn kill_subscriptions(&self) {
        let mut command = redis::cmd("CLIENT");
        command.arg("KILL").arg("TYPE").arg("pubsub");
        let cut: u64 = self.local.redis.query(&command).await.unwrap();
        assert_eq!(cut, 2);
    }

    /// For the suite: delivery here, receivers there.
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
        let handle = open(&self.remote.hub, id, &connection.identity);
        if let Some(settled) = self.remote.hub.subscribed(&handle) {
            settled.await;
        }
    }

    async fn received_frames(&self, id: &ConnectionId) -> Vec<Bytes> {
        self.flush().await;
        let handle =
            gateway::id::parse_gateway_id(id.as_str()).ok().and_then(|id| self.remote.hub.connections().find(id));
        handle.map(|handle| drain_texts(&handle)).unwrap_or_default().into_iter().map(Bytes::from).collect()
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
