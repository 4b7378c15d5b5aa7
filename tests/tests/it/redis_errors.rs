//! Redis errors while a pod runs: log messages with a remedy, bounded in number, and recovery.

use serde_json::{Value, json};
use tests::client::{Client, type_of};
use tests::eventually;
use tests::pod_cluster::{durable_redis, launch_pod};
use tests::redis::{RedisOptions, RedisServer};
use tests::server::{SECRET, TwinwayServer};
use tests::world::{TokenClaims, sign_token};

/// Maximum number of log lines with the same text in one outage: two bursts with their summaries.
const MAX_REPEATED_LINES: usize = 25;

async fn connect(server: &TwinwayServer, name: &str) -> Client {
    Client::dial(&server.socket_url(), name)
        .with_token(&sign_token(SECRET, &TokenClaims::user(name)))
        .open_and_confirm()
        .await
}

async fn wait_for_readiness(server: &TwinwayServer, status: u16) {
    eventually!(&format!("/ready to be {status}"), {
        (server.ops_client().get("/ready").await.status == status).then_some(())
    });
}

#[tokio::test]
async fn a_changed_password_is_reported_with_the_setting_to_change() {
    let rules = "alice on >hidden-1 ~* &* +@all";
    let redis = RedisServer::start_with(RedisOptions::default().with_setting("user", rules)).unwrap();
    let mut server = launch_pod(&redis.url().replace("://", "://alice:hidden-1@")).start().await;
    let mut alice = connect(&server, "alice").await;
    redis.run_command(&["ACL", "SETUSER", "alice", "resetpass", ">hidden-2"]).unwrap();
    redis.run_command(&["CLIENT", "KILL", "USER", "alice"]).unwrap();
    wait_for_readiness(&server, 503).await;
    let line = server.wait_for_log("redis health check failed").await;
    let message = line["error"].as_str().unwrap();
    assert!(message.contains("redis.password"), "{line}");
    assert_eq!(alice.expect_error(json!({"action": "send", "body": 1})).await, "unavailable");
    redis.run_command(&["ACL", "SETUSER", "alice", "resetpass", ">hidden-1"]).unwrap();
    wait_for_readiness(&server, 200).await;
    alice.send_to_channel("conversation:alice", "as before").await;
    alice.close().await;
    let exit = server.stop().await;
    assert!(!exit.stderr.contains("hidden"), "the log contains a password");
}

/// Sends messages until one is rejected with `code`; returns the acknowledged bodies.
async fn send_until(client: &mut Client, code: &str) -> Vec<Value> {
    let mut acknowledged = Vec::new();
    eventually!(&format!("a send to be rejected with {code}"), {
        let body = tests::client::fresh_id();
        let reply = client.request(json!({"action": "send", "body": body})).await;
        if type_of(&reply) == "ack" {
            acknowledged.push(json!(body));
        }
        (reply["code"] == code).then_some(())
    });
    acknowledged
}

/// Returns the bodies in the log of a channel.
async fn logged_bodies(client: &mut Client, channel: &str) -> Vec<Value> {
    let page = client.request(json!({"action": "history", "channel": channel, "limit": 100})).await;
    page["messages"]
        .as_array()
        .unwrap_or_else(|| panic!("{page}"))
        .iter()
        .map(|message| message["body"].clone())
        .collect()
}

#[tokio::test]
async fn a_redis_that_rejects_writes_makes_the_pod_unready_until_it_recovers() {
    let options = RedisOptions { append_only: true, fills_disk: true, ..RedisOptions::default() };
    let redis = RedisServer::start_with(options).unwrap();
    let mut server = launch_pod(&redis.url()).start().await;
    let mut alice = connect(&server, "alice").await;
    let mut acknowledged = Vec::new();
    for cause in ["no snapshot", "no append", "no replicas"] {
        alice.send_to_channel("conversation:alice", cause).await;
        acknowledged.push(json!(cause));
        match cause {
            "no snapshot" => redis.fail_to_save().unwrap(),
            "no append" => redis.fill_disk().unwrap(),
            _ => drop(redis.run_command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).unwrap()),
        }
        acknowledged.extend(send_until(&mut alice, "unavailable").await);
        wait_for_readiness(&server, 503).await;
        let body = server.ops_client().get("/ready").await.json();
        assert_eq!(body["unavailable"], json!(["redis"]), "{body}");
        for _ in 0..20 {
            assert_eq!(alice.expect_error(json!({"action": "send", "body": "lost"})).await, "unavailable");
        }
        let dial = Client::dial(&server.socket_url(), "bob").with_token(&sign_token(SECRET, &TokenClaims::user("bob")));
        assert_eq!(dial.expect_rejection().await.status, 502);
        match cause {
            "no snapshot" => redis.save().unwrap(),
            "no append" => redis.free_disk().unwrap(),
            _ => drop(redis.run_command(&["CONFIG", "SET", "min-replicas-to-write", "0"]).unwrap()),
        }
        wait_for_readiness(&server, 200).await;
        connect(&server, "bob").await.close().await;
    }
    assert_eq!(
        logged_bodies(&mut alice, "conversation:alice").await,
        acknowledged,
        "exactly the acknowledged messages"
    );
    alice.close().await;
    let exit = server.stop().await;
    for remedy in ["run BGSAVE", "min-replicas-to-write"] {
        assert!(exit.stderr.contains(remedy), "the log does not contain a remedy: {}", exit.stderr);
    }
}

#[tokio::test]
async fn a_full_redis_rejects_new_data_and_serves_existing_connections() {
    let redis = durable_redis().unwrap();
    let mut server = launch_pod(&redis.url()).start().await;
    let (mut alice, carol) = (connect(&server, "alice").await, connect(&server, "carol").await);
    alice.send_to_channel("conversation:alice", "before").await;
    redis.run_command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    assert_eq!(send_until(&mut alice, "log_full").await, [Value::Null; 0], "a full server accepted a message");
    assert_eq!(alice.expect_error(json!({"action": "join", "channel": "room:lobby"})).await, "unavailable");
    assert_eq!(logged_bodies(&mut alice, "conversation:alice").await, ["before"]);
    let typing = alice.request(json!({"action": "send", "body": "typing", "ephemeral": true})).await;
    assert_eq!(type_of(&typing), "ack", "{typing}");
    let backend = server.http().with_token(sign_token(SECRET, &TokenClaims::service("billing")));
    backend.post("/v1/messages", &json!({"audience": {"user": "alice"}, "body": 1})).await.expect_problem(507);
    let dial = Client::dial(&server.socket_url(), "bob").with_token(&sign_token(SECRET, &TokenClaims::user("bob")));
    assert_eq!(dial.expect_rejection().await.status, 502);
    // A disconnect frees memory.
    carol.close().await;
    server.wait_for_metric("twinway_session_open_connections", 1.0).await;
    eventually!("carol's record to be deleted", {
        (redis.run_command(&["KEYS", "twinway:connection:{*}"]).unwrap().lines().count() == 1).then_some(())
    });
    let heartbeats = server.metric("twinway_cluster_missed_heartbeats_total").await;
    assert_eq!(
        (server.ops_client().get("/ready").await.status, heartbeats),
        (200, Some(0.0)),
        "the pod serves existing connections"
    );
    redis.run_command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    alice.send_to_channel("conversation:alice", "after").await;
    assert_eq!(logged_bodies(&mut alice, "conversation:alice").await, ["before", "after"]);
    alice.close().await;
    let exit = server.stop().await;
    let lines = exit.warnings();
    let full: Vec<_> = lines.iter().filter(|(text, _)| text.contains("redis is out of memory")).collect();
    assert!(matches!(full[..], [(text, 1..=MAX_REPEATED_LINES)] if text.contains("maxmemory")), "{lines:#?}");
}

#[tokio::test]
async fn an_outage_under_load_logs_few_lines() {
    let mut redis = durable_redis().unwrap();
    let mut server = launch_pod(&redis.url()).with_env("RUST_LOG", "info").start().await;
    let mut clients = Vec::new();
    for number in 0..20 {
        clients.push(connect(&server, &format!("p{number}")).await);
    }
    redis.kill();
    wait_for_readiness(&server, 503).await;
    for client in &mut clients {
        for _ in 0..20 {
            let reply = client.request(json!({"action": "send", "body": 1})).await;
            assert_eq!((type_of(&reply), &reply["code"]), ("error", &json!("unavailable")));
        }
        // Ephemeral messages reach this pod's connections; presence requests fail.
        client.request(json!({"action": "send", "body": 1, "ephemeral": true})).await;
        client.request(json!({"action": "presence"})).await;
    }
    // Handshakes and disconnects fail as well.
    for number in 0..40 {
        let dial = Client::dial(&server.socket_url(), "bob")
            .with_token(&sign_token(SECRET, &TokenClaims::user(&format!("b{number}"))));
        assert_eq!(dial.expect_rejection().await.status, 502);
    }
    drop(clients);
    server.wait_for_metric("twinway_session_open_connections", 0.0).await;
    redis.restart().unwrap();
    wait_for_readiness(&server, 200).await;
    server.wait_for_log("redis recovered: clients notified").await;
    let exit = server.stop().await;
    let lines = exit.warnings();
    assert!(lines.values().all(|count| *count <= MAX_REPEATED_LINES), "{lines:#?}");
    let all: usize = lines.values().sum();
    assert!(all <= 4 * MAX_REPEATED_LINES, "{lines:#?}");
    // Once per kind of error: connection refused, and perhaps a Redis that is still loading its data.
    assert!((1..=2).contains(&lines["redis health check failed"]), "{lines:#?}");
}
