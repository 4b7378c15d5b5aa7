//! Several deployments in one Redis: separate namespaces are isolated, and a shared one is rejected at the start.

use serde_json::json;
use tests::client::Client;
use tests::eventually;
use tests::redis::{RedisCluster, RedisServer};
use tests::server::{SECRET, ServerLaunch, TwinwayServer};
use tests::world::{TokenClaims, sign_token};

const OTHER_SECRET: &str = "another-secret-of-more-than-32-bytes";

fn pod(url: &str) -> ServerLaunch {
    TwinwayServer::launch()
        .with_env("DEPLOYMENT_MODE", "kubernetes")
        .with_env("REDIS_URL", url)
        .with_env("TWINWAY_DRAIN_DELAY", "0s")
}

async fn connect(server: &TwinwayServer, secret: &str, user: &str) -> Client {
    let token = sign_token(secret, &TokenClaims::user(user));
    let mut client = Client::dial(&server.socket_url(), user).with_token(&token).open_and_confirm().await;
    client.join_channels("join", &["room:lobby"]).await;
    client
}

/// Returns the users in the lobby, as a member sees them.
async fn members(client: &mut Client) -> serde_json::Value {
    let reply = client.request(json!({"action": "presence", "channel": "room:lobby"})).await;
    reply["channels"]["room:lobby"].clone()
}

/// Checks that messages and presence of two deployments with the same tenant, user and channel names do not cross.
async fn check_isolation(first: &TwinwayServer, second: &TwinwayServer, second_secret: &str) {
    let mut alice = connect(first, SECRET, "alice").await;
    let mut bob = connect(second, second_secret, "bob").await;
    let mut carol = connect(second, second_secret, "carol").await;
    alice.send_to_channel("room:lobby", "of the first").await;
    // Published after the message of the first deployment, on the same Redis: a crossing one would arrive before it.
    carol.send_to_channel("room:lobby", "of the second").await;
    assert_eq!(bob.bodies("room:lobby", 1).await, ["of the second"]);
    let seen = members(&mut bob).await.to_string();
    assert!(seen.contains("carol") && !seen.contains("alice"), "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_in_different_databases_of_one_redis_are_isolated() {
    let redis = RedisServer::start().unwrap();
    let first = pod(&format!("{}/0", redis.url().trim_end_matches('/'))).start().await;
    let second_url = format!("{}/7", redis.url().trim_end_matches('/'));
    let second = pod(&second_url).with_env("TWINWAY_AUTH_SECRET", OTHER_SECRET).start().await;
    check_isolation(&first, &second, OTHER_SECRET).await;

    // Two pods of the second deployment still reach each other.
    let third = pod(&second_url).with_env("TWINWAY_AUTH_SECRET", OTHER_SECRET).start().await;
    let (mut dave, mut erin) =
        (connect(&second, OTHER_SECRET, "dave").await, connect(&third, OTHER_SECRET, "erin").await);
    erin.send_to_channel("room:lobby", "from another pod").await;
    dave.next_where("the message of the other pod", |frame| frame["body"] == "from another pod").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_with_different_prefixes_in_one_cluster_are_isolated() {
    let cluster = RedisCluster::start().unwrap();
    let launch = |prefix: &str, secret: &str| {
        pod(&cluster.urls().join(","))
            .with_env("TWINWAY_REDIS_TOPOLOGY", "cluster")
            // This cluster has no replicas.
            .with_env("TWINWAY_REDIS_WAIT_REPLICAS", "0")
            .with_env("TWINWAY_REDIS_PREFIX", prefix)
            .with_env("TWINWAY_AUTH_SECRET", secret)
    };
    let (first, second) = (launch("first", SECRET).start().await, launch("second", OTHER_SECRET).start().await);
    check_isolation(&first, &second, OTHER_SECRET).await;
}

#[tokio::test]
async fn a_deployment_with_another_secret_is_rejected_until_the_namespace_is_its_own() {
    let redis = RedisServer::start().unwrap();
    let first = pod(&redis.url()).start().await;
    let refused = pod(&redis.url()).with_env("TWINWAY_AUTH_SECRET", OTHER_SECRET).expect_start_failure().await;
    assert_eq!(refused.code, Some(64), "{}", refused.stderr);
    for word in
        ["prefix 'twinway' in database 0", "redis.prefix", "auth.previous_secrets", "twinway:{cluster}:namespace"]
    {
        assert!(refused.stderr.contains(word), "{word}: {}", refused.stderr);
    }
    assert!(!refused.stderr.contains(OTHER_SECRET) && !refused.stderr.contains(SECRET));
    let own = pod(&redis.url()).with_env("TWINWAY_AUTH_SECRET", OTHER_SECRET).with_env("TWINWAY_REDIS_PREFIX", "other");
    check_isolation(&first, &own.start().await, OTHER_SECRET).await;
}

#[tokio::test]
async fn a_secret_is_rotated_while_pods_with_the_old_one_run() {
    let redis = RedisServer::start().unwrap();
    let old = || pod(&redis.url());
    let both = || pod(&redis.url()).with_env("TWINWAY_AUTH_SECRET", OTHER_SECRET);
    let both = || both().with_env("TWINWAY_AUTH_PREVIOUS_SECRETS", SECRET);
    let new = || pod(&redis.url()).with_env("TWINWAY_AUTH_SECRET", OTHER_SECRET);
    let (first, second) = (old().start().await, both().start().await);
    // A pod of the previous template restarts during the rollout.
    let mut restarted = old().start().await;
    restarted.stop().await;
    let third = new().start().await;
    let mut alice = connect(&first, SECRET, "alice").await;
    for (server, secret, user) in [(&second, SECRET, "bob"), (&third, OTHER_SECRET, "carol")] {
        connect(server, secret, user).await.send_to_channel("room:lobby", user).await;
        alice.next_where(user, |frame| frame["body"] == user).await;
    }
}

#[tokio::test]
async fn a_namespace_is_claimed_again_after_redis_lost_its_data() {
    let redis = RedisServer::start().unwrap();
    let _first = pod(&redis.url()).start().await;
    redis.run_command(&["FLUSHALL"]).unwrap();
    eventually!("the namespace to be claimed again", {
        let stored = redis.run_command(&["ZCARD", "twinway:{cluster}:namespace"]).unwrap();
        (stored.trim() == "1").then_some(())
    });
    let refused = pod(&redis.url()).with_env("TWINWAY_AUTH_SECRET", OTHER_SECRET).expect_start_failure().await;
    assert_eq!(refused.code, Some(64), "{}", refused.stderr);
}
