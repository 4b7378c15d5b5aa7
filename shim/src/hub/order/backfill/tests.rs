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

/// A log that counts how often it is read, and lets something happen behind the first read.
struct Watched {
    log: MemoryLog,
    reads: AtomicUsize,
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

#[async_trait]
impl MessageLog for Watched {
    async fn append(&self, append: AppendRequest) -> Result<AppendOutcome, LogError> {
        self.log.append(append).await
    }

    async fn read(&self, channel: &Channel, range: LogRange, limit: usize, bytes: usize) -> Result<LogSlice, LogError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let slice = self.log.read(channel, range, limit, bytes).await;
        if let Some(meanwhile) = self.meanwhile.lock().take() {
            meanwhile();
        }
        slice
    }

    async fn heads(&self, channels: &[Channel]) -> Result<Vec<Position>, LogError> {
        self.log.heads(channels).await
    }
}

/// Alice, and a channel that she reads, whose log has messages `1` to `count`.
async fn alice(count: usize) -> (ChannelDelivery, Arc<Watched>, Arc<Connection>, Channel) {
    let log = Arc::new(Watched { log: log(), reads: AtomicUsize::new(0), meanwhile: Mutex::default() });
    let hub = hub_over(log.clone());
    let (alice, everyone) = (connect_on_node(&hub, 1, 1, "alice", Role::User), channel("everyone"));
    let ids: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
    append(&log.log, &everyone, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    (hub, log, alice, everyone)
}

async fn arrive(hub: &ChannelDelivery, channel: &Channel, offsets: &[u64]) {
    for offset in offsets {
        hub.deliver(&Audience::Channel(channel.clone()), placed(channel, *offset)).await.unwrap();
    }
}

async fn all_filled(hub: &ChannelDelivery) {
    hub.shared.tasks.close();
    hub.shared.tasks.wait().await;
}

/// The offsets that have come: of frames that arrived, and of those from the log.
fn offsets(alice: &Connection) -> Vec<u64> {
    let offset = |frame: &String| match frame.split_once("\"offset\":") {
        Some((_, rest)) => rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap(),
        None => frame.parse().unwrap(),
    };
    drain_texts(alice).iter().map(offset).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_is_given_a_moment_each_time_and_the_log_is_not_asked() {
    let (hub, log, alice, everyone) = alice(7).await;
    arrive(&hub, &everyone, &[1, 3]).await;
    tokio::time::sleep(BACKFILL_DELAY / 2).await;
    arrive(&hub, &everyone, &[5, 2]).await;
    tokio::time::sleep(BACKFILL_DELAY).await;
    arrive(&hub, &everyone, &[7, 4]).await;
    tokio::time::sleep(BACKFILL_DELAY).await;
    arrive(&hub, &everyone, &[6]).await;
    all_filled(&hub).await;
    assert_eq!(offsets(&alice), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(log.reads.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hole_that_opens_while_another_is_filled_is_filled_too() {
    let (hub, log, alice, everyone) = alice(2).await;
    arrive(&hub, &everyone, &[1]).await;
    let (later, channel) = (hub.clone(), everyone.clone());
    *log.meanwhile.lock() = Some(Box::new(move || {
        // What was missing has come after all; 4 is lost.
        for offset in [2, 5] {
            let OutgoingFrame { frame, priority, placement } = placed(&channel, offset);
            later.deliver_in_order(placement.unwrap(), priority, frame);
        }
    }));
    arrive(&hub, &everyone, &[3]).await;
    append(&log.log, &everyone, &["3", "4", "5"]).await;
    all_filled(&hub).await;
    assert_eq!(offsets(&alice), [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn more_than_may_wait_behind_a_hole_comes_from_the_log_in_order() {
    let last = 5 + MAX_BUFFERED_FRAMES as u64;
    let (hub, _, alice, everyone) = alice(5 + MAX_BUFFERED_FRAMES).await;
    arrive(&hub, &everyone, &[1]).await;
    arrive(&hub, &everyone, &(3..=last).collect::<Vec<_>>()).await;
    all_filled(&hub).await;
    assert_eq!(offsets(&alice), (1..=last).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn only_the_hole_that_was_looked_for_is_given_up() {
    let (hub, _, alice, everyone) = alice(0).await;
    arrive(&hub, &everyone, &[1, 3, 2, 5]).await;
    assert_eq!(hub.abandon_missing_range(&everyone, 2, true), Some(4), "2 has come in the very last moment");
    assert_eq!(offsets(&alice), [1, 2, 3]);
    assert!(hub.lock_channel(&everyone).backfilling, "whoever was told so goes on with 4");
    assert_eq!(hub.abandon_missing_range(&everyone, 4, true), None);
    assert_eq!(offsets(&alice), [5]);
    assert!(!hub.lock_channel(&everyone).backfilling);
}

#[tokio::test(start_paused = true)]
async fn a_hole_that_the_log_cannot_fill_is_given_up_and_the_next_one_filled() {
    let (hub, log, alice, everyone) = alice(1).await;
    arrive(&hub, &everyone, &[1, 3, 5]).await;
    // The log lost 2 to 6.
    all_filled(&hub).await;
    assert_eq!(offsets(&alice), [1, 3, 5]);
    assert_eq!(log.reads.load(Ordering::Relaxed), 2 * MAX_READ_ATTEMPTS as usize);
    assert!(!hub.lock_channel(&everyone).backfilling);
}
