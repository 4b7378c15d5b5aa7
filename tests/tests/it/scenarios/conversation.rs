//! Conversations between a user and the admins.

use serde_json::{Value, json};
use tests::client::type_of;
use tests::world::{PRIVATE_MARKER, TokenClaims, World, WorldClients};

pub async fn a_user_writes_and_the_admin_receives(world: &mut impl World) {
    let mut admin = world.admin("root").await;
    let mut alice = world.user("alice").await;
    let body = json!({"text": PRIVATE_MARKER, "n": 1});
    let ack = alice.request(json!({"action": "send", "id": "first", "body": body})).await;
    assert_eq!((type_of(&ack), &ack["channel"], &ack["offset"]), ("ack", &json!("conversation:alice"), &json!(1)));

    let received = admin.next_of_type("message").await;
    assert_eq!(received["channel"], "conversation:alice");
    assert_eq!(received["from"], json!({"user": "alice", "role": "user"}));
    assert_eq!((&received["id"], &received["body"]), (&json!("first"), &body));
    for field in ["epoch", "offset", "sentAt"] {
        assert_eq!(received[field], ack[field], "{field} of the message and of its ack");
    }

    let ack = admin.send_to_channel("conversation:alice", "how can I help?").await;
    assert_eq!(ack["offset"], 2);
    assert_eq!(alice.bodies("conversation:alice", 2).await, [body, Value::from("how can I help?")]);
    alice.close().await;
    admin.close().await;
}

pub async fn a_second_device_sees_the_same_conversation(world: &mut impl World) {
    let mut phone = world.user("alice").await;
    let mut laptop = world.user("alice").await;
    let mut admin = world.admin("root").await;
    phone.send_to_channel("conversation:alice", "from the phone").await;
    laptop.send_to_channel("conversation:alice", "from the laptop").await;
    admin.send_to_channel("conversation:alice", "to both").await;
    let expected = ["from the phone", "from the laptop", "to both"].map(Value::from);
    for device in [&mut phone, &mut laptop, &mut admin] {
        assert_eq!(device.bodies("conversation:alice", 3).await, expected);
    }
    // A device that connects later reads the same.
    let mut tablet = world.user("alice").await;
    let history = tablet.request(json!({"action": "history", "channel": "conversation:alice"})).await;
    let bodies: Vec<_> = history["messages"].as_array().unwrap().iter().map(|entry| entry["body"].clone()).collect();
    assert_eq!(bodies, expected);
    for device in [phone, laptop, tablet, admin] {
        device.close().await;
    }
}

pub async fn a_user_without_to_writes_to_its_own_conversation(world: &mut impl World) {
    let mut alice = world.user("alice").await;
    let mut admin = world.admin("root").await;
    let ack = alice.request(json!({"action": "send", "body": 1})).await;
    assert_eq!(ack["channel"], "conversation:alice");
    // The server generates an id for a frame without one, and returns it.
    alice.send(&json!({"action": "send", "body": 2})).await;
    let ack = alice.next_where("an ack", |frame| type_of(frame) == "ack").await;
    assert_eq!(ack["offset"], 2);
    let received = admin.next_where("the second message", |frame| frame["body"] == 2).await;
    assert_eq!(received["id"], ack["id"]);
    assert_eq!(admin.expect_error(json!({"action": "send", "body": 3})).await, "missing_field");
}

pub async fn users_cannot_access_each_others_conversations(world: &mut impl World) {
    let mut alice = world.user("alice").await;
    let mut mallory = world.user("mallory").await;
    alice.send_to_channel("conversation:alice", PRIVATE_MARKER).await;
    assert_eq!(
        mallory.expect_error(json!({"action": "send", "to": "conversation:alice", "body": 1})).await,
        "forbidden"
    );
    assert_eq!(mallory.expect_error(json!({"action": "history", "channel": "conversation:alice"})).await, "forbidden");
    assert_eq!(mallory.expect_error(json!({"action": "presence", "channel": "conversation:alice"})).await, "forbidden");
    let resume = json!({"action": "resume", "channels": {"conversation:alice": {"offset": 0}}});
    assert_eq!(mallory.expect_error(resume).await, "forbidden");
    assert_eq!(mallory.drain_inbox().await, [json!(null); 0], "a frame of another user's conversation was delivered");
}

pub async fn messages_to_everyone_reach_all_and_only_admins_send_them(world: &mut impl World) {
    let mut alice = world.user("alice").await;
    let mut bob = world.user("bob").await;
    let mut admin = world.admin("root").await;
    assert_eq!(alice.expect_error(json!({"action": "send", "to": "everyone", "body": 1})).await, "forbidden");
    admin.send_to_channel("everyone", "maintenance at noon").await;
    for client in [&mut alice, &mut bob, &mut admin] {
        assert_eq!(client.bodies("everyone", 1).await, ["maintenance at noon"]);
    }
}

pub async fn ephemeral_messages_are_delivered_but_not_stored(world: &mut impl World) {
    let mut alice = world.user("alice").await;
    let mut admin = world.admin("root").await;
    let typing = json!({"action": "send", "to": "conversation:alice", "ephemeral": true, "body": {"typing": true}});
    let ack = alice.request(typing).await;
    assert_eq!(type_of(&ack), "ack");
    let received = admin.next_of_type("message").await;
    assert_eq!(received["body"], json!({"typing": true}));
    for frame in [&ack, &received] {
        assert!(frame["offset"].is_null() && frame["epoch"].is_null(), "an ephemeral message has no position: {frame}");
    }
    let history = admin.request(json!({"action": "history", "channel": "conversation:alice"})).await;
    assert_eq!((&history["messages"], &history["head"]), (&json!([]), &json!(0)));
}

pub async fn tenants_are_isolated(world: &mut impl World) {
    let mut acme = world.dial(&TokenClaims::user("alice").in_tenant("acme")).open_and_confirm().await;
    let mut globex = world.dial(&TokenClaims::user("alice").in_tenant("globex")).open_and_confirm().await;
    let mut globex_admin = world.dial(&TokenClaims::admin("root").in_tenant("globex")).open_and_confirm().await;
    for alice in [&mut acme, &mut globex] {
        alice.join_channels("join", &["room:lobby"]).await;
    }
    acme.send_to_channel("room:lobby", PRIVATE_MARKER).await;
    acme.send_to_channel("conversation:alice", PRIVATE_MARKER).await;
    let welcome =
        world.backend_of("acme").post("/v1/messages", &json!({"audience": "everyone", "body": 1})).await.expect_ok();
    assert_eq!(welcome["offset"], 1);
    for client in [&mut globex, &mut globex_admin] {
        let seen = client.drain_inbox().await;
        assert!(
            seen.iter().all(|frame| type_of(frame) != "message"),
            "another tenant's message was delivered: {seen:?}"
        );
        let history = client.request(json!({"action": "history", "channel": "conversation:alice"})).await;
        assert_eq!(history["head"], 0);
    }
    let globex_backend = world.backend_of("globex");
    let connections = globex_backend.get("/v1/connections").await.expect_ok();
    assert_eq!(connections["total"], 2);
    let foreign =
        world.backend_of("acme").get("/v1/connections").await.expect_ok()["connections"][0]["connection"].clone();
    let path = format!("/v1/connections/{}", foreign.as_str().unwrap());
    globex_backend.delete(&path).await.expect_problem(404);
    let push = json!({"audience": {"connection": foreign}, "body": 1});
    globex_backend.post("/v1/messages", &push).await.expect_problem(404);
    acme.close().await;
}

pub async fn any_subject_is_a_user(world: &mut impl World) {
    let (subject, user) = ("f:8c1d:J\u{fc}rgen {1}/*", "f%3A8c1d%3AJ%C3%BCrgen%20%7B1%7D%2F%2A");
    let channel = format!("conversation:{user}");
    let mut admin = world.admin("system:serviceaccount:ns:root").await;
    let mut client = world.user(subject).await;
    let ack = client.request(json!({"action": "send", "id": "first", "body": 1})).await;
    assert_eq!((type_of(&ack), &ack["channel"]), ("ack", &json!(channel)));
    let received = admin.next_of_type("message").await;
    assert_eq!(received["from"], json!({"user": user, "role": "user"}));
    admin.send_to_channel(&channel, 2).await;

    // Backends may use the subject itself.
    let backend = world.backend();
    let pushed = backend.post("/v1/messages", &json!({"audience": {"user": subject}, "body": 3})).await.expect_ok();
    assert_eq!(pushed["channel"], json!(channel));
    assert_eq!(client.bodies(&channel, 3).await, [1, 2, 3].map(Value::from));
    for name in [user.replace('%', "%25"), "f%3A8c1d%3AJ%C3%BCrgen%20%7B1%7D%2F*".to_owned()] {
        let listing = backend.get(&format!("/v1/connections?user={name}")).await.expect_ok();
        assert_eq!(listing["connections"][0]["user"], user, "{name}: {listing}");
    }
    client.close().await;
    admin.close().await;
}
