//! Tests of `history` and `presence`.

use serde_json::{Value, json};

use crate::app::test_app::TestApp;
use crate::identity::Role;
use crate::limits;
use crate::memory::ChannelRetention;

fn listed(history: &Value) -> Vec<u64> {
    history["messages"].as_array().unwrap().iter().map(|message| message["offset"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn history_pages_back_to_the_oldest_message() {
    let fixture = TestApp::with_retention(ChannelRetention { max_entries: 5, max_bytes: 1 << 20 });
    let alice = fixture.connect("a1", "alice", Role::User).await;
    fixture.append_messages("conversation:alice", 7).await;
    let request = |before: Option<u64>| json!({ "action": "history", "id": "h1", "channel": "conversation:alice", "before": before, "limit": 3 });
    let newest = fixture.send_frame(&alice, request(None)).await;
    assert_eq!(listed(&newest), [5, 6, 7]);
    let fields = (&newest["epoch"], &newest["first"], &newest["head"], &newest["more"], &newest["id"]);
    assert_eq!(fields, (&json!("e1"), &json!(3), &json!(7), &json!(true), &json!("h1")));
    let oldest = fixture.send_frame(&alice, request(Some(5))).await;
    assert_eq!((listed(&oldest), &oldest["more"]), (vec![3, 4], &json!(false)));
    let entry = json!({
        "offset": 3, "id": "w3", "from": { "user": "writer", "role": "service" },
        "sentAt": crate::app::test_app::NOW.0, "body": { "n": 3 }
    });
    assert_eq!(oldest["messages"][0], entry);
}

#[tokio::test]
async fn a_page_of_large_messages_fits_the_message_quota_of_api_gateway() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    for number in 0..10 {
        let body = "x".repeat(limits::MAX_BODY_BYTES - 2);
        fixture.send_frame(&alice, json!({ "action": "send", "id": format!("m{number}"), "body": body })).await;
    }
    let answer = fixture.send_text(&alice, r#"{"action":"history","channel":"conversation:alice","limit":100}"#).await;
    assert!(answer.len() <= 128 * 1024, "{} bytes", answer.len());
    let history: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((listed(&history), &history["more"]), (vec![8, 9, 10], &json!(true)));
}

#[tokio::test]
async fn lowered_limits_of_a_deployment_apply() {
    let mut fixture = TestApp::new();
    fixture.app.limits = limits::Limits { body_bytes: 8, history_messages: 2, ..limits::Limits::default() };
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let answer = fixture.send_frame(&alice, json!({ "action": "send", "id": "m1", "body": "1234567" })).await;
    assert_eq!(answer["code"], "too_large", "9 bytes of JSON: {answer}");
    for number in 0..3 {
        fixture.send_frame(&alice, json!({ "action": "send", "id": format!("m{number}"), "body": number })).await;
    }
    let request = |limit: Option<u64>| json!({ "action": "history", "channel": "conversation:alice", "limit": limit });
    assert_eq!(listed(&fixture.send_frame(&alice, request(None)).await), [2, 3]);
    assert_eq!(fixture.send_frame(&alice, request(Some(3))).await["code"], "bad_field");
}

#[tokio::test]
async fn users_read_only_channels_that_reach_them() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let admin = fixture.connect("c1", "carol", Role::Admin).await;
    for action in ["history", "presence"] {
        for (channel, code) in [
            ("conversation:alice", Value::Null),
            ("everyone", Value::Null),
            ("topic:prices", Value::Null),
            ("conversation:bob", json!("forbidden")),
            ("room:lobby", json!("not_joined")),
        ] {
            let frame = json!({ "action": action, "channel": channel });
            let answer = fixture.send_frame(&alice, frame.clone()).await;
            assert_eq!(answer.get("code").cloned().unwrap_or_default(), code, "{action} {channel}");
            assert_eq!(fixture.send_frame(&admin, frame).await.get("code"), None, "an admin: {action} {channel}");
        }
    }
}

#[tokio::test]
async fn presence_counts_users_and_connections() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    fixture.connect("a2", "alice", Role::User).await;
    fixture.connect("b1", "bob", Role::User).await;
    fixture.connect("c1", "carol", Role::Admin).await;
    fixture.send_frame(&alice, json!({ "action": "join", "channel": "room:lobby" })).await;
    let members = fixture.send_frame(&alice, json!({ "action": "presence", "id": "p1" })).await;
    let (mine, admin) = (
        json!({ "user": "alice", "role": "user", "connections": 2 }),
        json!({ "user": "carol", "role": "admin", "connections": 1 }),
    );
    let in_lobby = json!({ "user": "alice", "role": "user", "connections": 1 });
    let expected = json!({ "type": "members", "id": "p1", "channels": {
        "conversation:alice": { "connections": 3, "users": 2, "members": [mine, admin] },
        "everyone": { "connections": 4, "users": 3, "members": [] },
        "room:lobby": { "connections": 1, "users": 1, "members": [in_lobby] },
    } });
    assert_eq!(members, expected);
}

/// The cost of a frame does not grow with the number of channels that it names.
#[tokio::test]
async fn one_answer_reads_a_limited_number_of_records_over_all_its_channels() {
    let mut fixture = TestApp::new();
    fixture.app.limits = limits::Limits { counted_members: 10, ..limits::Limits::default() };
    let admin = fixture.connect("c1", "carol", Role::Admin).await;
    for number in 0..6 {
        let user = fixture.connect(&format!("u{number}"), &format!("user{number}"), Role::User).await;
        fixture.send_frame(&user, json!({ "action": "join", "channels": ["room:a", "room:b", "room:c"] })).await;
    }
    let frame = json!({ "action": "presence", "channels": ["room:a", "room:b", "room:c", "room:empty"] });
    let channels = &fixture.send_frame(&admin, frame).await["channels"];
    let counts = |name: &str| {
        let members = channels[name]["members"].as_array().unwrap().len();
        (channels[name]["connections"].clone(), channels[name].get("users").cloned(), members)
    };
    assert_eq!(counts("room:a"), (json!(6), Some(json!(6)), 6));
    assert_eq!(counts("room:b"), (json!(6), None, 4), "the budget ends within this channel");
    assert_eq!(counts("room:c"), (json!(6), None, 0), "connections are counted without reading them");
    assert_eq!(counts("room:empty"), (json!(0), Some(json!(0)), 0));
}

#[tokio::test]
async fn a_large_listing_lets_other_tasks_run_between_its_pages() {
    let fixture = TestApp::new();
    let admin = fixture.connect("c1", "carol", Role::Admin).await;
    for number in 0..2_500 {
        fixture.connect(&format!("u{number}"), "alice", Role::User).await;
    }
    let mut listing = Box::pin(fixture.send_frame(&admin, json!({ "action": "presence", "channel": "everyone" })));
    let mut turns = 0;
    let members = std::future::poll_fn(|cx| {
        turns += 1;
        listing.as_mut().poll(cx)
    })
    .await;
    assert_eq!((&members["channels"]["everyone"]["connections"], turns), (&json!(2_501), 4), "three pages");
}

#[tokio::test]
async fn a_large_channel_is_counted_exactly_and_listed_in_part() {
    let fixture = TestApp::new();
    let admin = fixture.connect("c1", "carol", Role::Admin).await;
    for number in 0..1_500 {
        fixture.connect(&format!("u{number}"), &format!("user{number}"), Role::User).await;
    }
    let answer =
        fixture.send_text(&admin, r#"{"action":"presence","channels":["everyone","conversation:user7"]}"#).await;
    assert!(answer.len() <= 128 * 1024, "{} bytes", answer.len());
    let channels = &serde_json::from_str::<Value>(&answer).unwrap()["channels"];
    let everyone = &channels["everyone"];
    assert_eq!((&everyone["connections"], &everyone["users"]), (&json!(1_501), &json!(1_501)));
    let listed: usize =
        ["everyone", "conversation:user7"].iter().map(|name| channels[name]["members"].as_array().unwrap().len()).sum();
    assert_eq!(listed, limits::Limits::default().listed_members, "the limit applies to the whole answer");
}
