//! Publisher task: publishes all queued records in one round trip.
//!
//! Records of one Redis channel keep their order. During a Redis outage the current batch keeps only the records of
//! logged messages (ephemeral frames would be late, and senders of other frames receive an error), and the queue fills
//! to its limit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio_util::sync::CancellationToken;

use super::BusState;
use super::publish_queue::{DropPolicy, Publication};
use super::wire;
use crate::redis::LinkState;

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

/// Publishes until `stop` is cancelled, then publishes the rest of the queue.
pub(super) async fn run_publisher(shared: Arc<BusState>, stop: CancellationToken) {
    loop {
        let batch = tokio::select! {
            batch = shared.publish_queue.take_batch(MAX_BATCH_BYTES) => batch,
            () = stop.cancelled() => break,
        };
        publish_batch(&shared, batch, &stop).await;
    }
    let _ = tokio::time::timeout(FINAL_FLUSH_TIMEOUT, async {
        loop {
            let rest = shared.publish_queue.try_take_batch(MAX_BATCH_BYTES);
            if rest.is_empty() || shared.redis.publish_all(build_payloads(shared.incarnation, &rest)).await.is_err() {
                return;
            }
        }
    })
    .await;
}

async fn publish_batch(shared: &BusState, mut batch: Vec<Publication>, stop: &CancellationToken) {
    let mut attempts = 0;
    while !batch.is_empty() && !stop.is_cancelled() {
        let payloads = build_payloads(shared.incarnation, &batch);
        let publishes = payloads.len() as u64;
        match shared.redis.publish_all(payloads).await {
            Ok(()) => {
                shared.metrics.published_records.inc_by(batch.len() as u64);
                shared.metrics.publish_commands.inc_by(publishes);
                return;
            }
            Err(error) => tracing::debug!(error = %errors::chain(&error), "bus publish failed"),
        }
        retain_recoverable(shared, &mut batch);
        attempts += u32::from(shared.is_redis_available());
        if attempts >= MAX_PUBLISH_ATTEMPTS {
            tracing::warn!(
                messages = batch.len(),
                "bus publish failed, messages dropped; receivers backfill from the log"
            );
            shared.metrics.dropped_recoverable_records.inc_by(batch.len() as u64);
            return;
        }
        wait_until_available(shared).await;
    }
}

fn retain_recoverable(shared: &BusState, batch: &mut Vec<Publication>) {
    let before = batch.len();
    batch.retain(|publication| publication.drop_policy == DropPolicy::Recoverable);
    shared.metrics.dropped_unrecoverable_records.inc_by((before - batch.len()) as u64);
}

async fn wait_until_available(shared: &BusState) {
    tokio::time::sleep(RETRY_DELAY).await;
    let mut state = shared.redis.link_state();
    // Also retried during an outage, because a successful attempt is what detects the recovery.
    let _ = tokio::time::timeout(10 * RETRY_DELAY, state.wait_for(|state| matches!(state, LinkState::Available))).await;
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
