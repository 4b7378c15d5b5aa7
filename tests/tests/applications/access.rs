//! Access control of `$connect`: authorizer, required parameters, API keys, throttles.

use tests::conformance::client::HandshakeBuilder;

use super::{Fixture, connect, reject};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn au_2_without_an_identity_source_the_authorizer_is_not_invoked() {
    let text = r#"
[authorizer]
function = "auth"
identity_sources = ["route.request.header.Authorization", "route.request.querystring.tenant"]
[routes]
"$connect" = "presence"
"#;
    let fixture = Fixture::new(text, &["auth", "presence"]);
    let mut server = fixture.launch().start().await;
    for handshake in [
        HandshakeBuilder::new(),
        HandshakeBuilder::new().header("Authorization", "Bearer x"),
        HandshakeBuilder::new().header("Authorization", "Bearer x").query("tenant="),
    ] {
        assert_eq!(reject(&server, handshake).await.head.status, 401);
    }
    assert_eq!(fixture.events("started").len(), 0, "no function was invoked");
    let _client = connect(&server, HandshakeBuilder::new().header("authorization", "x").query("tenant=a")).await;
    let connected = fixture.wait_event("presence", "started", |_| true).await;
    assert_eq!(connected["requestContext"]["authorizer"]["principalId"], "alice");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn required_parameters_and_api_keys_are_checked_before_connect() {
    let text = r#"
[routes]
"$connect" = { function = "presence", required_parameters = ["route.request.querystring.room"], api_key_required = true }
"#;
    let fixture = Fixture::new(text, &["presence"]);
    let key = "a-key-of-20-characters";
    let mut server = fixture.launch().with_env("TWINWAY_API_KEYS", format!("web:{key}")).start().await;
    assert_eq!(reject(&server, HandshakeBuilder::new().query("room=1")).await.head.status, 403);
    let with_key = || HandshakeBuilder::new().header("x-api-key", key);
    let rejection = reject(&server, with_key()).await;
    assert_eq!(rejection.head.status, 400);
    assert!(String::from_utf8_lossy(&rejection.body).contains("Missing required request parameters"));
    assert_eq!(reject(&server, with_key().query("room=")).await.head.status, 400);
    assert!(fixture.events("started").is_empty());
    let _client = connect(&server, with_key().query("room=1")).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qk_17_a_throttle_of_zero_rejects_every_request() {
    let text = r#"
[routes]
"$connect" = { function = "presence", throttle = { rate = 0, burst = 0 } }
"#;
    let fixture = Fixture::new(text, &["presence"]);
    let mut server = fixture.launch().start().await;
    for _ in 0..3 {
        assert_eq!(reject(&server, HandshakeBuilder::new()).await.head.status, 429);
    }
    assert!(fixture.events("started").is_empty());
    server.stop().await;
}
