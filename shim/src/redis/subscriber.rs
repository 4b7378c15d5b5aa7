//! Subscriptions on a dedicated connection.
//!
//! Messages published to a subscribed Redis channel are delivered in order until the stream ends. The stream ends when
//! the connection (in a Cluster, the one to any node) is lost, and when the buffer of [`PUSH_BUFFER_CAPACITY`] messages
//! overflows. Messages may be missing then, and a new subscriber is needed, also after
//! [`SubscriptionHandle::wait_revoked`]. This module neither reconnects nor backfills.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use redis::aio::AsyncPushSender;
use redis::{PushInfo, PushKind, RedisResult, Value};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connector::RedisConnector;
use super::driver_connection::DriverConnection;
use super::error::RedisClientError;
use super::lost_subscriptions::{self, ShardSubscriptions, SubscriptionRevocation};

/// Capacity of the buffer of received messages. A slower reader is better served by a backfill from the log.
const PUSH_BUFFER_CAPACITY: usize = 16_384;
/// Maximum number of Redis channels in one command to a server.
const REDIS_CHANNELS_PER_COMMAND: usize = 256;
/// Maximum number of concurrent subscriptions in a Cluster, where each Redis channel needs a command.
const MAX_CONCURRENT_SUBSCRIBES: usize = 64;

/// A published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisPush {
    /// Full name of the Redis channel, with the prefix.
    pub redis_channel: Bytes,
    pub payload: Bytes,
}

/// A dedicated connection for subscriptions: handle and stream.
pub struct RedisSubscriber {
    subscriptions: SubscriptionHandle,
    pushes: RedisPushStream,
}

/// Changes the subscriptions of a connection; clones share the connection.
#[derive(Clone)]
pub struct SubscriptionHandle {
    connection: DriverConnection,
    timeout: Duration,
    shard_subscriptions: Arc<ShardSubscriptions>,
    connector: Arc<RedisConnector>,
    /// Generation of the master when the connection was opened.
    master_generation: u64,
}

/// Stream of the messages of a connection. The connection stays open as long as a [`SubscriptionHandle`] of it exists.
pub struct RedisPushStream {
    received: mpsc::Receiver<RedisPush>,
}

impl RedisSubscriber {
    pub(super) async fn connect_subscriber(
        connector: &Arc<RedisConnector>,
        operation_timeout: Duration,
    ) -> Result<Self, RedisClientError> {
        let (sender, received) = mpsc::channel(PUSH_BUFFER_CAPACITY);
        let shard_subscriptions = Arc::new(ShardSubscriptions::default());
        let intake: Arc<dyn AsyncPushSender> = Arc::new(PushIntake {
            sender: parking_lot::Mutex::new(Some(sender)),
            shard_subscriptions: shard_subscriptions.clone(),
        });
        let master_generation = connector.master_generation();
        let connection = timeout(operation_timeout, connector.connect_for_pushes(intake))
            .await
            .map_err(|_| RedisClientError::Timeout)??;
        Ok(Self {
            subscriptions: SubscriptionHandle {
                connection,
                timeout: operation_timeout,
                shard_subscriptions,
                connector: connector.clone(),
                master_generation,
            },
            pushes: RedisPushStream { received },
        })
    }

    /// Splits the subscriber, so that handle and stream can be used concurrently.
    #[must_use]
    pub fn split(self) -> (SubscriptionHandle, RedisPushStream) {
        (self.subscriptions, self.pushes)
    }

    /// See [`SubscriptionHandle::subscribe`].
    pub async fn subscribe(&self, redis_channels: &[String]) -> Result<(), RedisClientError> {
        self.subscriptions.subscribe(redis_channels).await
    }

    /// See [`SubscriptionHandle::unsubscribe`].
    pub async fn unsubscribe(&self, redis_channels: &[String]) -> Result<(), RedisClientError> {
        self.subscriptions.unsubscribe(redis_channels).await
    }

    /// See [`RedisPushStream::next`].
    pub async fn next(&mut self) -> Option<RedisPush> {
        self.pushes.next().await
    }
}

impl SubscriptionHandle {
    /// Subscribes to Redis channels, named by [`RedisClient::redis_channel`](super::RedisClient::redis_channel).
    /// Messages published after the return are delivered. Idempotent.
    ///
    /// # Errors
    /// Returns [`RedisClientError`]. Some of the Redis channels may be subscribed then.
    pub async fn subscribe(&self, redis_channels: &[String]) -> Result<(), RedisClientError> {
        self.change_subscriptions(SubscriptionChange::Subscribe, redis_channels).await
    }

    /// Unsubscribes from Redis channels. Messages may still be delivered for a short time after the return.
    ///
    /// # Errors
    /// Returns [`RedisClientError`]. Some of the Redis channels may still be subscribed then.
    pub async fn unsubscribe(&self, redis_channels: &[String]) -> Result<(), RedisClientError> {
        self.change_subscriptions(SubscriptionChange::Unsubscribe, redis_channels).await
    }

    /// Waits until subscriptions of this connection receive nothing any more although it is open. The connection has
    /// to be replaced then. To be called once, and polled until the connection is replaced.
    pub async fn wait_revoked(&self) -> SubscriptionRevocation {
        let Self { connection, shard_subscriptions, connector, master_generation, .. } = self;
        lost_subscriptions::wait_revoked(connection, shard_subscriptions, connector, *master_generation).await
    }

    async fn change_subscriptions(
        &self,
        change: SubscriptionChange,
        redis_channels: &[String],
    ) -> Result<(), RedisClientError> {
        // A server accepts several Redis channels per command. In a Cluster, each may belong to another node.
        let (size, concurrency) = match &self.connection {
            DriverConnection::Server(_) => (REDIS_CHANNELS_PER_COMMAND, 1),
            DriverConnection::Cluster(_) => (1, MAX_CONCURRENT_SUBSCRIBES),
        };
        if matches!(self.connection, DriverConnection::Cluster(_)) {
            match change {
                SubscriptionChange::Subscribe => self.shard_subscriptions.insert(redis_channels),
                SubscriptionChange::Unsubscribe => self.shard_subscriptions.remove(redis_channels),
            }
        }
        // Built before the stream: a closure over the borrowed names inside the stream would make this future not
        // `Send`.
        let commands: Vec<_> =
            redis_channels.chunks(size).map(|chunk| change.send_command(self.connection.clone(), chunk)).collect();
        let completed = stream::iter(commands).buffer_unordered(concurrency).try_collect::<()>();
        timeout(self.timeout, completed).await.map_err(|_| RedisClientError::Timeout)?.map_err(RedisClientError::from)
    }
}

impl SubscriptionChange {
    async fn send_command(self, connection: DriverConnection, redis_channels: &[String]) -> RedisResult<()> {
        match (connection, self) {
            (DriverConnection::Server(mut connection), Self::Subscribe) => connection.subscribe(redis_channels).await,
            (DriverConnection::Server(mut connection), Self::Unsubscribe) => {
                connection.unsubscribe(redis_channels).await
            }
            (DriverConnection::Cluster(mut connection), Self::Subscribe) => connection.ssubscribe(redis_channels).await,
            (DriverConnection::Cluster(mut connection), Self::Unsubscribe) => {
                connection.sunsubscribe(redis_channels).await
            }
        }
    }
}

impl RedisPushStream {
    /// Returns the next message. Returns `None` after the connection was lost or the buffer overflowed, once all
    /// buffered messages have been returned.
    pub async fn next(&mut self) -> Option<RedisPush> {
        self.received.recv().await
    }
}

#[derive(Clone, Copy)]
enum SubscriptionChange {
    Subscribe,
    Unsubscribe,
}

/// Receives push messages from the driver. Must not block.
struct PushIntake {
    sender: parking_lot::Mutex<Option<mpsc::Sender<RedisPush>>>,
    shard_subscriptions: Arc<ShardSubscriptions>,
}

impl AsyncPushSender for PushIntake {
    fn send(&self, push: PushInfo) -> Result<(), redis::aio::SendError> {
        let mut sender = self.sender.lock();
        let keep = match push.kind {
            PushKind::Disconnection => false,
            PushKind::Message | PushKind::SMessage => match (parse_push(push), sender.as_ref()) {
                (Some(message), Some(sender)) => sender.try_send(message).is_ok(),
                _ => true,
            },
            PushKind::SUnsubscribe => {
                if let Some(Value::BulkString(redis_channel)) = push.data.first() {
                    self.shard_subscriptions.record_unsubscribed(redis_channel);
                }
                true
            }
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
    let (Some(Value::BulkString(redis_channel)), Some(Value::BulkString(payload))) = (parts.next(), parts.next())
    else {
        return None;
    };
    Some(RedisPush { redis_channel: redis_channel.into(), payload: payload.into() })
}
