//! Redis channels of this pod itself: requests to its node id, and its heartbeats and replies.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use super::{NodeLiveness, redis_channel, wire};
use crate::redis::{RedisClient, RedisClientError, SubscriptionHandle};

/// Subscribes to the Redis channels of this pod and publishes its heartbeats.
pub(super) struct PodChannels {
    /// Client of the shared Redis.
    pub(super) redis: RedisClient,
    /// Incarnation of this pod, which names the channel of heartbeats and replies.
    pub(super) incarnation: u64,
    /// The node id of this pod, which names the channel of requests.
    pub(super) node_liveness: Arc<dyn NodeLiveness>,
}

impl PodChannels {
    /// Subscribes a new connection to the channels. Returns the node id that it is subscribed to.
    pub(super) async fn subscribe_own(&self, subscription: &SubscriptionHandle) -> Result<u16, RedisClientError> {
        let node = self.node_liveness.node_id();
        subscription.subscribe(&[self.own_channel(), self.node_channel(node)]).await?;
        Ok(node)
    }

    /// Moves the subscription of the node id after this pod lost its lease and claimed another one.
    pub(super) async fn follow_node_id(
        &self,
        subscription: &SubscriptionHandle,
        node: &mut u16,
    ) -> Result<(), RedisClientError> {
        let current = self.node_liveness.node_id();
        if current != *node {
            subscription.subscribe(&[self.node_channel(current)]).await?;
            subscription.unsubscribe(&[self.node_channel(*node)]).await?;
            *node = current;
        }
        Ok(())
    }

    /// Publishes a heartbeat directly, because a full publish queue would delay it and the subscription would count as
    /// dead. A failure needs no handling: the heartbeat is then not received, and the silence timeout expires.
    pub(super) async fn publish_heartbeat(&self, timeout: Duration) {
        let mut payload = BytesMut::new();
        wire::begin_payload(&mut payload, self.incarnation);
        payload.extend_from_slice(&wire::heartbeat_record());
        let publish = self.redis.publish_all(vec![(self.own_channel(), payload.freeze())]);
        let _ = tokio::time::timeout(timeout, publish).await;
    }

    fn own_channel(&self) -> String {
        self.redis.redis_channel(&redis_channel::channel_of_pod(self.incarnation))
    }

    fn node_channel(&self, node: u16) -> String {
        self.redis.redis_channel(&redis_channel::channel_of_node(node))
    }
}
