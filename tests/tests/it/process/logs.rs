//! What is written: lines for machines, and never a token, a body, or a client's address.

use serde_json::{Value, json};
use tests::client::Client;
use tests::server::{SECRET, Server};
use tests::world::{Grant, PRIVATE, assert_private, sign};

use super::dial;

#[tokio::test]
async fn logs_are_json_lines_without_anything_private() {
    let mut server = Server::launch().start().await;
    let grant = Grant::user("alice");
    let token = sign(SECRET, &grant);
    let mut alice = dial(&server, &grant).arrive().await;
    alice.say("conversation:alice", PRIVATE).await;
    alice.send_text(&format!("{{\"action\":\"{PRIVATE}\"}}")).await;
    alice.send_text(&format!("{{\"{PRIVATE}")).await;
    alice.refused(json!({"action": "send", "to": "everyone", "body": PRIVATE})).await;
    let by_query = Client::dial(&format!("{}?token={token}", server.socket_url()), "alice").arrive().await;
    let stranger = sign("the-secret-of-somebody-else-32-by", &grant);
    let refusal = Client::dial(&server.socket_url(), "alice").bearing(&stranger).refused().await;
    assert_eq!(refusal.status, 401);
    let backend = server.http().bearing(sign(SECRET, &Grant::service("billing")));
    let push = json!({"audience": {"user": "alice"}, "body": PRIVATE});
    backend.post("/v1/messages", &push).await.ok();
    server.http().bearing(stranger).get("/v1/status").await.problem(401);

    let ports = [alice.port(), by_query.port()].map(|port| format!("127.0.0.1:{port}"));
    by_query.close().await;
    alice.vanish();
    server.until_metric("twinway_session_open", 0.0).await;
    let exit = server.stop().await;
    assert_private(&exit.stderr);
    for port in &ports {
        assert!(!exit.stderr.contains(port), "{port} stands in the log:\n{}", exit.stderr);
    }
    for line in exit.stderr.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}"));
        assert!(["timestamp", "level", "message", "target"].iter().all(|field| entry[field].is_string()), "{line}");
    }
    assert!(exit.stderr.contains("connection refused"), "a refused token leaves a trace without the token");
}
