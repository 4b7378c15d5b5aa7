//! Message log: the port's contract, recovery after a process died, expiry, and the cost of contention.

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

/// Maximum number of writers in [`contention_costs_a_bounded_number_of_writes`]. The emulator handles one request at a
/// time, so 64 writers, whose thousands of requests DynamoDB would handle in parallel, exceed the timeout of an append
/// there.
const WRITERS: u64 = 16;

#[tokio::test]
async fn the_log_fulfils_the_contract() {
    let Some(database) = database().await else { return };
    run_suite_with_writers(WRITERS, async || Arc::new(database.log(lambda_clock()).await) as Arc<dyn MessageLog>).await;
}

/// A process died between its claim and its entry: the repeated append continues from the claim.
#[tokio::test]
async fn a_repeated_append_continues_from_a_claim_without_an_entry() {
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

/// A process died between its entry and the head: readers do not see the message, the repeated append finds it, and
/// other appends continue after it.
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
        assert_eq!(offsets(&log, LogRange::Before(None)).await, [1, 2], "an entry above the head is not visible");
        let appended = log.append(append(next, NOW)).await.unwrap();
        let expected = if next == "m3" { (Offset(3), true) } else { (Offset(4), false) };
        assert_eq!((appended.position.offset, appended.duplicate), expected);
        assert_eq!(offsets(&log, LogRange::After(Offset(2))).await.first(), Some(&3), "after the append it is");
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
    assert_eq!(first_and_head(&log).await, (101, 101), "entries as old as the retention have expired");
    assert_eq!(offsets(&log, LogRange::After(Offset(7))).await, [101]);
    assert_eq!(first_and_head(&log).await, (101, 101), "also from the head's cached offset");
    clock.advance(RETENTION);
    assert_eq!(first_and_head(&log).await, (102, 101), "an expired log has a head, but no entries");
    assert_eq!(log.append(append("m102", later.plus(RETENTION))).await.unwrap().position.offset, Offset(102));
    assert_eq!(first_and_head(&log).await, (102, 102));
}

/// Number of writes when many writers append to one channel at the same moment.
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
        let outcomes = join_all(ids.iter().map(|id| log.append(append(id, NOW)))).await;
        let mut found: Vec<u64> = outcomes.into_iter().map(|outcome| outcome.unwrap().position.offset.0).collect();
        found.sort_unstable();
        assert_eq!(found, (2..writers + 2).collect::<Vec<_>>());
        let counted = recorder.take();
        let per_append = |name: &str| counted.get(name).copied().unwrap_or(0) as f64 / writers as f64;
        let (puts, queries) = (per_append("PutItem"), per_append("Query"));
        println!(
            "{writers} concurrent writers: {puts:.1} puts (2.0 without contention) and {queries:.1} queries an append"
        );
        // In lockstep, each round has one winner: on average half as many attempts as writers.
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
