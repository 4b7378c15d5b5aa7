//! `history` and `presence`.

use serde_json::{Value, json};

use crate::app::test_app::TestApp;
use crate::identity::Role;
use crate::limits;
use crate::memory::ChannelRetention;

fn listed(history: &Value) -> Vec<u64> {
    history["messages"].as_array().unwrap().iter().map(|message| message["offset"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn history_pages_back_to_the_oldest() {
    let world = TestApp::with_retention(ChannelRetention { max_entries: 5, max_bytes: 1 << 20 });
    let alice = world.connect("a1", "alice", Role::User).await;
    world.append_messages("conversation:alice", 7).await;
    let ask = |before: Option<u64>| json!({ "action": "history", "id": "h1", "channel": "conversation:alice", "before": before, "limit": 3 });
    let newest = world.send_frame(&alice, ask(None)).await;
    assert_eq!(listed(&newest), [5, 6, 7]);
    let facts = (&newest["epoch"], &newest["first"], &newest["head"], &newest["more"], &newest["id"]);
    assert_eq!(facts, (&json!("e1"), &json!(3), &json!(7), &json!(true), &json!("h1")));
    let oldest = world.send_frame(&alice, ask(Some(5))).await;
    assert_eq!((listed(&oldest), &oldest["more"]), (vec![3, 4], &json!(false)));
    let entry = json!({
        "offset": 3, "id": "w3", "from": { "user": "writer", "role": "service" },
        "sentAt": crate::app::test_app::NOW.0, "body": { "n": 3 }
    });
    assert_eq!(oldest["messages"][0], entry);
}

#[tokio::test]
async fn a_page_of_large_messages_fits_a_message_of_the_gateway() {
    let world = TestApp::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    for number in 0..10 {
        let body = "x".repeat(limits::MAX_BODY_BYTES - 2);
        world.send_frame(&alice, json!({ "action": "send", "id": format!("m{number}"), "body": body })).await;
    }
    let answer = world.send_text(&alice, r#"{"action":"history","channel":"conversation:alice","limit":100}"#).await;
    assert!(answer.len() <= 128 * 1024, "{} bytes", answer.len());
    let history: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((listed(&history), &history["more"]), (vec![8, 9, 10], &json!(true)));
}

#[tokio::test]
async fn a_deployment_may_lower_the_limits() {
    let mut world = TestApp::new();
    world.app.limits = limits::Limits { body_bytes: 8, history_messages: 2, ..limits::Limits::default() };
    let alice = world.connect("a1", "alice", Role::User).await;
    let answer = world.send_frame(&alice, json!({ "action": "send", "id": "m1", "body": "1234567" })).await;
    assert_eq!(answer["code"], "too_large", "9 bytes of JSON: {answer}");
    for number in 0..3 {
        world.send_frame(&alice, json!({ "action": "send", "id": format!("m{number}"), "body": number })).await;
    }
    let ask = |limit: Option<u64>| json!({ "action": "history", "channel": "conversation:alice", "limit": limit });
    assert_eq!(listed(&world.send_frame(&alice, ask(None)).await), [2, 3]);
    assert_eq!(world.send_frame(&alice, ask(Some(3))).await["code"], "bad_field");
}

#[tokio::test]
async fn users_read_what_reaches_them_and_nothing_else() {
    let world = TestApp::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    let admin = world.connect("c1", "carol", Role::Admin).await;
    for action in ["history", "presence"] {
        for (channel, code) in [
            ("conversation:alice", Value::Null),
            ("everyone", Value::Null),
            ("topic:prices", Value::Null),
            ("conversation:bob", json!("forbidden")),
            ("room:lobby", json!("not_joined")),
        ] {
            let frame = json!({ "action": action, "channel": channel });
            let answer = world.send_frame(&alice, frame.clone()).await;
            assert_eq!(answer.get("code").cloned().unwrap_or_default(), code, "{action} {channel}");
            assert_eq!(world.send_frame(&admin, frame).await.get("code"), None, "an admin: {action} {channel}");
        }
    }
}

#[tokio::test]
async fn presence_counts_users_and_connections() {
    let world = TestApp::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    world.connect("a2", "alice", Role::User).await;
    world.connect("b1", "bob", Role::User).await;
    world.connect("c1", "carol", Role::Admin).await;
    world.send_frame(&alice, json!({ "action": "join", "channel": "room:lobby" })).await;
    let members = world.send_frame(&alice, json!({ "action": "presence", "id": "p1" })).await;
    let (mine, admin) = (
        json!({ "user": "alice", "role": "user", "connections": 2 }),
        json!({ "user": "carol", "role": "admin", "connections": 1 }),
    );
    let bob = json!({ "user": "bob", "role": "user", "connections": 1 });
    let in_lobby = json!({ "user": "alice", "role": "user", "connections": 1 });
    let expected = json!({ "type": "members", "id": "p1", "channels": {
        "conversation:alice": { "connections": 3, "users": 2, "members": [mine, admin] },
        "everyone": { "connections": 4, "users": 3, "members": [mine, bob, admin] },
        "room:lobby": { "connections": 1, "users": 1, "members": [in_lobby] },
    } });
    assert_eq!(members, expected);
}

#[tokio::test]
async fn a_crowd_is_counted_exactly_and_listed_in_part() {
    let world = TestApp::new();
    let admin = world.connect("c1", "carol", Role::Admin).await;
    for number in 0..1_500 {
        world.connect(&format!("u{number}"), &format!("user{number}"), Role::User).await;
    }
    let answer = world.send_text(&admin, r#"{"action":"presence","channels":["everyone","conversation:user7"]}"#).await;
    assert!(answer.len() <= 128 * 1024, "{} bytes", answer.len());
    let channels = &serde_json::from_str::<Value>(&answer).unwrap()["channels"];
    let everyone = &channels["everyone"];
    assert_eq!((&everyone["connections"], &everyone["users"]), (&json!(1_501), &json!(1_501)));
    let listed: usize =
        ["everyone", "conversation:user7"].iter().map(|name| channels[name]["members"].as_array().unwrap().len()).sum();
    assert_eq!(listed, limits::Limits::default().listed_members, "in one answer");
}
