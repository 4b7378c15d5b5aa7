//! Subscriber task: one Redis connection that receives, replaced when it is lost or silent.
//!
//! ```text
//! connect ── subscribe to all groups ── confirm ── request a head check of all channels ── apply changes
//!    ▲                                                                                          │
//!    └───── backoff ◀── connection lost, a command failed, or no data for `silence_timeout` ◀───┘
//! ```
//! A group counts as subscribed only between the confirmation by Redis and the loss of the connection. Any received
//! data proves that the connection is alive, so a pod with a backlog does not replace it; the heartbeat covers idle
//! times.

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

/// Maximum Redis channels per command, so that each command completes well within the timeout of the connection.
const MAX_CHANNELS_PER_COMMAND: usize = 512;
/// Minimum and maximum backoff before a reconnect.
const RECONNECT_DELAYS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Receives until `stop` is cancelled.
pub(super) async fn run_subscriber(
    shared: Arc<BusState>,
    hub: ChannelDelivery,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let inbound = InboundDispatcher::new(hub.clone(), shared.clone(), tasks);
    let subscriber = BusSubscriber { shared, hub, inbound, last_received_at: Mutex::new(Instant::now()) };
    tokio::select! {
        () = subscriber.keep_subscribed() => {}
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
        let mut delays = backoff().without_max_times().build();
        // Logged once per outage, which ends when a connection has lasted longer than the maximum backoff.
        let mut outage_logged = false;
        loop {
            let started_at = Instant::now();
            let result = self.run_connection().await;
            outage_logged &= started_at.elapsed() <= RECONNECT_DELAYS.1;
            if !std::mem::replace(&mut outage_logged, true) {
                match &result {
                    Err(error) => {
                        tracing::warn!(error = %errors::chain(error), "bus subscription lost, reconnecting");
                    }
                    Ok(()) => tracing::warn!("bus subscription ended, reconnecting"),
                }
            }
            self.shared.metrics.subscriber_reconnects.inc();
            // Reset immediately, so that new connections wait for the new subscription.
            let _ = self.shared.subscriptions.reset_pending(|group| self.hub.has_members(group));
            if started_at.elapsed() > RECONNECT_DELAYS.1 {
                delays = backoff().without_max_times().build();
            }
            tokio::time::sleep(delays.next().unwrap_or(RECONNECT_DELAYS.1)).await;
        }
    }

    /// Opens a connection and receives on it until it is lost.
    async fn run_connection(&self) -> Result<(), RedisClientError> {
        let (subscription, pushes) = self.shared.redis.open_subscriber().await?.split();
        *self.last_received_at.lock() = Instant::now();
        tokio::select! {
            () = self.receive_payloads(pushes) => Ok(()),
            result = self.maintain_subscriptions(subscription) => result,
        }
    }

    async fn receive_payloads(&self, mut pushes: RedisPushStream) {
        while let Some(push) = pushes.next().await {
            *self.last_received_at.lock() = Instant::now();
            self.inbound.dispatch_payload(&push.payload);
        }
    }

    async fn maintain_subscriptions(&self, subscription: SubscriptionHandle) -> Result<(), RedisClientError> {
        let shared = &self.shared;
        let mut node = shared.node_liveness.node_id();
        let own = [redis_channel::channel_of_pod(shared.incarnation), redis_channel::channel_of_node(node)]
            .map(|redis_channel| shared.redis.prefixed_key(&redis_channel));
        subscription.subscribe(&own).await?;
        self.subscribe_groups(&subscription, &shared.subscriptions.reset_pending(|group| self.hub.has_members(group)))
            .await?;
        // Also for the first connection: messages may have been published since the first client connected.
        shared.resync_requested.notify_one();
        let mut heartbeat = tokio::time::interval(shared.settings.heartbeat_interval);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shared.subscriptions.wait_changed() => self.apply_changes(&subscription).await?,
                _ = heartbeat.tick() => {
                    if self.last_received_at.lock().elapsed() > shared.settings.silence_timeout {
                        return Ok(());
                    }
                    self.follow_node_id(&subscription, &mut node).await?;
                    self.publish_heartbeat().await;
                }
            }
        }
    }

    async fn apply_changes(&self, subscription: &SubscriptionHandle) -> Result<(), RedisClientError> {
        let changes = self.shared.subscriptions.take_changes(Instant::now(), |group| self.hub.has_members(group));
        self.subscribe_groups(subscription, &changes.subscribe).await?;
        for group in &changes.unsubscribe {
            self.hub.evict_unread_channels(group);
        }
        for groups in changes.unsubscribe.chunks(MAX_CHANNELS_PER_COMMAND) {
            subscription.unsubscribe(&self.redis_channels_of(groups)).await?;
        }
        self.shared
            .metrics
            .subscriptions
            .set(i64::try_from(self.shared.subscriptions.group_count()).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Moves the subscription of the node id after this pod lost its lease and claimed another one.
    async fn follow_node_id(&self, subscription: &SubscriptionHandle, node: &mut u16) -> Result<(), RedisClientError> {
        let current = self.shared.node_liveness.node_id();
        if current != *node {
            subscription.subscribe(&[self.shared.redis.prefixed_key(&redis_channel::channel_of_node(current))]).await?;
            subscription.unsubscribe(&[self.shared.redis.prefixed_key(&redis_channel::channel_of_node(*node))]).await?;
            *node = current;
        }
        Ok(())
    }

    async fn subscribe_groups(
        &self,
        subscription: &SubscriptionHandle,
        groups: &[Group],
    ) -> Result<(), RedisClientError> {
        for groups in groups.chunks(MAX_CHANNELS_PER_COMMAND) {
            subscription.subscribe(&self.redis_channels_of(groups)).await?;
            self.shared.subscriptions.confirm_active(groups);
        }
        Ok(())
    }

    fn redis_channels_of(&self, groups: &[Group]) -> Vec<String> {
        groups.iter().map(|group| self.shared.redis.prefixed_key(&redis_channel::channel_of_group(group))).collect()
    }

    /// Publishes a heartbeat directly, because a full publish queue would delay it and the subscription would count as
    /// dead. A failure needs no handling: the heartbeat is then not received, and the silence timeout expires.
    async fn publish_heartbeat(&self) {
        let mut payload = BytesMut::new();
        wire::begin_payload(&mut payload, self.shared.incarnation);
        payload.extend_from_slice(&wire::heartbeat_record());
        let own_channel = self.shared.redis.prefixed_key(&redis_channel::channel_of_pod(self.shared.incarnation));
        let publish = self.shared.redis.publish_all(vec![(own_channel, payload.freeze())]);
        let _ = tokio::time::timeout(self.shared.settings.heartbeat_interval, publish).await;
    }
}
