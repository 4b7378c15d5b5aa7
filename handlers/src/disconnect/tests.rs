//! The end of a connection: once, with presence, whatever order events come in.

use serde_json::{Value, json};

use crate::app::test_app::TestApp;
use crate::identity::Role;

fn offline(channel: &str) -> Value {
    json!({ "type": "presence", "channel": channel, "user": "alice", "role": "user", "state": "offline" })
}

#[tokio::test]
async fn the_record_goes_and_the_end_is_told_once() {
    let world = TestApp::new();
    let admin = world.connect("c1", "carol", Role::Admin).await;
    let alice = world.connect("a1", "alice", Role::User).await;
    let bob = world.connect("b1", "bob", Role::User).await;
    for client in [&alice, &bob] {
        world.send_frame(client, json!({ "action": "join", "channel": "room:lobby" })).await;
    }
    world.received_frames(&admin);
    world.received_frames(&bob);
    for _ in 0..3 {
        world.disconnect(&alice).await;
    }
    assert_eq!(world.app.connections.find_connection(&alice.id).await.unwrap(), None);
    assert_eq!(world.received_frames(&bob), [offline("room:lobby")]);
    assert_eq!(world.received_frames(&admin), [offline("conversation:alice")]);
}

#[tokio::test]
async fn a_user_who_is_still_there_with_another_device_is_not_offline() {
    let world = TestApp::new();
    let admin = world.connect("c1", "carol", Role::Admin).await;
    let phone = world.connect("a1", "alice", Role::User).await;
    let laptop = world.connect("a2", "alice", Role::User).await;
    let bob = world.connect("b1", "bob", Role::User).await;
    for client in [&phone, &bob] {
        world.send_frame(client, json!({ "action": "join", "channel": "room:lobby" })).await;
    }
    world.received_frames(&admin);
    world.received_frames(&bob);
    world.disconnect(&phone).await;
    assert_eq!(world.received_frames(&bob), [offline("room:lobby")], "the laptop is not in the lobby");
    assert_eq!(world.received_frames(&admin), [json!(null); 0], "but it is there");
    world.disconnect(&laptop).await;
    assert_eq!(world.received_frames(&admin), [offline("conversation:alice")]);
}

#[tokio::test]
async fn a_connection_that_was_never_recorded_ends_quietly() {
    let world = TestApp::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    world.app.connections.delete_connection(&alice.id).await.unwrap();
    let admin = world.connect("c1", "carol", Role::Admin).await;
    world.disconnect(&alice).await;
    assert_eq!(world.received_frames(&admin), [json!(null); 0]);
}
