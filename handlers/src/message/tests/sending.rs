//! Tests of `send`: permissions, acknowledgements and receivers.

use serde_json::{Value, json};

use crate::app::test_app::{NOW, TestApp};
use crate::identity::Role;

#[tokio::test]
async fn a_users_message_reaches_its_own_connections_and_all_admins() {
    let fixture = TestApp::new();
    let phone = fixture.connect("a1", "alice", Role::User).await;
    let laptop = fixture.connect("a2", "alice", Role::User).await;
    let bob = fixture.connect("b1", "bob", Role::User).await;
    let admin = fixture.connect("c1", "carol", Role::Admin).await;
    let ack = fixture.send_text(&phone, r#"{"action":"send","id":"m1","body":{"text" : "hi"}}"#).await;
    let now = NOW.0;
    let position = r#""channel":"conversation:alice","epoch":"e1","offset":1"#;
    assert_eq!(ack, format!(r#"{{"type":"ack","id":"m1",{position},"sentAt":{now}}}"#));
    let from = r#""from":{"user":"alice","role":"user"}"#;
    let message =
        format!(r#"{{"type":"message",{position},"id":"m1",{from},"sentAt":{now},"body":{{"text" : "hi"}}}}"#);
    for client in [&phone, &laptop, &admin] {
        assert_eq!(fixture.delivery.take_frames(&client.id), [message.as_str()], "{}", client.id);
    }
    assert_eq!(fixture.received_frames(&bob), [json!(null); 0]);
}

#[tokio::test]
async fn a_repeat_gets_the_same_ack_byte_for_byte_and_writes_nothing() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let frame = r#"{"action":"send","id":"m1","body":"first"}"#;
    let ack = fixture.send_text(&alice, frame).await;
    fixture.clock.advance(std::time::Duration::from_secs(5));
    assert_eq!(fixture.send_text(&alice, frame).await, ack);
    assert_eq!(fixture.send_text(&alice, r#"{"action":"send","id":"m1","body":"other"}"#).await, ack);
    assert_eq!(fixture.received_frames(&alice).len(), 1);
    let history = fixture.send_frame(&alice, json!({ "action": "history", "channel": "conversation:alice" })).await;
    assert_eq!(history["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_repeat_delivers_an_undelivered_message_with_the_logged_body() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    *fixture.faults.delivery_unavailable.lock() = true;
    let ack = fixture.send_frame(&alice, json!({ "action": "send", "id": "m1", "body": "first" })).await;
    assert_eq!(ack["offset"], 1, "a durable message is acknowledged although delivery failed");
    assert_eq!(fixture.received_frames(&alice), [json!(null); 0]);
    *fixture.faults.delivery_unavailable.lock() = false;
    fixture.send_frame(&alice, json!({ "action": "send", "id": "m1", "body": "other" })).await;
    let inbox = fixture.received_frames(&alice);
    assert_eq!((inbox.len(), &inbox[0]["offset"], &inbox[0]["body"]), (1, &json!(1), &json!("first")));
}

#[tokio::test]
async fn the_server_generates_missing_ids() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let first = fixture.send_frame(&alice, json!({ "action": "send", "body": 1 })).await;
    let second = fixture.send_frame(&alice, json!({ "action": "send", "body": 1 })).await;
    assert_ne!(first["id"], second["id"]);
    assert_eq!((&first["offset"], &second["offset"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn ephemeral_messages_skip_the_log() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let admin = fixture.connect("c1", "carol", Role::Admin).await;
    let frame = r#"{"action":"send","ephemeral":true,"body":{"typing":true}}"#;
    assert_eq!(fixture.send_text(&alice, frame).await, r#"{"type":"ack","channel":"conversation:alice"}"#);
    let expected = json!({
        "type": "message", "channel": "conversation:alice", "from": { "user": "alice", "role": "user" },
        "sentAt": NOW.0, "body": { "typing": true }
    });
    assert_eq!(fixture.received_frames(&admin), [expected]);
    let history = fixture.send_frame(&alice, json!({ "action": "history", "channel": "conversation:alice" })).await;
    assert_eq!(history["head"], 0);
}

async fn send_error_code(fixture: &TestApp, client: &crate::app::test_app::ConnectedClient, to: Option<&str>) -> Value {
    let answer = fixture.send_frame(client, json!({ "action": "send", "to": to, "body": 1 })).await;
    answer.get("code").cloned().unwrap_or(Value::Null)
}

#[tokio::test]
async fn users_write_to_their_conversation_and_joined_rooms_only() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    for to in ["conversation:bob", "topic:prices", "everyone"] {
        assert_eq!(send_error_code(&fixture, &alice, Some(to)).await, "forbidden", "{to}");
    }
    assert_eq!(send_error_code(&fixture, &alice, Some("room:lobby")).await, "not_joined");
    fixture.send_frame(&alice, json!({ "action": "join", "channel": "room:lobby" })).await;
    for to in [Some("room:lobby"), Some("conversation:alice"), None] {
        assert_eq!(send_error_code(&fixture, &alice, to).await, Value::Null, "{to:?}");
    }
}

#[tokio::test]
async fn admins_and_services_write_to_every_channel_and_must_name_it() {
    let fixture = TestApp::new();
    for (id, role) in [("c1", Role::Admin), ("s1", Role::Service)] {
        let writer = fixture.connect(id, "carol", role).await;
        for to in ["conversation:bob", "room:lobby", "topic:prices", "everyone"] {
            assert_eq!(send_error_code(&fixture, &writer, Some(to)).await, Value::Null, "{to}");
        }
        assert_eq!(send_error_code(&fixture, &writer, None).await, "missing_field");
    }
}

#[tokio::test]
async fn a_send_to_a_conversation_reads_no_store() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    fixture.app.connections.delete_connection(&alice.id).await.unwrap();
    assert_eq!(send_error_code(&fixture, &alice, None).await, Value::Null, "the identity comes from the event");
    assert_eq!(send_error_code(&fixture, &alice, Some("room:lobby")).await, "gone", "only rooms need the record");
}

#[tokio::test]
async fn a_full_log_is_reported_and_nothing_is_delivered() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    *fixture.faults.log_full.lock() = true;
    assert_eq!(send_error_code(&fixture, &alice, None).await, "log_full");
    assert_eq!(fixture.received_frames(&alice), [json!(null); 0]);
}
