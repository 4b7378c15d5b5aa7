//! What the log does beyond its contract: retention, loss, fullness, replicas.

use std::sync::Arc;
use std::time::Duration;

use handlers::channel::{Channel, Offset};
use handlers::id::{MessageId, UserId};
use handlers::identity::Role;
use handlers::ports::{AppendRequest, Clock as _, LogError, LogRange, MessageLog, MessageSender, Timestamp};
use redis::cmd;
use serde_json::value::RawValue;
use shim::redis::{RedisLog, RedisRetention, RedisSettings};
use tests::redis::{RedisOptions, RedisServer};

use super::{clock, connect, settings};

fn lobby() -> Channel {
    Channel::from_key("acme/room:lobby").unwrap()
}

pub(crate) fn message(number: u64, at: Timestamp) -> AppendRequest {
    AppendRequest {
        channel: lobby(),
        sender: MessageSender { user: UserId::parse("alice").unwrap(), role: Role::User },
        id: MessageId::parse(&format!("m{number}")).unwrap(),
        sent_at: at,
        body: Arc::from(RawValue::from_string(number.to_string()).unwrap()),
    }
}

async fn offsets(log: &RedisLog) -> (u64, Vec<u64>) {
    let slice = log.read(&lobby(), LogRange::After(Offset::START), 1_000, usize::MAX >> 1).await.unwrap();
    (slice.first.0, slice.entries.iter().map(|entry| entry.offset.0).collect())
}

#[tokio::test]
async fn the_oldest_go_first_with_their_ids() {
    let server = RedisServer::start().unwrap();
    let redis = connect(&settings(&server.url())).await;
    let clock = clock();
    let retention = RedisRetention { max_messages: 10, max_age: Duration::from_secs(100) };
    let log = RedisLog::open_log(redis.clone(), clock.clone(), retention).await.unwrap();
    for number in 1..=25 {
        log.append(message(number, clock.now())).await.unwrap();
    }
    assert_eq!(offsets(&log).await, (16, (16..=25).collect()), "ten are kept");
    let kept: u64 = redis.query(cmd("HLEN").arg(redis.prefixed_key("log:{acme/room:lobby}:ids"))).await.unwrap();
    assert_eq!(kept, 10, "and as many ids are remembered");
    assert!(log.append(message(16, clock.now())).await.unwrap().duplicate, "the oldest kept one is known");
    assert!(!log.append(message(1, clock.now())).await.unwrap().duplicate, "a forgotten one is new");

    clock.advance(Duration::from_secs(101));
    for number in 100..106 {
        log.append(message(number, clock.now())).await.unwrap();
    }
    assert_eq!(offsets(&log).await, (27, (27..=32).collect()), "what is too old goes, two for one that comes");
    let life: i64 = redis.query(cmd("PTTL").arg(redis.prefixed_key("log:{acme/room:lobby}:entries"))).await.unwrap();
    assert!((90_000..=100_000).contains(&life), "a channel that nobody writes to is forgotten in {life} ms");
}

#[tokio::test]
async fn a_lost_log_begins_another_epoch() {
    let server = RedisServer::start().unwrap();
    let log = super::log(connect(&settings(&server.url())).await).await;
    let first = log.append(message(1, Timestamp(1))).await.unwrap().position;
    assert_eq!(log.append(message(2, Timestamp(1))).await.unwrap().position.epoch, first.epoch);
    server.run_command(&["FLUSHALL"]).unwrap();
    let told = log.heads(&[lobby()]).await.unwrap();
    assert!(told[0].epoch != first.epoch && told[0].offset == Offset::START, "{told:?}");
    let again = log.append(message(1, Timestamp(1))).await.unwrap();
    assert!(!again.duplicate && again.position.offset == Offset(1), "{again:?}");
    assert_eq!(again.position.epoch, told[0].epoch, "the epoch that was told is the one that counts");
}

#[tokio::test]
async fn a_restart_is_another_epoch_only_where_messages_may_be_lost() {
    for append_only in [true, false] {
        let mut server = RedisServer::start_with(RedisOptions { append_only, ..RedisOptions::default() }).unwrap();
        let link = connect(&settings(&server.url())).await;
        let log = super::log(link.clone()).await;
        let before = log.append(message(1, Timestamp(1))).await.unwrap().position;
        server.restart().unwrap();
        link.link_state().wait_for(|state| *state == shim::redis::LinkState::Available).await.unwrap();
        let after = log.heads(&[lobby()]).await.unwrap().remove(0);
        assert_eq!(after == before, append_only, "append_only {append_only}: {before:?}, {after:?}");
    }
}

#[tokio::test]
async fn a_full_server_refuses_appends_and_goes_on_reading() {
    let server = RedisServer::start().unwrap();
    let log = super::log(connect(&settings(&server.url())).await).await;
    log.append(message(1, Timestamp(1))).await.unwrap();
    server.run_command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let refused = log.append(message(2, Timestamp(1))).await;
    assert!(matches!(refused, Err(LogError::Full(_))), "{refused:?}");
    assert_eq!(offsets(&log).await, (1, vec![1]), "reads go on");
    let unwritten = Channel::from_key("acme/room:attic").unwrap();
    assert_eq!(log.heads(&[unwritten]).await.unwrap()[0].offset, Offset::START, "also of logs that are not there");
    server.run_command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    assert_eq!(log.append(message(2, Timestamp(1))).await.unwrap().position.offset, Offset(2), "nothing was half done");
}

#[tokio::test]
async fn an_append_waits_for_replicas_when_told_to() {
    let server = RedisServer::start().unwrap();
    let patience = Duration::from_millis(800);
    let durable = RedisSettings { wait_replicas: 1, response_timeout: patience, ..settings(&server.url()) };
    let log = super::log(connect(&durable).await).await;
    let alone = log.append(message(1, Timestamp(1))).await;
    assert!(matches!(alone, Err(LogError::Unavailable(_))), "{alone:?}");

    let following = RedisOptions::default().with_setting("replicaof", &format!("127.0.0.1 {}", server.port()));
    let _replica = RedisServer::start_with(following).unwrap();
    let appended = tests::eventually!("the replica to follow", log.append(message(1, Timestamp(1))).await.ok());
    assert_eq!((appended.position.offset, appended.duplicate), (Offset(1), true), "the same append again is safe");
}

#[tokio::test]
async fn two_prefixes_share_a_server_and_see_nothing_of_each_other() {
    let server = RedisServer::start().unwrap();
    let here = super::log(connect(&settings(&server.url())).await).await;
    let there = super::log(connect(&settings(&server.url())).await).await;
    here.append(message(1, Timestamp(1))).await.unwrap();
    assert_eq!(offsets(&there).await, (1, vec![]));
    assert!(!there.append(message(1, Timestamp(1))).await.unwrap().duplicate);
    let keys = server.run_command(&["KEYS", "*"]).unwrap();
    assert!(keys.lines().all(|key| key.starts_with("test")), "every key has its prefix: {keys}");
}
