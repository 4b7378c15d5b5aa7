//! Acknowledged revocations survive failovers, and losses of data while a server that knows them is alive.

use std::sync::Arc;
use std::time::Duration;

use handlers::id::{TenantId, UserId};
use handlers::ports::{Clock as _, Revocation, RevocationStore as _, RevokedSubject, StoreError};
use shim::redis::{RedisClient, RedisRevocations};
use tests::redis::{ClusterFailover, RedisCluster, RedisSentinels, RedisServer};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use super::contracts::{cluster_settings, sentinel_settings};
use super::failover::{fail_over, waiting};
use super::{clock, connect, settings};

/// Interval between two revocations.
const PACE: Duration = Duration::from_millis(20);
/// Number of revocations that are acknowledged after the event.
const REVOKED_AFTERWARDS: usize = 30;

/// Returns a server that knows no revocation yet.
fn store(redis: &RedisClient) -> RedisRevocations {
    RedisRevocations::new(redis.clone(), clock())
}

fn revocation(number: usize) -> Revocation {
    let subject = RevokedSubject::User(UserId::parse(&format!("user{number}")).unwrap());
    let now = clock().now();
    let expires_at = now.plus(Duration::from_secs(3_600));
    Revocation { tenant: TenantId::default_tenant(), subject, issued_before: now.unix_seconds(), expires_at }
}

async fn find(store: &RedisRevocations, number: usize) -> Option<Revocation> {
    let Revocation { tenant, subject, .. } = revocation(number);
    store.find_revocation(&tenant, &subject).await.unwrap()
}

async fn withdraw(store: &RedisRevocations, number: usize) -> Result<bool, StoreError> {
    let Revocation { tenant, subject, .. } = revocation(number);
    store.delete_revocation(&tenant, &subject).await
}

/// Revokes and withdraws until `event` has ended, and checks that another server finds what was acknowledged.
async fn revoke_during<T>(redis: &RedisClient, event: JoinHandle<T>) -> T {
    let (writer, mut number, mut afterwards) = (store(redis), 0, 0);
    let (mut revoked, mut withdrawn) = (Vec::new(), Vec::new());
    while afterwards < REVOKED_AFTERWARDS {
        if writer.put_revocation(&revocation(number)).await.is_ok() {
            revoked.push(number);
            afterwards += usize::from(event.is_finished());
        }
        // Every second revocation is withdrawn, some time later.
        if revoked.len() > 10 && number % 2 == 0 && withdraw(&writer, revoked[0]).await.is_ok() {
            withdrawn.push(revoked.remove(0));
        }
        number += 1;
        sleep(PACE).await;
    }
    let outcome = event.await.unwrap();
    assert!(!withdrawn.is_empty(), "{} were revoked", revoked.len());
    let reader = store(redis);
    for number in revoked {
        assert_eq!(find(&reader, number).await, Some(revocation(number)), "a revocation is lost");
    }
    for number in withdrawn {
        assert_eq!(find(&reader, number).await, None, "a withdrawn revocation exists again");
    }
    outcome
}

#[tokio::test]
async fn a_planned_failover_loses_no_acknowledged_revocation() {
    let sentinels = RedisSentinels::start_with(1, 1).unwrap();
    let redis = connect(&waiting(sentinel_settings(&sentinels))).await;
    let _sentinels = revoke_during(&redis, fail_over(sentinels)).await;
    assert_eq!(redis.metrics().master_changes.get(), 1);
}

#[tokio::test]
async fn failovers_of_a_cluster_lose_no_acknowledged_revocation() {
    for failover in [ClusterFailover::Coordinated, ClusterFailover::Takeover] {
        let cluster = RedisCluster::start_with_replicas().unwrap();
        let redis = connect(&waiting(cluster_settings(&cluster))).await;
        let promoting = spawn_blocking(move || {
            for replica in 3..6 {
                cluster.promote(replica, failover).unwrap();
                cluster.wait_replicas().unwrap();
            }
            cluster
        });
        revoke_during(&redis, promoting).await;
    }
}

#[tokio::test]
async fn a_revocation_without_confirmation_is_not_acknowledged() {
    let mut sentinels = RedisSentinels::start_with(1, 1).unwrap();
    let redis = connect(&waiting(sentinel_settings(&sentinels))).await;
    let store = store(&redis);
    store.put_revocation(&revocation(1)).await.unwrap();
    sentinels.servers_mut()[1].suspend().unwrap();
    let unconfirmed = [store.put_revocation(&revocation(2)).await, withdraw(&store, 1).await.map(drop)];
    for outcome in unconfirmed {
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    }
    sentinels.servers()[1].resume().unwrap();
    tests::eventually!("the replica to answer", store.put_revocation(&revocation(2)).await.ok());
}

#[tokio::test]
async fn a_replica_that_was_promoted_without_the_sentinels_loses_no_acknowledged_revocation() {
    let sentinels = RedisSentinels::start_with(1, 1).unwrap();
    let redis = connect(&waiting(sentinel_settings(&sentinels))).await;
    let former = sentinels.servers()[0].port();
    let reverting = spawn_blocking(move || {
        // The Sentinels attach it to the former master again after 8 s; until then nothing is acknowledged.
        sentinels.servers()[1].run_command(&["REPLICAOF", "NO", "ONE"]).unwrap();
        sentinels.wait_follows(1, former).unwrap();
        sentinels
    });
    let _sentinels = revoke_during(&redis, reverting).await;
}

#[tokio::test]
async fn a_server_restores_the_revocations_that_redis_has_lost() {
    let server = RedisServer::start().unwrap();
    let redis = connect(&settings(&server.url())).await;
    let (first, second) = (store(&redis), store(&redis));
    for number in 0..3 {
        first.put_revocation(&revocation(number)).await.unwrap();
    }
    assert!(find(&second, 0).await.is_some());
    assert!(withdraw(&second, 1).await.unwrap());
    assert!(!withdraw(&second, 1).await.unwrap(), "it is withdrawn once");
    server.run_command(&["FLUSHALL"]).unwrap();

    assert_eq!(find(&store(&redis), 0).await, None, "redis has lost it");
    assert_eq!(find(&second, 0).await, Some(revocation(0)), "this server has read it");
    assert_eq!(find(&store(&redis), 0).await, Some(revocation(0)), "and has written it again");
    assert_eq!(first.restore_lost().await.unwrap(), 2, "the others");
    assert_eq!(find(&store(&redis), 2).await, Some(revocation(2)));
    assert_eq!(second.restore_lost().await.unwrap(), 1, "the withdrawal is later than the revocation");
    assert_eq!(find(&first, 1).await, None);
    assert_eq!((first.restore_lost().await.unwrap(), second.restore_lost().await.unwrap()), (0, 0));
}

#[tokio::test]
async fn the_latest_write_wins_over_copies_of_other_servers() {
    let server = RedisServer::start().unwrap();
    let redis = connect(&settings(&server.url())).await;
    let (first, second) = (store(&redis), Arc::new(store(&redis)));
    first.put_revocation(&revocation(1)).await.unwrap();
    withdraw(&second, 1).await.unwrap();
    let later = Revocation { issued_before: 7, ..revocation(1) };
    first.put_revocation(&later).await.unwrap();
    server.run_command(&["FLUSHALL"]).unwrap();
    second.restore_lost().await.unwrap();
    first.restore_lost().await.unwrap();
    assert_eq!(find(&second, 1).await, Some(later));
}
