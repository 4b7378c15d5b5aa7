//! The end of a connection: once, with presence, whatever order events come in.

use serde_json::{Value, json};

use crate::app::world::World;
use crate::identity::Role;

fn offline(channel: &str) -> Value {
    json!({ "type": "presence", "channel": channel, "user": "alice", "role": "user", "state": "offline" })
}

#[tokio::test]
async fn the_record_goes_and_the_end_is_told_once() {
    let world = World::new();
    let admin = world.connect("c1", "carol", Role::Admin).await;
    let alice = world.connect("a1", "alice", Role::User).await;
    let bob = world.connect("b1", "bob", Role::User).await;
    for client in [&alice, &bob] {
        world.say(client, json!({ "action": "join", "channel": "room:lobby" })).await;
    }
    world.inbox(&admin);
    world.inbox(&bob);
    for _ in 0..3 {
        world.disconnect(&alice).await;
    }
    assert_eq!(world.app.connections.find(&alice.id).await.unwrap(), None);
    assert_eq!(world.inbox(&bob), [offline("room:lobby")]);
    assert_eq!(world.inbox(&admin), [offline("conversation:alice")]);
}

#[tokio::test]
async fn a_user_who_is_still_there_with_another_device_is_not_offline() {
    let world = World::new();
    let admin = world.connect("c1", "carol", Role::Admin).await;
    let phone = world.connect("a1", "alice", Role::User).await;
    let laptop = world.connect("a2", "alice", Role::User).await;
    let bob = world.connect("b1", "bob", Role::User).await;
    for client in [&phone, &bob] {
        world.say(client, json!({ "action": "join", "channel": "room:lobby" })).await;
    }
    world.inbox(&admin);
    world.inbox(&bob);
    world.disconnect(&phone).await;
    assert_eq!(world.inbox(&bob), [offline("room:lobby")], "the laptop is not in the lobby");
    assert_eq!(world.inbox(&admin), [json!(null); 0], "but it is there");
    world.disconnect(&laptop).await;
    assert_eq!(world.inbox(&admin), [offline("conversation:alice")]);
}

#[tokio::test]
async fn a_connection_that_was_never_recorded_ends_quietly() {
    let world = World::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    world.app.connections.remove(&alice.id).await.unwrap();
    let admin = world.connect("c1", "carol", Role::Admin).await;
    world.disconnect(&alice).await;
    assert_eq!(world.inbox(&admin), [json!(null); 0]);
}
