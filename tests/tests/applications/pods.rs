//! Applications in several pods.

use bytes::Bytes;
use http::Method;
use tests::conformance::client::{HandshakeBuilder, ReceivedItem};
use tests::pod_cluster::launch_pod;
use tests::redis::{RedisOptions, RedisServer};
use tests::server::TwinwayServer;

use super::{Fixture, connect};

const TEXT: &str = r#"
[routes]
"$connect" = "presence"
"$disconnect" = "presence"
"#;

async fn start_pod(fixture: &Fixture, redis: &RedisServer) -> TwinwayServer {
    let launch = launch_pod(&redis.url()).with_env("TWINWAY_AUTH_SECRET", "");
    let launch = launch.with_env("TWINWAY_CLUSTER_HEARTBEAT", "200ms").with_env("TWINWAY_CLUSTER_LEASE", "1s");
    let launch = launch.with_env("TWINWAY_TEMPLATE", fixture.template().display());
    let record = format!("RECORD={}", fixture.record().display());
    launch.with_env("TWINWAY_FUNCTIONS_ENVIRONMENT", record).start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_pod_reaches_the_connections_of_all_and_a_killed_pods_disconnects_run_once() {
    let fixture = Fixture::new(TEXT, &["presence"]);
    let redis = RedisServer::start_with(RedisOptions::default()).expect("Redis starts");
    let (mut first, mut second) = (start_pod(&fixture, &redis).await, start_pod(&fixture, &redis).await);
    let mut clients = Vec::new();
    for number in 0..3 {
        let mut client = connect(&first, HandshakeBuilder::new()).await;
        let (_, event) = fixture.events("started").remove(number);
        let id = event["requestContext"]["connectionId"].as_str().unwrap().to_owned();
        let target = format!("/prod/@connections/{}", id.replace('=', "%3D"));
        let reply = second.local_management().call(Method::POST, &target, &[], Bytes::from_static(b"hello")).await;
        assert_eq!(reply.status, 200);
        assert_eq!(client.next().await.unwrap(), ReceivedItem::Text("hello".to_owned()));
        clients.push((client, id));
    }
    first.kill().await;
    for (_, id) in &clients {
        let event = fixture
            .wait_event("presence", "ended", |event| {
                event["requestContext"]["eventType"] == "DISCONNECT" && event["requestContext"]["connectionId"] == **id
            })
            .await;
        assert_eq!(event["requestContext"]["disconnectStatusCode"], 1006);
    }
    let target = format!("/prod/@connections/{}", clients[0].1.replace('=', "%3D"));
    let gone = second.local_management().call(Method::POST, &target, &[], Bytes::new()).await;
    assert_eq!(gone.status, 410);
    second.stop().await;
    let disconnects = fixture.events("started").into_iter();
    let disconnects = disconnects.filter(|(_, event)| event["requestContext"]["eventType"] == "DISCONNECT");
    assert_eq!(disconnects.count(), clients.len(), "each runs once");
}
