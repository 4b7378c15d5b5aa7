//! `@connections` over HTTP on a pod that does not own the connection.
//!
//! Promise under test: the owner's answer is the answer, wherever a backend asks. 410 means that the connection is gone;
//! while its pod cannot be asked, nobody knows, and the answer is an error that a backend may repeat.

use http::Method;
use serde_json::json;
use tests::client::Client;
use tests::client::http::{HttpCaller, HttpReply};
use tests::eventually;
use tests::pod_cluster::{durable_redis, launch_pod};
use tests::redis::RedisServer;
use tests::server::{SECRET, ServerLaunch, TwinwayServer};
use tests::world::{TokenClaims, sign_token};

/// One that is found dead three seconds after it was killed.
fn short_lived(redis: &RedisServer) -> ServerLaunch {
    launch_pod(&redis.url()).with_env("TWINWAY_CLUSTER_HEARTBEAT", "500ms").with_env("TWINWAY_CLUSTER_LEASE", "3s")
}

/// A client of `owner`, and the path of its connection.
async fn scene(owner: &TwinwayServer) -> (Client, String) {
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
    let told = (reply.status, reply.header("x-amzn-errortype"));
    assert_eq!(told, (500, "InternalServerErrorException"), "nobody knows whether it is gone: {reply:?}");
}

#[tokio::test]
async fn a_connection_is_managed_from_any_pod() {
    let redis = RedisServer::start().unwrap();
    let (owner, other) = (launch_pod(&redis.url()).start().await, launch_pod(&redis.url()).start().await);
    let (mut alice, path) = scene(&owner).await;
    let posted = post(&other.http(), &path).await;
    assert_eq!((posted.status, posted.body.len()), (200, 0));
    assert_eq!(alice.next().await, json!({"n": 1}));
    let (here, there) = (owner.http().get(&path).await.expect_ok(), other.http().get(&path).await.expect_ok());
    assert_eq!((&here["connectedAt"], &here["identity"]), (&there["connectedAt"], &there["identity"]));
    assert!(there["lastActiveAt"].is_string(), "{there}");
    let deleted = other.http().delete(&path).await;
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    assert_eq!(alice.wait_closed().await.code, 1000);
    let gone = eventually!("the connection to be gone", {
        let reply = other.http().get(&path).await;
        (reply.status != 200).then_some(reply)
    });
    assert_eq!((gone.status, gone.header("x-amzn-errortype"), gone.body.len()), (410, "GoneException", 0));
    for method in [Method::POST, Method::DELETE] {
        assert_eq!(other.http().call(method, &path, &[], "{}".into()).await.status, 410);
    }
}

#[tokio::test]
async fn the_connection_of_a_killed_pod_is_gone_once_it_was_found_dead() {
    let redis = RedisServer::start().unwrap();
    let (mut owner, other) = (short_lived(&redis).start().await, short_lived(&redis).start().await);
    let (_alice, path) = scene(&owner).await;
    assert_eq!(post(&other.http(), &path).await.status, 200);
    owner.kill().await;
    assert_unknown(&post(&other.http(), &path).await);
    eventually!("the pod to be found dead", {
        let reply = post(&other.http(), &path).await;
        if reply.status != 410 {
            assert_unknown(&reply);
        }
        (reply.status == 410).then_some(())
    });
    assert_eq!(other.metric("twinway_cluster_fenced_pods_total").await, Some(1.0));
    assert_eq!((other.http().get(&path).await.status, other.http().delete(&path).await.status), (410, 410));
}

#[tokio::test]
async fn of_a_pod_that_cannot_be_asked_nobody_knows() {
    let mut redis = durable_redis().unwrap();
    // Longer than it hangs, on any machine.
    let pod = || launch_pod(&redis.url()).with_env("TWINWAY_CLUSTER_LEASE", "60s");
    let (owner, other) = (pod().start().await, pod().start().await);
    let (mut alice, path) = scene(&owner).await;
    owner.suspend().await;
    assert_unknown(&post(&other.http(), &path).await);
    assert_unknown(&other.http().get(&path).await);
    owner.resume().await;
    eventually!("the owner to answer again", (post(&other.http(), &path).await.status == 200).then_some(()));
    alice.drain_inbox().await;

    redis.kill();
    eventually!("the pods to miss Redis", (other.ops_client().get("/ready").await.status == 503).then_some(()));
    assert_unknown(&post(&other.http(), &path).await);
    assert_unknown(&other.http().delete(&path).await);
    assert_eq!(post(&owner.http(), &path).await.status, 200, "the owner needs nobody");
    assert_eq!(alice.next_where("the post", |frame| frame["n"] == 1).await["n"], 1);
    redis.restart().unwrap();
    eventually!("the owner to be asked again", (post(&other.http(), &path).await.status == 200).then_some(()));
    alice.close().await;
}
