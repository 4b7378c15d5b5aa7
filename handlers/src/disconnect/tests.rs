//! Tests of `$disconnect`: presence is sent once, for any order of events.

use serde_json::{Value, json};

use crate::app::test_app::TestApp;
use crate::identity::Role;

fn offline(channel: &str) -> Value {
    json!({ "type": "presence", "channel": channel, "user": "alice", "role": "user", "state": "offline" })
}

#[tokio::test]
async fn the_record_is_deleted_and_offline_is_sent_once() {
    let fixture = TestApp::new();
    let admin = fixture.connect("c1", "carol", Role::Admin).await;
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let bob = fixture.connect("b1", "bob", Role::User).await;
    for client in [&alice, &bob] {
        fixture.send_frame(client, json!({ "action": "join", "channel": "room:lobby" })).await;
    }
    fixture.received_frames(&admin);
    fixture.received_frames(&bob);
    for _ in 0..3 {
        fixture.disconnect(&alice).await;
    }
    assert_eq!(fixture.app.connections.find_connection(&alice.id).await.unwrap(), None);
    assert_eq!(fixture.received_frames(&bob), [offline("room:lobby")]);
    assert_eq!(fixture.received_frames(&admin), [offline("conversation:alice")]);
}

#[tokio::test]
async fn a_user_with_another_open_connection_is_not_offline() {
    let fixture = TestApp::new();
    let admin = fixture.connect("c1", "carol", Role::Admin).await;
    let phone = fixture.connect("a1", "alice", Role::User).await;
    let laptop = fixture.connect("a2", "alice", Role::User).await;
    let bob = fixture.connect("b1", "bob", Role::User).await;
    for client in [&phone, &bob] {
        fixture.send_frame(client, json!({ "action": "join", "channel": "room:lobby" })).await;
    }
    fixture.received_frames(&admin);
    fixture.received_frames(&bob);
    fixture.disconnect(&phone).await;
    assert_eq!(fixture.received_frames(&bob), [offline("room:lobby")], "the laptop has not joined the lobby");
    assert_eq!(fixture.received_frames(&admin), [json!(null); 0], "the user is still online");
    fixture.disconnect(&laptop).await;
    assert_eq!(fixture.received_frames(&admin), [offline("conversation:alice")]);
}

#[tokio::test]
async fn a_connection_without_a_record_sends_no_presence() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    fixture.app.connections.delete_connection(&alice.id).await.unwrap();
    let admin = fixture.connect("c1", "carol", Role::Admin).await;
    fixture.disconnect(&alice).await;
    assert_eq!(fixture.received_frames(&admin), [json!(null); 0]);
}
