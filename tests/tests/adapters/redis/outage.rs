//! Redis outages: commands fail fast, the state is reported, and the client recovers by itself.

use std::time::Duration;

use handlers::channel::Offset;
use handlers::conformance::log as logs;
use handlers::ports::{LogError, MessageLog, Timestamp};
use redis::cmd;
use shim::redis::{LinkState, RedisClient, RedisClientError, RedisSettings, RedisStartupError};
use tests::eventually::with_timeout;
use tests::redis::{RedisCluster, RedisOptions, RedisSentinels, RedisServer};
use tokio::time::Instant;

use super::contracts::{cluster_settings, sentinel_settings};
use super::log::message;
use super::{connect, log, settings};

async fn ping(redis: &RedisClient) -> Result<String, RedisClientError> {
    redis.query(cmd("ECHO").arg("there")).await
}

async fn wait_for_state(redis: &RedisClient, up: bool) {
    let mut state = redis.link_state();
    let waited = state.wait_for(|state| (*state == LinkState::Available) == up);
    with_timeout("the state of the client", waited).await.expect("the client exists");
}

fn quick(url: &str) -> RedisSettings {
    RedisSettings { connect_timeout: Duration::from_secs(1), response_timeout: Duration::from_secs(1), ..settings(url) }
}

#[tokio::test]
async fn a_killed_server_fails_fast_and_recovers() {
    let mut server = RedisServer::start_with(RedisOptions { append_only: true, ..RedisOptions::default() }).unwrap();
    let redis = connect(&quick(&server.url())).await;
    ping(&redis).await.unwrap();
    server.kill();
    wait_for_state(&redis, false).await;
    let started = Instant::now();
    for _ in 0..1_000 {
        assert!(
            matches!(ping(&redis).await, Err(RedisClientError::CircuitOpen)),
            "an open circuit breaker rejects without a request"
        );
    }
    assert!(started.elapsed() < Duration::from_secs(1), "1,000 rejections took {:?}", started.elapsed());
    server.restart().unwrap();
    wait_for_state(&redis, true).await;
    assert_eq!(ping(&redis).await.unwrap(), "there");
}

#[tokio::test]
async fn a_paused_server_fails_within_the_deadline_and_recovers() {
    let server = RedisServer::start().unwrap();
    let redis = connect(&quick(&server.url())).await;
    server.suspend().unwrap();
    let started = Instant::now();
    let error = ping(&redis).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(4), "the deadline of 2 s became {:?}", started.elapsed());
    wait_for_state(&redis, false).await;
    server.resume().unwrap();
    wait_for_state(&redis, true).await;
    assert_eq!(ping(&redis).await.unwrap(), "there");
}

#[tokio::test]
async fn connections_closed_by_the_server_are_replaced() {
    let server = RedisServer::start().unwrap();
    let redis = connect(&settings(&server.url())).await;
    for _ in 0..5 {
        ping(&redis).await.unwrap();
        server.run_command(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
        assert_eq!(ping(&redis).await.unwrap(), "there", "an idempotent command is repeated transparently");
    }
    assert_eq!(*redis.link_state().borrow(), LinkState::Available);
}

#[tokio::test]
async fn a_read_only_server_is_unavailable_until_it_is_writable() {
    let server = RedisServer::start().unwrap();
    let master = RedisServer::start().unwrap();
    let redis = connect(&quick(&server.url())).await;
    server.run_command(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]).unwrap();
    wait_for_state(&redis, false).await;
    server.run_command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    wait_for_state(&redis, true).await;
    ping(&redis).await.unwrap();
}

/// Cause of rejected writes on a server that accepts all other commands.
#[derive(Debug, Clone, Copy)]
enum WriteRejection {
    SaveFails,
    TooFewReplicas,
}

impl WriteRejection {
    const ALL: [Self; 2] = [Self::SaveFails, Self::TooFewReplicas];

    fn begin(self, server: &RedisServer) {
        match self {
            Self::SaveFails => server.fail_to_save().unwrap(),
            Self::TooFewReplicas => drop(server.run_command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).unwrap()),
        }
    }

    fn end(self, server: &RedisServer) {
        match self {
            Self::SaveFails => server.save().unwrap(),
            Self::TooFewReplicas => drop(server.run_command(&["CONFIG", "SET", "min-replicas-to-write", "0"]).unwrap()),
        }
    }

    /// Returns the port that the start-up error names, and checks its hint.
    async fn reported_port(self, settings: RedisSettings) -> String {
        let (address, text) =
            match (self, RedisClient::connect(settings).await.err().expect("the client must not connect")) {
                (Self::SaveFails, error @ RedisStartupError::PersistenceFailed { .. }) => {
                    (error.to_string(), "run BGSAVE")
                }
                (Self::TooFewReplicas, error @ RedisStartupError::TooFewReplicas { .. }) => {
                    (error.to_string(), "min-replicas-to-write")
                }
                (_, other) => panic!("{self:?}: {other:?}"),
            };
        assert!(address.contains(text), "{address}");
        address.split("127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_server_that_rejects_writes_is_unavailable_until_it_accepts_them() {
    for rejection in WriteRejection::ALL {
        let server = RedisServer::start().unwrap();
        let redis = connect(&quick(&server.url())).await;
        // Twice: the second outage must be reported as well.
        for _ in 0..2 {
            rejection.begin(&server);
            // No test writes now: the write probe detects the outage.
            wait_for_state(&redis, false).await;
            assert!(matches!(ping(&redis).await, Err(RedisClientError::CircuitOpen)), "{rejection:?}");
            assert_eq!(rejection.reported_port(quick(&server.url())).await, server.port().to_string());
            rejection.end(&server);
            wait_for_state(&redis, true).await;
            assert_eq!(ping(&redis).await.unwrap(), "there");
        }
        assert_eq!(server.run_command(&["DBSIZE"]).unwrap(), "0", "a write probe left a key");
    }
}

#[tokio::test]
async fn a_cluster_is_unavailable_while_one_node_rejects_writes() {
    let cluster = RedisCluster::start().unwrap();
    let settings = RedisSettings { prefix: "rejecting".to_owned(), ..cluster_settings(&cluster) };
    let redis = RedisClient::connect(settings.clone()).await.unwrap();
    for (node, rejection) in cluster.nodes().iter().zip([
        WriteRejection::SaveFails,
        WriteRejection::TooFewReplicas,
        WriteRejection::SaveFails,
    ]) {
        rejection.begin(node);
        wait_for_state(&redis, false).await;
        assert_eq!(
            rejection.reported_port(settings.clone()).await,
            node.port().to_string(),
            "the error names another node"
        );
        rejection.end(node);
        wait_for_state(&redis, true).await;
        ping(&redis).await.unwrap();
    }
}

#[tokio::test]
async fn appends_to_a_server_that_rejects_writes_have_no_effect() {
    for rejection in WriteRejection::ALL {
        let server = RedisServer::start().unwrap();
        let redis = connect(&quick(&server.url())).await;
        let log = log(redis.clone()).await;
        log.append(message(1, Timestamp(1))).await.unwrap();
        rejection.begin(&server);
        for number in 0..200 {
            // The server rejects the first ones, the open circuit breaker the others.
            let rejected = log.append(message(1_000 + number, Timestamp(1))).await;
            assert!(matches!(rejected, Err(LogError::Unavailable(_))), "{rejection:?}: {rejected:?}");
        }
        assert_ne!(*redis.link_state().borrow(), LinkState::Available, "{rejection:?}: no outage was reported");
        rejection.end(&server);
        wait_for_state(&redis, true).await;
        assert_eq!(log.append(message(2, Timestamp(1))).await.unwrap().position.offset, Offset(2), "{rejection:?}");
    }
}

#[tokio::test]
async fn a_client_follows_a_failover() {
    let mut sentinels = RedisSentinels::start().unwrap();
    let redis = connect(&sentinel_settings(&sentinels)).await;
    let before = log(redis.clone()).await;
    let lobby = handlers::channel::Channel::from_key("acme/room:lobby").unwrap();
    let epoch = before.heads(std::slice::from_ref(&lobby)).await.unwrap()[0].epoch.clone();
    sentinels.fail_over().unwrap();
    wait_for_state(&redis, true).await;
    let head = with_timeout("the new master", async {
        loop {
            match before.heads(std::slice::from_ref(&lobby)).await {
                Ok(heads) => break heads[0].clone(),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert_ne!(head.epoch, epoch, "a promoted master may lack messages, so the epoch changes");
    logs::offsets_are_dense(log(connect(&sentinel_settings(&sentinels)).await).await).await;
}
