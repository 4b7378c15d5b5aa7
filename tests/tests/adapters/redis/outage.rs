//! Redis away and back: commands fail fast, the state is told, and everything heals by itself.

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

async fn becomes(redis: &RedisClient, up: bool) {
    let mut state = redis.link_state();
    let waited = state.wait_for(|state| (*state == LinkState::Available) == up);
    with_timeout("the state of the link", waited).await.expect("the link is there");
}

fn quick(url: &str) -> RedisSettings {
    RedisSettings { connect_timeout: Duration::from_secs(1), response_timeout: Duration::from_secs(1), ..settings(url) }
}

#[tokio::test]
async fn a_killed_server_fails_fast_and_heals() {
    let mut server = RedisServer::start_with(RedisOptions { append_only: true, ..RedisOptions::default() }).unwrap();
    let redis = connect(&quick(&server.url())).await;
    ping(&redis).await.unwrap();
    server.kill();
    becomes(&redis, false).await;
    let started = Instant::now();
    for _ in 0..1_000 {
        assert!(matches!(ping(&redis).await, Err(RedisClientError::CircuitOpen)), "an open breaker answers by itself");
    }
    assert!(started.elapsed() < Duration::from_secs(1), "1,000 refusals took {:?}", started.elapsed());
    server.restart().unwrap();
    becomes(&redis, true).await;
    assert_eq!(ping(&redis).await.unwrap(), "there");
}

#[tokio::test]
async fn a_paused_server_fails_within_the_deadline_and_heals() {
    let server = RedisServer::start().unwrap();
    let redis = connect(&quick(&server.url())).await;
    server.suspend().unwrap();
    let started = Instant::now();
    let trouble = ping(&redis).await.unwrap_err();
    assert!(trouble.is_transient(), "{trouble:?}");
    assert!(started.elapsed() < Duration::from_secs(4), "the deadline of 2 s became {:?}", started.elapsed());
    becomes(&redis, false).await;
    server.resume().unwrap();
    becomes(&redis, true).await;
    assert_eq!(ping(&redis).await.unwrap(), "there");
}

#[tokio::test]
async fn connections_that_the_server_ends_are_made_anew() {
    let server = RedisServer::start().unwrap();
    let redis = connect(&settings(&server.url())).await;
    for _ in 0..5 {
        ping(&redis).await.unwrap();
        server.run_command(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
        assert_eq!(ping(&redis).await.unwrap(), "there", "a repeatable command does not notice");
    }
    assert_eq!(*redis.link_state().borrow(), LinkState::Available);
}

#[tokio::test]
async fn a_server_that_becomes_read_only_is_away_until_it_is_not() {
    let server = RedisServer::start().unwrap();
    let master = RedisServer::start().unwrap();
    let redis = connect(&quick(&server.url())).await;
    server.run_command(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]).unwrap();
    becomes(&redis, false).await;
    server.run_command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    becomes(&redis, true).await;
    ping(&redis).await.unwrap();
}

/// What makes a server refuse writes while it answers everything else, and what ends that.
#[derive(Debug, Clone, Copy)]
enum Refuses {
    ToSave,
    WithoutReplicas,
}

impl Refuses {
    const ALL: [Self; 2] = [Self::ToSave, Self::WithoutReplicas];

    fn begin(self, server: &RedisServer) {
        match self {
            Self::ToSave => server.fail_to_save().unwrap(),
            Self::WithoutReplicas => {
                drop(server.run_command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).unwrap())
            }
        }
    }

    fn end(self, server: &RedisServer) {
        match self {
            Self::ToSave => server.save().unwrap(),
            Self::WithoutReplicas => {
                drop(server.run_command(&["CONFIG", "SET", "min-replicas-to-write", "0"]).unwrap())
            }
        }
    }

    /// The port of the server that is told to refuse, with what helps.
    async fn told(self, settings: RedisSettings) -> String {
        let (address, text) =
            match (self, RedisClient::connect(settings).await.err().expect("a link that is of no use")) {
                (Self::ToSave, error @ RedisStartupError::PersistenceFailed { .. }) => {
                    (error.to_string(), "run BGSAVE")
                }
                (Self::WithoutReplicas, error @ RedisStartupError::TooFewReplicas { .. }) => {
                    (error.to_string(), "min-replicas-to-write")
                }
                (_, other) => panic!("{self:?}: {other:?}"),
            };
        assert!(address.contains(text), "{address}");
        address.split("127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_server_that_refuses_writes_is_away_until_it_takes_them() {
    for refuses in Refuses::ALL {
        let server = RedisServer::start().unwrap();
        let redis = connect(&quick(&server.url())).await;
        // Twice: what was told of the first outage is no reason to miss the second.
        for _ in 0..2 {
            refuses.begin(&server);
            // Nobody writes meanwhile: the question finds it out.
            becomes(&redis, false).await;
            assert!(matches!(ping(&redis).await, Err(RedisClientError::CircuitOpen)), "{refuses:?}");
            assert_eq!(refuses.told(quick(&server.url())).await, server.port().to_string());
            refuses.end(&server);
            becomes(&redis, true).await;
            assert_eq!(ping(&redis).await.unwrap(), "there");
        }
        assert_eq!(server.run_command(&["DBSIZE"]).unwrap(), "0", "a question left something behind");
    }
}

#[tokio::test]
async fn a_cluster_is_away_while_one_of_its_nodes_refuses_writes() {
    let cluster = RedisCluster::start().unwrap();
    let settings = RedisSettings { prefix: "refusing".to_owned(), ..cluster_settings(&cluster) };
    let redis = RedisClient::connect(settings.clone()).await.unwrap();
    for (node, refuses) in cluster.nodes().iter().zip([Refuses::ToSave, Refuses::WithoutReplicas, Refuses::ToSave]) {
        refuses.begin(node);
        becomes(&redis, false).await;
        assert_eq!(refuses.told(settings.clone()).await, node.port().to_string(), "another node is blamed");
        refuses.end(node);
        becomes(&redis, true).await;
        ping(&redis).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_written_while_writes_are_refused_was_not_written() {
    for refuses in Refuses::ALL {
        let server = RedisServer::start().unwrap();
        let redis = connect(&quick(&server.url())).await;
        let log = log(redis.clone()).await;
        log.append(message(1, Timestamp(1))).await.unwrap();
        refuses.begin(&server);
        for number in 0..200 {
            // The first ones reach a server that refuses them, the others no server.
            let refused = log.append(message(1_000 + number, Timestamp(1))).await;
            assert!(matches!(refused, Err(LogError::Unavailable(_))), "{refuses:?}: {refused:?}");
        }
        assert_ne!(*redis.link_state().borrow(), LinkState::Available, "{refuses:?}: nobody was told");
        refuses.end(&server);
        becomes(&redis, true).await;
        assert_eq!(log.append(message(2, Timestamp(1))).await.unwrap().position.offset, Offset(2), "{refuses:?}");
    }
}

#[tokio::test]
async fn a_link_follows_a_failover() {
    let mut sentinels = RedisSentinels::start().unwrap();
    let redis = connect(&sentinel_settings(&sentinels)).await;
    let before = log(redis.clone()).await;
    let lobby = handlers::channel::Channel::from_key("acme/room:lobby").unwrap();
    let epoch = before.heads(std::slice::from_ref(&lobby)).await.unwrap()[0].epoch.clone();
    sentinels.fail_over().unwrap();
    becomes(&redis, true).await;
    let head = with_timeout("the new master", async {
        loop {
            match before.heads(std::slice::from_ref(&lobby)).await {
                Ok(heads) => break heads[0].clone(),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert_ne!(head.epoch, epoch, "a master that may lack messages is another epoch");
    logs::offsets_are_dense(log(connect(&sentinel_settings(&sentinels)).await).await).await;
}
