//! Properties of the log beyond its contract: retention, data loss, full memory, replicas.

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
async fn the_oldest_messages_are_deleted_first_with_their_ids() {
    let server = RedisServer::start().unwrap();
    let redis = connect(&settings(&server.url())).await;
    let clock = clock();
    let retention = RedisRetention { max_messages: 10, max_age: Duration::from_secs(100) };
    let log = RedisLog::open_log(redis.clone(), clock.clone(), retention).await.unwrap();
    for number in 1..=25 {
        log.append(message(number, clock.now())).await.unwrap();
    }
    assert_eq!(offsets(&log).await, (16, (16..=25).collect()), "ten messages are retained");
    let kept: u64 = redis.query(cmd("HLEN").arg(redis.prefixed_key("log:{acme/room:lobby}:ids"))).await.unwrap();
    assert_eq!(kept, 10, "as many ids are retained");
    assert!(
        log.append(message(16, clock.now())).await.unwrap().duplicate,
        "the id of the oldest retained message is known"
    );
    assert!(!log.append(message(1, clock.now())).await.unwrap().duplicate, "the id of a deleted message is unknown");

    clock.advance(Duration::from_secs(101));
    for number in 100..106 {
        log.append(message(number, clock.now())).await.unwrap();
    }
    assert_eq!(offsets(&log).await, (27, (27..=32).collect()), "each append deletes up to two old messages");
    let life: i64 = redis.query(cmd("PTTL").arg(redis.prefixed_key("log:{acme/room:lobby}:entries"))).await.unwrap();
    assert!((90_000..=100_000).contains(&life), "an idle channel expires after {life} ms");
}

#[tokio::test]
async fn a_lost_log_starts_another_epoch() {
    let server = RedisServer::start().unwrap();
    let log = super::log(connect(&settings(&server.url())).await).await;
    let first = log.append(message(1, Timestamp(1))).await.unwrap().position;
    assert_eq!(log.append(message(2, Timestamp(1))).await.unwrap().position.epoch, first.epoch);
    server.run_command(&["FLUSHALL"]).unwrap();
    let heads = log.heads(&[lobby()]).await.unwrap();
    assert!(heads[0].epoch != first.epoch && heads[0].offset == Offset::START, "{heads:?}");
    let again = log.append(message(1, Timestamp(1))).await.unwrap();
    assert!(!again.duplicate && again.position.offset == Offset(1), "{again:?}");
    assert_eq!(again.position.epoch, heads[0].epoch, "the returned epoch is valid for appends");
}

/// Names that clients invent use no memory: only the epoch of the store is created, once.
#[tokio::test]
async fn reading_channels_without_messages_creates_no_keys_per_channel() {
    let server = RedisServer::start().unwrap();
    let log = super::log(connect(&settings(&server.url())).await).await;
    let channels: Vec<Channel> =
        (0..1_000).map(|number| Channel::from_key(&format!("acme/topic:t{number}")).unwrap()).collect();
    let heads = log.heads(&channels).await.unwrap();
    for channel in &channels {
        log.read(channel, LogRange::Before(None), 10, 1_000).await.unwrap();
    }
    assert_eq!(server.run_command(&["DBSIZE"]).unwrap().trim(), "1");
    assert!(heads.iter().all(|head| head.offset == Offset::START && head.epoch == heads[0].epoch));
    let appended =
        log.append(AppendRequest { channel: channels[0].clone(), ..message(1, Timestamp(1)) }).await.unwrap();
    assert_eq!(appended.position.epoch, heads[0].epoch, "readers of the empty channel have the epoch of its messages");
    assert_eq!(server.run_command(&["DBSIZE"]).unwrap().trim(), "4", "entries, bounds and ids of one channel");
}

/// The log of a channel expires without an append for the retention age, and its offsets start again.
#[tokio::test]
async fn an_expired_log_starts_another_epoch() {
    let server = RedisServer::start().unwrap();
    let redis = connect(&settings(&server.url())).await;
    let (clock, max_age) = (clock(), Duration::from_millis(200));
    let log =
        RedisLog::open_log(redis.clone(), clock.clone(), RedisRetention { max_messages: 10, max_age }).await.unwrap();
    let first = log.append(message(1, clock.now())).await.unwrap().position;
    clock.advance(max_age);
    let expired = tests::eventually!("the log to expire", {
        let head = log.heads(&[lobby()]).await.unwrap().remove(0);
        (head.offset == Offset::START).then_some(head)
    });
    assert_ne!(expired.epoch, first.epoch);
    let again = log.append(message(2, clock.now())).await.unwrap().position;
    assert_eq!((again.offset, again.epoch), (Offset(1), expired.epoch), "and the first append has the reader's epoch");
}

/// Messages cannot be rebuilt, so the log stays as it is, and the error names the key for the operator.
#[tokio::test]
async fn a_log_key_of_the_wrong_type_is_named_and_nothing_is_written() {
    let server = RedisServer::start().unwrap();
    let redis = connect(&settings(&server.url())).await;
    let log = super::log(redis.clone()).await;
    log.append(message(1, Timestamp(1))).await.unwrap();
    for (part, kind) in [("entries", "stream"), ("ids", "hash"), ("bounds", "hash")] {
        let key = redis.prefixed_key(&format!("log:{{acme/room:lobby}}:{part}"));
        let aside = format!("{key}:aside");
        server.run_command(&["RENAME", &key, &aside]).unwrap();
        server.run_command(&["SET", &key, "foreign"]).unwrap();
        let Err(LogError::Backend { source, .. }) = log.append(message(2, Timestamp(1))).await else {
            panic!("an append to a key of the wrong type succeeded")
        };
        let expected = format!("the redis key {key} is a string instead of a {kind}");
        assert!(source.to_string().starts_with(&expected), "{source}");
        server.run_command(&["RENAME", &aside, &key]).unwrap();
        assert_eq!(offsets(&log).await, (1, vec![1]), "{part}: the failed append wrote nothing");
    }
    assert_eq!(log.append(message(2, Timestamp(1))).await.unwrap().position.offset, Offset(2));
}

#[tokio::test]
async fn a_restart_starts_another_epoch_only_if_messages_may_be_lost() {
    for append_only in [true, false] {
        let mut server = RedisServer::start_with(RedisOptions { append_only, ..RedisOptions::default() }).unwrap();
        let client = connect(&settings(&server.url())).await;
        let log = super::log(client.clone()).await;
        let before = log.append(message(1, Timestamp(1))).await.unwrap().position;
        server.restart().unwrap();
        client.link_state().wait_for(|state| *state == shim::redis::LinkState::Available).await.unwrap();
        let after = log.heads(&[lobby()]).await.unwrap().remove(0);
        assert_eq!(after == before, append_only, "append_only {append_only}: {before:?}, {after:?}");
    }
}

#[tokio::test]
async fn a_full_server_rejects_appends_but_not_reads() {
    let server = RedisServer::start().unwrap();
    let log = super::log(connect(&settings(&server.url())).await).await;
    log.append(message(1, Timestamp(1))).await.unwrap();
    server.run_command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let rejected = log.append(message(2, Timestamp(1))).await;
    assert!(matches!(rejected, Err(LogError::Full(_))), "{rejected:?}");
    assert_eq!(offsets(&log).await, (1, vec![1]), "reads continue");
    let unwritten = Channel::from_key("acme/room:attic").unwrap();
    assert_eq!(log.heads(&[unwritten]).await.unwrap()[0].offset, Offset::START, "also of channels without a log");
    server.run_command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    assert_eq!(
        log.append(message(2, Timestamp(1))).await.unwrap().position.offset,
        Offset(2),
        "the rejected append had no effect"
    );
}

#[tokio::test]
async fn an_append_waits_for_replicas_if_configured() {
    let server = RedisServer::start().unwrap();
    let timeout = Duration::from_millis(800);
    let durable = RedisSettings { wait_replicas: 1, response_timeout: timeout, ..settings(&server.url()) };
    let log = super::log(connect(&durable).await).await;
    let alone = log.append(message(1, Timestamp(1))).await;
    assert!(matches!(alone, Err(LogError::Unavailable(_))), "{alone:?}");

    let replica_options = RedisOptions::default().with_setting("replicaof", &format!("127.0.0.1 {}", server.port()));
    let _replica = RedisServer::start_with(replica_options).unwrap();
    let appended = tests::eventually!("the replica to follow", log.append(message(1, Timestamp(1))).await.ok());
    assert_eq!((appended.position.offset, appended.duplicate), (Offset(1), true), "repeating the append is safe");
}

#[tokio::test]
async fn two_prefixes_on_one_server_are_isolated() {
    let server = RedisServer::start().unwrap();
    let first = super::log(connect(&settings(&server.url())).await).await;
    let second = super::log(connect(&settings(&server.url())).await).await;
    first.append(message(1, Timestamp(1))).await.unwrap();
    assert_eq!(offsets(&second).await, (1, vec![]));
    assert!(!second.append(message(1, Timestamp(1))).await.unwrap().duplicate);
    let keys = server.run_command(&["KEYS", "*"]).unwrap();
    assert!(keys.lines().all(|key| key.starts_with("test")), "every key has its prefix: {keys}");
}
