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

use super::receiver::Receiver;
use super::{Shared, topic, wire};
use crate::hub::ChannelDelivery;
use crate::redis::{Pushes, RedisTrouble, Topics};

/// Topics that are listened for in one go, so that each go stays well inside the link's deadline.
const TOPICS_AT_ONCE: usize = 512;
/// The first and the longest pause before another connection is made.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Hears until `stop`.
pub(super) async fn run(shared: Arc<Shared>, hub: ChannelDelivery, tasks: TaskTracker, stop: CancellationToken) {
    let receiver = Receiver::new(hub.clone(), shared.clone(), tasks);
    let listener = Listener { shared, hub, receiver, heard: Mutex::new(Instant::now()) };
    tokio::select! {
        () = listener.run() => {}
        () = stop.cancelled() => {}
    }
}

struct Listener {
    shared: Arc<Shared>,
    hub: ChannelDelivery,
    receiver: Receiver,
    heard: Mutex<Instant>,
}

impl Listener {
    async fn run(&self) {
        let backoff = || ExponentialBuilder::new().with_jitter().with_min_delay(PAUSES.0).with_max_delay(PAUSES.1);
        let mut pauses = backoff().without_max_times().build();
        // Told once until it has worked again for a while.
        let mut told = false;
        loop {
            let begun = Instant::now();
            let lost = self.listen().await;
            told &= begun.elapsed() <= PAUSES.1;
            if !std::mem::replace(&mut told, true) {
                let lost = lost.as_ref().err();
                tracing::warn!(
                    error = lost.map(|error| errors::chain(error).to_string()),
                    "the bus lost its subscription; making another"
                );
            }
            self.shared.metrics.reconnects.inc();
            // At once: who comes now must not rely on it.
            let _ = self.shared.interest.restart(|group| self.hub.has_members(group));
            if begun.elapsed() > PAUSES.1 {
                pauses = backoff().without_max_times().build();
            }
            tokio::time::sleep(pauses.next().unwrap_or(PAUSES.1)).await;
        }
    }

    /// Listens on a fresh connection until that is lost.
    async fn listen(&self) -> Result<(), RedisTrouble> {
        let (topics, pushes) = self.shared.redis.subscriber().await?.split();
        *self.heard.lock() = Instant::now();
        tokio::select! {
            () = self.hear(pushes) => Ok(()),
            steered = self.steer(topics) => steered,
        }
    }

    async fn hear(&self, mut pushes: Pushes) {
        while let Some(pushed) = pushes.next().await {
            *self.heard.lock() = Instant::now();
            self.receiver.take(&pushed.payload);
        }
    }

    async fn steer(&self, topics: Topics) -> Result<(), RedisTrouble> {
        let shared = &self.shared;
        let mut node = shared.nodes.node();
        let own = [topic::of_pod(shared.origin), topic::of_node(node)].map(|topic| shared.redis.key(&topic));
        topics.subscribe(&own).await?;
        self.subscribe(&topics, &shared.interest.restart(|group| self.hub.has_members(group))).await?;
        // Also the first time: something may have been said since the first connection came.
        shared.missed.notify_one();
        let mut heartbeat = tokio::time::interval(shared.settings.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shared.interest.changed() => self.follow_changes(&topics).await?,
                _ = heartbeat.tick() => {
                    if self.heard.lock().elapsed() > shared.settings.silence {
                        return Ok(());
                    }
                    self.follow_node(&topics, &mut node).await?;
                    self.pulse().await;
                }
            }
        }
    }

    async fn follow_changes(&self, topics: &Topics) -> Result<(), RedisTrouble> {
        let steps = self.shared.interest.steps(Instant::now(), |group| self.hub.has_members(group));
        self.subscribe(topics, &steps.subscribe).await?;
        for group in &steps.unsubscribe {
            self.hub.forget_order(group);
        }
        for groups in steps.unsubscribe.chunks(TOPICS_AT_ONCE) {
            topics.unsubscribe(&self.topics_of(groups)).await?;
        }
        self.shared.metrics.subscriptions.set(i64::try_from(self.shared.interest.count()).unwrap_or(i64::MAX));
        Ok(())
    }

    /// A pod that lost its lease goes on as another node.
    async fn follow_node(&self, topics: &Topics, node: &mut u16) -> Result<(), RedisTrouble> {
        let now = self.shared.nodes.node();
        if now != *node {
            topics.subscribe(&[self.shared.redis.key(&topic::of_node(now))]).await?;
            topics.unsubscribe(&[self.shared.redis.key(&topic::of_node(*node))]).await?;
            *node = now;
        }
        Ok(())
    }

    async fn subscribe(&self, topics: &Topics, groups: &[Group]) -> Result<(), RedisTrouble> {
        for groups in groups.chunks(TOPICS_AT_ONCE) {
            topics.subscribe(&self.topics_of(groups)).await?;
            self.shared.interest.confirm(groups);
        }
        Ok(())
    }

    fn topics_of(&self, groups: &[Group]) -> Vec<String> {
        groups.iter().map(|group| self.shared.redis.key(&topic::of_group(group))).collect()
    }

    /// Publishes directly: a heartbeat that waits behind a full queue would say that the subscription is dead. When it does
    /// not go out, nothing is heard either, and the silence tells.
    async fn pulse(&self) {
        let mut payload = BytesMut::new();
        wire::begin_payload(&mut payload, self.shared.origin);
        payload.extend_from_slice(&wire::pulse_record());
        let topic = self.shared.redis.key(&topic::of_pod(self.shared.origin));
        let published = self.shared.redis.publish_all(vec![(topic, payload.freeze())]);
        let _ = tokio::time::timeout(self.shared.settings.heartbeat, published).await;
    }
}
