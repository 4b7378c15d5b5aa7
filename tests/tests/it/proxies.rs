//! The server behind real proxies: whose address events contain, and that no remote client reaches `@connections`.

use http::Method;
use serde_json::json;
use tests::client::Client;
use tests::client::http::HttpCaller;
use tests::client::raw::RawConnection;
use tests::ports::free_address;
use tests::reverse_proxy::{ProxyKind, ReverseProxy};
use tests::server::{SECRET, TwinwayServer};
use tests::world::{TokenClaims, sign_token};

/// Proxies as they are commonly configured. Only some of them add a header that names the client.
const PROXIES: [ProxyKind; 5] = [
    ProxyKind::HaproxyHttp,
    ProxyKind::HaproxyWith("option forwardfor"),
    ProxyKind::HaproxyTcp(""),
    ProxyKind::Nginx("proxy_set_header X-Real-IP $remote_addr;"),
    ProxyKind::Nginx("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"),
];

/// Connects through a proxy and returns the client with its connection id.
async fn connect(proxy: &ReverseProxy) -> (Client, String) {
    let token = sign_token(SECRET, &TokenClaims::user("alice"));
    let mut client = Client::dial(&format!("ws://{}/prod", proxy.address), "alice").with_token(&token).open().await;
    client.send(&json!({"action": "resume"})).await;
    let id = client.next_of_type("welcome").await["connection"].as_str().unwrap().to_owned();
    client.next_of_type("resumed").await;
    (client, id)
}

#[tokio::test]
async fn no_proxy_lets_an_unauthenticated_caller_reach_a_connection() {
    // Every call is rejected, more of them than the budget of the proxy's address.
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_THROTTLE_ADDRESS_RATE", "off");
    let server = launch.start().await;
    for kind in PROXIES {
        let proxy = ReverseProxy::start(kind, server.traffic).await.unwrap();
        let (mut client, id) = connect(&proxy).await;
        let http = HttpCaller::with_base_url(&format!("http://{}", proxy.address));
        for path in [format!("/prod/@connections/{id}"), format!("/@connections/{id}"), format!("/%40connections/{id}")]
        {
            for method in [Method::POST, Method::GET, Method::DELETE] {
                let reply = http.call(method.clone(), &path, &[], r#"{"forged":true}"#.into()).await;
                let error = (reply.status, reply.header("x-amzn-errortype"));
                assert_eq!(error, (403, "MissingAuthenticationTokenException"), "{method} {path} through {kind:?}");
            }
        }
        assert_eq!(client.drain_inbox().await, [json!(null); 0], "a call through {kind:?} reached the client");
        client.close().await;
    }
}

#[tokio::test]
async fn the_listener_of_unsigned_calls_rejects_what_an_http_proxy_forwards() {
    let server = TwinwayServer::launch().in_memory().start().await;
    let direct = ReverseProxy::start(ProxyKind::HaproxyHttp, server.traffic).await.unwrap();
    let (mut client, id) = connect(&direct).await;
    // A wrong configuration: these proxies forward to the listener itself.
    for kind in [PROXIES[1], PROXIES[3], PROXIES[4]] {
        let proxy = ReverseProxy::start(kind, server.management.unwrap()).await.unwrap();
        let http = HttpCaller::with_base_url(&format!("http://{}", proxy.address));
        let reply = http.call(Method::POST, &format!("/prod/@connections/{id}"), &[], "{}".into()).await;
        assert_eq!(reply.status, 403, "through {kind:?}");
    }
    assert_eq!(client.drain_inbox().await, [json!(null); 0], "a forwarded call reached the client");
    client.close().await;
}

/// Returns the address that `@connections` describes for a connection through `proxy`.
async fn described_address(
    server: &TwinwayServer,
    proxy: &ReverseProxy,
    forged: &[(&'static str, &'static str)],
) -> String {
    let token = sign_token(SECRET, &TokenClaims::user("alice"));
    let dial = Client::dial(&format!("ws://{}/prod", proxy.address), "alice").with_token(&token);
    let dial = forged.iter().fold(dial, |dial, (name, value)| dial.with_header(name, value));
    let mut client = dial.open().await;
    client.send(&json!({"action": "resume"})).await;
    let id = client.next_of_type("welcome").await["connection"].as_str().unwrap().to_owned();
    let described = server.local_management().get(&format!("/prod/@connections/{id}")).await.expect_ok();
    client.close().await;
    described["identity"]["sourceIp"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_cannot_choose_its_address_behind_a_trusted_proxy() {
    let forged = [("x-forwarded-for", "203.0.113.66"), ("forwarded", "for=203.0.113.66")];
    for (kind, header) in [
        (PROXIES[1], "x-forwarded-for"),
        (PROXIES[4], "x-forwarded-for"),
        (ProxyKind::HaproxyWith("http-request add-header Forwarded for=\"%[src]:%[src_port]\""), "forwarded"),
        (ProxyKind::Nginx("proxy_set_header Forwarded \"$http_forwarded, for=$remote_addr\";"), "forwarded"),
    ] {
        let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_TRUSTED_PROXIES", 1);
        let server = launch.with_env("TWINWAY_FORWARDED_HEADER", header).start().await;
        let proxy = ReverseProxy::start(kind, server.traffic).await.unwrap();
        assert_eq!(described_address(&server, &proxy, &forged).await, "127.0.0.1", "{kind:?}");
    }
}

#[tokio::test]
async fn the_proxy_protocol_names_the_client() {
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_PROXY_PROTOCOL", "required");
    let server = launch.with_env("TWINWAY_TRUSTED_PROXIES", "127.0.0.1").start().await;
    for options in ["send-proxy", "send-proxy-v2"] {
        let proxy = ReverseProxy::start(ProxyKind::HaproxyTcp(options), server.traffic).await.unwrap();
        assert_eq!(described_address(&server, &proxy, &[]).await, "127.0.0.1", "{options}");
    }
    let mut raw = RawConnection::connect(server.traffic).await;
    raw.write(b"PROXY TCP6 2001:db8::7 2001:db8::1 4000 80\r\n").await;
    raw.write(RawConnection::upgrade_request("/prod", &sign_token(SECRET, &TokenClaims::user("alice"))).as_bytes())
        .await;
    assert!(raw.read_head().await.starts_with("HTTP/1.1 101 "));
    let mut direct = RawConnection::connect(server.traffic).await;
    direct.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(direct.read_to_end().await, b"", "a connection without the header is closed");
}

#[tokio::test]
async fn clients_of_ipv6_listeners_have_canonical_addresses() {
    let port = free_address().port();
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_LISTEN", format!("[::]:{port}"));
    let server = launch.with_env("TWINWAY_MANAGEMENT_LISTEN", "[::1]:0").start().await;
    for (host, expected) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
        let token = sign_token(SECRET, &TokenClaims::user("alice"));
        let mut client = Client::dial(&format!("ws://{host}:{port}/prod"), "alice").with_token(&token).open().await;
        client.send(&json!({"action": "resume"})).await;
        let id = client.next_of_type("welcome").await["connection"].as_str().unwrap().to_owned();
        let described = server.local_management().get(&format!("/prod/@connections/{id}")).await.expect_ok();
        assert_eq!(described["identity"]["sourceIp"], expected);
        client.close().await;
    }
}
