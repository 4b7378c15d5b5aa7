//! `@connections` calls as on AWS, compared byte for byte with known responses.

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tests::client::Client;
use tests::client::http::{HttpCaller, HttpReply};
use tests::server::{SECRET, TwinwayServer};
use tests::world::{TokenClaims, sign_token};

/// Returns all spellings of a connection's path: with and without the stage, escaped or not.
fn paths(id: &str) -> [String; 6] {
    let escaped = id.replace('=', "%3D");
    [
        format!("/prod/@connections/{id}"),
        format!("/prod/@connections/{escaped}"),
        format!("/prod/%40connections/{id}"),
        format!("/prod/%40connections/{escaped}"),
        format!("/@connections/{id}"),
        format!("/%40connections/{escaped}"),
    ]
}

async fn post(http: &HttpCaller, path: &str, body: impl Into<Bytes>) -> HttpReply {
    http.call(Method::POST, path, &[], body.into()).await
}

/// Connects a client and returns it with its connection id.
async fn connect(server: &TwinwayServer) -> (Client, String) {
    let alice = TokenClaims::user("alice");
    let dial = Client::dial(&server.socket_url(), "alice")
        .with_token(&sign_token(SECRET, &alice))
        .with_header("user-agent", "a test");
    let mut client = dial.open().await;
    client.send(&json!({"action": "resume"})).await;
    let id = client.next_of_type("welcome").await["connection"].as_str().unwrap().to_owned();
    client.next_of_type("resumed").await;
    (client, id)
}

fn assert_error(reply: &HttpReply, status: u16, kind: &str, body: &str) {
    let error = (reply.status, reply.header("x-amzn-errortype"), String::from_utf8_lossy(&reply.body));
    assert_eq!(error, (status, kind, body.into()));
    assert!(!reply.header("x-amzn-requestid").is_empty(), "{reply:?}");
}

#[tokio::test]
async fn a_post_is_delivered_unchanged_for_every_spelling_of_the_path() {
    let server = TwinwayServer::launch().in_memory().start().await;
    let (mut client, id) = connect(&server).await;
    let http = server.local_management();
    for (number, path) in paths(&id).iter().enumerate() {
        let reply = post(&http, path, json!({"n": number}).to_string()).await;
        assert_eq!((reply.status, reply.body.len()), (200, 0), "{path}");
        assert_eq!(client.next().await, json!({"n": number}), "{path}");
    }
    // The maximum size is delivered completely, in frames of at most 32 KiB.
    let large = json!("x".repeat(128 * 1024 - 2));
    assert_eq!(post(&http, &paths(&id)[0], large.to_string()).await.status, 200);
    assert_eq!(client.next().await, large);
    let too_large = post(&http, &paths(&id)[0], vec![b'x'; 128 * 1024 + 1]).await;
    assert_error(&too_large, 413, "PayloadTooLargeException", r#"{"message":"Message too long"}"#);
    client.close().await;
}

#[tokio::test]
async fn a_connection_is_described_and_deleted() {
    let server = TwinwayServer::launch().in_memory().start().await;
    let http = server.local_management();
    for index in 0..6 {
        let (mut client, id) = connect(&server).await;
        let path = &paths(&id)[index];
        let described = http.get(path).await.expect_ok();
        assert_eq!(described["identity"], json!({"sourceIp": "127.0.0.1", "userAgent": "a test"}));
        for field in ["connectedAt", "lastActiveAt"] {
            assert!(described[field].as_str().is_some_and(|time| time.ends_with('Z')), "{described}");
        }
        let deleted = http.delete(path).await;
        assert_eq!((deleted.status, deleted.body.len()), (204, 0), "{path}");
        let close = client.wait_closed().await;
        assert_eq!((close.code, close.reason.as_str()), (1000, "Connection Closed Normally"));
        let gone = tests::eventually!("the connection to be closed", {
            let reply = http.get(path).await;
            (reply.status == 410).then_some(reply)
        });
        assert_error(&gone, 410, "GoneException", "");
    }
}

#[tokio::test]
async fn errors_are_those_of_aws() {
    let mut server = TwinwayServer::launch().in_memory().start().await;
    let (mut client, id) = connect(&server).await;
    let http = server.local_management();
    for unknown in paths("AAAAAAAAAAAAAAA=") {
        assert_error(&post(&http, &unknown, "{}").await, 410, "GoneException", "");
        assert_error(&http.delete(&unknown).await, 410, "GoneException", "");
    }
    for malformed in ["nonsense", "AAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAA=="] {
        let body = format!(r#"{{"message":"Invalid connectionId: {malformed}"}}"#);
        assert_error(
            &post(&http, &format!("/prod/@connections/{malformed}"), "{}").await,
            400,
            "BadRequestException",
            &body,
        );
    }
    let forbidden = r#"{"message":"Forbidden"}"#;
    for path in
        [format!("/beta/@connections/{id}"), "/prod/@connections".to_owned(), format!("/prod/@connections/{id}/more")]
    {
        assert_error(&post(&http, &path, "{}").await, 403, "ForbiddenException", forbidden);
    }
    let missing = r#"{"message":"Missing Authentication Token"}"#;
    let put = http.call(Method::PUT, &paths(&id)[0], &[], Bytes::new()).await;
    assert_error(&put, 403, "MissingAuthenticationTokenException", missing);
    assert_error(&http.get("/v1/status").await, 403, "MissingAuthenticationTokenException", missing);
    assert_eq!(post(&http, &paths(&id)[0], vec![0xff, 0xfe]).await.status, 400);
    assert_eq!(client.drain_inbox().await, [json!(null); 0], "a rejected call reached the client");
    client.close().await;
    server.assert_healthy().await;
    assert_eq!(server.stop().await.code, Some(0));
}

#[tokio::test]
async fn on_the_traffic_port_unsigned_calls_are_rejected() {
    let missing = r#"{"message":"Missing Authentication Token"}"#;
    for access in ["iam", "off"] {
        let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_MANAGEMENT", access);
        // Every call is rejected, more of them than the budget of an address.
        let launch = launch.with_env("TWINWAY_THROTTLE_ADDRESS_RATE", "off");
        let server = launch.with_env("TWINWAY_MANAGEMENT_LISTEN", "off").start().await;
        assert_eq!(server.management, None);
        let (client, id) = connect(&server).await;
        for path in paths(&id) {
            for method in [Method::POST, Method::GET, Method::DELETE] {
                let reply = server.http().call(method, &path, &[], "{}".into()).await;
                assert_error(&reply, 403, "MissingAuthenticationTokenException", missing);
            }
        }
        client.close().await;
    }
}

#[tokio::test]
async fn web_pages_and_proxies_cannot_use_the_listener_of_unsigned_calls() {
    let server = TwinwayServer::launch().in_memory().start().await;
    let (mut client, id) = connect(&server).await;
    let http = server.local_management();
    for (name, value) in [
        ("host", "evil.example"),
        ("host", "127.0.0.1.evil.example:8082"),
        ("origin", "http://evil.example"),
        ("origin", "http://localhost:3000"),
        ("sec-fetch-site", "cross-site"),
        ("forwarded", "for=192.0.2.1"),
        ("via", "1.1 proxy"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-port", "443"),
        ("x-real-ip", "192.0.2.1"),
        ("cookie", "session=1"),
        ("l5d-dst-canonical", "server:8082"),
        ("cf-connecting-ip", "192.0.2.1"),
        ("x-envoy-external-address", "192.0.2.1"),
    ] {
        for method in [Method::POST, Method::GET, Method::DELETE] {
            let reply = http.call(method, &paths(&id)[0], &[(name, value)], "{}".into()).await;
            assert_error(&reply, 403, "ForbiddenException", r#"{"message":"Forbidden"}"#);
        }
    }
    assert_eq!(client.drain_inbox().await, [json!(null); 0], "a rejected call reached the client");
    client.close().await;
}
