//! `@connections`: what a backend on AWS does to one connection, done here, byte for byte where it is known.

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tests::client::Client;
use tests::client::http::{HttpCaller, HttpReply};
use tests::server::{SECRET, TwinwayServer};
use tests::world::{TokenClaims, sign_token};

/// Every way to write a connection's address: with and without the stage, escaped or not.
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

/// A server, a client of it, and the client's connection id.
async fn scene(server: &TwinwayServer) -> (Client, String) {
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
    let told = (reply.status, reply.header("x-amzn-errortype"), String::from_utf8_lossy(&reply.body));
    assert_eq!(told, (status, kind, body.into()));
    assert!(!reply.header("x-amzn-requestid").is_empty(), "{reply:?}");
}

#[tokio::test]
async fn a_post_arrives_as_it_is_whatever_way_the_id_is_written() {
    let server = TwinwayServer::launch().in_memory().start().await;
    let (mut client, id) = scene(&server).await;
    let http = server.http();
    for (number, path) in paths(&id).iter().enumerate() {
        let reply = post(&http, path, json!({"n": number}).to_string()).await;
        assert_eq!((reply.status, reply.body.len()), (200, 0), "{path}");
        assert_eq!(client.next().await, json!({"n": number}), "{path}");
    }
    // The most that is allowed arrives whole, in frames of at most 32 KiB.
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
    let http = server.http();
    for index in 0..6 {
        let (mut client, id) = scene(&server).await;
        let path = &paths(&id)[index];
        let described = http.get(path).await.expect_ok();
        assert_eq!(described["identity"], json!({"sourceIp": "127.0.0.1", "userAgent": "a test"}));
        for field in ["connectedAt", "lastActiveAt"] {
            assert!(described[field].as_str().is_some_and(|time| time.ends_with('Z')), "{described}");
        }
        let deleted = http.delete(path).await;
        assert_eq!((deleted.status, deleted.body.len()), (204, 0), "{path}");
        let ending = client.wait_closed().await;
        assert_eq!((ending.code, ending.reason.as_str()), (1000, "Connection Closed Normally"));
        let gone = tests::eventually!("the connection to be gone", {
            let reply = http.get(path).await;
            (reply.status == 410).then_some(reply)
        });
        assert_error(&gone, 410, "GoneException", "");
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_answered_as_on_aws() {
    let mut server = TwinwayServer::launch().in_memory().start().await;
    let (mut client, id) = scene(&server).await;
    let http = server.http();
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
    // A proxy on this machine speaks for somebody else.
    let forwarded = http.call(Method::POST, &paths(&id)[0], &[("x-forwarded-for", "192.0.2.1")], "{}".into()).await;
    assert_error(&forwarded, 403, "MissingAuthenticationTokenException", missing);
    assert_eq!(post(&http, &paths(&id)[0], vec![0xff, 0xfe]).await.status, 400);
    assert_eq!(client.drain_inbox().await, [json!(null); 0], "a refused call reached the client");
    client.close().await;
    server.assert_healthy().await;
    assert_eq!(server.stop().await.code, Some(0));
}

#[tokio::test]
async fn switched_off_it_answers_nobody() {
    let server = TwinwayServer::launch().in_memory().with_env("TWINWAY_MANAGEMENT", "off").start().await;
    let (client, id) = scene(&server).await;
    assert_eq!(post(&server.http(), &paths(&id)[0], "{}").await.status, 403);
    client.close().await;
}
