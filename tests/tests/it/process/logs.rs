//! Log output: JSON lines, never with a token, a body, or a client's address.

use serde_json::{Value, json};
use tests::client::Client;
use tests::server::{SECRET, TwinwayServer};
use tests::world::{PRIVATE_MARKER, TokenClaims, assert_private, sign_token};

use super::dial;

#[tokio::test]
async fn logs_are_json_lines_without_anything_private() {
    let mut server = TwinwayServer::launch().start().await;
    let claims = TokenClaims::user("alice");
    let token = sign_token(SECRET, &claims);
    let mut alice = dial(&server, &claims).open_and_confirm().await;
    alice.send_to_channel("conversation:alice", PRIVATE_MARKER).await;
    alice.send_text(&format!("{{\"action\":\"{PRIVATE_MARKER}\"}}")).await;
    alice.send_text(&format!("{{\"{PRIVATE_MARKER}")).await;
    alice.expect_error(json!({"action": "send", "to": "everyone", "body": PRIVATE_MARKER})).await;
    let by_query = Client::dial(&format!("{}?token={token}", server.socket_url()), "alice").open_and_confirm().await;
    let foreign_token = sign_token("the-secret-of-another-server-32-by", &claims);
    let rejection = Client::dial(&server.socket_url(), "alice").with_token(&foreign_token).expect_rejection().await;
    assert_eq!(rejection.status, 401);
    let backend = server.http().with_token(sign_token(SECRET, &TokenClaims::service("billing")));
    let push = json!({"audience": {"user": "alice"}, "body": PRIVATE_MARKER});
    backend.post("/v1/messages", &push).await.expect_ok();
    server.http().with_token(foreign_token).get("/v1/status").await.expect_problem(401);

    let ports = [alice.port(), by_query.port()].map(|port| format!("127.0.0.1:{port}"));
    by_query.close().await;
    alice.drop_abruptly();
    server.wait_for_metric("twinway_session_open_connections", 0.0).await;
    let exit = server.stop().await;
    assert_private(&exit.stderr);
    for port in &ports {
        assert!(!exit.stderr.contains(port), "the log contains {port}:\n{}", exit.stderr);
    }
    for line in exit.stderr.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"));
        assert!(["timestamp", "level", "message", "target"].iter().all(|field| entry[field].is_string()), "{line}");
    }
    assert!(exit.stderr.contains("handshake rejected"), "a rejected token is logged without the token");
}
