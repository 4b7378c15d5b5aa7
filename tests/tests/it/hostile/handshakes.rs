//! Handshakes that are refused or never finished: the verdict is HTTP, and a connection that does nothing is cut.

use std::time::Duration;

use tests::client::Client;
use tests::client::http::HttpCaller;
use tests::client::raw::RawConnection;
use tests::server::{SECRET, STAGE, TwinwayServer};
use tests::world::{TokenClaims, sign_token};

use super::{Scene, dial};

/// How long a head may take at the servers of these tests.
const HEADER_TIMEOUT: &str = "300ms";

#[tokio::test]
async fn a_token_that_is_not_good_is_answered_401() {
    let scene = Scene::begin().await;
    let alice = TokenClaims::user("alice");
    let good = sign_token(SECRET, &alice);
    let expired = shim_expired(&alice);
    let foreign = sign_token("the-secret-of-somebody-else-32-by", &alice);
    let (head, tail) = good.split_at(good.len() - 4);
    let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhbGljZSIsInJvbGUiOiJhZG1pbiJ9.".to_owned();
    let changed = format!("{head}{}", tail.chars().rev().collect::<String>());
    for (what, token) in [
        ("expired", expired),
        ("foreign", foreign),
        ("changed", changed),
        ("unsigned", unsigned),
        ("nonsense", "x".to_owned()),
    ] {
        let refusal = Client::dial(&scene.server.socket_url(), what).with_token(&token).expect_rejection().await;
        assert_eq!((refusal.status, refusal.message().as_str()), (401, "Unauthorized"), "{what}");
    }
    let missing = Client::dial(&scene.server.socket_url(), "nobody").expect_rejection().await;
    assert_eq!((missing.status, missing.message().as_str()), (401, "Unauthorized"));
    // The ways in for clients that are no browsers.
    let by_query = format!("{}?token={good}", scene.server.socket_url());
    Client::dial(&by_query, "alice").open().await.close().await;
    let by_header =
        Client::dial(&scene.server.socket_url(), "alice").with_header("authorization", &format!("Bearer {good}"));
    by_header.open().await.close().await;
    scene.end().await;
}

/// A token that ended longer ago than clocks may be apart.
fn shim_expired(grant: &TokenClaims) -> String {
    let now = system_clock::current_time().unix_seconds();
    let claims = handlers::authorizer::JwtClaims {
        sub: handlers::id::UserId::parse(&grant.user).unwrap(),
        role: grant.role,
        tenant: handlers::id::TenantId::default_tenant(),
        exp: Some(now - 60),
        iat: Some(now - 120),
        iss: None,
        aud: None,
    };
    handlers::authorizer::mint_hs256(SECRET.as_bytes(), &claims).unwrap()
}

#[tokio::test]
async fn what_is_no_handshake_of_this_api_is_answered_by_its_kind() {
    let scene = Scene::begin().await;
    let address = scene.server.traffic;
    let token = scene.token("alice");
    for path in ["nothing", "", "prod/deeper"] {
        let refusal =
            Client::dial(&format!("ws://{address}/{path}"), "alice").with_token(&token).expect_rejection().await;
        assert_eq!((refusal.status, refusal.message().as_str()), (403, "Forbidden"), "/{path}");
    }
    let long = format!("{}?token={token}&x={}", scene.server.socket_url(), "y".repeat(5_000));
    assert_eq!(Client::dial(&long, "alice").expect_rejection().await.status, 414);

    let http = HttpCaller::with_base_url(&format!("http://{address}"));
    let plain = http.get(&format!("/{STAGE}")).await;
    assert_eq!((plain.status, plain.body.len()), (426, 0));
    let upgrade = RawConnection::upgrade_request(&format!("/{STAGE}"), &token);
    for (from, to, status) in [
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", "400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", "400"),
        ("GET /", "GE T /", "400"),
        ("Host: localhost", "Host: localhost\r\nX-Big: BIG", "431"),
    ] {
        let mut raw = RawConnection::connect(address).await;
        raw.write(upgrade.replace(from, to).replace("BIG", &"z".repeat(64 * 1024)).as_bytes()).await;
        let head = raw.read_head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{to:.40}: {head}");
    }
    scene.end().await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_handshake_is_cut() {
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_HEADER_TIMEOUT", HEADER_TIMEOUT);
    let scene = Scene::with(launch.start().await).await;
    let silent = async {
        let mut raw = RawConnection::connect(scene.server.traffic).await;
        raw.read_to_end().await
    };
    let half = async {
        let mut raw = RawConnection::connect(scene.server.traffic).await;
        raw.write(b"GET /prod HTTP/1.1\r\nHost: loc").await;
        raw.read_to_end().await
    };
    let drip = async {
        let mut raw = RawConnection::connect(scene.server.traffic).await;
        let request = RawConnection::upgrade_request("/prod", &scene.token("alice"));
        // A byte in 20 ms: the whole head would take more than ten seconds. This is the client's slowness and waits for nothing.
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for byte in request.as_bytes() {
            pace.tick().await;
            if !raw.try_write(&[*byte]).await {
                return Vec::new();
            }
        }
        raw.read_to_end().await
    };
    let answers = tokio::join!(silent, half, drip);
    for answer in [answers.0, answers.1, answers.2] {
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 408 "), "{text}");
    }
    scene.end().await;
}

#[tokio::test]
async fn beyond_the_most_connections_a_client_is_told_503_and_the_others_stay() {
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_MAX_CONNECTIONS", 3);
    let scene = Scene::with(launch.start().await).await;
    let alice = scene.user("alice").await;
    let bob = scene.user("bob").await;
    assert_eq!(dial(&scene.server, &TokenClaims::user("carol")).expect_rejection().await.status, 503);
    alice.close().await;
    // A place is given back a moment behind the close frame.
    tests::eventually!("a place to be free", {
        let mut raw = RawConnection::connect(scene.server.traffic).await;
        raw.try_write(RawConnection::upgrade_request("/prod", &scene.token("carol")).as_bytes()).await;
        raw.read_head().await.starts_with("HTTP/1.1 101 ").then_some(())
    });
    bob.close().await;
    scene.end().await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_answered_504() {
    // The process never asks for an event, as a function does that hangs when it starts.
    let server = TwinwayServer::launch()
        .with_env("TWINWAY_FUNCTIONS_CONNECT", "sleep 600")
        .with_env("TWINWAY_FUNCTIONS_MESSAGE", "sleep 600")
        .with_env("TWINWAY_HANDSHAKE_TIMEOUT", "300ms");
    let mut server = server.in_memory().start().await;
    let refusal = Client::dial(&server.socket_url(), "alice").expect_rejection().await;
    assert_eq!(refusal.status, 504);
    server.stop().await;
}
