//! Publisher of records for other pods: the sending side of the publish queue, and the task that drains it.
//!
//! Senders queue a record and continue. The task publishes all queued records in one round trip.
//!
//! Records of one Redis channel keep their order. During a Redis outage the current batch keeps only the records of
//! logged messages (ephemeral frames would be late, and senders of other frames receive an error), and the queue fills
//! to its limit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use handlers::audience::{Audience, Group};
use handlers::ports::OutgoingFrame;
use tokio_util::sync::CancellationToken;

use super::metrics::BusMetrics;
use super::publish_queue::{DropPolicy, Publication, PublishQueue, QueueFullError};
use super::redis_channel;
use super::wire::{self, PeerReply};
use crate::redis::{LinkState, RedisClient};

/// Maximum bytes of one round trip: a few milliseconds on a gigabit link.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// Maximum bytes of one payload, which limits the latency of its first record at the receiver.
const MAX_PAYLOAD_BYTES: usize = 256 * 1024;
/// Number of failed attempts, while Redis is available, after which a batch is dropped.
const MAX_PUBLISH_ATTEMPTS: u32 = 3;
/// Delay between attempts. During an outage the next attempt starts after at most ten times this delay.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Timeout for publishing the rest of the queue at shutdown.
const FINAL_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Queues records for other pods.
pub(super) struct PeerPublisher {
    redis: RedisClient,
    /// Incarnation of this pod: the origin of its payloads.
    incarnation: u64,
    queue: PublishQueue,
    metrics: Arc<BusMetrics>,
}

/// Publishes until `stop` is cancelled, then publishes the rest of the queue.
pub(super) async fn run_publisher(publisher: Arc<PeerPublisher>, stop: CancellationToken) {
    loop {
        let batch = tokio::select! {
            batch = publisher.queue.take_batch(MAX_BATCH_BYTES) => batch,
            () = stop.cancelled() => break,
        };
        publisher.publish_batch(batch, &stop).await;
    }
    let _ = tokio::time::timeout(FINAL_FLUSH_TIMEOUT, publisher.publish_rest()).await;
}

impl PeerPublisher {
    /// Creates a publisher whose queue holds at most `max_queue_bytes` bytes.
    pub(super) fn new(redis: RedisClient, incarnation: u64, max_queue_bytes: usize, metrics: Arc<BusMetrics>) -> Self {
        Self { redis, incarnation, queue: PublishQueue::new(max_queue_bytes), metrics }
    }

    /// Returns whether the circuit breaker of Redis is closed.
    pub(super) fn is_redis_available(&self) -> bool {
        matches!(*self.redis.link_state().borrow(), LinkState::Available)
    }

    /// Queues a copy of a frame for each group of the audience: all copies or none. Counts copies that are dropped.
    ///
    /// # Errors
    /// [`QueueFullError`] if the queue is full and the policy is [`DropPolicy::Report`].
    pub(super) fn publish_to_groups(
        &self,
        audience: &Audience,
        groups: &[Group],
        outgoing: &OutgoingFrame,
        drop_policy: DropPolicy,
    ) -> Result<(), QueueFullError> {
        let publication = |(group, group_index): (&Group, u8)| Publication {
            redis_channel: self.redis.redis_channel(&redis_channel::channel_of_group(group)),
            record: wire::frame_record(audience, group_index, outgoing),
            drop_policy,
        };
        let Err(full) = self.queue.push(groups.iter().zip(0..).map(publication).collect()) else { return Ok(()) };
        let dropped = match drop_policy {
            DropPolicy::Recoverable => &self.metrics.dropped_recoverable_records,
            DropPolicy::Ephemeral | DropPolicy::Report => &self.metrics.dropped_unrecoverable_records,
        };
        dropped.inc_by(groups.len() as u64);
        if drop_policy == DropPolicy::Report { Err(full) } else { Ok(()) }
    }

    /// Queues a request for the pod that holds a node id. A rejected request does not count as dropped, because its
    /// sender receives the error.
    ///
    /// # Errors
    /// [`QueueFullError`] if the queue is full.
    pub(super) fn publish_request(&self, node: u16, record: BytesMut) -> Result<(), QueueFullError> {
        self.publish_record(&redis_channel::channel_of_node(node), record)
    }

    /// Queues the reply to request `id` of the pod with incarnation `origin`. Drops and counts it if the queue is full.
    pub(super) fn publish_reply(&self, origin: u64, id: u64, reply: &PeerReply) {
        if self.publish_record(&redis_channel::channel_of_pod(origin), wire::reply_record(id, reply)).is_err() {
            self.metrics.dropped_unrecoverable_records.inc();
        }
    }

    fn publish_record(&self, redis_channel: &str, record: BytesMut) -> Result<(), QueueFullError> {
        let redis_channel = self.redis.redis_channel(redis_channel);
        self.queue.push(vec![Publication { redis_channel, record, drop_policy: DropPolicy::Report }])
    }

    async fn publish_batch(&self, mut batch: Vec<Publication>, stop: &CancellationToken) {
        let mut attempts = 0;
        while !batch.is_empty() && !stop.is_cancelled() {
            let payloads = build_payloads(self.incarnation, &batch);
            let publishes = payloads.len() as u64;
            match self.redis.publish_all(payloads).await {
                Ok(()) => {
                    self.metrics.published_records.inc_by(batch.len() as u64);
                    self.metrics.publish_commands.inc_by(publishes);
                    return;
                }
                Err(error) => tracing::debug!(error = %errors::chain(&error), "bus publish failed"),
            }
            self.retain_recoverable(&mut batch);
            attempts += u32::from(self.is_redis_available());
            if attempts >= MAX_PUBLISH_ATTEMPTS {
                tracing::warn!(
                    messages = batch.len(),
                    "bus publish failed, messages dropped; receivers backfill from the log"
                );
                self.metrics.dropped_recoverable_records.inc_by(batch.len() as u64);
                return;
            }
            self.wait_until_available().await;
        }
    }

    fn retain_recoverable(&self, batch: &mut Vec<Publication>) {
        let before = batch.len();
        batch.retain(|publication| publication.drop_policy == DropPolicy::Recoverable);
        self.metrics.dropped_unrecoverable_records.inc_by((before - batch.len()) as u64);
    }

    async fn wait_until_available(&self) {
        tokio::time::sleep(RETRY_DELAY).await;
        let mut state = self.redis.link_state();
        let available = state.wait_for(|state| matches!(state, LinkState::Available));
        // Also retried during an outage, because a successful attempt is what detects the recovery.
        let _ = tokio::time::timeout(10 * RETRY_DELAY, available).await;
    }

    /// Publishes the queued records until the queue is empty or an attempt fails.
    async fn publish_rest(&self) {
        loop {
            let rest = self.queue.try_take_batch(MAX_BATCH_BYTES);
            if rest.is_empty() || self.redis.publish_all(build_payloads(self.incarnation, &rest)).await.is_err() {
                return;
            }
        }
    }
}

/// Builds one payload per Redis channel, or several if one would exceed [`MAX_PAYLOAD_BYTES`].
fn build_payloads(origin: u64, batch: &[Publication]) -> Vec<(String, Bytes)> {
    let mut payloads: Vec<(&str, BytesMut)> = Vec::new();
    let mut open: HashMap<&str, usize> = HashMap::new();
    for Publication { redis_channel, record, .. } in batch {
        let index = open.get(redis_channel.as_str()).copied();
        let index = index.filter(|index| payloads[*index].1.len() + record.len() <= MAX_PAYLOAD_BYTES);
        let index = index.unwrap_or_else(|| {
            let mut payload = BytesMut::with_capacity(wire::ENVELOPE_BYTES + record.len());
            wire::begin_payload(&mut payload, origin);
            payloads.push((redis_channel, payload));
            open.insert(redis_channel, payloads.len() - 1);
            payloads.len() - 1
        });
        payloads[index].1.extend_from_slice(record);
    }
    payloads.into_iter().map(|(redis_channel, payload)| (redis_channel.to_owned(), payload.freeze())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(redis_channel: &str, bytes: usize) -> Publication {
        Publication {
            redis_channel: redis_channel.to_owned(),
            record: BytesMut::zeroed(bytes),
            drop_policy: DropPolicy::Recoverable,
        }
    }

    #[test]
    fn records_of_one_redis_channel_share_a_payload_up_to_its_maximum_size() {
        let batch =
            [publication("a", 10), publication("b", 20), publication("a", 30), publication("a", MAX_PAYLOAD_BYTES)];
        let sizes: Vec<_> =
            build_payloads(1, &batch).into_iter().map(|(name, payload)| (name, payload.len())).collect();
        let sized = |name: &str, bytes| (name.to_owned(), bytes + wire::ENVELOPE_BYTES);
        assert_eq!(sizes, [sized("a", 40), sized("b", 20), sized("a", MAX_PAYLOAD_BYTES)]);
    }
}
