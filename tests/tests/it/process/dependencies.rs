//! Pods that start before Redis or PostgreSQL: they wait, not ready, and say why; only wrong configuration exits.

use serde_json::Value;
use tests::eventually;
use tests::pod_cluster::launch_pod;
use tests::postgres::PostgresServer;
use tests::redis::RedisServer;
use tests::server::TwinwayServer;
use tests::world::TokenClaims;

use super::{UNAVAILABLE, dial};

/// Waits until `/ready` names this dependency; returns the body of the response.
async fn not_ready_without(server: &TwinwayServer, dependency: &str) -> Value {
    eventually!(&format!("the pod to wait for {dependency}"), {
        let reply = server.ops_client().get("/ready").await;
        assert_eq!(reply.status, 503, "{reply:?}");
        let body = reply.json();
        (body["unavailable"] == serde_json::json!([dependency])).then_some(body)
    })
}

#[tokio::test]
async fn a_pod_that_starts_before_redis_waits_and_becomes_ready() {
    let mut redis = RedisServer::start().unwrap();
    let launch = launch_pod(&redis.url());
    redis.kill();
    let mut pod = launch.start_waiting().await;
    let body = not_ready_without(&pod, "redis").await;
    assert_eq!(body["status"], "starting");
    assert!(body["reason"].as_str().unwrap().starts_with("redis is unreachable at 127.0.0.1:"), "{body}");
    assert_eq!(pod.ops_client().get("/health").await.status, 200, "a pod that waits is alive");
    assert_eq!(pod.ops_client().get("/metrics").await.status, 503);
    let line = pod.wait_for_log("waiting for a dependency, not ready").await;
    assert_eq!((line["level"].as_str(), line["dependency"].as_str()), (Some("WARN"), Some("redis")), "{line}");
    redis.restart().unwrap();
    pod.wait_ready().await;
    pod.assert_healthy().await;
    assert!(pod.ops_client().get("/ready").await.json().get("reason").is_none());
    dial(&pod, &TokenClaims::user("alice")).open_and_confirm().await.close().await;
    assert_eq!(pod.stop().await.code, Some(0));
}

#[tokio::test]
async fn a_pod_that_starts_before_redis_and_postgres_waits_for_both() {
    let (mut redis, mut postgres) = (RedisServer::start().unwrap(), PostgresServer::start().unwrap());
    let launch =
        launch_pod(&redis.url()).with_env("TWINWAY_STORAGE_LOG", "postgres").with_env("DATABASE_URL", postgres.url());
    redis.kill();
    postgres.kill();
    let mut pod = launch.start_waiting().await;
    not_ready_without(&pod, "redis").await;
    redis.restart().unwrap();
    let body = not_ready_without(&pod, "postgres").await;
    assert!(body["reason"].as_str().unwrap().starts_with("postgresql is unreachable"), "{body}");
    postgres.restart().unwrap();
    pod.wait_ready().await;
    dial(&pod, &TokenClaims::user("alice")).open_and_confirm().await.close().await;
}

#[tokio::test]
async fn a_pod_that_waits_stops_on_sigterm() {
    let mut redis = RedisServer::start().unwrap();
    let launch = launch_pod(&redis.url());
    redis.kill();
    let mut pod = launch.start_waiting().await;
    not_ready_without(&pod, "redis").await;
    let exit = pod.stop().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(exit.stdout, "", "a server that was never ready printed its banner");
}

#[tokio::test]
async fn a_wrong_password_ends_the_start_of_a_pod() {
    let redis = RedisServer::start().unwrap();
    redis.run_command(&["CONFIG", "SET", "requirepass", "right-password"]).unwrap();
    let exit = launch_pod(&redis.url()).with_env("TWINWAY_REDIS_PASSWORD", "wr0ng").expect_start_failure().await;
    assert_eq!(exit.code, UNAVAILABLE, "{}", exit.stderr);
    assert!(exit.stderr.contains("redis.password") && !exit.stderr.contains("wr0ng"), "{}", exit.stderr);
}

#[tokio::test]
async fn verify_logs_in_sends_and_resumes_or_names_the_step_that_failed() {
    let mut server = TwinwayServer::launch().in_memory().start().await;
    let url = server.socket_url();
    let verified = server.run_command(&["verify", "--url", &url]).await;
    assert_eq!(verified.code, Some(0), "{}", verified.stderr);
    assert!(verified.stdout.contains("resumed"), "{}", verified.stdout);
    let elsewhere = server.run_command(&["verify", "--url", &format!("{url}-other")]).await;
    assert_eq!(elsewhere.code, Some(1), "{}", elsewhere.stderr);
    assert!(elsewhere.stderr.contains("login failed"), "{}", elsewhere.stderr);
    server.stop().await;
    let stopped = server.run_command(&["verify", "--timeout", "500ms", "--url", &url]).await;
    assert_eq!(stopped.code, Some(1), "{}", stopped.stderr);
    assert!(stopped.stderr.contains(&url), "{}", stopped.stderr);
}
