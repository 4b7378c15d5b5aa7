//! Subscriptions on a connection of their own.
//!
//! Invariant: what was published to a subscribed topic is handed on in order, or the stream ends. It ends when the
//! connection (in a Cluster: that to any node) is lost, and when the reader is [`PUSH_BUFFER_CAPACITY`] messages behind; then messages
//! may be missing, and a new subscriber is needed. Nothing is repeated or filled in here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use redis::aio::AsyncPushSender;
use redis::{PushInfo, PushKind, RedisResult, Value};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connector::{DriverConnection, RedisConnector};
use super::error::RedisClientError;

/// Most pushes that wait for their reader. A reader that far behind is better off catching up from the log.
const PUSH_BUFFER_CAPACITY: usize = 16_384;
/// Most topics in one command to a server.
const REDIS_CHANNELS_PER_COMMAND: usize = 256;
/// Most subscriptions under way at a time in a Cluster, where each topic is a command of its own.
const MAX_CONCURRENT_SUBSCRIBES: usize = 64;

/// A message that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisPush {
    /// The whole topic, prefix and all.
    pub redis_channel: Bytes,
    /// What was published.
    pub payload: Bytes,
}

/// One dedicated connection: both of its halves.
pub struct RedisSubscriber {
    subscriptions: SubscriptionHandle,
    pushes: RedisPushStream,
}

/// The half that says what is wanted; clones share the connection.
#[derive(Clone)]
pub struct SubscriptionHandle {
    connection: DriverConnection,
    timeout: Duration,
}

/// The half that hears. The connection lives as long as any [`SubscriptionHandle`] of it.
pub struct RedisPushStream {
    received: mpsc::Receiver<RedisPush>,
}

impl RedisSubscriber {
    pub(super) async fn connect_subscriber(
        connector: &RedisConnector,
        deadline: Duration,
    ) -> Result<Self, RedisClientError> {
        let (sender, received) = mpsc::channel(PUSH_BUFFER_CAPACITY);
        let intake: Arc<dyn AsyncPushSender> = Arc::new(PushIntake { sender: parking_lot::Mutex::new(Some(sender)) });
        let wire =
            timeout(deadline, connector.connect_for_pushes(intake)).await.map_err(|_| RedisClientError::Timeout)??;
        Ok(Self {
            subscriptions: SubscriptionHandle { connection: wire, timeout: deadline },
            pushes: RedisPushStream { received },
        })
    }

    /// Both halves, to be used at once.
    #[must_use]
    pub fn split(self) -> (SubscriptionHandle, RedisPushStream) {
        (self.subscriptions, self.pushes)
    }

    /// See [`SubscriptionHandle::subscribe`].
    pub async fn subscribe(&self, topics: &[String]) -> Result<(), RedisClientError> {
        self.subscriptions.subscribe(topics).await
    }

    /// See [`SubscriptionHandle::unsubscribe`].
    pub async fn unsubscribe(&self, topics: &[String]) -> Result<(), RedisClientError> {
        self.subscriptions.unsubscribe(topics).await
    }

    /// See [`RedisPushStream::next`].
    pub async fn next(&mut self) -> Option<RedisPush> {
        self.pushes.next().await
    }
}

impl SubscriptionHandle {
    /// From when this returns, what is published to these topics (made with [`Redis::first_key`](super::Redis::key)) arrives.
    /// Subscribing twice changes nothing.
    ///
    /// # Errors
    /// [`RedisClientError`]; how many of the topics are subscribed then is unknown.
    pub async fn subscribe(&self, topics: &[String]) -> Result<(), RedisClientError> {
        self.change_subscriptions(SubscriptionChange::Subscribe, topics).await
    }

    /// From some time after this nothing of these topics arrives any more.
    ///
    /// # Errors
    /// [`RedisClientError`]; how many of the topics are still subscribed then is unknown.
    pub async fn unsubscribe(&self, topics: &[String]) -> Result<(), RedisClientError> {
        self.change_subscriptions(SubscriptionChange::Unsubscribe, topics).await
    }

    async fn change_subscriptions(&self, wish: SubscriptionChange, topics: &[String]) -> Result<(), RedisClientError> {
        // One command takes several topics on a server; in a Cluster each may belong to another node.
        let (size, at_once) = match &self.connection {
            DriverConnection::Server(_) => (REDIS_CHANNELS_PER_COMMAND, 1),
            DriverConnection::Cluster(_) => (1, MAX_CONCURRENT_SUBSCRIBES),
        };
        // Made before the stream is: a closure over borrowed topics inside it would keep this off other threads.
        let telling: Vec<_> =
            topics.chunks(size).map(|some| wish.send_command(self.connection.clone(), some)).collect();
        let told = stream::iter(telling).buffer_unordered(at_once).try_collect::<()>();
        timeout(self.timeout, told).await.map_err(|_| RedisClientError::Timeout)?.map_err(RedisClientError::from)
    }
}

impl SubscriptionChange {
    async fn send_command(self, wire: DriverConnection, topics: &[String]) -> RedisResult<()> {
        match (wire, self) {
            (DriverConnection::Server(mut connection), Self::Subscribe) => connection.subscribe(topics).await,
            (DriverConnection::Server(mut connection), Self::Unsubscribe) => connection.unsubscribe(topics).await,
            (DriverConnection::Cluster(mut connection), Self::Subscribe) => connection.ssubscribe(topics).await,
            (DriverConnection::Cluster(mut connection), Self::Unsubscribe) => connection.sunsubscribe(topics).await,
        }
    }
}

impl RedisPushStream {
    /// The next message; `None` once the connection is lost or was too slow, after everything that had arrived.
    pub async fn next(&mut self) -> Option<RedisPush> {
        self.received.recv().await
    }
}

/// What is wanted of a topic.
#[derive(Clone, Copy)]
enum SubscriptionChange {
    Subscribe,
    Unsubscribe,
}

/// Where the connection leaves its pushes. It must not wait.
struct PushIntake {
    sender: parking_lot::Mutex<Option<mpsc::Sender<RedisPush>>>,
}

impl AsyncPushSender for PushIntake {
    fn send(&self, push: PushInfo) -> Result<(), redis::aio::SendError> {
        let mut sender = self.sender.lock();
        let keep = match push.kind {
            PushKind::Disconnection => false,
            PushKind::Message | PushKind::SMessage => match (parse_push(push), sender.as_ref()) {
                (Some(pushed), Some(sender)) => sender.try_send(pushed).is_ok(),
                _ => true,
            },
            _ => true,
        };
        if !keep {
            *sender = None;
        }
        Ok(())
    }
}

fn parse_push(push: PushInfo) -> Option<RedisPush> {
    let mut parts = push.data.into_iter();
    let (Some(Value::BulkString(topic)), Some(Value::BulkString(payload))) = (parts.next(), parts.next()) else {
        return None;
    };
    Some(RedisPush { redis_channel: topic.into(), payload: payload.into() })
}
