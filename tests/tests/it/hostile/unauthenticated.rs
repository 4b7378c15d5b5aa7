//! Clients without valid credentials: they cost no memory, take nothing from others, and write few log lines.

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tests::client::Client;
use tests::client::raw::RawConnection;
use tests::eventually;
use tests::server::{SECRET, TwinwayServer};
use tests::websocket::{encode, opcode};
use tests::world::{TokenClaims, sign_token};

use super::{HostileFixture, dial};

/// A push that is as large as one may be.
const PUSH_BYTES: usize = 4 * 1024 * 1024;
/// Number of clients that post such a body.
const POSTING_CLIENTS: usize = 100;
/// Maximum memory growth for them, in KiB: a socket and a task each.
const GROWTH_KIB: u64 = 16 * 1024;

/// Sends a request with the first part of its body, and expects the response before the rest.
async fn post_without_waiting(server: &TwinwayServer, head: &str, expected: &str) -> RawConnection {
    let mut raw = RawConnection::connect(server.traffic).await;
    raw.write(format!("{head}\r\nHost: localhost\r\nContent-Length: {PUSH_BYTES}\r\n\r\n").as_bytes()).await;
    raw.write(&[b' '; 16 * 1024]).await;
    let response = raw.read_head().await;
    assert!(response.starts_with(&format!("HTTP/1.1 {expected} ")), "{head}: {response}");
    assert!(response.contains("\r\nconnection: close\r\n"), "{head}: {response}");
    raw
}

#[tokio::test]
async fn the_body_of_an_unauthenticated_request_is_not_read() {
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_THROTTLE_ADDRESS_RATE", "off");
    let fixture = HostileFixture::with_server(launch.with_env("TWINWAY_MANAGEMENT", "off").start().await).await;
    let server = &fixture.server;
    for (head, expected) in [
        ("POST /prod/@connections/JKJaXmPLvHcESHA= HTTP/1.1", "403"),
        ("POST /v1/messages HTTP/1.1\r\nX-Api-Key: a-key-that-no-one-has", "401"),
        ("POST /v1/messages HTTP/1.1\r\nExpect: 100-continue", "401"),
        ("POST /nothing HTTP/1.1", "403"),
    ] {
        post_without_waiting(server, head, expected).await;
    }
    let before = server.resident_kib();
    let mut posts = Vec::new();
    for _ in 0..POSTING_CLIENTS {
        let mut raw = post_without_waiting(server, "POST /v1/messages HTTP/1.1", "401").await;
        // The rest is discarded, so that the client is not reset before it has read the response.
        assert!(raw.try_write(&vec![b' '; PUSH_BYTES - 16 * 1024]).await);
        posts.push(raw);
    }
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "the server grew by {grown} KiB for {POSTING_CLIENTS} rejected bodies");
    drop(posts);
    fixture.finish().await;
}

#[tokio::test]
async fn bodies_above_the_budget_are_answered_with_503() {
    const BODY: usize = 3 * 1024 * 1024;
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_BODY_BUDGET", "4MiB");
    let fixture = HostileFixture::with_server(launch.start().await).await;
    let token = sign_token(SECRET, &TokenClaims::service("billing"));
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: {BODY}\r\n\r\n"
    );
    let mut posts =
        [RawConnection::connect(fixture.server.traffic).await, RawConnection::connect(fixture.server.traffic).await];
    for post in &mut posts {
        post.write(head.as_bytes()).await;
        // All but one byte of bodies that do not both fit.
        assert!(post.try_write(&[b' '; BODY - 1]).await);
    }
    let [first, second] = &mut posts;
    let (rejected, other) = tokio::select! {
        rejected = first.read_head() => (rejected, second),
        rejected = second.read_head() => (rejected, first),
    };
    assert!(rejected.starts_with("HTTP/1.1 503 ") && rejected.contains("\r\nretry-after: 1\r\n"), "{rejected}");
    other.write(b" ").await;
    let accepted = other.read_head().await;
    assert!(
        accepted.starts_with("HTTP/1.1 4") && !accepted.starts_with("HTTP/1.1 429 "),
        "spaces are no push: {accepted}"
    );
    let push = json!({"audience": {"user": "bystander"}, "body": "x"});
    fixture.server.http().with_token(token).post("/v1/messages", &push).await.expect_ok();
    drop(posts);
    fixture.server.assert_healthy().await;
}

#[tokio::test]
async fn wrong_keys_get_429_and_right_tokens_are_accepted() {
    // Five wrong keys cost the burst of 50; one per second is refilled, which is a tenth of a key.
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_THROTTLE_ADDRESS_RATE", 1);
    let fixture = HostileFixture::with_server(launch.start().await).await;
    let http = fixture.server.http();
    let mut statuses = Vec::new();
    for number in 0..8 {
        let key = format!("a-wrong-key-with-number-{number}");
        let reply = http.call(Method::GET, "/v1/status", &[("x-api-key", &key)], Bytes::new()).await;
        if reply.status == 429 {
            assert!(reply.header("retry-after").parse::<u32>().is_ok_and(|seconds| (1..=10).contains(&seconds)));
        }
        statuses.push(reply.status);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429]);
    let rejection = Client::dial(&fixture.server.socket_url(), "unauthenticated").expect_rejection().await;
    assert_eq!((rejection.status, rejection.message().as_str()), (429, "Too Many Requests"));
    let token = sign_token(SECRET, &TokenClaims::service("billing"));
    fixture.server.http().with_token(token).get("/v1/status").await.expect_ok();
    fixture.user("alice").await.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn rejected_requests_take_nothing_from_the_rate_of_users() {
    // Slow enough for a single rejection of a user's message or handshake to show.
    let launch = TwinwayServer::launch()
        .in_memory()
        .with_env("TWINWAY_THROTTLE_RATE", 1)
        .with_env("TWINWAY_THROTTLE_BURST", 100)
        .with_env("TWINWAY_THROTTLE_CONNECT_RATE", 1)
        .with_env("TWINWAY_THROTTLE_CONNECT_BURST", 20)
        .with_env("TWINWAY_THROTTLE_USER_RATE", "off")
        .with_env("TWINWAY_THROTTLE_ADDRESS_RATE", 1);
    let fixture = HostileFixture::with_server(launch.start().await).await;
    let mut alice = fixture.user("alice").await;
    for path in ["/x", "/prod"] {
        let mut flooder = RawConnection::connect(fixture.server.traffic).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        // Few enough for the server to read all of them before it closes, and more than the budget.
        flooder.try_write(request.repeat(60).as_bytes()).await;
        let responses = String::from_utf8_lossy(&flooder.read_to_end().await).into_owned();
        assert!(responses.contains("HTTP/1.1 429 "), "a flooder above its budget is disconnected");
    }
    for _ in 0..150 {
        let status = Client::dial(&fixture.server.socket_url(), "unauthenticated").expect_rejection().await.status;
        assert!([401, 429].contains(&status), "{status}");
    }
    for number in 1..=50 {
        let ack = alice.send_to_channel("conversation:alice", number).await;
        assert_eq!(ack["offset"], number);
    }
    fixture.user("bob").await.close().await;
    alice.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn a_user_that_floods_is_throttled_alone() {
    let launch = TwinwayServer::launch()
        .in_memory()
        .with_env("TWINWAY_THROTTLE_RATE", 10)
        .with_env("TWINWAY_THROTTLE_BURST", 500)
        .with_env("TWINWAY_THROTTLE_CONNECTION_RATE", 1)
        .with_env("TWINWAY_THROTTLE_CONNECTION_BURST", 100);
    let fixture = HostileFixture::with_server(launch.start().await).await;
    let mut alice = fixture.user("alice").await;
    let mut flooder = fixture.user("flooder").await;
    flooder.send_all((0..1_000).map(|number| json!({"action": "ping", "id": format!("p{number}")}).to_string())).await;
    flooder.next_where("a throttled ping", |frame| frame["message"] == "Too Many Requests").await;
    for number in 1..=50 {
        assert_eq!(alice.send_to_channel("conversation:alice", number).await["offset"], number);
    }
    flooder.drop_abruptly();
    alice.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn the_connections_of_one_user_take_half_of_the_rates_at_most() {
    // Slow enough for a burst not to be refilled during the test.
    let launch = TwinwayServer::launch()
        .in_memory()
        .with_env("TWINWAY_THROTTLE_RATE", 1)
        .with_env("TWINWAY_THROTTLE_BURST", 400)
        .with_env("TWINWAY_THROTTLE_CONNECT_RATE", 1)
        .with_env("TWINWAY_THROTTLE_CONNECT_BURST", 20);
    let fixture = HostileFixture::with_server(launch.start().await).await;
    let mut alice = fixture.user("alice").await;
    let flooder = TokenClaims::user("flooder");
    let mut connections = Vec::new();
    for _ in 0..10 {
        connections.push(dial(&fixture.server, &flooder).open().await);
    }
    for connection in &mut connections {
        connection.send_all((0..40).map(|id| json!({"action": "ping", "id": format!("p{id}")}).to_string())).await;
    }
    // 200 requests, of which ten are handshakes, and one more per second.
    let server = &fixture.server;
    eventually!("the pings above the budget to be throttled", {
        let throttled = server.metric("twinway_session_throttled_messages_total").await;
        throttled.filter(|count| *count >= 150.0)
    });
    // Each second admits one more handshake of the flooder.
    let handshake = RawConnection::upgrade_request("/prod", &fixture.token("flooder"));
    let head = loop {
        let mut raw = RawConnection::connect(fixture.server.traffic).await;
        raw.write(handshake.as_bytes()).await;
        let head = raw.read_head().await;
        if !head.starts_with("HTTP/1.1 101 ") {
            break head;
        }
    };
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    for number in 1..=50 {
        assert_eq!(alice.send_to_channel("conversation:alice", number).await["offset"], number);
    }
    for user in ["bob", "carol", "dave"] {
        fixture.user(user).await.close().await;
    }
    for connection in connections {
        connection.drop_abruptly();
    }
    alice.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn a_thousand_bad_tokens_write_ten_lines() {
    let launch = TwinwayServer::launch()
        .in_memory()
        .with_env("RUST_LOG", "info")
        .with_env("TWINWAY_THROTTLE_ADDRESS_RATE", "off");
    let fixture = HostileFixture::with_server(launch.start().await).await;
    let mut raw = RawConnection::connect(fixture.server.traffic).await;
    let call = "GET /v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n";
    raw.write(call.repeat(1_000).as_bytes()).await;
    let handshake = RawConnection::upgrade_request("/prod", "x");
    let last = "GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    raw.write((handshake.repeat(1_000) + last).as_bytes()).await;
    let responses = String::from_utf8_lossy(&raw.read_to_end().await).into_owned();
    assert_eq!(responses.matches("HTTP/1.1 401 ").count(), 2_001);
    let log = fixture.server.log();
    for message in ["api request rejected", "handshake rejected"] {
        assert_eq!(log.lines().filter(|line| line.contains(message)).count(), 10, "{message}");
    }
    fixture.finish().await;
}

#[tokio::test]
async fn waiting_messages_are_limited_in_bytes() {
    // Messages of 30 KiB: the three that exceed 64 KiB together, one of them in progress, or two at a time.
    for (ordering, received) in [("connection", 3.0), ("concurrent", 3.0)] {
        // The function never requests an event, so its messages stay in progress.
        let launch = TwinwayServer::launch()
            .in_memory()
            .with_env("TWINWAY_FUNCTIONS_SOURCE", "lambda")
            .with_env("TWINWAY_FUNCTIONS_MESSAGE", "sleep 600")
            .with_env("TWINWAY_ORDERING", ordering)
            .with_env("TWINWAY_INBOUND_BYTES", "64KiB");
        let mut server = launch.start().await;
        let mut raw = RawConnection::upgrade(server.traffic, "/prod", "x").await;
        raw.write(&encode(opcode::TEXT, &[b'x'; 30 * 1024]).repeat(20)).await;
        server.wait_for_metric("twinway_session_received_messages_total", received).await;
        let mut other = RawConnection::upgrade(server.traffic, "/prod", "x").await;
        other.write(&encode(opcode::PING, b"hello")).await;
        other.read_until("hello").await;
        assert_eq!(server.metric("twinway_session_received_messages_total").await, Some(received), "{ordering}");
        server.kill().await;
    }
}
