//! The message log: its contract, what a process that dies leaves, expiry, and what contention costs.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use handlers::channel::{Channel, Offset};
use handlers::conformance::log::run_suite_with_writers;
use handlers::id::{MessageId, UserId};
use handlers::identity::Role;
use handlers::ports::{AppendRequest, LogRange, MessageLog, MessageSender, Timestamp};
use handlers_aws::log::DynamoLog;
use serde_json::value::RawValue;

use crate::counts::Recorder;
use crate::support::{Database, NOW, RETENTION, database, lambda_clock};

fn lobby() -> Channel {
    Channel::from_key("acme/room:lobby").unwrap()
}

fn append(id: &str, sent_at: Timestamp) -> AppendRequest {
    AppendRequest {
        channel: lobby(),
        sender: MessageSender { user: UserId::parse("alice").unwrap(), role: Role::User },
        id: MessageId::parse(id).unwrap(),
        sent_at,
        body: Arc::from(RawValue::from_string(format!("\"{id}\"")).unwrap()),
    }
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// As many at once as [`contention_costs_a_bounded_number_of_writes`] counts with. The emulator takes one request at a time, so
/// that 64 writers, whose thousands of requests DynamoDB would take side by side, outlast the deadline of an append there.
const WRITERS: u64 = 16;

#[tokio::test]
async fn it_keeps_the_contract() {
    let Some(database) = database().await else { return };
    run_suite_with_writers(WRITERS, async || Arc::new(database.log(lambda_clock()).await) as Arc<dyn MessageLog>).await;
}

/// A process that died between its claim and its entry: the same append again goes on from the claim.
#[tokio::test]
async fn a_claim_without_an_entry_is_taken_over() {
    let Some(database) = database().await else { return };
    let (log, table) = log_and_table(&database).await;
    log.append(append("m1", NOW)).await.unwrap();
    let claim = database.client.put_item().table_name(&table);
    let claim = claim.item("pk", text("acme/room:lobby user alice m2")).item("sk", number(0)).item("from", number(1));
    claim.send().await.unwrap();
    let appended = log.append(append("m2", NOW)).await.unwrap();
    assert_eq!((appended.position.offset, appended.duplicate), (Offset(2), false));
    assert!(log.append(append("m2", NOW)).await.unwrap().duplicate);
}

/// A process that died between its entry and the head: nobody sees the message, the same append again finds it, and
/// others go past it.
#[tokio::test]
async fn an_entry_above_the_head_is_found_and_not_overwritten() {
    let Some(database) = database().await else { return };
    for next in ["m3", "m4"] {
        let (log, table) = log_and_table(&database).await;
        for id in ["m1", "m2", "m3"] {
            log.append(append(id, NOW)).await.unwrap();
        }
        let update = database.client.update_item().table_name(&table).key("pk", text("acme/room:lobby"));
        let update = update.key("sk", number(0)).update_expression("SET #head = :two");
        update
            .expression_attribute_names("#head", "head")
            .expression_attribute_values(":two", number(2))
            .send()
            .await
            .unwrap();
        assert_eq!(offsets(&log, LogRange::Before(None)).await, [1, 2], "what was not told is not there");
        let appended = log.append(append(next, NOW)).await.unwrap();
        let expected = if next == "m3" { (Offset(3), true) } else { (Offset(4), false) };
        assert_eq!((appended.position.offset, appended.duplicate), expected);
        assert_eq!(offsets(&log, LogRange::After(Offset(2))).await.first(), Some(&3), "and now it is");
    }
}

#[tokio::test]
async fn expired_entries_are_absent_and_move_no_offset() {
    let Some(database) = database().await else { return };
    let clock = lambda_clock();
    let log = database.log(clock.clone()).await;
    for count in 1..=100 {
        log.append(append(&format!("m{count}"), NOW)).await.unwrap();
    }
    clock.advance(RETENTION - Duration::from_millis(1));
    let later = NOW.plus(RETENTION);
    log.append(append("m101", later)).await.unwrap();
    assert_eq!(first_and_head(&log).await, (1, 101));
    clock.advance(Duration::from_millis(1));
    assert_eq!(first_and_head(&log).await, (101, 101), "what was sent a retention ago has expired");
    assert_eq!(offsets(&log, LogRange::After(Offset(7))).await, [101]);
    assert_eq!(first_and_head(&log).await, (101, 101), "also when the head remembers it");
    clock.advance(RETENTION);
    assert_eq!(first_and_head(&log).await, (102, 101), "an expired log has an end, but no beginning");
    assert_eq!(log.append(append("m102", later.plus(RETENTION))).await.unwrap().position.offset, Offset(102));
    assert_eq!(first_and_head(&log).await, (102, 102));
}

/// What is written when many append to one channel at once, all at the very same moment.
#[tokio::test]
async fn contention_costs_a_bounded_number_of_writes() {
    let Some(database) = database().await else { return };
    for writers in [1, 4, WRITERS] {
        let recorder = Recorder::default();
        let client = recorder.client(&database.sdk);
        let log = DynamoLog::new(client, &database.messages_table().await, RETENTION, lambda_clock());
        log.append(append("first", NOW)).await.unwrap();
        recorder.take();
        let ids: Vec<String> = (0..writers).map(|writer| format!("w{writer}")).collect();
        let appended = join_all(ids.iter().map(|id| log.append(append(id, NOW)))).await;
        let mut found: Vec<u64> = appended.into_iter().map(|appended| appended.unwrap().position.offset.0).collect();
        found.sort_unstable();
        assert_eq!(found, (2..writers + 2).collect::<Vec<_>>());
        let counted = recorder.take();
        let per_append = |name: &str| counted.get(name).copied().unwrap_or(0) as f64 / writers as f64;
        let (puts, queries) = (per_append("PutItem"), per_append("Query"));
        println!(
            "{writers} writers at once: {puts:.1} puts (2.0 without contention) and {queries:.1} queries an append"
        );
        // All in step, every round has one winner: half as many attempts as writers on average.
        assert!(puts <= 2.0 + writers as f64 / 2.0, "{puts} puts an append for {writers} writers");
    }
}

async fn log_and_table(database: &Database) -> (DynamoLog, String) {
    let table = database.messages_table().await;
    (DynamoLog::new(database.client.clone(), &table, RETENTION, lambda_clock()), table)
}

async fn first_and_head(log: &DynamoLog) -> (u64, u64) {
    let slice = log.read(&lobby(), LogRange::Before(None), 1, 1_000).await.unwrap();
    (slice.first.0, slice.head.offset.0)
}

async fn offsets(log: &DynamoLog, range: LogRange) -> Vec<u64> {
    let slice = log.read(&lobby(), range, 200, 100_000).await.unwrap();
    slice.entries.iter().map(|entry| entry.offset.0).collect()
}
