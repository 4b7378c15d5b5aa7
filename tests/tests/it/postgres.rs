//! Messages in PostgreSQL: of one process, and of pods that share a Redis for everything else.

use serde_json::json;
use tests::client::{Client, ClientHandshake};
use tests::eventually;
use tests::postgres::PostgresServer;
use tests::redis::RedisServer;
use tests::server::{SECRET, ServerLaunch, TwinwayServer};
use tests::world::{TokenClaims, sign_token};

fn keeping_messages_in(launch: ServerLaunch, postgres: &PostgresServer) -> ServerLaunch {
    launch.with_env("TWINWAY_STORAGE_LOG", "postgres").with_env("DATABASE_URL", postgres.url())
}

fn pod(redis: &RedisServer, postgres: &PostgresServer) -> ServerLaunch {
    let pod = TwinwayServer::launch().with_env("DEPLOYMENT_MODE", "kubernetes").with_env("REDIS_URL", redis.url());
    keeping_messages_in(pod, postgres).with_env("TWINWAY_DRAIN_DELAY", "0s")
}

fn dial(server: &TwinwayServer, grant: &TokenClaims) -> ClientHandshake {
    Client::dial(&server.socket_url(), &grant.user).with_token(&sign_token(SECRET, grant))
}

#[tokio::test]
async fn one_process_keeps_its_messages_there_through_a_crash() {
    let postgres = PostgresServer::start().unwrap();
    let launch = keeping_messages_in(TwinwayServer::launch(), &postgres);
    let mut first = launch.clone().start().await;
    let mut alice = dial(&first, &TokenClaims::user("alice")).open_and_confirm().await;
    alice.join_channels("join", &["room:lobby"]).await;
    alice.send_to_channel("room:lobby", "before").await;
    let seen = alice.drop_abruptly();
    first.kill().await;
    let second = launch.start().await;
    let mut alice = dial(&second, &TokenClaims::user("alice")).with_received_state(seen).open_and_confirm().await;
    alice.join_channels("join", &["room:lobby"]).await;
    assert_eq!(alice.send_to_channel("room:lobby", "after").await["offset"], 2, "offsets go on");
    second.wait_for_metric("twinway_message_log_appended_messages_total", 1.0).await;
    alice.close().await;
}

#[tokio::test]
async fn a_process_says_what_is_wrong_with_its_database() {
    let postgres = PostgresServer::start().unwrap();
    let wrong = postgres.url().replace("pg-secret", "wr0ng");
    let exit = keeping_messages_in(TwinwayServer::launch(), &postgres)
        .with_env("DATABASE_URL", wrong)
        .expect_start_failure()
        .await;
    assert_eq!(exit.code, Some(69), "{}", exit.stderr);
    assert!(exit.stderr.contains("refuses the password") && !exit.stderr.contains("wr0ng"), "{}", exit.stderr);
    let without = TwinwayServer::launch().with_env("TWINWAY_STORAGE_LOG", "postgres").expect_start_failure().await;
    assert_eq!(without.code, Some(64), "{}", without.stderr);
    assert!(without.stderr.contains("DATABASE_URL"), "{}", without.stderr);
}

#[tokio::test]
async fn pods_share_the_log_and_nothing_acknowledged_is_lost_when_it_is_killed() {
    let (redis, mut postgres) = (RedisServer::start().unwrap(), PostgresServer::start().unwrap());
    let (first, second) = (pod(&redis, &postgres).start().await, pod(&redis, &postgres).start().await);
    let mut alice = dial(&first, &TokenClaims::user("alice")).open_and_confirm().await;
    let mut bob = dial(&second, &TokenClaims::user("bob")).open_and_confirm().await;
    alice.join_channels("join", &["room:lobby"]).await;
    bob.join_channels("join", &["room:lobby"]).await;
    alice.send_to_channel("room:lobby", "one").await;
    bob.send_to_channel("room:lobby", "two").await;
    assert_eq!(bob.bodies("room:lobby", 1).await, ["one"]);

    postgres.kill();
    let frame = json!({"action": "send", "to": "room:lobby", "id": "three", "body": "three"});
    assert_eq!(alice.expect_error(frame.clone()).await, "unavailable");
    let body = eventually!("the pod not to be ready", {
        let reply = first.ops_client().get("/ready").await;
        (reply.status == 503).then(|| reply.json())
    });
    assert_eq!(body["away"], json!(["postgres"]));
    postgres.restart().unwrap();
    eventually!("the pod to be ready", (first.ops_client().get("/ready").await.status == 200).then_some(()));
    assert_eq!(alice.request(frame).await["offset"], 3, "the same again takes effect once");
    assert_eq!(bob.bodies("room:lobby", 2).await, ["two", "three"]);
    assert_eq!(redis.run_command(&["KEYS", "twinway:log:*"]).unwrap(), "", "Redis keeps no messages");
    alice.close().await;
    bob.close().await;
}
