//! Invalid messages: text frames that are not valid requests get an `error` frame each, and the connection stays
//! open.

use serde_json::{Value, json};
use tests::client::type_of;

use super::HostileFixture;

#[tokio::test]
async fn an_invalid_message_gets_its_error_code_and_a_hint() {
    let fixture = HostileFixture::start().await;
    let mut alice = fixture.user("alice").await;
    let long = "x".repeat(65);
    let rooms: Vec<_> = (0..65).map(|number| format!("room:{number}")).collect();
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let cases: [(&str, Value, &str); 21] = [
        ("missing_field", json!({"id": "c"}), "action"),
        ("unknown_action", json!({"action": "shout", "id": "c"}), "send, join"),
        ("unknown_action", json!({"action": 7, "id": "c"}), "action"),
        ("unknown_action", json!({"action": "SEND", "id": "c", "body": 1}), "action"),
        ("missing_field", json!({"action": "send", "id": "c"}), "body"),
        ("missing_field", json!({"action": "join", "id": "c"}), "channels"),
        ("missing_field", json!({"action": "history", "id": "c"}), "channel"),
        ("bad_field", json!({"action": "send", "id": "c", "body": 1, "to": 5}), "'to'"),
        ("bad_field", json!({"action": "send", "id": "c", "body": 1, "to": "lobby"}), "room:"),
        ("bad_field", json!({"action": "send", "id": "c", "body": 1, "to": "room:a b"}), "letters"),
        ("bad_field", json!({"action": "send", "id": "c", "body": 1, "ephemeral": "yes"}), "true or false"),
        ("bad_field", json!({"action": "join", "id": "c", "channels": "room:lobby"}), "list"),
        ("bad_field", json!({"action": "join", "id": "c", "channels": [1]}), "list"),
        ("bad_field", json!({"action": "join", "id": "c", "channel": "room:a", "since": 3}), "'since'"),
        ("bad_field", json!({"action": "history", "id": "c", "channel": "everyone", "limit": 0}), "1 to 100"),
        ("bad_field", json!({"action": "history", "id": "c", "channel": "everyone", "before": -1}), "whole number"),
        ("too_many", json!({"action": "join", "id": "c", "channels": rooms}), "64"),
        ("too_large", json!({"action": "send", "id": "c", "body": "x".repeat(28 * 1024)}), "28672"),
        ("bad_field", json!({"action": "ping", "id": long}), "64"),
        ("bad_field", json!({"action": "ping", "id": 5}), "'id'"),
        ("bad_field", json!({"action": "ping", "id": ""}), "'id'"),
    ];
    for (code, frame, hint) in cases {
        alice.send(&frame).await;
        let reply = alice.next_where("a reply", |reply| type_of(reply) != "presence").await;
        let error = (type_of(&reply), reply["code"].as_str().unwrap_or_default());
        assert_eq!(error, ("error", code), "{frame} got the reply {reply}");
        assert!(reply["message"].as_str().unwrap().contains(hint), "{reply} does not contain {hint:?}");
        let id = if frame["id"] == "c" { json!("c") } else { Value::Null };
        assert_eq!(reply["id"], id, "{reply}");
    }
    for text in ["", "{", "hello", "null", "[]", "42", "{} {}", r#"{"action":"ping","action":"ping"}"#, &deep] {
        alice.send_text(text).await;
        assert_eq!(alice.next_of_type("error").await["code"], "bad_json", "{text:?}");
    }
    alice.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn a_connection_has_a_limit_of_rooms() {
    let fixture = HostileFixture::start().await;
    let mut alice = fixture.user("alice").await;
    for batch in 0..4 {
        let rooms: Vec<_> = (0..64).map(|number| format!("room:{batch}-{number}")).collect();
        let rooms: Vec<_> = rooms.iter().map(String::as_str).collect();
        alice.join_channels("join", &rooms).await;
    }
    assert_eq!(alice.expect_error(json!({"action": "join", "channel": "room:one-more"})).await, "too_many");
    alice.leave_channels("leave", &["room:0-0"]).await;
    alice.join_channels("join", &["room:one-more"]).await;
    fixture.finish().await;
}
