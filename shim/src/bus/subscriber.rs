//! The subscription: one connection to Redis that hears, replaced when it falls silent.
//!
//! ```text
//! connect ── listen for everything wanted ── confirm ── (not the first time: compare with the log) ── follow changes
//!    ▲                                                                                                     │
//!    └──────────── backoff ◀── connection lost, a command failed, or nothing heard for `silence` ◀─────────┘
//! ```
//! Invariant: a group counts as settled only between the confirmation and the loss of the connection. Anything heard is a
//! sign of life, so that a pod that is behind does not take itself for deaf; the heartbeat is for when nobody speaks.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::BytesMut;
use handlers::audience::Group;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::inbound::InboundDispatcher;
use super::{BusState, redis_channel, wire};
use crate::hub::ChannelDelivery;
use crate::redis::{RedisClientError, RedisPushStream, SubscriptionHandle};

/// Topics that are listened for in one go, so that each go stays well inside the link's deadline.
const MAX_CHANNELS_PER_COMMAND: usize = 512;
/// The first and the longest pause before another connection is made.
const RECONNECT_DELAYS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Hears until `stop`.
pub(super) async fn run_subscriber(
    shared: Arc<BusState>,
    hub: ChannelDelivery,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let receiver = InboundDispatcher::new(hub.clone(), shared.clone(), tasks);
    let listener = BusSubscriber { shared, hub, inbound: receiver, last_received_at: Mutex::new(Instant::now()) };
    tokio::select! {
        () = listener.keep_subscribed() => {}
        () = stop.cancelled() => {}
    }
}

struct BusSubscriber {
    shared: Arc<BusState>,
    hub: ChannelDelivery,
    inbound: InboundDispatcher,
    last_received_at: Mutex<Instant>,
}

impl BusSubscriber {
    async fn keep_subscribed(&self) {
        let backoff = || {
            ExponentialBuilder::new()
                .with_jitter()
                .with_min_delay(RECONNECT_DELAYS.0)
                .with_max_delay(RECONNECT_DELAYS.1)
        };
        let mut pauses = backoff().without_max_times().build();
        // Told once until it has worked again for a while.
        let mut told = false;
        loop {
            let begun = Instant::now();
            let lost = self.run_connection().await;
            told &= begun.elapsed() <= RECONNECT_DELAYS.1;
            if !std::mem::replace(&mut told, true) {
                let lost = lost.as_ref().err();
                tracing::warn!(
                    error = lost.map(|error| errors::chain(error).to_string()),
                    "the bus lost its subscription; making another"
                );
            }
            self.shared.metrics.subscriber_reconnects.inc();
            // At once: who comes now must not rely on it.
            let _ = self.shared.subscriptions.reset_pending(|group| self.hub.has_members(group));
            if begun.elapsed() > RECONNECT_DELAYS.1 {
                pauses = backoff().without_max_times().build();
            }
            tokio::time::sleep(pauses.next().unwrap_or(RECONNECT_DELAYS.1)).await;
        }
    }

    /// Listens on a fresh connection until that is lost.
    async fn run_connection(&self) -> Result<(), RedisClientError> {
        let (topics, pushes) = self.shared.redis.open_subscriber().await?.split();
        *self.last_received_at.lock() = Instant::now();
        tokio::select! {
            () = self.receive_payloads(pushes) => Ok(()),
            steered = self.maintain_subscriptions(topics) => steered,
        }
    }

    async fn receive_payloads(&self, mut pushes: RedisPushStream) {
        while let Some(pushed) = pushes.next().await {
            *self.last_received_at.lock() = Instant::now();
            self.inbound.dispatch_payload(&pushed.payload);
        }
    }

    async fn maintain_subscriptions(&self, topics: SubscriptionHandle) -> Result<(), RedisClientError> {
        let shared = &self.shared;
        let mut node = shared.node_liveness.node_id();
        let own = [redis_channel::channel_of_pod(shared.incarnation), redis_channel::channel_of_node(node)]
            .map(|topic| shared.redis.prefixed_key(&topic));
        topics.subscribe(&own).await?;
        self.subscribe_groups(&topics, &shared.subscriptions.reset_pending(|group| self.hub.has_members(group)))
            .await?;
        // Also the first time: something may have been said since the first connection came.
        shared.resync_requested.notify_one();
        let mut heartbeat = tokio::time::interval(shared.settings.heartbeat_interval);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shared.subscriptions.wait_changed() => self.apply_changes(&topics).await?,
                _ = heartbeat.tick() => {
                    if self.last_received_at.lock().elapsed() > shared.settings.silence_timeout {
                        return Ok(());
                    }
                    self.follow_node_id(&topics, &mut node).await?;
                    self.publish_heartbeat().await;
                }
            }
        }
    }

    async fn apply_changes(&self, topics: &SubscriptionHandle) -> Result<(), RedisClientError> {
        let steps = self.shared.subscriptions.take_changes(Instant::now(), |group| self.hub.has_members(group));
        self.subscribe_groups(topics, &steps.subscribe).await?;
        for group in &steps.unsubscribe {
            self.hub.evict_unread_channels(group);
        }
        for groups in steps.unsubscribe.chunks(MAX_CHANNELS_PER_COMMAND) {
            topics.unsubscribe(&self.redis_channels_of(groups)).await?;
        }
        self.shared
            .metrics
            .subscriptions
            .set(i64::try_from(self.shared.subscriptions.group_count()).unwrap_or(i64::MAX));
        Ok(())
    }

    /// A pod that lost its lease goes on as another node.
    async fn follow_node_id(&self, topics: &SubscriptionHandle, node: &mut u16) -> Result<(), RedisClientError> {
        let now = self.shared.node_liveness.node_id();
        if now != *node {
            topics.subscribe(&[self.shared.redis.prefixed_key(&redis_channel::channel_of_node(now))]).await?;
            topics.unsubscribe(&[self.shared.redis.prefixed_key(&redis_channel::channel_of_node(*node))]).await?;
            *node = now;
        }
        Ok(())
    }

    async fn subscribe_groups(&self, topics: &SubscriptionHandle, groups: &[Group]) -> Result<(), RedisClientError> {
        for groups in groups.chunks(MAX_CHANNELS_PER_COMMAND) {
            topics.subscribe(&self.redis_channels_of(groups)).await?;
            self.shared.subscriptions.confirm_active(groups);
        }
        Ok(())
    }

    fn redis_channels_of(&self, groups: &[Group]) -> Vec<String> {
        groups.iter().map(|group| self.shared.redis.prefixed_key(&redis_channel::channel_of_group(group))).collect()
    }

    /// Publishes directly: a heartbeat that waits behind a full queue would say that the subscription is dead. When it does
    /// not go out, nothing is heard either, and the silence tells.
    async fn publish_heartbeat(&self) {
        let mut payload = BytesMut::new();
        wire::begin_payload(&mut payload, self.shared.incarnation);
        payload.extend_from_slice(&wire::heartbeat_record());
        let topic = self.shared.redis.prefixed_key(&redis_channel::channel_of_pod(self.shared.incarnation));
        let published = self.shared.redis.publish_all(vec![(topic, payload.freeze())]);
        let _ = tokio::time::timeout(self.shared.settings.heartbeat_interval, published).await;
    }
}
