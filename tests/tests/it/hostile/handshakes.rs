//! Rejected and incomplete handshakes: rejections are HTTP responses, and an idle connection is closed.

use std::time::Duration;

use tests::client::Client;
use tests::client::http::HttpCaller;
use tests::client::raw::RawConnection;
use tests::server::{SECRET, STAGE, TwinwayServer};
use tests::world::{TokenClaims, sign_token};

use super::{HostileFixture, dial};

/// Header timeout of these servers.
const HEADER_TIMEOUT: &str = "300ms";

#[tokio::test]
async fn an_invalid_token_returns_401() {
    let fixture = HostileFixture::start().await;
    let alice = TokenClaims::user("alice");
    let good = sign_token(SECRET, &alice);
    let expired = expired_token(&alice);
    let foreign = sign_token("the-secret-of-another-server-32-by", &alice);
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
        let rejection = Client::dial(&fixture.server.socket_url(), what).with_token(&token).expect_rejection().await;
        assert_eq!((rejection.status, rejection.message().as_str()), (401, "Unauthorized"), "{what}");
    }
    let missing = Client::dial(&fixture.server.socket_url(), "anonymous").expect_rejection().await;
    assert_eq!((missing.status, missing.message().as_str()), (401, "Unauthorized"));
    // Token transports for clients other than browsers.
    let by_query = format!("{}?token={good}", fixture.server.socket_url());
    Client::dial(&by_query, "alice").open().await.close().await;
    let by_header =
        Client::dial(&fixture.server.socket_url(), "alice").with_header("authorization", &format!("Bearer {good}"));
    by_header.open().await.close().await;
    fixture.finish().await;
}

/// Returns a token that expired longer ago than the clock leeway.
fn expired_token(claims: &TokenClaims) -> String {
    let now = system_clock::current_time().unix_seconds();
    let claims = handlers::authorizer::JwtClaims {
        sub: claims.user.clone(),
        role: claims.role,
        tenant: "default".to_owned(),
        exp: Some(now - 60),
        iat: Some(now - 120),
        iss: None,
        aud: None,
        channels: None,
    };
    handlers::authorizer::mint_hs256(SECRET.as_bytes(), &claims).unwrap()
}

#[tokio::test]
async fn invalid_handshakes_return_specific_statuses() {
    let fixture = HostileFixture::start().await;
    let address = fixture.server.traffic;
    let token = fixture.token("alice");
    for path in ["nothing", "", "prod/deeper"] {
        let rejection =
            Client::dial(&format!("ws://{address}/{path}"), "alice").with_token(&token).expect_rejection().await;
        assert_eq!((rejection.status, rejection.message().as_str()), (403, "Forbidden"), "/{path}");
    }
    let long = format!("{}?token={token}&x={}", fixture.server.socket_url(), "y".repeat(5_000));
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
    fixture.finish().await;
}

#[tokio::test]
async fn an_incomplete_handshake_times_out() {
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_HEADER_TIMEOUT", HEADER_TIMEOUT);
    let fixture = HostileFixture::with_server(launch.start().await).await;
    let silent = async {
        let mut raw = RawConnection::connect(fixture.server.traffic).await;
        raw.read_to_end().await
    };
    let partial = async {
        let mut raw = RawConnection::connect(fixture.server.traffic).await;
        raw.write(b"GET /prod HTTP/1.1\r\nHost: loc").await;
        raw.read_to_end().await
    };
    let slow = async {
        let mut raw = RawConnection::connect(fixture.server.traffic).await;
        let request = RawConnection::upgrade_request("/prod", &fixture.token("alice"));
        // One byte per 20 ms: the complete head would take more than ten seconds.
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for byte in request.as_bytes() {
            pace.tick().await;
            if !raw.try_write(&[*byte]).await {
                return Vec::new();
            }
        }
        raw.read_to_end().await
    };
    let responses = tokio::join!(silent, partial, slow);
    for response in [responses.0, responses.1, responses.2] {
        let text = String::from_utf8_lossy(&response);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 408 "), "{text}");
    }
    fixture.finish().await;
}

#[tokio::test]
async fn above_the_connection_limit_a_client_gets_503_and_others_stay() {
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_MAX_CONNECTIONS", 3);
    let fixture = HostileFixture::with_server(launch.start().await).await;
    let alice = fixture.user("alice").await;
    let bob = fixture.user("bob").await;
    assert_eq!(dial(&fixture.server, &TokenClaims::user("carol")).expect_rejection().await.status, 503);
    alice.close().await;
    // The permit is released shortly after the close frame.
    tests::eventually!("a connection permit to be free", {
        let mut raw = RawConnection::connect(fixture.server.traffic).await;
        raw.try_write(RawConnection::upgrade_request("/prod", &fixture.token("carol")).as_bytes()).await;
        raw.read_head().await.starts_with("HTTP/1.1 101 ").then_some(())
    });
    bob.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_returns_504() {
    // The process never requests an event, like a function that hangs at its start.
    let server = TwinwayServer::launch()
        .with_env("TWINWAY_FUNCTIONS_CONNECT", "sleep 600")
        .with_env("TWINWAY_FUNCTIONS_MESSAGE", "sleep 600")
        .with_env("TWINWAY_HANDSHAKE_TIMEOUT", "300ms");
    let mut server = server.in_memory().start().await;
    let rejection = Client::dial(&server.socket_url(), "alice").expect_rejection().await;
    assert_eq!(rejection.status, 504);
    server.stop().await;
}
