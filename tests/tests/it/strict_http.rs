//! Requests that violate HTTP or the WebSocket handshake, and requests of foreign web pages, on every port.

use std::net::SocketAddr;

use tests::client::Client;
use tests::client::raw::RawConnection;
use tests::ports::free_address;
use tests::server::{SECRET, TwinwayServer};
use tests::world::{TokenClaims, sign_token};

/// Sends a request and returns the head of the response.
async fn head_of(address: SocketAddr, request: &str) -> String {
    let mut raw = RawConnection::connect(address).await;
    raw.write(request.as_bytes()).await;
    raw.read_head().await
}

/// Sends a request and returns everything that the server sends until it closes the connection.
async fn all_of(address: SocketAddr, request: &str) -> String {
    let mut raw = RawConnection::connect(address).await;
    raw.write(request.as_bytes()).await;
    String::from_utf8_lossy(&raw.read_to_end().await).into_owned()
}

fn status_of(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {head:?}"))
}

fn handshake() -> String {
    RawConnection::upgrade_request("/prod", &sign_token(SECRET, &TokenClaims::user("alice")))
}

#[tokio::test]
async fn handshakes_comply_with_the_protocol_or_are_rejected() {
    let server = TwinwayServer::launch().in_memory().start().await;
    let address = server.traffic;
    assert_eq!(status_of(&head_of(address, &handshake()).await), 101);
    for (from, to, status) in [
        ("Host: localhost\r\n", "", 400),
        ("Host: localhost\r\n", "Host: localhost\r\nHost: localhost\r\n", 400),
        ("Host: localhost", "Host: a b", 400),
        ("Host: localhost", "Host: ", 400),
        ("Host: localhost", "Host: user@localhost", 400),
        ("Host: localhost", "Host: localhost:x", 400),
        ("Connection: Upgrade\r\n", "", 400),
        ("Connection: Upgrade", "Connection: keep-alive", 400),
        ("Connection: Upgrade", "Connection: keep-alive, UPGRADE", 101),
        ("Connection: Upgrade", "Connection: keep-alive\r\nConnection: upgrade", 101),
        ("Upgrade: websocket", "Upgrade: h2c, WebSocket", 101),
        ("Upgrade: websocket", "Upgrade: h2c", 426),
        ("Version: 13", "Version: 8", 400),
        ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13", 400),
        ("Key: dGhlIHNhbXBsZSBub25jZQ==", "Key: short", 400),
        ("Key: dGhlIHNhbXBsZSBub25jZQ==", "Key: !!!!!!!!!!!!!!!!!!!!!!==", 400),
        ("Key: dGhlIHNhbXBsZSBub25jZQ==", "Key: eHh4eHh4eHh4eHh4eHh4", 400),
        ("Key: dGhlIHNhbXBsZSBub25jZQ==", "Key: eHh4eHh4eHh4eHh4eHh4eHg=", 400),
        // The bytes of a body would be read as frames.
        ("Upgrade: websocket", "Upgrade: websocket\r\nContent-Length: 5", 400),
        ("Upgrade: websocket", "Upgrade: websocket\r\nTransfer-Encoding: chunked", 400),
        ("Upgrade: websocket", "Upgrade: websocket\r\nContent-Length: 0", 101),
        ("Upgrade: websocket", "Upgrade: websocket, h2c", 101),
        ("Upgrade: websocket", "Upgrade: websocket/13", 426),
        ("Connection: Upgrade", "Connection: Upgrade,", 101),
        ("Connection: Upgrade", "Connection: xupgrade", 400),
        ("Version: 13", "Version: 013", 400),
        ("Version: 13", "Version: 13, 8", 400),
        ("Upgrade: websocket", "Upgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", 400),
        ("GET /prod HTTP/1.1", "GET /prod HTTP/1.0", 426),
        ("GET /prod", "POST /prod", 426),
        ("GET /prod", "GET http://localhost/prod", 101),
        ("GET /prod", "GET http://user@localhost/prod", 400),
        ("Upgrade: websocket", "Upgrade:\r\n websocket", 400),
        ("Upgrade: websocket", "Upgrade : websocket", 400),
        ("Upgrade: websocket", "X: a\rb\r\nUpgrade: websocket", 400),
    ] {
        let request = handshake();
        assert!(request.contains(from), "{from}");
        let head = head_of(address, &request.replacen(from, to, 1)).await;
        assert_eq!(status_of(&head), status, "{to:?}: {head}");
    }
    let bare_line_feeds = handshake().replace("\r\n", "\n");
    assert_eq!(status_of(&head_of(address, &bare_line_feeds).await), 101, "RFC 9112 section 2.2 permits a bare LF");
}

#[tokio::test]
async fn rejections_say_which_upgrade_is_supported() {
    let server = TwinwayServer::launch().in_memory().start().await;
    let plain = head_of(server.traffic, "GET /prod HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    for line in ["upgrade: websocket", "connection: upgrade", "sec-websocket-version: 13"] {
        assert!(plain.contains(line), "{plain}");
    }
    let old = head_of(server.traffic, &handshake().replace("Version: 13", "Version: 8")).await;
    assert!(status_of(&old) == 400 && old.contains("sec-websocket-version: 13"), "{old}");
}

#[tokio::test]
async fn ambiguous_lengths_cannot_hide_a_second_request() {
    let server = TwinwayServer::launch().in_memory().start().await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let length = hidden.len() + 5;
    for (lengths, responses) in [
        // Both: the coding counts, and the connection ends with the response (RFC 9112 section 6.3).
        (format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"), 1),
        (format!("Transfer-Encoding: chunked\r\nContent-Length: {length}"), 1),
        ("Content-Length: 5\r\nContent-Length: 6".to_owned(), 1),
        ("Content-Length: 5, 6".to_owned(), 1),
        ("Content-Length: +5".to_owned(), 1),
        ("Transfer-Encoding: identity".to_owned(), 1),
        ("Transfer-Encoding: chunked, identity".to_owned(), 1),
    ] {
        let request = format!("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n{lengths}\r\n\r\n0\r\n\r\n{hidden}");
        let answered = all_of(server.traffic, &request).await;
        assert_eq!(answered.matches("HTTP/1.1 ").count(), responses, "{lengths}: {answered}");
        assert!(status_of(&answered) >= 400, "{lengths}: {answered}");
    }
}

/// The form of CONNECT once caused a panic, and other forms have no meaning for a server that is not a proxy.
#[tokio::test]
async fn targets_without_a_path_are_rejected_on_every_port() {
    let mut server = TwinwayServer::launch().in_memory().start().await;
    let management = server.management.expect("the listener is on by default");
    for address in [server.traffic, server.ops, management] {
        for line in ["CONNECT localhost:80", "GET localhost:80", "POST localhost"] {
            let answered = all_of(address, &format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
            assert_eq!(status_of(&answered), 400, "{line}: {answered}");
        }
    }
    let exit = server.stop().await;
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
}

#[tokio::test]
async fn bodies_have_no_coding_but_chunked() {
    let server = TwinwayServer::launch().in_memory().start().await;
    for (coding, status) in [
        ("Transfer-Encoding: chunked", 401),
        ("Transfer-Encoding: CHUNKED", 401),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: chunked, chunked", 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 501),
    ] {
        let request =
            format!("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n{coding}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n");
        assert_eq!(status_of(&head_of(server.traffic, &request).await), status, "{coding}");
    }
}

/// A response that waits for the body would come after the timeout of the body.
#[tokio::test]
async fn a_body_that_is_announced_as_too_large_is_rejected_before_it_is_sent() {
    let server = TwinwayServer::launch().in_memory().start().await;
    let token = sign_token(SECRET, &TokenClaims::admin("root"));
    for headers in ["Content-Length: 999999999", "Content-Length: 4194305\r\nExpect: 100-continue"] {
        let request = format!(
            "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{headers}\r\n\r\n"
        );
        let head = head_of(server.traffic, &request).await;
        assert_eq!(status_of(&head), 413, "{headers}: {head}");
    }
}

#[tokio::test]
async fn single_valued_headers_are_not_repeated() {
    let server = TwinwayServer::launch().in_memory().start().await;
    for (name, first, second) in [
        ("Authorization", "Bearer a", "Bearer b"),
        ("Content-Type", "application/json", "text/plain"),
        ("Origin", "http://localhost", "http://evil.example"),
        ("Host", "localhost", "evil.example"),
    ] {
        let host = if name == "Host" { "" } else { "Host: localhost\r\n" };
        let request = format!("GET /v1/status HTTP/1.1\r\n{host}{name}: {first}\r\n{name}: {second}\r\n\r\n");
        let answered = all_of(server.traffic, &request).await;
        assert_eq!(status_of(&answered), 400, "{name}: {answered}");
    }
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body() {
    let server = TwinwayServer::launch().in_memory().start().await;
    for (address, path) in
        [(server.traffic, "/"), (server.ops, "/health"), (server.ops, "/ready"), (server.ops, "/metrics")]
    {
        let answered =
            all_of(address, &format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
        let (head, body) = answered.split_once("\r\n\r\n").unwrap();
        assert_eq!((status_of(head), body), (200, ""), "{path}: {answered}");
        assert!(head.contains("content-type: "), "{path}: {head}");
    }
}

#[tokio::test]
async fn balancers_may_probe_with_http_1_0() {
    let server = TwinwayServer::launch().in_memory().start().await;
    assert_eq!(status_of(&head_of(server.ops, "GET /ready HTTP/1.0\r\n\r\n").await), 200);
    assert_eq!(status_of(&head_of(server.ops, "GET /ready HTTP/1.1\r\n\r\n").await), 400);
}

#[tokio::test]
async fn a_page_that_rebinds_dns_reaches_no_loopback_listener() {
    let server = TwinwayServer::launch().in_memory().start().await;
    let rebound = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: evil.example:8080\r\n\r\n");
    for path in ["/", "/prod", "/v1/status", "/prod/@connections/AAAAAAAAAAAAAAA="] {
        assert_eq!(status_of(&head_of(server.traffic, &rebound(path)).await), 403, "{path}");
    }
    for path in ["/metrics", "/health"] {
        assert_eq!(status_of(&head_of(server.ops, &rebound(path)).await), 403, "{path}");
    }
    assert_eq!(
        status_of(&head_of(server.management.unwrap(), &rebound("/prod/@connections/AAAAAAAAAAAAAAA=")).await),
        403
    );
    let absolute = "GET http://evil.example/prod HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(status_of(&head_of(server.traffic, absolute).await), 403, "the target counts, not Host");
    let file = "GET file://localhost/prod HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(status_of(&head_of(server.traffic, file).await), 400, "another scheme");
    let old = "GET /prod/@connections/AAAAAAAAAAAAAAA= HTTP/1.0\r\nHost: localhost\r\n\r\n";
    assert_eq!(status_of(&head_of(server.management.unwrap(), old).await), 400, "proxies send HTTP/1.0");
    let explained = all_of(server.traffic, &rebound("/prod")).await;
    assert!(explained.contains("server.hosts"), "{explained}");
}

#[tokio::test]
async fn pages_of_other_sites_cannot_connect_to_a_loopback_listener() {
    let server = TwinwayServer::launch().in_memory().start().await;
    let dial = |server: &TwinwayServer, origin: &str| {
        let token = sign_token(SECRET, &TokenClaims::user("alice"));
        Client::dial(&server.socket_url(), "alice").with_token(&token).with_header("origin", origin)
    };
    for origin in ["http://evil.example", "null", "http://localhost.evil.example"] {
        assert_eq!(dial(&server, origin).expect_rejection().await.status, 403, "{origin}");
    }
    for origin in ["http://localhost:5173", "http://127.0.0.1:3000", "https://localhost"] {
        dial(&server, origin).open().await.close().await;
    }
    let metrics = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n";
    assert_eq!(status_of(&head_of(server.ops, metrics).await), 403);

    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_ORIGINS", "https://app.example");
    let configured = launch.with_env("TWINWAY_HOSTS", "chat.example").start().await;
    dial(&configured, "https://app.example").open().await.close().await;
    assert_eq!(dial(&configured, "http://localhost:5173").expect_rejection().await.status, 403);
    let named = "GET / HTTP/1.1\r\nHost: chat.example\r\nOrigin: https://chat.example\r\n\r\n";
    assert_eq!(status_of(&head_of(configured.traffic, named).await), 200);
}

#[tokio::test]
async fn a_listener_for_remote_clients_accepts_any_host_and_origin_unless_configured() {
    let address = SocketAddr::from(([0, 0, 0, 0], free_address().port()));
    let server = TwinwayServer::launch().in_memory().with_env("TWINWAY_LISTEN", address).start().await;
    let reachable = SocketAddr::from(([127, 0, 0, 1], address.port()));
    let request = handshake().replace("Host: localhost", "Host: chat.example\r\nOrigin: https://app.example");
    assert_eq!(status_of(&head_of(reachable, &request).await), 101);
    drop(server);
}
