//! Subscriber task: one Redis connection that receives, replaced when it is lost or silent.
//!
//! ```text
//! connect ── subscribe to all groups ── confirm ── request a head check of all channels ── apply changes
//!    ▲                                                                                          │
//!    └── backoff ◀── connection lost, command failed, revoked, or no data for `silence_timeout` ◀┘
//! ```
//! A group counts as subscribed only between the confirmation by Redis and the loss of the connection. Any received
//! data proves that the connection is alive, so a pod with a backlog does not replace it; the heartbeat covers idle
//! times.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::group_channels::GroupChannels;
use super::inbound::InboundDispatcher;
use super::metrics::BusMetrics;
use super::pod_channels::PodChannels;
use crate::redis::{RedisClient, RedisClientError, RedisPushStream, SubscriptionHandle, SubscriptionRevocation};

/// Minimum and maximum backoff before a reconnect.
const RECONNECT_DELAYS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Task that receives the payloads of other pods.
pub(super) struct BusSubscriber {
    /// Client of the shared Redis.
    pub(super) redis: RedisClient,
    /// Redis channels of this pod.
    pub(super) pod_channels: PodChannels,
    /// Redis channels of the groups with members on this pod.
    pub(super) group_channels: GroupChannels,
    /// Receiver of the payloads.
    pub(super) inbound: InboundDispatcher,
    /// Detector of a dead connection.
    pub(super) receive_monitor: ReceiveMonitor,
    /// Counter of replaced connections.
    pub(super) metrics: Arc<BusMetrics>,
}

/// Detects a connection that receives no data, not even the heartbeats of this pod.
pub(super) struct ReceiveMonitor {
    heartbeat_interval: Duration,
    silence_timeout: Duration,
    last_received_at: Mutex<Instant>,
}

impl ReceiveMonitor {
    pub(super) fn new(heartbeat_interval: Duration, silence_timeout: Duration) -> Self {
        Self { heartbeat_interval, silence_timeout, last_received_at: Mutex::new(Instant::now()) }
    }

    fn record_received(&self) {
        *self.last_received_at.lock() = Instant::now();
    }

    fn is_silent(&self) -> bool {
        self.last_received_at.lock().elapsed() > self.silence_timeout
    }
}

/// Reason for which a connection without an error is replaced.
enum SubscriptionEnd {
    /// The connection was lost, or its buffer overflowed.
    ConnectionLost,
    /// No data for the silence timeout.
    Silent,
    /// Redis no longer delivers to it.
    Revoked(SubscriptionRevocation),
}

fn log_end(result: &Result<SubscriptionEnd, RedisClientError>) {
    match result {
        Err(error) => tracing::warn!(error = %errors::chain(error), "bus subscription lost, reconnecting"),
        Ok(SubscriptionEnd::ConnectionLost) => tracing::warn!("bus subscription ended, reconnecting"),
        Ok(SubscriptionEnd::Silent) => tracing::warn!("bus subscription silent, reconnecting"),
        Ok(SubscriptionEnd::Revoked(SubscriptionRevocation::SlotMoved)) => {
            tracing::warn!("bus subscription revoked: its slot moved to another node of the cluster, reconnecting");
        }
        Ok(SubscriptionEnd::Revoked(SubscriptionRevocation::MasterChanged)) => {
            tracing::warn!("bus subscription revoked: another redis server became the master, reconnecting");
        }
    }
}

impl BusSubscriber {
    /// Receives until `stop` is cancelled.
    pub(super) async fn run_subscriber(self, stop: CancellationToken) {
        tokio::select! {
            () = self.keep_subscribed() => {}
            () = stop.cancelled() => {}
        }
    }

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
                log_end(&result);
            }
            if matches!(result, Ok(SubscriptionEnd::Revoked(_))) {
                self.metrics.revoked_subscriptions.inc();
            }
            self.metrics.subscriber_reconnects.inc();
            // Reset immediately, so that new connections wait for the new subscription.
            let _ = self.group_channels.reset_pending();
            if started_at.elapsed() > RECONNECT_DELAYS.1 {
                delays = backoff().without_max_times().build();
            }
            tokio::time::sleep(delays.next().unwrap_or(RECONNECT_DELAYS.1)).await;
        }
    }

    /// Opens a connection and receives on it until it is lost.
    async fn run_connection(&self) -> Result<SubscriptionEnd, RedisClientError> {
        let (subscription, pushes) = self.redis.open_subscriber().await?.split();
        self.receive_monitor.record_received();
        tokio::select! {
            () = self.receive_payloads(pushes) => Ok(SubscriptionEnd::ConnectionLost),
            result = self.maintain_subscriptions(subscription) => result,
        }
    }

    async fn receive_payloads(&self, mut pushes: RedisPushStream) {
        while let Some(push) = pushes.next().await {
            self.receive_monitor.record_received();
            self.inbound.dispatch_payload(&push.payload);
        }
    }

    async fn maintain_subscriptions(
        &self,
        subscription: SubscriptionHandle,
    ) -> Result<SubscriptionEnd, RedisClientError> {
        let mut node = self.pod_channels.subscribe_own(&subscription).await?;
        self.group_channels.subscribe_all(&subscription).await?;
        let heartbeat_interval = self.receive_monitor.heartbeat_interval;
        let mut heartbeat = tokio::time::interval(heartbeat_interval);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut revoked = std::pin::pin!(subscription.wait_revoked());
        loop {
            tokio::select! {
                revocation = &mut revoked => return Ok(SubscriptionEnd::Revoked(revocation)),
                () = self.group_channels.wait_changed() => self.group_channels.apply_changes(&subscription).await?,
                _ = heartbeat.tick() => {
                    if self.receive_monitor.is_silent() {
                        return Ok(SubscriptionEnd::Silent);
                    }
                    self.pod_channels.follow_node_id(&subscription, &mut node).await?;
                    self.pod_channels.publish_heartbeat(heartbeat_interval).await;
                }
            }
        }
    }
}
