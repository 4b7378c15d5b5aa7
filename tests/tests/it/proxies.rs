//! The server behind real proxies: whose address events contain, and that no remote client reaches `@connections`.

use http::Method;
use serde_json::json;
use tests::client::Client;
use tests::client::http::HttpCaller;
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
async fn through_no_proxy_a_stranger_reaches_a_connection() {
    let server = TwinwayServer::launch().in_memory().start().await;
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
async fn the_listener_of_unsigned_calls_refuses_what_an_http_proxy_forwards() {
    let server = TwinwayServer::launch().in_memory().start().await;
    let direct = ReverseProxy::start(ProxyKind::HaproxyHttp, server.traffic).await.unwrap();
    let (mut client, id) = connect(&direct).await;
    // An operator's mistake: these proxies lead to the listener itself.
    for kind in [PROXIES[1], PROXIES[3], PROXIES[4]] {
        let proxy = ReverseProxy::start(kind, server.management.unwrap()).await.unwrap();
        let http = HttpCaller::with_base_url(&format!("http://{}", proxy.address));
        let reply = http.call(Method::POST, &format!("/prod/@connections/{id}"), &[], "{}".into()).await;
        assert_eq!(reply.status, 403, "through {kind:?}");
    }
    assert_eq!(client.drain_inbox().await, [json!(null); 0], "a forwarded call reached the client");
    client.close().await;
}
