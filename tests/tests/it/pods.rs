//! Pods as processes, with one Redis: how they start or say why not, what a killed one leaves behind, how one leaves.

use serde_json::json;
use tests::client::{Client, Dial};
use tests::eventually;
use tests::fleet::durable_redis;
use tests::redis::RedisServer;
use tests::server::{Launch, SECRET, Server};
use tests::world::{Grant, sign};

fn pod(redis: &RedisServer) -> Launch {
    Server::launch()
        .with("DEPLOYMENT_MODE", "kubernetes")
        .with("REDIS_URL", redis.url())
        .with("TWINWAY_DRAIN_DELAY", "0s")
}

fn dial(server: &Server, grant: &Grant) -> Dial {
    Client::dial(&server.socket_url(), &grant.user).bearing(&sign(SECRET, grant))
}

/// How many connections a user has, as an admin's back end sees it on this pod.
async fn connections(server: &Server, user: &str) -> u64 {
    let backend = server.http().bearing(sign(SECRET, &Grant::service("backend")));
    backend.get(&format!("/v1/connections?user={user}")).await.ok()["total"].as_u64().unwrap()
}

#[tokio::test]
async fn a_pod_says_what_it_lacks() {
    let without = Server::launch().with("DEPLOYMENT_MODE", "kubernetes").fail().await;
    assert_eq!(without.code, Some(64), "{}", without.stderr);
    assert!(without.stderr.contains("REDIS_URL"), "{}", without.stderr);
    let mut redis = RedisServer::start().unwrap();
    let launch = pod(&redis);
    redis.kill();
    let away = launch.fail().await;
    assert_eq!(away.code, Some(69), "{}", away.stderr);
    assert!(away.stderr.contains("redis does not answer"), "{}", away.stderr);
}

#[tokio::test]
async fn a_killed_pod_leaves_no_ghosts() {
    let redis = RedisServer::start().unwrap();
    // Shorter than the defaults, as is the patience of a test.
    let pod = || pod(&redis).with("TWINWAY_CLUSTER_HEARTBEAT", "500ms").with("TWINWAY_CLUSTER_LEASE", "3s");
    let (mut first, second) = (pod().start().await, pod().start().await);
    let mut alice = dial(&first, &Grant::user("alice")).arrive().await;
    alice.enter("join", &["room:lobby"]).await;
    let admin = dial(&second, &Grant::admin("admin")).arrive().await;
    assert_eq!(connections(&second, "alice").await, 1);
    first.crash().await;
    eventually!("alice to be gone", (connections(&second, "alice").await == 0).then_some(()));
    eventually!("the reaper to be done", {
        (second.metric("twinway_cluster_reaped_connections_total").await == Some(1.0)).then_some(())
    });
    assert_eq!(second.metric("twinway_cluster_fenced_pods_total").await, Some(1.0));
    assert_eq!(connections(&second, "admin").await, 1);
    admin.close().await;
}

#[tokio::test]
async fn who_is_sent_away_resumes_on_another_pod_and_nobody_is_reaped() {
    let redis = RedisServer::start().unwrap();
    let (mut first, second) = (pod(&redis).start().await, pod(&redis).start().await);
    let mut alice = dial(&first, &Grant::user("alice")).arrive().await;
    alice.enter("join", &["room:lobby"]).await;
    alice.say("room:lobby", "before").await;
    first.ask_to_stop().await;
    alice.next_of("reconnect").await;
    let ending = alice.closed().await;
    assert_eq!((ending.code, ending.reason.as_str()), (1012, "Service restart"));
    let seen = alice.vanish();
    let mut admin = dial(&second, &Grant::admin("admin")).arrive().await;
    admin.enter("join", &["room:lobby"]).await;
    admin.say("room:lobby", "meanwhile").await;
    let mut alice = dial(&second, &Grant::user("alice")).having(seen).open().await;
    let resumed = alice.resume(&["room:lobby"]).await;
    assert_eq!(resumed["channels"]["room:lobby"]["offset"], 2);
    assert_eq!(alice.bodies("room:lobby", 1).await, ["meanwhile"]);

    let exit = first.ended().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stderr.contains("\"left the cluster\""), "{}", exit.stderr);
    assert_eq!(redis.ask(&["ZCARD", "twinway:{cluster}:leases"]).unwrap(), "1");
    assert_eq!(redis.ask(&["HLEN", "twinway:{cluster}:nodes"]).unwrap(), "1");
    assert_eq!(second.metric("twinway_cluster_fenced_pods_total").await, Some(0.0));
    alice.close().await;
    admin.close().await;
}

#[tokio::test]
async fn without_redis_a_pod_is_alive_but_not_ready_and_keeps_its_connections() {
    let mut redis = durable_redis().unwrap();
    let server = pod(&redis).with("TWINWAY_REDIS_RESPONSE_TIMEOUT", "500ms").start().await;
    server.assert_healthy().await;
    let mut alice = dial(&server, &Grant::user("alice")).arrive().await;
    redis.kill();
    let body = eventually!("the pod not to be ready", {
        let reply = server.operator().get("/ready").await;
        (reply.status == 503).then(|| reply.json())
    });
    assert_eq!(
        (&body["status"], &body["away"], &body["connections"]),
        (&json!("degraded"), &json!(["redis"]), &json!(1))
    );
    assert_eq!(server.operator().get("/health").await.status, 200);
    alice.ping(b"still there").await;
    assert_eq!(dial(&server, &Grant::user("bob")).refused().await.status, 502);
    redis.revive().unwrap();
    eventually!("the pod to be ready", (server.operator().get("/ready").await.status == 200).then_some(()));
    alice.ping(b"as before").await;
    alice.close().await;
}

#[tokio::test]
async fn when_redis_has_lost_its_data_clients_come_back_and_are_told() {
    let mut redis = RedisServer::start().unwrap();
    let (first, second) = (pod(&redis).start().await, pod(&redis).start().await);
    let mut alice = dial(&first, &Grant::user("alice")).arrive().await;
    alice.enter("join", &["room:lobby"]).await;
    alice.say("room:lobby", "before").await;
    assert_eq!(alice.bodies("room:lobby", 1).await, ["before"]);
    redis.revive().unwrap();
    // Only another `$connect` makes the application know a connection again.
    alice.next_of("reconnect").await;
    assert_eq!(alice.closed().await.code, 1012);
    // The message log's end may have been looked at before.
    let told = std::iter::from_fn(|| alice.unread()).find(|frame| frame["type"] == "gap");
    for server in [&first, &second] {
        server.logged("Redis has lost its data: writing this pod and its connections down again").await;
        eventually!("the pods to be ready", (server.operator().get("/ready").await.status == 200).then_some(()));
    }
    let mut alice = dial(&second, &Grant::user("alice")).having(alice.vanish()).open().await;
    alice.resume(&["room:lobby"]).await;
    let told = if let Some(told) = told { told } else { alice.next_of("gap").await };
    assert_eq!(told["reason"], "epoch");
    alice.say("room:lobby", "behind").await;
    assert_eq!(alice.bodies("room:lobby", 1).await, ["behind"]);
    assert_eq!(connections(&second, "alice").await, 1);
    assert_eq!(second.metric("twinway_cluster_fenced_pods_total").await, Some(0.0));
    alice.close().await;
}

#[tokio::test]
async fn a_pod_s_welcome_names_its_mode_and_holds_no_token() {
    let redis = RedisServer::start().unwrap();
    let mut server = pod(&redis).start().await;
    let exit = server.stop().await;
    assert!(exit.stdout.contains("mode kubernetes") && !exit.stdout.contains("export "), "{}", exit.stdout);
    assert!(exit.stderr.contains("\"mode\":\"kubernetes\""), "{}", exit.stderr);
}
