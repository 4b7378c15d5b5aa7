use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use handlers::audience::Audience;
use handlers::identity::Role;
use handlers::memory::MemoryLog;
use handlers::ports::{AppendOutcome, AppendRequest, Delivery as _, LogError, MessageLog, OutgoingFrame};
use parking_lot::Mutex;

use super::*;
use crate::connection::Connection;
use crate::hub::order::channel_order::MAX_BUFFERED_FRAMES;
use crate::hub::tests::{append, channel, connect_on_node, drain_texts, hub_over, log, placed};

/// A log that counts its reads and runs `after_read` once, after the first read.
struct CountingLog {
    log: MemoryLog,
    reads: AtomicUsize,
    after_read: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

#[async_trait]
impl MessageLog for CountingLog {
    async fn append(&self, append: AppendRequest) -> Result<AppendOutcome, LogError> {
        self.log.append(append).await
    }

    async fn read(&self, channel: &Channel, range: LogRange, limit: usize, bytes: usize) -> Result<LogSlice, LogError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let slice = self.log.read(channel, range, limit, bytes).await;
        if let Some(after_read) = self.after_read.lock().take() {
            after_read();
        }
        slice
    }

    async fn heads(&self, channels: &[Channel]) -> Result<Vec<Position>, LogError> {
        self.log.heads(channels).await
    }
}

/// A connection of alice and a channel that she reads, whose log has messages `1` to `count`.
async fn alice_with_log_of(count: usize) -> (ChannelDelivery, Arc<CountingLog>, Arc<Connection>, Channel) {
    let log = Arc::new(CountingLog { log: log(), reads: AtomicUsize::new(0), after_read: Mutex::default() });
    let hub = hub_over(log.clone());
    let (alice, everyone) = (connect_on_node(&hub, 1, 1, "alice", Role::User), channel("everyone"));
    let ids: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
    append(&log.log, &everyone, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    (hub, log, alice, everyone)
}

async fn deliver_offsets(hub: &ChannelDelivery, channel: &Channel, offsets: &[u64]) {
    for offset in offsets {
        hub.deliver(&Audience::Channel(channel.clone()), placed(channel, *offset)).await.unwrap();
    }
}

async fn wait_for_backfills(hub: &ChannelDelivery) {
    hub.shared.tasks.close();
    hub.shared.tasks.wait().await;
}

/// Drains the offsets that alice received, of live frames (`1`) and of frames encoded from the log.
fn offsets(alice: &Connection) -> Vec<u64> {
    let offset = |frame: &String| match frame.split_once("\"offset\":") {
        Some((_, rest)) => rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap(),
        None => frame.parse().unwrap(),
    };
    drain_texts(alice).iter().map(offset).collect()
}

#[tokio::test(start_paused = true)]
async fn messages_in_flight_arrive_within_the_backfill_delay_and_the_log_is_not_read() {
    let (hub, log, alice, everyone) = alice_with_log_of(7).await;
    deliver_offsets(&hub, &everyone, &[1, 3]).await;
    tokio::time::sleep(BACKFILL_DELAY / 2).await;
    deliver_offsets(&hub, &everyone, &[5, 2]).await;
    tokio::time::sleep(BACKFILL_DELAY).await;
    deliver_offsets(&hub, &everyone, &[7, 4]).await;
    tokio::time::sleep(BACKFILL_DELAY).await;
    deliver_offsets(&hub, &everyone, &[6]).await;
    wait_for_backfills(&hub).await;
    assert_eq!(offsets(&alice), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(log.reads.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_range_that_becomes_missing_during_a_backfill_is_backfilled_too() {
    let (hub, log, alice, everyone) = alice_with_log_of(2).await;
    deliver_offsets(&hub, &everyone, &[1]).await;
    let (hub_after_read, channel) = (hub.clone(), everyone.clone());
    *log.after_read.lock() = Some(Box::new(move || {
        // The missing message arrives late; 4 is lost.
        for offset in [2, 5] {
            let OutgoingFrame { frame, priority, placement } = placed(&channel, offset);
            hub_after_read.deliver_in_order(placement.unwrap(), priority, frame);
        }
    }));
    deliver_offsets(&hub, &everyone, &[3]).await;
    append(&log.log, &everyone, &["3", "4", "5"]).await;
    wait_for_backfills(&hub).await;
    assert_eq!(offsets(&alice), [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn frames_beyond_the_buffer_limit_are_read_from_the_log_in_order() {
    let last = 5 + MAX_BUFFERED_FRAMES as u64;
    let (hub, _, alice, everyone) = alice_with_log_of(5 + MAX_BUFFERED_FRAMES).await;
    deliver_offsets(&hub, &everyone, &[1]).await;
    deliver_offsets(&hub, &everyone, &(3..=last).collect::<Vec<_>>()).await;
    wait_for_backfills(&hub).await;
    assert_eq!(offsets(&alice), (1..=last).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn only_the_missing_range_that_was_read_is_skipped() {
    let (hub, _, alice, everyone) = alice_with_log_of(0).await;
    deliver_offsets(&hub, &everyone, &[1, 3, 2, 5]).await;
    assert_eq!(hub.abandon_missing_range(&everyone, 2, true), Some(4), "2 arrived just before the range was abandoned");
    assert_eq!(offsets(&alice), [1, 2, 3]);
    assert!(hub.lock_channel(&everyone).backfilling, "the backfill continues with 4");
    assert_eq!(hub.abandon_missing_range(&everyone, 4, true), None);
    assert_eq!(offsets(&alice), [5]);
    assert!(!hub.lock_channel(&everyone).backfilling);
}

#[tokio::test(start_paused = true)]
async fn a_missing_range_that_the_log_cannot_supply_is_skipped_and_the_next_one_read() {
    let (hub, log, alice, everyone) = alice_with_log_of(1).await;
    deliver_offsets(&hub, &everyone, &[1, 3, 5]).await;
    // The log lost 2 to 6.
    wait_for_backfills(&hub).await;
    assert_eq!(offsets(&alice), [1, 3, 5]);
    assert_eq!(log.reads.load(Ordering::Relaxed), 2 * MAX_READ_ATTEMPTS as usize);
    assert!(!hub.lock_channel(&everyone).backfilling);
}
