//! Pods as processes with one Redis: start-up errors, killed pods, drained pods, and Redis outages.

use std::time::Duration;

use serde_json::json;
use tests::client::{Client, ClientHandshake};
use tests::eventually;
use tests::pod_cluster::durable_redis;
use tests::redis::RedisServer;
use tests::server::{SECRET, ServerLaunch, TwinwayServer};
use tests::world::{TokenClaims, sign_token};

fn pod(redis: &RedisServer) -> ServerLaunch {
    TwinwayServer::launch()
        .with_env("DEPLOYMENT_MODE", "kubernetes")
        .with_env("REDIS_URL", redis.url())
        .with_env("TWINWAY_DRAIN_DELAY", "0s")
}

fn dial(server: &TwinwayServer, claims: &TokenClaims) -> ClientHandshake {
    Client::dial(&server.socket_url(), &claims.user).with_token(&sign_token(SECRET, claims))
}

/// Returns a user's number of connections, as reported to a backend by this pod.
async fn connections(server: &TwinwayServer, user: &str) -> u64 {
    let backend = server.http().with_token(sign_token(SECRET, &TokenClaims::service("backend")));
    backend.get(&format!("/v1/connections?user={user}")).await.expect_ok()["total"].as_u64().unwrap()
}

#[tokio::test]
async fn a_pod_reports_a_missing_redis_address() {
    let without = TwinwayServer::launch().with_env("DEPLOYMENT_MODE", "kubernetes").expect_start_failure().await;
    assert_eq!(without.code, Some(64), "{}", without.stderr);
    assert!(without.stderr.contains("REDIS_URL"), "{}", without.stderr);
}

#[tokio::test]
async fn a_killed_pod_leaves_no_stale_connections() {
    let redis = RedisServer::start().unwrap();
    // Shorter than the defaults, so that the test finishes within its timeout.
    let pod = || pod(&redis).with_env("TWINWAY_CLUSTER_HEARTBEAT", "500ms").with_env("TWINWAY_CLUSTER_LEASE", "3s");
    let (mut first, second) = (pod().start().await, pod().start().await);
    let mut alice = dial(&first, &TokenClaims::user("alice")).open_and_confirm().await;
    alice.join_channels("join", &["room:lobby"]).await;
    let admin = dial(&second, &TokenClaims::admin("admin")).open_and_confirm().await;
    assert_eq!(connections(&second, "alice").await, 1);
    first.kill().await;
    eventually!("alice to be disconnected", (connections(&second, "alice").await == 0).then_some(()));
    eventually!("the reaper to have finished", {
        (second.metric("twinway_cluster_reaped_connections_total").await == Some(1.0)).then_some(())
    });
    assert_eq!(second.metric("twinway_cluster_fenced_pods_total").await, Some(1.0));
    assert_eq!(connections(&second, "admin").await, 1);
    admin.close().await;
}

#[tokio::test]
async fn a_drained_client_resumes_on_another_pod_and_no_connection_is_reaped() {
    let redis = RedisServer::start().unwrap();
    let (mut first, second) = (pod(&redis).start().await, pod(&redis).start().await);
    let mut alice = dial(&first, &TokenClaims::user("alice")).open_and_confirm().await;
    alice.join_channels("join", &["room:lobby"]).await;
    alice.send_to_channel("room:lobby", "before").await;
    first.terminate().await;
    alice.next_of_type("reconnect").await;
    let close = alice.wait_closed().await;
    assert_eq!((close.code, close.reason.as_str()), (1012, "Service restart"));
    let seen = alice.drop_abruptly();
    let mut admin = dial(&second, &TokenClaims::admin("admin")).open_and_confirm().await;
    admin.join_channels("join", &["room:lobby"]).await;
    admin.send_to_channel("room:lobby", "during drain").await;
    let mut alice = dial(&second, &TokenClaims::user("alice")).with_received_state(seen).open().await;
    let resumed = alice.resume(&["room:lobby"]).await;
    assert_eq!(resumed["channels"]["room:lobby"]["offset"], 2);
    assert_eq!(alice.bodies("room:lobby", 1).await, ["during drain"]);

    let exit = first.wait_exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stderr.contains("\"left the cluster\""), "{}", exit.stderr);
    assert_eq!(redis.run_command(&["ZCARD", "twinway:{cluster}:leases"]).unwrap(), "1");
    assert_eq!(redis.run_command(&["HLEN", "twinway:{cluster}:nodes"]).unwrap(), "1");
    assert_eq!(second.metric("twinway_cluster_fenced_pods_total").await, Some(0.0));
    alice.close().await;
    admin.close().await;
}

#[tokio::test]
async fn without_redis_a_pod_is_alive_but_not_ready_and_keeps_its_connections() {
    let mut redis = durable_redis().unwrap();
    let server = pod(&redis).with_env("TWINWAY_REDIS_RESPONSE_TIMEOUT", "500ms").start().await;
    server.assert_healthy().await;
    let mut alice = dial(&server, &TokenClaims::user("alice")).open_and_confirm().await;
    redis.kill();
    let body = eventually!("the pod not to be ready", {
        let reply = server.ops_client().get("/ready").await;
        (reply.status == 503).then(|| reply.json())
    });
    assert_eq!(
        (&body["status"], &body["unavailable"], &body["connections"]),
        (&json!("degraded"), &json!(["redis"]), &json!(1))
    );
    assert_eq!(server.ops_client().get("/health").await.status, 200);
    alice.ping(b"still there").await;
    assert_eq!(dial(&server, &TokenClaims::user("bob")).expect_rejection().await.status, 502);
    redis.restart().unwrap();
    eventually!("the pod to be ready", (server.ops_client().get("/ready").await.status == 200).then_some(()));
    alice.ping(b"as before").await;
    alice.close().await;
}

/// Returns the users in the lobby, as a member sees them.
async fn members(client: &mut Client) -> Vec<String> {
    let reply = client.request(json!({"action": "presence", "channel": "room:lobby"})).await;
    let members = reply["channels"]["room:lobby"]["members"].as_array().unwrap_or_else(|| panic!("{reply}"));
    members.iter().map(|member| member["user"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn after_a_loss_of_redis_data_connections_stay_open_and_receive_a_gap() {
    let mut redis = RedisServer::start().unwrap();
    let (first, second) = (pod(&redis).start().await, pod(&redis).start().await);
    let mut alice = dial(&first, &TokenClaims::user("alice")).open_and_confirm().await;
    let mut bob = dial(&second, &TokenClaims::user("bob")).open_and_confirm().await;
    for client in [&mut alice, &mut bob] {
        client.join_channels("join", &["room:lobby"]).await;
    }
    alice.send_to_channel("room:lobby", "before").await;
    assert_eq!(alice.bodies("room:lobby", 1).await, ["before"]);
    redis.restart().unwrap();
    for server in [&first, &second] {
        server.wait_for_log("redis lost its data: registering this pod and its connections again").await;
        eventually!("the pods to be ready", (server.ops_client().get("/ready").await.status == 200).then_some(()));
    }
    eventually!("the records of all connections to be restored", {
        (members(&mut bob).await == ["alice", "bob"]).then_some(())
    });
    assert_eq!(connections(&second, "alice").await, 1);
    alice.send_to_channel("room:lobby", "after").await;
    assert_eq!(alice.next_of_type("gap").await["reason"], "epoch");
    assert_eq!(alice.bodies("room:lobby", 1).await, ["after"]);
    assert_eq!(second.metric("twinway_cluster_fenced_pods_total").await, Some(0.0));
    alice.close().await;
    eventually!("alice to be offline", (members(&mut bob).await == ["bob"]).then_some(()));
}

#[tokio::test]
async fn no_command_is_answered_gone_after_a_loss_of_redis_data() {
    let redis = RedisServer::start().unwrap();
    let first = pod(&redis).start().await;
    let mut alice = dial(&first, &TokenClaims::user("alice")).open_and_confirm().await;
    alice.join_channels("join", &["room:lobby"]).await;
    for room in ["room:a", "room:b", "room:c"] {
        // The pod has not noticed the loss yet.
        redis.run_command(&["FLUSHALL"]).unwrap();
        alice.join_channels("join", &[room]).await;
        redis.run_command(&["FLUSHALL"]).unwrap();
        let reply = alice.request(json!({"action": "send", "to": "room:lobby", "id": room, "body": room})).await;
        assert_eq!(reply["type"], "ack", "{reply}");
        redis.run_command(&["FLUSHALL"]).unwrap();
        assert_eq!(members(&mut alice).await, ["alice"]);
    }
    redis.run_command(&["FLUSHALL"]).unwrap();
    let reply = alice.request(json!({"action": "leave", "channels": ["room:a"]})).await;
    assert_eq!(reply["left"], json!(["room:a"]), "{reply}");
    alice.close().await;
    eventually!("no record to remain", {
        let keys = redis.run_command(&["KEYS", "twinway:connection:*"]).unwrap();
        keys.lines().all(|key| key.is_empty() || key.ends_with(":removed")).then_some(())
    });
}

/// A promoted replica may have the registration of a connection and lack a join that was acknowledged after it.
#[tokio::test]
async fn a_join_that_a_failover_lost_is_recorded_again() {
    let mut redis = durable_redis().unwrap();
    let pod = pod(&redis).start().await;
    let mut alice = dial(&pod, &TokenClaims::user("alice")).open_and_confirm().await;
    let key = redis.run_command(&["KEYS", "twinway:connection:*"]).unwrap().trim().to_owned();
    let before = redis.run_command(&["GET", &key]).unwrap().trim().to_owned();
    alice.join_channels("join", &["room:lobby", "room:left"]).await;
    let joined = redis.run_command(&["GET", &key]).unwrap().trim().to_owned();
    assert_ne!(before, joined);
    alice.leave_channels("leave", &["room:left"]).await;
    redis.run_command(&["SET", &key, &before, "KEEPTTL"]).unwrap();
    redis.run_command(&["DEL", "twinway:index:{joined/default/room:lobby}"]).unwrap();
    let mut bob = dial(&pod, &TokenClaims::user("bob")).open_and_confirm().await;
    bob.join_channels("join", &["room:lobby"]).await;
    assert_eq!(members(&mut bob).await, ["bob"], "the join of alice is lost");
    redis.restart().unwrap();
    eventually!("the pod to be ready", (pod.ops_client().get("/ready").await.status == 200).then_some(()));
    eventually!("the join to be recorded again", (members(&mut bob).await == ["alice", "bob"]).then_some(()));
    let record = redis.run_command(&["GET", &key]).unwrap();
    assert!(!record.contains("room:left"), "{record}");
}

#[tokio::test]
async fn a_revoked_token_stays_revoked_after_a_loss_of_redis_data() {
    let redis = RedisServer::start().unwrap();
    let (first, second) = (pod(&redis).start().await, pod(&redis).start().await);
    let stolen = TokenClaims::user("alice").with_age(Duration::from_secs(60));
    let mut alice = dial(&second, &stolen).open_and_confirm().await;
    let backend = first.http().with_token(sign_token(SECRET, &TokenClaims::service("backend")));
    let revoked = backend.post("/v1/revocations", &json!({"user": "alice"})).await.expect_ok();
    assert_eq!(revoked["closed"], 1, "{revoked}");
    alice.wait_closed().await;
    redis.run_command(&["FLUSHALL"]).unwrap();
    first.wait_for_log("wrote revocations again that redis had lost").await;
    for pod in [&first, &second] {
        // A pod that has not registered again rejects every handshake.
        eventually!("the token to be rejected as revoked", {
            (dial(pod, &stolen).expect_rejection().await.status == 401).then_some(())
        });
    }
}

#[tokio::test]
async fn a_connection_that_ends_before_its_pod_notices_the_loss_gets_its_disconnect() {
    let redis = RedisServer::start().unwrap();
    let first = pod(&redis).start().await;
    let mut admin = dial(&first, &TokenClaims::admin("admin")).open_and_confirm().await;
    for user in ["alice", "bob", "carol"] {
        let client = dial(&first, &TokenClaims::user(user)).open_and_confirm().await;
        redis.run_command(&["FLUSHALL"]).unwrap();
        client.close().await;
        let offline = |frame: &serde_json::Value| frame["user"] == user && frame["state"] == "offline";
        admin.next_where("the notification of the $disconnect", offline).await;
    }
}

#[tokio::test]
async fn a_pod_that_dies_before_it_has_registered_again_gets_its_disconnects_after_its_restart() {
    let mut redis = durable_redis().unwrap();
    let pod = || pod(&redis).with_env("TWINWAY_CLUSTER_HEARTBEAT", "500ms").with_env("TWINWAY_CLUSTER_LEASE", "3s");
    let (mut first, second) = (pod().start().await, pod().start().await);
    first.keep_addresses();
    let _alice = dial(&first, &TokenClaims::user("alice")).open_and_confirm().await;
    let ended = dial(&first, &TokenClaims::user("ended")).open_and_confirm().await;
    ended.close().await;
    let bob = dial(&second, &TokenClaims::user("bob")).open_and_confirm().await;
    redis.discard_data().unwrap();
    first.kill().await;
    redis.restart().unwrap();
    first.restart().await;
    first.wait_for_log("registered connections of a dead pod again that redis had lost").await;
    let reaped = async |server: &TwinwayServer| {
        server.metric("twinway_cluster_reaped_connections_total").await.unwrap_or_default()
    };
    eventually!("alice's connection to be reaped", {
        (reaped(&first).await + reaped(&second).await == 1.0).then_some(())
    });
    assert_eq!(connections(&first, "bob").await, 1);
    bob.close().await;
}

#[tokio::test]
async fn a_restart_with_the_data_of_redis_intact_repeats_no_disconnect() {
    let redis = durable_redis().unwrap();
    let pod = || pod(&redis).with_env("TWINWAY_CLUSTER_HEARTBEAT", "500ms").with_env("TWINWAY_CLUSTER_LEASE", "3s");
    let (mut first, second) = (pod().start().await, pod().start().await);
    let _alice = dial(&first, &TokenClaims::user("alice")).open_and_confirm().await;
    first.kill().await;
    eventually!("alice's connection to be reaped", {
        (second.metric("twinway_cluster_reaped_connections_total").await == Some(1.0)).then_some(())
    });
    first.restart().await;
    let leases = redis.run_command(&["ZCARD", "twinway:{cluster}:leases"]).unwrap();
    assert_eq!(leases.trim(), "2", "the dead pod has no lease again");
}

#[tokio::test]
async fn a_pods_startup_banner_names_its_mode_and_contains_no_token() {
    let redis = RedisServer::start().unwrap();
    let mut server = pod(&redis).start().await;
    let exit = server.stop().await;
    assert!(exit.stdout.contains("mode kubernetes") && !exit.stdout.contains("export "), "{}", exit.stdout);
    assert!(exit.stderr.contains("\"mode\":\"kubernetes\""), "{}", exit.stderr);
}
