//! The contract suites of the ports, on every topology.

use std::sync::Arc;

use handlers::conformance::connections::ConnectionStoreFixture;
use handlers::conformance::{connections, log as logs, revocations};
use handlers::ports::{Clock as _, MessageLog, RevocationStore};
use shim::redis::{RedisConnections, RedisRevocations, RedisSettings, RedisTopology};
use shim::secret::Secret;
use tests::redis::{Certificates, RedisCluster, RedisOptions, RedisSentinels, RedisServer};

use super::{clock, connect, log, settings};

/// Permissions of a user, as documented in `docs/OPERATIONS.md`.
const PERMISSIONS: &str =
    "~test* &test* -@all +@read +@write +@stream +@scripting +@pubsub +@connection +info +time +wait";

async fn run_suites(settings: &RedisSettings) {
    connections::run_suite(async || {
        let clock = clock();
        let store = Arc::new(RedisConnections::new(connect(settings).await, clock.clone()));
        ConnectionStoreFixture { store, now: clock.now(), clock: Some(clock) }
    })
    .await;
    let fresh = async || {
        let log: Arc<dyn MessageLog> = log(connect(settings).await).await;
        log
    };
    logs::run_suite(fresh).await;
    revocations::run_suite(async || {
        let store: Arc<dyn RevocationStore> = Arc::new(RedisRevocations::new(connect(settings).await, clock()));
        store
    })
    .await;
}

#[tokio::test]
async fn a_server_fulfils_the_contracts() {
    let server = RedisServer::start().unwrap();
    run_suites(&settings(&server.url())).await;
}

#[tokio::test]
async fn a_server_with_tls_and_users_fulfils_the_contracts() {
    let tls = Certificates::generate().unwrap();
    let rules = format!("alice on >wonder&land {PERMISSIONS}");
    let options = RedisOptions { tls: Some(tls.clone()), ..RedisOptions::default() }.with_setting("user", &rules);
    let server = RedisServer::start_with(options).unwrap();
    let user = RedisSettings {
        username: Some("alice".to_owned()),
        password: Some(Secret::new("wonder&land")),
        tls: crate::trusting(tls.authority()),
        ..settings(&server.url())
    };
    run_suites(&user).await;
}

#[tokio::test]
async fn a_cluster_with_users_fulfils_the_contracts() {
    let cluster = RedisCluster::start().unwrap();
    for node in cluster.nodes() {
        let user = format!("ACL SETUSER alice on >pw {PERMISSIONS} +cluster|slots");
        node.run_command(&user.split(' ').collect::<Vec<_>>()).unwrap();
    }
    let (username, password) = (Some("alice".to_owned()), Some(Secret::new("pw")));
    run_suites(&RedisSettings { username, password, ..cluster_settings(&cluster) }).await;
}

#[tokio::test]
async fn sentinels_fulfil_the_contracts_also_after_a_failover() {
    let mut sentinels = RedisSentinels::start().unwrap();
    let settings = sentinel_settings(&sentinels);
    run_suites(&settings).await;
    sentinels.fail_over().unwrap();
    run_suites(&settings).await;
}

pub(crate) fn cluster_settings(cluster: &RedisCluster) -> RedisSettings {
    let urls = cluster.urls().iter().map(|url| Secret::new(url)).collect();
    RedisSettings { urls, topology: RedisTopology::Cluster, ..settings("redis://unused") }
}

pub(crate) fn sentinel_settings(sentinels: &RedisSentinels) -> RedisSettings {
    let urls = sentinels.urls().iter().map(|url| Secret::new(url)).collect();
    RedisSettings { urls, topology: RedisTopology::Sentinel, ..settings("redis://unused") }
}
