//! Rooms, topics, and who is in them.

use serde_json::{Value, json};
use tests::client::type_of;
use tests::eventually;
use tests::world::{World, WorldClients};

pub async fn a_room_is_joined_spoken_in_and_left(world: &mut impl World) {
    let mut alice = world.user("alice").await;
    let mut bob = world.user("bob").await;
    let send = json!({"action": "send", "to": "room:lobby", "body": "too early"});
    assert_eq!(bob.expect_error(send.clone()).await, "not_joined");
    alice.join_channels("join", &["room:lobby"]).await;
    let members = bob.join_channels("join", &["room:lobby"]).await;
    let lobby = &members["channels"]["room:lobby"];
    assert_eq!((&lobby["connections"], &lobby["users"]), (&json!(2), &json!(2)));
    let names: Vec<_> = lobby["members"].as_array().unwrap().iter().map(|member| member["user"].clone()).collect();
    assert_eq!(names, ["alice", "bob"]);

    alice.send_to_channel("room:lobby", "hello").await;
    assert_eq!(bob.bodies("room:lobby", 1).await, ["hello"]);
    bob.leave_channels("leave", &["room:lobby"]).await;
    alice.send_to_channel("room:lobby", "anybody?").await;
    let unseen = bob.drain_inbox().await;
    assert!(unseen.iter().all(|frame| type_of(frame) != "message"), "a message came after leaving: {unseen:?}");
    assert_eq!(bob.expect_error(send).await, "not_joined");
    assert_eq!(bob.expect_error(json!({"action": "history", "channel": "room:lobby"})).await, "not_joined");

    // Who comes back names what it saw last.
    let join = json!({"action": "join", "channel": "room:lobby", "since": {"offset": 1}});
    assert_eq!(bob.request(join).await["channels"]["room:lobby"]["count"], 1);
    assert_eq!(bob.bodies("room:lobby", 1).await, ["anybody?"]);
    alice.close().await;
    bob.close().await;
}

pub async fn a_room_hears_who_comes_and_goes(world: &mut impl World) {
    let mut alice = world.user("alice").await;
    alice.join_channels("join", &["room:lobby"]).await;
    let mut phone = world.user("bob").await;
    phone.join_channels("join", &["room:lobby"]).await;
    let about_bob = |frame: &Value| type_of(frame) == "presence" && frame["user"] == "bob";
    let came = alice.next_where("bob's coming", about_bob).await;
    assert_eq!((&came["channel"], &came["state"]), (&json!("room:lobby"), &json!("online")));

    // A second device is the same user: nobody comes, and nobody goes while one of them is left.
    let mut laptop = world.user("bob").await;
    laptop.join_channels("join", &["room:lobby"]).await;
    phone.drop_abruptly();
    let connections = |answer: &Value| answer["channels"]["room:lobby"]["connections"].clone();
    eventually!("the server to notice that the phone is gone", {
        let answer = alice.request(json!({"action": "presence", "channel": "room:lobby"})).await;
        (connections(&answer) == 2).then_some(())
    });
    assert!(!alice.drain_inbox().await.iter().any(about_bob), "presence of a user who never left");
    laptop.drop_abruptly();
    assert_eq!(alice.next_where("bob's going", about_bob).await["state"], "offline");
    let answer = alice.request(json!({"action": "presence"})).await;
    assert_eq!(connections(&answer), 1);
    assert_eq!(answer["channels"]["everyone"]["connections"], 1);
}

pub async fn admins_hear_which_users_come_and_go(world: &mut impl World) {
    let mut admin = world.admin("root").await;
    let alice = world.user("alice").await;
    let came = admin.next_of_type("presence").await;
    let told = ["channel", "user", "state"].map(|field| came[field].clone());
    assert_eq!(told, ["conversation:alice", "alice", "online"]);
    alice.close().await;
    assert_eq!(admin.next_of_type("presence").await["state"], "offline");
}

pub async fn topics_are_read_by_subscribers_and_written_by_admins_and_backends(world: &mut impl World) {
    let mut alice = world.user("alice").await;
    let mut bob = world.user("bob").await;
    let mut admin = world.admin("root").await;
    let ack = alice.join_channels("subscribe", &["topic:prices", "topic:news"]).await;
    assert_eq!(ack["channels"]["topic:prices"]["offset"], 0);
    assert_eq!(alice.expect_error(json!({"action": "send", "to": "topic:prices", "body": 1})).await, "forbidden");
    admin.send_to_channel("topic:prices", 100).await;
    let push = json!({"audience": {"channel": "topic:prices"}, "body": 101});
    assert_eq!(world.backend().post("/v1/messages", &push).await.expect_ok()["offset"], 2);
    assert_eq!(alice.bodies("topic:prices", 2).await, [100, 101]);
    assert_eq!(bob.drain_inbox().await, [json!(null); 0], "a message came to one who had not subscribed");
    // What was pushed can be read without subscribing.
    let history = bob.request(json!({"action": "history", "channel": "topic:prices"})).await;
    assert_eq!(history["head"], 2);

    alice.leave_channels("unsubscribe", &["topic:prices"]).await;
    admin.send_to_channel("topic:prices", 102).await;
    admin.send_to_channel("topic:news", "still here").await;
    assert_eq!(alice.bodies("topic:news", 1).await, ["still here"]);
    assert_eq!(alice.drain_inbox().await, [json!(null); 0], "a message came after unsubscribing");
    assert_eq!(alice.expect_error(json!({"action": "join", "channel": "topic:prices"})).await, "bad_field");
    assert_eq!(alice.expect_error(json!({"action": "subscribe", "channel": "room:lobby"})).await, "bad_field");
    for client in [alice, bob, admin] {
        client.close().await;
    }
}
