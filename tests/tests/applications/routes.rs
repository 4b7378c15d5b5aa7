//! Selection of routes and functions.

use serde_json::json;
use tests::conformance::client::HandshakeBuilder;

use super::{Fixture, ask_function, connect};

const CHAT: &str = r#"
name = "chat"
[api]
stage = "live"
[routes]
"$connect" = "presence"
"$disconnect" = "presence"
"$default" = { function = "fallback", two_way = true }
send = { function = "send", two_way = true }
order = { function = "order", two_way = true }
quiet = "send"
[functions.send.environment]
TEAM = "red"
[functions.order.environment]
TEAM = "blue"
"#;

fn chat() -> Fixture {
    Fixture::new(CHAT, &["presence", "fallback", "send", "order"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_route_selects_its_function_and_the_event_has_its_key() {
    let chat = chat();
    let mut server = chat.launch().start().await;
    let mut client = connect(&server, HandshakeBuilder::new()).await;
    for (text, function, key, team) in [
        (r#"{"action":"send"}"#, "send", "send", json!("red")),
        (r#"{"action":"order"}"#, "order", "order", json!("blue")),
        (r#"{"action":"other"}"#, "fallback", "$default", json!(null)),
        ("not JSON", "fallback", "$default", json!(null)),
    ] {
        let reply = ask_function(&mut client, text).await;
        assert_eq!((&reply["function"], &reply["routeKey"]), (&json!(function), &json!(key)), "{text}");
        assert_eq!((&reply["team"], &reply["name"]), (&team, &json!(format!("chat-{function}"))), "{text}");
    }
    client.close(None).await.unwrap();
    let connected =
        chat.wait_event("presence", "ended", |event| event["requestContext"]["eventType"] == "CONNECT").await;
    assert_eq!(connected["requestContext"]["stage"], "prod", "TWINWAY_STAGE overrides the template");
    chat.wait_event("presence", "ended", |event| event["requestContext"]["routeKey"] == "$disconnect").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_without_a_response_is_one_way() {
    let chat = chat();
    let mut server = chat.launch().start().await;
    let mut client = connect(&server, HandshakeBuilder::new()).await;
    client.send_text(r#"{"action":"quiet"}"#).await.unwrap();
    chat.wait_event("send", "ended", |event| event["requestContext"]["routeKey"] == "quiet").await;
    assert_eq!(ask_function(&mut client, r#"{"action":"order"}"#).await["routeKey"], "order");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_connection_are_handled_concurrently_unless_ordered() {
    let chat = chat();
    for (ordering, first) in [("", "order"), ("connection", "send")] {
        let mut server = chat.launch().with_env("TWINWAY_ORDERING", ordering).start().await;
        let mut client = connect(&server, HandshakeBuilder::new()).await;
        // Both functions have a process, so that the order does not depend on the starts of processes.
        ask_function(&mut client, r#"{"action":"send"}"#).await;
        ask_function(&mut client, r#"{"action":"order"}"#).await;
        client.send_text(r#"{"action":"send","sleep":0.5}"#).await.unwrap();
        assert_eq!(ask_function(&mut client, r#"{"action":"order"}"#).await["routeKey"], first, "{ordering:?}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selection_expression_of_several_parts_selects_a_route() {
    let text = r#"
[api]
selection = "${request.body.service}/${request.body.verb}"
[routes]
"rooms/join" = { function = "rooms", two_way = true }
"#;
    let fixture = Fixture::new(text, &["rooms"]);
    let mut server = fixture.launch().start().await;
    let mut client = connect(&server, HandshakeBuilder::new()).await;
    let joined = ask_function(&mut client, r#"{"service":"rooms","verb":"join"}"#).await;
    assert_eq!(joined["routeKey"], "rooms/join");
    assert!(super::ask(&mut client, r#"{"service":"rooms"}"#).await.starts_with(r#"{"message": "Forbidden""#));
    server.stop().await;
}
