//! Planned failovers: acknowledged writes survive, and the client finds the new master before the former one knows.
//!
//! For about ten seconds after a failover by Sentinels the former master accepts writes, all of which are lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use handlers::channel::{Channel, Offset};
use handlers::id::{ConnectionId, TenantId, UserId};
use handlers::identity::{Identity, Role};
use handlers::ports::{
    AppendRequest, ClientConnection, Clock as _, ConnectionStore as _, LogError, LogRange, MessageLog, Timestamp,
};
use shim::redis::{RedisClient, RedisConnections, RedisLog, RedisRetention, RedisSettings};
use tests::redis::{ClusterFailover, RedisCluster, RedisSentinels};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use super::contracts::{cluster_settings, sentinel_settings};
use super::{clock, connect};

/// Interval between two appends.
const PACE: Duration = Duration::from_millis(20);
/// Number of appends after the last event.
const APPENDS_AFTERWARDS: usize = 10;

fn lobby() -> Channel {
    Channel::from_key("acme/room:lobby").unwrap()
}

/// Opens a log that keeps every message of a test.
async fn log(redis: RedisClient) -> Arc<RedisLog> {
    let retention = RedisRetention { max_messages: 100_000, max_age: Duration::from_secs(86_400) };
    Arc::new(RedisLog::open_log(redis, clock(), retention).await.unwrap())
}

/// Returns a message that is not older than the retention of the log.
fn message(number: u64) -> AppendRequest {
    super::log::message(number, clock().now())
}

pub(super) fn waiting(settings: RedisSettings) -> RedisSettings {
    RedisSettings { wait_replicas: 1, ..settings }
}

/// Appends one message after the other, each until it is acknowledged, while `event` runs and some more after it.
/// Returns the numbers of the messages that were acknowledged at the first attempt before `event` ended.
async fn append_during<T>(log: &RedisLog, event: JoinHandle<T>) -> (T, Vec<u64>) {
    let (mut number, mut at_once, mut afterwards) = (0, Vec::new(), 0);
    while afterwards < APPENDS_AFTERWARDS {
        number += 1;
        let first = log.append(message(number)).await;
        if first.is_ok() && !event.is_finished() {
            at_once.push(number);
        }
        let mut outcome = first;
        while let Err(error) = outcome {
            assert!(matches!(error, LogError::Unavailable(_)), "{error:?}");
            sleep(PACE).await;
            outcome = log.append(message(number)).await;
        }
        afterwards += usize::from(event.is_finished());
        sleep(PACE).await;
    }
    assert_eq!(missing(log, number).await, [0; 0], "acknowledged messages are lost");
    (event.await.unwrap(), at_once)
}

/// Returns the numbers of the messages, from 1 to `last`, that the log does not have exactly once.
async fn missing(log: &RedisLog, last: u64) -> Vec<u64> {
    let mut found = BTreeMap::<u64, usize>::new();
    let mut after = Offset::START;
    loop {
        let slice = log.read(&lobby(), LogRange::After(after), 500, usize::MAX >> 1).await.unwrap();
        let Some(entry) = slice.entries.last() else { break };
        after = entry.offset;
        for entry in &slice.entries {
            *found.entry(entry.body.get().parse().unwrap()).or_default() += 1;
        }
    }
    (1..=last).filter(|number| found.get(number) != Some(&1)).collect()
}

/// Fails over and waits until the former master follows the new one, about 11 s later.
pub(super) fn fail_over(sentinels: RedisSentinels) -> JoinHandle<RedisSentinels> {
    spawn_blocking(move || {
        let former = sentinels.master_port().unwrap();
        sentinels.begin_planned_failover().unwrap();
        sentinels.wait_demoted(former).unwrap();
        sentinels
    })
}

async fn check_planned_failover(replicas: usize, count: usize) {
    let sentinels = RedisSentinels::start_with(replicas, count).unwrap();
    let redis = connect(&waiting(sentinel_settings(&sentinels))).await;
    let log = log(redis.clone()).await;
    let former = sentinels.master_port().unwrap();
    let (sentinels, at_once) = append_during(&log, fail_over(sentinels)).await;
    assert_ne!(sentinels.master_port().unwrap(), former);
    assert_eq!(redis.metrics().master_changes.get(), 1);
    assert!(at_once.len() > 50, "only {at_once:?} were acknowledged before the former master was demoted");
}

#[tokio::test]
async fn a_planned_failover_to_the_only_replica_loses_no_acknowledged_message() {
    check_planned_failover(1, 1).await;
}

#[tokio::test]
async fn a_planned_failover_to_one_of_two_replicas_loses_no_acknowledged_message() {
    check_planned_failover(2, 3).await;
}

fn connection(number: usize, at: Timestamp) -> ClientConnection {
    ClientConnection {
        id: ConnectionId::parse(&format!("connection{number:05}=")).unwrap(),
        identity: Identity {
            tenant: TenantId::parse("acme").unwrap(),
            user: UserId::parse("alice").unwrap(),
            role: Role::User,
            expires_at: None,
        },
        connected_at: at,
        channels: [lobby()].into(),
    }
}

#[tokio::test]
async fn connections_that_open_and_close_during_a_planned_failover_are_recorded_on_the_new_master() {
    let sentinels = RedisSentinels::start_with(1, 1).unwrap();
    let redis = connect(&sentinel_settings(&sentinels)).await;
    let clock = clock();
    let store = RedisConnections::new(redis, clock.clone());
    let failing_over = fail_over(sentinels);
    let (mut number, mut opened, mut closed) = (0, Vec::new(), Vec::new());
    while !failing_over.is_finished() {
        let connection = connection(number, clock.now());
        if store.put_connection(&connection).await.is_ok() {
            opened.push(connection.id);
        }
        // Every second connection closes again, some time later.
        if opened.len() > 10 && number % 2 == 0 && store.delete_connection(&opened[0]).await.is_ok() {
            closed.push(opened.remove(0));
        }
        number += 1;
        sleep(PACE).await;
    }
    let _sentinels = failing_over.await.unwrap();
    assert!(opened.len() > 50 && closed.len() > 50, "{} opened, {} closed", opened.len(), closed.len());
    for id in &opened {
        assert!(store.find_connection(id).await.unwrap().is_some(), "the record of {id} is lost");
    }
    for id in &closed {
        assert!(store.find_connection(id).await.unwrap().is_none(), "the record of {id} exists again");
    }
}

#[tokio::test]
async fn a_master_whose_replica_does_not_answer_acknowledges_nothing() {
    let mut sentinels = RedisSentinels::start_with(1, 1).unwrap();
    let redis = connect(&waiting(sentinel_settings(&sentinels))).await;
    let log = log(redis.clone()).await;
    log.append(message(1)).await.unwrap();
    // The replica does not answer, as behind a partition.
    sentinels.servers_mut()[1].suspend().unwrap();
    let alone = log.append(message(2)).await;
    assert!(matches!(alone, Err(LogError::Unavailable(_))), "{alone:?}");
    assert!(redis.metrics().unconfirmed_writes.get() > 0);
    sentinels.servers()[1].resume().unwrap();
    let again = tests::eventually!("the replica to answer", log.append(message(2)).await.ok());
    assert!(again.duplicate, "repeating the append writes the message once");
}

#[tokio::test]
async fn a_replica_that_was_promoted_without_the_sentinels_stops_acknowledgements() {
    let sentinels = RedisSentinels::start_with(1, 1).unwrap();
    let redis = connect(&waiting(sentinel_settings(&sentinels))).await;
    let log = log(redis.clone()).await;
    log.append(message(1)).await.unwrap();
    sentinels.servers()[1].run_command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    // The former master has no replica, and no Sentinel names the promoted one, which they attach again after 8 s.
    let rejected = log.append(message(2)).await;
    assert!(matches!(rejected, Err(LogError::Unavailable(_))), "{rejected:?}");
    let former = sentinels.servers()[0].port();
    let _sentinels = spawn_blocking(move || {
        sentinels.wait_follows(1, former).unwrap();
        sentinels
    })
    .await
    .unwrap();
    tests::eventually!("the former master to be used again", log.append(message(2)).await.ok());
    assert_eq!(missing(&log, 2).await, [0; 0]);
}

async fn cluster_log(cluster: &RedisCluster) -> (RedisClient, Arc<RedisLog>) {
    let redis = connect(&waiting(cluster_settings(cluster))).await;
    let log = log(redis.clone()).await;
    (redis, log)
}

fn log_key(redis: &RedisClient) -> String {
    redis.prefixed_key("log:{acme/room:lobby}:entries")
}

#[tokio::test]
async fn planned_failovers_of_a_cluster_lose_no_acknowledged_message() {
    for failover in [ClusterFailover::Coordinated, ClusterFailover::Takeover] {
        let cluster = RedisCluster::start_with_replicas().unwrap();
        let (redis, log) = cluster_log(&cluster).await;
        let replica = cluster.master_of(&log_key(&redis)).unwrap() + 3;
        let promoting = spawn_blocking(move || {
            cluster.promote(replica, failover).unwrap();
            cluster.wait_replicas().unwrap();
            cluster
        });
        append_during(&log, promoting).await;
    }
}

#[tokio::test]
async fn moving_the_slot_of_a_log_loses_no_acknowledged_message() {
    let mut cluster = RedisCluster::start_with_replicas().unwrap();
    let (redis, log) = cluster_log(&cluster).await;
    let key = log_key(&redis);
    let home = cluster.master_of(&key).unwrap();
    let moving = spawn_blocking(move || {
        let added = cluster.add_node().unwrap();
        let id = cluster.nodes()[added].run_command(&["CLUSTER", "MYID"]).unwrap();
        let replica = cluster.add_node().unwrap();
        cluster.attach_replica(replica, &id).unwrap();
        for target in [added, home, (home + 1) % 3] {
            cluster.move_slot_of(&key, target).unwrap();
        }
        cluster
    });
    append_during(&log, moving).await;
}
