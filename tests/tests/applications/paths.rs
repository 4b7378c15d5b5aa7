//! Base paths of custom domains, for handshakes and for `@connections`.

use bytes::Bytes;
use http::Method;
use tests::conformance::client::{HandshakeBuilder, ReceivedItem};

use super::{Fixture, connect, reject};

const TEXT: &str = r#"
[api]
base_paths = ["", "v1", "a/b"]
[routes]
"$connect" = "presence"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cx_1_clients_connect_and_backends_post_under_base_paths() {
    let fixture = Fixture::new(TEXT, &["presence"]);
    let mut server = fixture.launch().start().await;
    for path in ["/", "/v1", "/a/b", "/prod"] {
        let seen = fixture.events("started").len();
        let mut client = connect(&server, HandshakeBuilder::new().path(path).header("User-Agent", "test")).await;
        let (_, event) = fixture.events("started").remove(seen);
        assert_eq!(event["requestContext"]["stage"], "prod", "{path}");
        let agent = if path == "/a/b" { "user-agent" } else { "User-Agent" };
        assert_eq!(event["headers"][agent], "test", "{path}: {}", event["headers"]);
        let id = event["requestContext"]["connectionId"].as_str().unwrap().replace('=', "%3D");
        let prefix = path.trim_end_matches('/');
        let target = format!("{prefix}/@connections/{id}");
        let reply = server.local_management().call(Method::POST, &target, &[], Bytes::from_static(b"hello")).await;
        assert_eq!(reply.status, 200, "{target}");
        assert_eq!(client.next().await.unwrap(), ReceivedItem::Text("hello".to_owned()));
    }
    for path in ["/v2", "/a", "/a/b/c"] {
        assert_eq!(reject(&server, HandshakeBuilder::new().path(path)).await.head.status, 403, "{path}");
    }
    let unknown = server.local_management().call(Method::POST, "/v2/@connections/x", &[], Bytes::new()).await;
    assert_eq!(unknown.status, 403);
    server.stop().await;
}
