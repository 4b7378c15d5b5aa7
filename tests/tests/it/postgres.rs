//! Messages in PostgreSQL: of a single process, and of pods that share a Redis for everything else.

mod switchover;

use serde_json::json;
use tests::client::{Client, ClientHandshake};
use tests::eventually;
use tests::postgres::PostgresServer;
use tests::redis::RedisServer;
use tests::server::{SECRET, ServerLaunch, TwinwayServer};
use tests::world::{TokenClaims, sign_token};

fn with_postgres_log(launch: ServerLaunch, postgres: &PostgresServer) -> ServerLaunch {
    launch.with_env("TWINWAY_STORAGE_LOG", "postgres").with_env("DATABASE_URL", postgres.url())
}

fn pod(redis: &RedisServer, postgres: &PostgresServer) -> ServerLaunch {
    let pod = TwinwayServer::launch().with_env("DEPLOYMENT_MODE", "kubernetes").with_env("REDIS_URL", redis.url());
    with_postgres_log(pod, postgres).with_env("TWINWAY_DRAIN_DELAY", "0s")
}

fn dial(server: &TwinwayServer, claims: &TokenClaims) -> ClientHandshake {
    Client::dial(&server.socket_url(), &claims.user).with_token(&sign_token(SECRET, claims))
}

#[tokio::test]
async fn a_single_process_keeps_its_messages_in_postgres_through_a_crash() {
    let postgres = PostgresServer::start().unwrap();
    let launch = with_postgres_log(TwinwayServer::launch(), &postgres);
    let mut first = launch.clone().start().await;
    let mut alice = dial(&first, &TokenClaims::user("alice")).open_and_confirm().await;
    alice.join_channels("join", &["room:lobby"]).await;
    alice.send_to_channel("room:lobby", "before").await;
    let seen = alice.drop_abruptly();
    first.kill().await;
    let second = launch.start().await;
    let mut alice = dial(&second, &TokenClaims::user("alice")).with_received_state(seen).open_and_confirm().await;
    alice.join_channels("join", &["room:lobby"]).await;
    assert_eq!(alice.send_to_channel("room:lobby", "after").await["offset"], 2, "offsets continue");
    second.wait_for_metric("twinway_message_log_appended_messages_total", 1.0).await;
    alice.close().await;
}

#[tokio::test]
async fn a_process_reports_the_error_of_its_database() {
    let postgres = PostgresServer::start().unwrap();
    let wrong = postgres.url().replace("pg-secret", "wr0ng");
    let exit = with_postgres_log(TwinwayServer::launch(), &postgres)
        .with_env("DATABASE_URL", wrong)
        .expect_start_failure()
        .await;
    assert_eq!(exit.code, Some(69), "{}", exit.stderr);
    assert!(exit.stderr.contains("rejects the password") && !exit.stderr.contains("wr0ng"), "{}", exit.stderr);
    let without = TwinwayServer::launch().with_env("TWINWAY_STORAGE_LOG", "postgres").expect_start_failure().await;
    assert_eq!(without.code, Some(64), "{}", without.stderr);
    assert!(without.stderr.contains("DATABASE_URL"), "{}", without.stderr);
}

#[tokio::test]
async fn pods_share_the_log_and_an_outage_loses_no_acknowledged_message() {
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
    assert_eq!(body["unavailable"], json!(["postgres"]));
    postgres.restart().unwrap();
    eventually!("the pod to be ready", (first.ops_client().get("/ready").await.status == 200).then_some(()));
    assert_eq!(alice.request(frame).await["offset"], 3, "the repeated message is appended once");
    assert_eq!(bob.bodies("room:lobby", 2).await, ["two", "three"]);
    assert_eq!(redis.run_command(&["KEYS", "twinway:log:*"]).unwrap(), "", "Redis stores no messages");
    alice.close().await;
    bob.close().await;
}
