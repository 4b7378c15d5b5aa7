//! `@connections` over HTTP on a pod that does not own the connection.
//!
//! Guarantee under test: every pod returns the owner's reply. 410 means that the connection no longer exists; while
//! its pod cannot be reached the state is unknown, and the reply is an error that a backend may retry.

use http::Method;
use serde_json::json;
use tests::client::Client;
use tests::client::http::{HttpCaller, HttpReply};
use tests::eventually;
use tests::pod_cluster::{durable_redis, launch_pod};
use tests::redis::RedisServer;
use tests::server::{SECRET, ServerLaunch, TwinwayServer};
use tests::world::{TokenClaims, sign_token};

/// Returns a pod that is detected as dead three seconds after it was killed.
fn short_lived(redis: &RedisServer) -> ServerLaunch {
    launch_pod(&redis.url()).with_env("TWINWAY_CLUSTER_HEARTBEAT", "500ms").with_env("TWINWAY_CLUSTER_LEASE", "3s")
}

/// Connects a client to `owner` and returns it with the `@connections` path of its connection.
async fn connect(owner: &TwinwayServer) -> (Client, String) {
    let dial = Client::dial(&owner.socket_url(), "alice").with_token(&sign_token(SECRET, &TokenClaims::user("alice")));
    let mut client = dial.open().await;
    client.send(&json!({"action": "resume"})).await;
    let id = client.next_of_type("welcome").await["connection"].as_str().unwrap().to_owned();
    client.next_of_type("resumed").await;
    (client, format!("/prod/@connections/{id}"))
}

async fn post(http: &HttpCaller, path: &str) -> HttpReply {
    http.call(Method::POST, path, &[], r#"{"n":1}"#.into()).await
}

fn assert_unknown(reply: &HttpReply) {
    let error = (reply.status, reply.header("x-amzn-errortype"));
    assert_eq!(error, (500, "InternalServerErrorException"), "the state of the connection is unknown: {reply:?}");
}

#[tokio::test]
async fn a_connection_is_managed_from_any_pod() {
    let redis = RedisServer::start().unwrap();
    let (owner, other) = (launch_pod(&redis.url()).start().await, launch_pod(&redis.url()).start().await);
    let (mut alice, path) = connect(&owner).await;
    let posted = post(&other.local_management(), &path).await;
    assert_eq!((posted.status, posted.body.len()), (200, 0));
    assert_eq!(alice.next().await, json!({"n": 1}));
    let (by_owner, by_other) =
        (owner.local_management().get(&path).await.expect_ok(), other.local_management().get(&path).await.expect_ok());
    assert_eq!((&by_owner["connectedAt"], &by_owner["identity"]), (&by_other["connectedAt"], &by_other["identity"]));
    assert!(by_other["lastActiveAt"].is_string(), "{by_other}");
    let deleted = other.local_management().delete(&path).await;
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    assert_eq!(alice.wait_closed().await.code, 1000);
    let gone = eventually!("the connection to be closed", {
        let reply = other.local_management().get(&path).await;
        (reply.status != 200).then_some(reply)
    });
    assert_eq!((gone.status, gone.header("x-amzn-errortype"), gone.body.len()), (410, "GoneException", 0));
    for method in [Method::POST, Method::DELETE] {
        assert_eq!(other.local_management().call(method, &path, &[], "{}".into()).await.status, 410);
    }
}

#[tokio::test]
async fn connections_of_a_killed_pod_are_gone_once_it_is_detected() {
    let redis = RedisServer::start().unwrap();
    let (mut owner, other) = (short_lived(&redis).start().await, short_lived(&redis).start().await);
    let (_alice, path) = connect(&owner).await;
    assert_eq!(post(&other.local_management(), &path).await.status, 200);
    owner.kill().await;
    assert_unknown(&post(&other.local_management(), &path).await);
    eventually!("the pod to be detected as dead", {
        let reply = post(&other.local_management(), &path).await;
        if reply.status != 410 {
            assert_unknown(&reply);
        }
        (reply.status == 410).then_some(())
    });
    assert_eq!(other.metric("twinway_cluster_fenced_pods_total").await, Some(1.0));
    assert_eq!(
        (other.local_management().get(&path).await.status, other.local_management().delete(&path).await.status),
        (410, 410)
    );
}

#[tokio::test]
async fn the_state_of_connections_of_an_unreachable_pod_is_unknown() {
    let mut redis = durable_redis().unwrap();
    // Longer than the pod hangs, on any host.
    let pod = || launch_pod(&redis.url()).with_env("TWINWAY_CLUSTER_LEASE", "60s");
    let (owner, other) = (pod().start().await, pod().start().await);
    let (mut alice, path) = connect(&owner).await;
    owner.suspend().await;
    assert_unknown(&post(&other.local_management(), &path).await);
    assert_unknown(&other.local_management().get(&path).await);
    owner.resume().await;
    eventually!(
        "the owner to respond again",
        (post(&other.local_management(), &path).await.status == 200).then_some(())
    );
    alice.drain_inbox().await;

    redis.kill();
    eventually!("the pods to detect the outage", (other.ops_client().get("/ready").await.status == 503).then_some(()));
    assert_unknown(&post(&other.local_management(), &path).await);
    assert_unknown(&other.local_management().delete(&path).await);
    assert_eq!(post(&owner.local_management(), &path).await.status, 200, "the owner needs no Redis");
    assert_eq!(alice.next_where("the post", |frame| frame["n"] == 1).await["n"], 1);
    redis.restart().unwrap();
    eventually!(
        "the owner to be reachable again",
        (post(&other.local_management(), &path).await.status == 200).then_some(())
    );
    alice.close().await;
}
