//! Tests of `join`, `leave`, `subscribe` and `unsubscribe`.

use serde_json::{Value, json};

use crate::app::test_app::{TestApp, message_offsets};
use crate::channel_policy::{ChannelGrants, PresenceNames};
use crate::identity::Role;
use crate::limits;

#[tokio::test]
async fn join_returns_the_position_and_the_members() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let bob = fixture.connect("b1", "bob", Role::User).await;
    fixture.send_frame(&bob, json!({ "action": "join", "channel": "room:lobby" })).await;
    fixture.append_messages("room:lobby", 3).await;
    fixture.received_frames(&bob);
    let members = fixture.send_frame(&alice, json!({ "action": "join", "id": "j1", "channels": ["room:lobby"] })).await;
    let expected = json!({
        "type": "members", "id": "j1", "channels": { "room:lobby": {
            "epoch": "e1", "offset": 3, "count": 0, "connections": 2, "users": 2, "members": [
                { "user": "alice", "role": "user", "connections": 1 },
                { "user": "bob", "role": "user", "connections": 1 },
            ],
        } },
    });
    assert_eq!(members, expected);
    let online = json!({
        "type": "presence", "channel": "room:lobby", "user": "alice", "role": "user", "state": "online"
    });
    assert_eq!(fixture.received_frames(&bob), [online]);
    fixture.received_frames(&alice);
    fixture.send_frame(&bob, json!({ "action": "send", "to": "room:lobby", "body": 1 })).await;
    assert_eq!(message_offsets(&fixture.received_frames(&alice)), [4], "messages after the position are live");
}

#[tokio::test]
async fn join_with_a_position_sends_missed_messages() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    fixture.append_messages("room:lobby", 5).await;
    let join = json!({ "action": "join", "channel": "room:lobby", "since": { "epoch": "e1", "offset": 2 } });
    let members = fixture.send_frame(&alice, join).await;
    assert_eq!(message_offsets(&fixture.received_frames(&alice)), [3, 4, 5]);
    assert_eq!(members["channels"]["room:lobby"]["offset"], 5);
    assert_eq!(members["channels"]["room:lobby"]["count"], 3);
}

#[tokio::test]
async fn subscribe_delivers_a_topic_until_unsubscribe() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let admin = fixture.connect("c1", "carol", Role::Admin).await;
    fixture.append_messages("topic:prices", 2).await;
    let ack = fixture.send_frame(&alice, json!({ "action": "subscribe", "id": "s1", "channel": "topic:prices" })).await;
    let position = json!({ "epoch": "e1", "offset": 2, "count": 0 });
    assert_eq!(ack, json!({ "type": "ack", "id": "s1", "channels": { "topic:prices": position } }));
    fixture.send_frame(&admin, json!({ "action": "send", "to": "topic:prices", "body": 1 })).await;
    assert_eq!(message_offsets(&fixture.received_frames(&alice)), [3]);
    let ack = fixture.send_frame(&alice, json!({ "action": "unsubscribe", "channel": "topic:prices" })).await;
    assert_eq!(ack, json!({ "type": "ack", "left": ["topic:prices"] }));
    fixture.send_frame(&admin, json!({ "action": "send", "to": "topic:prices", "body": 1 })).await;
    assert_eq!(fixture.received_frames(&alice), [Value::Null; 0]);
    assert!(fixture.joined_channels(&alice).await.is_empty());
}

#[tokio::test]
async fn leaving_twice_notifies_the_room_once() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let bob = fixture.connect("b1", "bob", Role::User).await;
    for client in [&alice, &bob] {
        fixture.send_frame(client, json!({ "action": "join", "channel": "room:lobby" })).await;
    }
    fixture.received_frames(&bob);
    for _ in 0..2 {
        let ack = fixture.send_frame(&alice, json!({ "action": "leave", "id": "l1", "channel": "room:lobby" })).await;
        assert_eq!(ack, json!({ "type": "ack", "id": "l1", "left": ["room:lobby"] }));
    }
    assert_eq!(fixture.received_frames(&bob).len(), 1);
}

#[tokio::test]
async fn a_connection_at_the_channel_limit_cannot_join_more() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let rooms: Vec<String> = (0..limits::MAX_CHANNELS_PER_CONNECTION).map(|number| format!("room:r{number}")).collect();
    for names in rooms.chunks(limits::MAX_CHANNELS_PER_FRAME) {
        let answer = fixture.send_frame(&alice, json!({ "action": "join", "channels": names })).await;
        assert_eq!(answer["type"], "members");
    }
    let error = fixture.send_frame(&alice, json!({ "action": "subscribe", "channel": "topic:one-more" })).await;
    assert_eq!(error["code"], "too_many");
    assert_eq!(fixture.send_frame(&alice, json!({ "action": "join", "channel": "room:r7" })).await["type"], "members");
    assert_eq!(fixture.joined_channels(&alice).await.len(), limits::MAX_CHANNELS_PER_CONNECTION);
}

#[tokio::test]
async fn a_connection_without_a_record_is_answered_gone() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    fixture.app.connections.delete_connection(&alice.id).await.unwrap();
    for action in ["join", "leave"] {
        let error = fixture.send_frame(&alice, json!({ "action": action, "channel": "room:lobby" })).await;
        assert_eq!(error["code"], "gone", "{action}");
    }
}

#[tokio::test]
async fn nothing_is_joined_while_the_log_is_unavailable() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    fixture.faults.reads_before_failure.store(0, std::sync::atomic::Ordering::SeqCst);
    let error = fixture.send_frame(&alice, json!({ "action": "join", "id": "j1", "channel": "room:lobby" })).await;
    assert_eq!((&error["code"], &error["id"]), (&json!("unavailable"), &json!("j1")));
    assert!(fixture.joined_channels(&alice).await.is_empty());
}

/// Every action that reads or joins a room or topic respects the grants of the token.
#[tokio::test]
async fn users_join_and_read_only_the_rooms_and_topics_that_their_token_grants() {
    let fixture = TestApp::new();
    let mut alice = fixture.connect("a1", "alice", Role::User).await;
    alice.grants = ChannelGrants::parse(["room:team-*", "topic:news"]).unwrap();
    fixture.append_messages("topic:secret", 1).await;
    for frame in [
        json!({ "action": "join", "channel": "room:board" }),
        json!({ "action": "join", "channels": ["room:team-a", "room:board"] }),
        json!({ "action": "subscribe", "channel": "topic:secret" }),
        json!({ "action": "resume", "channels": ["topic:news", "topic:secret"] }),
        json!({ "action": "resume", "channel": "room:board" }),
        json!({ "action": "history", "channel": "topic:secret" }),
        json!({ "action": "history", "channel": "room:board" }),
        json!({ "action": "presence", "channel": "topic:secret" }),
        json!({ "action": "presence", "channel": "room:board" }),
    ] {
        let answer = fixture.send_frame(&alice, frame.clone()).await;
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("forbidden")), "{frame}: {answer}");
    }
    let send = json!({ "action": "send", "to": "room:board", "body": 1 });
    assert_eq!(fixture.send_frame(&alice, send).await["code"], "not_joined");
    assert_eq!(
        fixture.joined_channels(&alice).await,
        Vec::<String>::new(),
        "a frame joins all of its channels or none"
    );
    assert_eq!(fixture.received_frames(&alice), Vec::<Value>::new());

    fixture.send_frame(&alice, json!({ "action": "join", "channel": "room:team-a" })).await;
    fixture.send_frame(&alice, json!({ "action": "subscribe", "channel": "topic:news" })).await;
    assert_eq!(fixture.joined_channels(&alice).await, ["room:team-a", "topic:news"]);
    let own = fixture.send_frame(&alice, json!({ "action": "history", "channel": "conversation:alice" })).await;
    assert_eq!(own["type"], "history", "conversations and 'everyone' need no grant");
    let mut admin = fixture.connect("c1", "carol", Role::Admin).await;
    admin.grants = ChannelGrants::parse(["none"]).unwrap();
    let joined = fixture.send_frame(&admin, json!({ "action": "join", "channel": "room:board" })).await;
    assert_eq!(joined["type"], "members", "admins are not restricted");
}

#[tokio::test]
async fn users_list_the_names_of_their_rooms_and_the_numbers_of_other_channels() {
    let mut fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let bob = fixture.connect("b1", "bob", Role::User).await;
    let admin = fixture.connect("c1", "carol", Role::Admin).await;
    for user in [&alice, &bob] {
        fixture.send_frame(user, json!({ "action": "join", "channel": "room:a" })).await;
        fixture.send_frame(user, json!({ "action": "subscribe", "channel": "topic:a" })).await;
    }
    let presence = json!({ "action": "presence", "channels": ["room:a", "topic:a", "everyone"] });
    let listed = |answer: &Value| {
        ["room:a", "topic:a", "everyone"].map(|name| {
            let channel = &answer["channels"][name];
            (channel["users"].as_u64().unwrap(), channel["members"].as_array().unwrap().len())
        })
    };
    assert_eq!(listed(&fixture.send_frame(&alice, presence.clone()).await), [(2, 2), (2, 0), (3, 0)]);
    assert_eq!(listed(&fixture.send_frame(&admin, presence.clone()).await), [(2, 2), (2, 2), (3, 3)]);
    fixture.app.access.presence_names = PresenceNames::All;
    assert_eq!(listed(&fixture.send_frame(&alice, presence).await), [(2, 2), (2, 2), (3, 3)]);
}
