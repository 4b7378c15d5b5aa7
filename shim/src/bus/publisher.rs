//! The task that publishes: everything that has queued goes out in one round trip.
//!
//! Invariant: records of one topic keep their order. While Redis is away, the batch in hand is kept as far as it is logged
//! (what is ephemeral is late by then, and whoever sent the rest was told), and the queue behind it fills to its bound.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio_util::sync::CancellationToken;

use super::BusState;
use super::publish_queue::{DropPolicy, Publication};
use super::wire;
use crate::redis::LinkState;

/// Most bytes that go out in one round trip: some milliseconds on a gigabit, so that one batch holds up little.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// Most bytes of one payload, so that no receiver waits long for the first record of a large one.
const MAX_PAYLOAD_BYTES: usize = 256 * 1024;
/// How often a batch is tried while the link is up before it is given up: something is wrong with it then.
const MAX_PUBLISH_ATTEMPTS: u32 = 3;
/// How long a batch waits between tries, and at most for the link to come back before it tries again.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// How long what still waits at the end may take.
const FINAL_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Publishes until `stop`, then what still waits.
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
    let mut tries = 0;
    while !batch.is_empty() && !stop.is_cancelled() {
        let payloads = build_payloads(shared.incarnation, &batch);
        let publishes = payloads.len() as u64;
        match shared.redis.publish_all(payloads).await {
            Ok(()) => {
                shared.metrics.published_records.inc_by(batch.len() as u64);
                shared.metrics.publish_commands.inc_by(publishes);
                return;
            }
            Err(error) => tracing::debug!(error = %errors::chain(&error), "publishing failed"),
        }
        retain_recoverable(shared, &mut batch);
        tries += u32::from(shared.is_redis_available());
        if tries >= MAX_PUBLISH_ATTEMPTS {
            tracing::warn!(messages = batch.len(), "giving up on publishing; receivers fill from the log");
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
    // Also tried now and then while it is away: it may be this that finds it back.
    let _ = tokio::time::timeout(10 * RETRY_DELAY, state.wait_for(|state| matches!(state, LinkState::Available))).await;
}

/// One payload for each topic, or several where one would be too large.
fn build_payloads(origin: u64, batch: &[Publication]) -> Vec<(String, Bytes)> {
    let mut payloads: Vec<(&str, BytesMut)> = Vec::new();
    let mut open: HashMap<&str, usize> = HashMap::new();
    for Publication { redis_channel: topic, record, .. } in batch {
        let index = open.get(topic.as_str()).copied();
        let index = index.filter(|index| payloads[*index].1.len() + record.len() <= MAX_PAYLOAD_BYTES);
        let index = index.unwrap_or_else(|| {
            let mut payload = BytesMut::with_capacity(wire::ENVELOPE_BYTES + record.len());
            wire::begin_payload(&mut payload, origin);
            payloads.push((topic, payload));
            open.insert(topic, payloads.len() - 1);
            payloads.len() - 1
        });
        payloads[index].1.extend_from_slice(record);
    }
    payloads.into_iter().map(|(topic, payload)| (topic.to_owned(), payload.freeze())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(topic: &str, bytes: usize) -> Publication {
        Publication {
            redis_channel: topic.to_owned(),
            record: BytesMut::zeroed(bytes),
            drop_policy: DropPolicy::Recoverable,
        }
    }

    #[test]
    fn records_of_one_topic_share_a_payload_up_to_its_size() {
        let batch =
            [publication("a", 10), publication("b", 20), publication("a", 30), publication("a", MAX_PAYLOAD_BYTES)];
        let sizes: Vec<_> =
            build_payloads(1, &batch).into_iter().map(|(topic, payload)| (topic, payload.len())).collect();
        let sized = |topic: &str, bytes| (topic.to_owned(), bytes + wire::ENVELOPE_BYTES);
        assert_eq!(sizes, [sized("a", 40), sized("b", 20), sized("a", MAX_PAYLOAD_BYTES)]);
    }
}
