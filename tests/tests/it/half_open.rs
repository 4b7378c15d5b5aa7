//! Clients whose packets are dropped: pings detect them, and presence no longer lists them.

use serde_json::json;
use tests::client::Client;
use tests::eventually;
use tests::server::{SECRET, STAGE, ServerLaunch, TwinwayServer};
use tests::tcp_proxy::TcpProxy;
use tests::world::{TokenClaims, sign_token};

fn server() -> ServerLaunch {
    TwinwayServer::launch().in_memory().with_env("TWINWAY_PING_INTERVAL", "500ms")
}

async fn join_lobby(address: std::net::SocketAddr, user: &str) -> Client {
    let token = sign_token(SECRET, &TokenClaims::user(user));
    let url = format!("ws://{address}/{STAGE}");
    let mut client = Client::dial(&url, user).with_token(&token).open_and_confirm().await;
    client.join_channels("join", &["room:lobby"]).await;
    client
}

async fn is_present(client: &mut Client, user: &str) -> bool {
    let reply = client.request(json!({"action": "presence", "channel": "room:lobby"})).await;
    reply["channels"]["room:lobby"]["members"].as_array().unwrap().iter().any(|member| member["user"] == user)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_packets_are_dropped_is_no_longer_present() {
    // Long enough for a client that answers on a busy host.
    let server = server().with_env("TWINWAY_PING_TIMEOUT", "4s").start().await;
    let proxy = TcpProxy::forward_to(server.traffic).unwrap();
    let mut bob = join_lobby(server.traffic, "bob").await;
    // The proxy acknowledges every segment, as a load balancer does: only pings can detect the loss.
    let alice = join_lobby(proxy.address(), "alice").await;
    assert!(is_present(&mut bob, "alice").await);
    proxy.stall();
    eventually!("alice to be offline", (!is_present(&mut bob, "alice").await).then_some(()));
    assert!(is_present(&mut bob, "bob").await, "a client that answers stays");
    drop(alice);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_answers_every_ping_stays_connected() {
    let server = server().with_env("TWINWAY_PING_TIMEOUT", "10s").start().await;
    let mut bob = join_lobby(server.traffic, "bob").await;
    // Several intervals pass while requests and pings alternate.
    let started = std::time::Instant::now();
    eventually!("several pings", {
        bob.request(json!({"action": "ping"})).await;
        (started.elapsed().as_secs() >= 3).then_some(())
    });
    assert!(is_present(&mut bob, "bob").await);
}
