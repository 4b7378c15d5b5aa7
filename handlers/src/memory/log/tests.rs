//! The contract suites, concurrent threads, and retention.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::task::JoinSet;

use super::*;
use crate::conformance;
use crate::id::UserId;
use crate::identity::Role;
use crate::ports::Timestamp;

const LARGE: ChannelRetention = ChannelRetention { max_entries: 10_000, max_bytes: 16 << 20 };

fn log(retention: ChannelRetention) -> Arc<MemoryLog> {
    Arc::new(MemoryLog::new(Epoch("e1".into()), retention))
}

fn lobby() -> Channel {
    Channel::from_key("acme/room:lobby").unwrap()
}

fn append(id: &str, body: &str) -> AppendRequest {
    AppendRequest {
        channel: lobby(),
        sender: MessageSender { user: UserId::parse("alice").unwrap(), role: Role::User },
        id: MessageId::parse(id).unwrap(),
        sent_at: Timestamp(7),
        body: Arc::from(RawValue::from_string(body.to_owned()).unwrap()),
    }
}

#[tokio::test]
async fn it_fulfils_the_contract() {
    crate::conformance::log::run_suite(async || log(LARGE) as Arc<dyn MessageLog>).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_threads_append_densely_and_each_id_once() {
    let log = log(LARGE);
    let mut appends = JoinSet::new();
    for thread in 0..8 {
        let log = log.clone();
        appends.spawn(async move {
            let mut offsets = Vec::new();
            for number in 0..100 {
                // Two threads share each id.
                let appended = log.append(append(&format!("m{}-{number}", thread / 2), "1")).await.unwrap();
                offsets.extend((!appended.duplicate).then_some(appended.position.offset.0));
            }
            offsets
        });
    }
    let offsets: Vec<u64> = appends.join_all().await.into_iter().flatten().collect();
    assert_eq!(offsets.len(), 400);
    assert_eq!(offsets.into_iter().collect::<BTreeSet<_>>(), (1..=400).collect());
}

#[tokio::test]
async fn retention_drops_the_oldest_and_changes_no_offset() {
    let log = log(ChannelRetention { max_entries: 3, max_bytes: 1_000 });
    for number in 1..=5 {
        log.append(append(&format!("m{number}"), "1")).await.unwrap();
    }
    let slice = log.read(&lobby(), LogRange::After(Offset::START), 10, 1_000).await.unwrap();
    assert_eq!((slice.first, slice.head.offset), (Offset(3), Offset(5)));
    assert_eq!(slice.entries.iter().map(|entry| entry.offset.0).collect::<Vec<_>>(), [3, 4, 5]);
    assert!(
        log.append(append("m3", "1")).await.unwrap().duplicate,
        "an id is remembered while its message is retained"
    );
    assert!(!log.append(append("m1", "1")).await.unwrap().duplicate, "an id is forgotten with its message");
}

#[tokio::test]
async fn retention_limits_bytes_and_keeps_the_newest_entry_of_any_size() {
    let log = log(ChannelRetention { max_entries: 100, max_bytes: 1_000 });
    for number in 1..=4 {
        log.append(append(&format!("m{number}"), &format!("\"{}\"", "x".repeat(400)))).await.unwrap();
    }
    let slice = log.read(&lobby(), LogRange::Before(None), 10, 100_000).await.unwrap();
    assert_eq!(slice.first, Offset(3), "two bodies of 402 bytes fit into 1,000");
    log.append(append("big", &format!("\"{}\"", "x".repeat(5_000)))).await.unwrap();
    let slice = log.read(&lobby(), LogRange::Before(None), 10, 100_000).await.unwrap();
    assert_eq!((slice.first, slice.entries.len()), (Offset(5), 1));
}

/// One log that is open as archive and port at the same time.
struct SharedLog(Arc<MemoryLog>);

#[async_trait]
impl conformance::archive::ArchiveStore for SharedLog {
    async fn open_archive(&self) -> Box<dyn crate::archive::LogArchive> {
        Box::new(self.0.clone())
    }

    async fn open_log(&self) -> Arc<dyn MessageLog> {
        self.0.clone()
    }

    fn now(&self) -> Timestamp {
        Timestamp(1_795_000_000_000)
    }
}

#[tokio::test]
async fn it_fulfils_the_contract_of_archives() {
    conformance::archive::run_suite(async || SharedLog(log(LARGE))).await;
}
