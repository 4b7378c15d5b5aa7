//! `send`: who may write where, what is acknowledged, who receives it.

use serde_json::{Value, json};

use crate::app::test_app::{NOW, TestApp};
use crate::identity::Role;

#[tokio::test]
async fn a_users_message_reaches_its_other_devices_and_all_admins() {
    let world = TestApp::new();
    let phone = world.connect("a1", "alice", Role::User).await;
    let laptop = world.connect("a2", "alice", Role::User).await;
    let bob = world.connect("b1", "bob", Role::User).await;
    let admin = world.connect("c1", "carol", Role::Admin).await;
    let ack = world.send_text(&phone, r#"{"action":"send","id":"m1","body":{"text" : "hi"}}"#).await;
    let now = NOW.0;
    let place = r#""channel":"conversation:alice","epoch":"e1","offset":1"#;
    assert_eq!(ack, format!(r#"{{"type":"ack","id":"m1",{place},"sentAt":{now}}}"#));
    let from = r#""from":{"user":"alice","role":"user"}"#;
    let message = format!(r#"{{"type":"message",{place},"id":"m1",{from},"sentAt":{now},"body":{{"text" : "hi"}}}}"#);
    for client in [&phone, &laptop, &admin] {
        assert_eq!(world.delivery.take_frames(&client.id), [message.as_str()], "{}", client.id);
    }
    assert_eq!(world.received_frames(&bob), [json!(null); 0]);
}

#[tokio::test]
async fn a_repeat_gets_the_same_ack_to_the_byte_and_is_no_second_message() {
    let world = TestApp::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    let frame = r#"{"action":"send","id":"m1","body":"first"}"#;
    let ack = world.send_text(&alice, frame).await;
    world.clock.advance(std::time::Duration::from_secs(5));
    assert_eq!(world.send_text(&alice, frame).await, ack);
    assert_eq!(world.send_text(&alice, r#"{"action":"send","id":"m1","body":"other"}"#).await, ack);
    assert_eq!(world.received_frames(&alice).len(), 1);
    let history = world.send_frame(&alice, json!({ "action": "history", "channel": "conversation:alice" })).await;
    assert_eq!(history["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_repeat_delivers_what_the_first_attempt_did_not_and_with_the_logged_body() {
    let world = TestApp::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    *world.faults.delivery_unavailable.lock() = true;
    let ack = world.send_frame(&alice, json!({ "action": "send", "id": "m1", "body": "first" })).await;
    assert_eq!(ack["offset"], 1, "durable, so acknowledged although nobody could be reached");
    assert_eq!(world.received_frames(&alice), [json!(null); 0]);
    *world.faults.delivery_unavailable.lock() = false;
    world.send_frame(&alice, json!({ "action": "send", "id": "m1", "body": "other" })).await;
    let inbox = world.received_frames(&alice);
    assert_eq!((inbox.len(), &inbox[0]["offset"], &inbox[0]["body"]), (1, &json!(1), &json!("first")));
}

#[tokio::test]
async fn without_an_id_the_server_makes_one() {
    let world = TestApp::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    let first = world.send_frame(&alice, json!({ "action": "send", "body": 1 })).await;
    let second = world.send_frame(&alice, json!({ "action": "send", "body": 1 })).await;
    assert_ne!(first["id"], second["id"]);
    assert_eq!((&first["offset"], &second["offset"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn ephemeral_messages_skip_the_log() {
    let world = TestApp::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    let admin = world.connect("c1", "carol", Role::Admin).await;
    let frame = r#"{"action":"send","ephemeral":true,"body":{"typing":true}}"#;
    assert_eq!(world.send_text(&alice, frame).await, r#"{"type":"ack","channel":"conversation:alice"}"#);
    let expected = json!({
        "type": "message", "channel": "conversation:alice", "from": { "user": "alice", "role": "user" },
        "sentAt": NOW.0, "body": { "typing": true }
    });
    assert_eq!(world.received_frames(&admin), [expected]);
    let history = world.send_frame(&alice, json!({ "action": "history", "channel": "conversation:alice" })).await;
    assert_eq!(history["head"], 0);
}

async fn code(world: &TestApp, client: &crate::app::test_app::ConnectedClient, to: Option<&str>) -> Value {
    let answer = world.send_frame(client, json!({ "action": "send", "to": to, "body": 1 })).await;
    answer.get("code").cloned().unwrap_or(Value::Null)
}

#[tokio::test]
async fn users_write_to_their_conversation_and_joined_rooms_only() {
    let world = TestApp::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    for to in ["conversation:bob", "topic:prices", "everyone"] {
        assert_eq!(code(&world, &alice, Some(to)).await, "forbidden", "{to}");
    }
    assert_eq!(code(&world, &alice, Some("room:lobby")).await, "not_joined");
    world.send_frame(&alice, json!({ "action": "join", "channel": "room:lobby" })).await;
    for to in [Some("room:lobby"), Some("conversation:alice"), None] {
        assert_eq!(code(&world, &alice, to).await, Value::Null, "{to:?}");
    }
}

#[tokio::test]
async fn admins_and_services_write_everywhere_but_say_where() {
    let world = TestApp::new();
    for (id, role) in [("c1", Role::Admin), ("s1", Role::Service)] {
        let writer = world.connect(id, "carol", role).await;
        for to in ["conversation:bob", "room:lobby", "topic:prices", "everyone"] {
            assert_eq!(code(&world, &writer, Some(to)).await, Value::Null, "{to}");
        }
        assert_eq!(code(&world, &writer, None).await, "missing_field");
    }
}

#[tokio::test]
async fn a_send_to_a_conversation_reads_no_store() {
    let world = TestApp::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    world.app.connections.delete_connection(&alice.id).await.unwrap();
    assert_eq!(code(&world, &alice, None).await, Value::Null, "the identity comes with the event");
    assert_eq!(code(&world, &alice, Some("room:lobby")).await, "gone", "only rooms need the record");
}

#[tokio::test]
async fn a_full_log_is_told_and_nothing_is_delivered() {
    let world = TestApp::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    *world.faults.log_full.lock() = true;
    assert_eq!(code(&world, &alice, None).await, "log_full");
    assert_eq!(world.received_frames(&alice), [json!(null); 0]);
}
