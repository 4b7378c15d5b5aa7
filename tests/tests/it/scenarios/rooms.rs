//! Rooms, topics, and presence.

use serde_json::{Value, json};
use tests::client::type_of;
use tests::eventually;
use tests::world::{TokenClaims, World, WorldClients};

pub async fn members_join_send_and_leave(world: &mut impl World) {
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
    alice.send_to_channel("room:lobby", "hello again").await;
    let unseen = bob.drain_inbox().await;
    assert!(unseen.iter().all(|frame| type_of(frame) != "message"), "a message arrived after leaving: {unseen:?}");
    assert_eq!(bob.expect_error(send).await, "not_joined");
    assert_eq!(bob.expect_error(json!({"action": "history", "channel": "room:lobby"})).await, "not_joined");

    // A client that rejoins names its last position.
    let join = json!({"action": "join", "channel": "room:lobby", "since": {"offset": 1}});
    assert_eq!(bob.request(join).await["channels"]["room:lobby"]["count"], 1);
    assert_eq!(bob.bodies("room:lobby", 1).await, ["hello again"]);
    alice.close().await;
    bob.close().await;
}

pub async fn members_receive_the_presence_of_other_members(world: &mut impl World) {
    let mut alice = world.user("alice").await;
    alice.join_channels("join", &["room:lobby"]).await;
    let mut phone = world.user("bob").await;
    phone.join_channels("join", &["room:lobby"]).await;
    let about_bob = |frame: &Value| type_of(frame) == "presence" && frame["user"] == "bob";
    let online = alice.next_where("bob's online presence", about_bob).await;
    assert_eq!((&online["channel"], &online["state"]), (&json!("room:lobby"), &json!("online")));

    // A second device of the same user causes no presence frame, nor does the end of one of them.
    let mut laptop = world.user("bob").await;
    laptop.join_channels("join", &["room:lobby"]).await;
    phone.drop_abruptly();
    let connections = |reply: &Value| reply["channels"]["room:lobby"]["connections"].clone();
    eventually!("the server to detect the loss of the phone", {
        let reply = alice.request(json!({"action": "presence", "channel": "room:lobby"})).await;
        (connections(&reply) == 2).then_some(())
    });
    assert!(!alice.drain_inbox().await.iter().any(about_bob), "a presence frame for a user who never left");
    laptop.drop_abruptly();
    assert_eq!(alice.next_where("bob's offline presence", about_bob).await["state"], "offline");
    let reply = alice.request(json!({"action": "presence"})).await;
    assert_eq!(connections(&reply), 1);
    assert_eq!(reply["channels"]["everyone"]["connections"], 1);
}

pub async fn admins_receive_the_presence_of_users(world: &mut impl World) {
    let mut admin = world.admin("root").await;
    let alice = world.user("alice").await;
    let online = admin.next_of_type("presence").await;
    let fields = ["channel", "user", "state"].map(|field| online[field].clone());
    assert_eq!(fields, ["conversation:alice", "alice", "online"]);
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
    assert_eq!(bob.drain_inbox().await, [json!(null); 0], "a message reached a client without a subscription");
    // Pushed messages can be read without a subscription.
    let history = bob.request(json!({"action": "history", "channel": "topic:prices"})).await;
    assert_eq!(history["head"], 2);

    alice.leave_channels("unsubscribe", &["topic:prices"]).await;
    admin.send_to_channel("topic:prices", 102).await;
    admin.send_to_channel("topic:news", "still here").await;
    assert_eq!(alice.bodies("topic:news", 1).await, ["still here"]);
    assert_eq!(alice.drain_inbox().await, [json!(null); 0], "a message arrived after unsubscribing");
    assert_eq!(alice.expect_error(json!({"action": "join", "channel": "topic:prices"})).await, "bad_field");
    assert_eq!(alice.expect_error(json!({"action": "subscribe", "channel": "room:lobby"})).await, "bad_field");
    for client in [alice, bob, admin] {
        client.close().await;
    }
}

pub async fn tokens_grant_rooms_and_topics(world: &mut impl World) {
    let mut admin = world.admin("root").await;
    let mut bob = world.user("bob").await;
    bob.join_channels("join", &["room:board", "room:team-a"]).await;
    bob.send_to_channel("room:board", "confidential").await;
    admin.send_to_channel("topic:internal", 1).await;
    let claims = TokenClaims::user("alice").with_channels(&["room:team-*", "topic:news"]);
    let mut alice = world.dial(&claims).open_and_confirm().await;
    for frame in [
        json!({"action": "join", "channel": "room:board", "since": {"offset": 0}}),
        json!({"action": "resume", "channels": {"room:team-a": null, "room:board": {"offset": 0}}}),
        json!({"action": "subscribe", "channels": ["topic:news", "topic:internal"]}),
        json!({"action": "history", "channel": "topic:internal"}),
        json!({"action": "presence", "channel": "topic:internal"}),
    ] {
        assert_eq!(alice.expect_error(frame.clone()).await, "forbidden", "{frame}");
    }
    alice.join_channels("join", &["room:team-a"]).await;
    alice.join_channels("subscribe", &["topic:news"]).await;
    bob.send_to_channel("room:board", "still confidential").await;
    bob.send_to_channel("room:team-a", "for the team").await;
    assert_eq!(alice.bodies("room:team-a", 1).await, ["for the team"]);
    let unseen = alice.drain_inbox().await;
    assert!(unseen.iter().all(|frame| frame["channel"] != "room:board"), "{unseen:?}");

    // Names are listed in rooms only, unless the caller is an admin.
    let presence = json!({"action": "presence", "channels": ["room:team-a", "everyone"]});
    let listed = |reply: &Value, name: &str| reply["channels"][name]["members"].as_array().unwrap().len();
    let reply = alice.request(presence.clone()).await;
    assert_eq!((listed(&reply, "room:team-a"), listed(&reply, "everyone")), (2, 0));
    assert_eq!(reply["channels"]["everyone"]["users"], 3);
    let reply = admin.request(presence).await;
    assert_eq!((listed(&reply, "room:team-a"), listed(&reply, "everyone")), (2, 3));

    let wrong = TokenClaims::user("carol").with_channels(&["everything"]);
    assert_eq!(world.dial(&wrong).expect_rejection().await.status, 401, "a list that cannot be read grants nothing");
    for client in [alice, bob, admin] {
        client.close().await;
    }
}
