//! Tests of pushes: receivers, logging and idempotency.

use super::*;

#[tokio::test]
async fn a_push_to_a_user_goes_to_the_conversation() {
    let fixture = Fixture::new();
    let phone = fixture.connect("phone", "alice", Role::User, &[]).await;
    let admin = fixture.connect("desk", "root", Role::Admin, &[]).await;
    let other = fixture.connect("other", "bob", Role::User, &[]).await;
    let pushed = fixture.push(&json!({"audience": {"user": "alice"}, "body": {"text": "hi"}})).await.ok();
    let accepted = json!({
        "status": 200, "id": "fresh-1", "channel": "conversation:alice", "epoch": "e1", "offset": 1, "delivery": "live",
    });
    assert_eq!(pushed, accepted);
    let frame = json!({
        "type": "message", "channel": "conversation:alice", "epoch": "e1", "offset": 1, "id": "fresh-1",
        "from": {"user": "billing", "role": "service"}, "sentAt": NOW.0, "body": {"text": "hi"},
    });
    assert_eq!(fixture.frames(&phone), std::slice::from_ref(&frame));
    assert_eq!((fixture.frames(&admin), fixture.frames(&other)), (vec![frame], vec![]));
}

#[tokio::test]
async fn every_audience_is_reached_and_only_channels_are_logged() {
    let fixture = Fixture::new();
    let alice = fixture.connect("a=", "alice", Role::User, &["room:lobby"]).await;
    let root = fixture.connect("r=", "root", Role::Admin, &["topic:prices"]).await;
    let foreign = fixture.connect_to("other", "f=", "alice", Role::User, &["room:lobby", "topic:prices"]).await;
    for (audience, alices, roots, offset) in [
        (json!("everyone"), 1, 1, json!(1)),
        (json!({"channel": "room:lobby"}), 1, 0, json!(1)),
        (json!({"channel": "topic:prices"}), 0, 1, json!(1)),
        (json!({"channel": "everyone"}), 1, 1, json!(2)),
        (json!({"role": "admin"}), 0, 1, Value::Null),
        (json!({"connection": "a="}), 1, 0, Value::Null),
    ] {
        let pushed = fixture.push(&json!({"audience": audience, "body": 7})).await.ok();
        assert_eq!(pushed["offset"], offset, "{audience}");
        assert_eq!((fixture.frames(&alice).len(), fixture.frames(&root).len()), (alices, roots), "{audience}");
    }
    assert_eq!(fixture.frames(&foreign), Vec::<Value>::new());
}

#[tokio::test]
async fn a_message_outside_of_channels_has_no_channel() {
    let fixture = Fixture::new();
    let alice = fixture.connect("a=", "alice", Role::User, &[]).await;
    fixture.push(&json!({"audience": {"connection": "a="}, "body": [1]})).await.ok();
    let from = json!({"user": "billing", "role": "service"});
    let frame = json!({"type": "message", "id": "fresh-1", "from": from, "sentAt": NOW.0, "body": [1]});
    assert_eq!(fixture.frames(&alice), [frame]);
}

#[tokio::test]
async fn an_ephemeral_push_has_no_position() {
    let fixture = Fixture::new();
    let alice = fixture.connect("a=", "alice", Role::User, &[]).await;
    let push = json!({"audience": {"user": "alice"}, "body": "typing", "ephemeral": true});
    let pushed = fixture.push(&push).await.ok();
    assert_eq!(pushed, json!({"status": 200, "id": "fresh-1", "channel": "conversation:alice", "delivery": "live"}));
    assert_eq!(fixture.frames(&alice)[0]["offset"], Value::Null);
    let history = fixture.call("GET", "/v1/channels/conversation:alice/history").await.ok();
    assert_eq!(history["head"], 0);
}

#[tokio::test]
async fn a_repeat_with_the_same_key_returns_the_same_offsets_and_the_first_body() {
    let fixture = Fixture::new();
    let message = |body: &str| json!({"audience": {"user": "alice"}, "body": body});
    let first = fixture.push_keyed("order-1", &message("first")).await.ok();
    fixture.push(&message("between")).await.ok();
    let alice = fixture.connect("a=", "alice", Role::User, &[]).await;
    assert_eq!(fixture.push_keyed("\"order-1\"", &message("changed")).await.ok(), first);
    let frames = fixture.frames(&alice);
    assert_eq!((frames.len(), &frames[0]["body"], &frames[0]["offset"]), (1, &json!("first"), &json!(1)));
    let history = fixture.call("GET", "/v1/channels/conversation:alice/history").await.ok();
    assert_eq!((history["head"].clone(), history["messages"][0]["id"].clone()), (json!(2), json!("order-1")));
}

#[tokio::test]
async fn a_batch_has_a_result_for_each_message_and_repeats_whole() {
    let fixture = Fixture::new();
    let message = |user: &str, body: usize| json!({"audience": {"user": user}, "body": body});
    let messages: Vec<_> =
        (0..crate::limits::Limits::default().push_messages).map(|n| message(["a", "b", "c"][n % 3], n)).collect();
    let batch = json!({ "messages": messages });
    let pushed = fixture.push_keyed("batch", &batch).await.ok();
    let results = pushed["results"].as_array().unwrap();
    assert_eq!(results.len(), messages.len());
    for (n, result) in results.iter().enumerate() {
        assert_eq!(result["id"], format!("batch.{n}"));
        assert_eq!(result["offset"], n / 3 + 1, "the order within a channel is kept");
    }
    assert_eq!(fixture.push_keyed("batch", &batch).await.ok(), pushed);
    let history = fixture.call("GET", "/v1/channels/conversation:b/history").await.ok();
    assert_eq!((history["head"].clone(), history["messages"][1]["body"].clone()), (json!(33), json!(4)));
}

#[tokio::test]
async fn failed_messages_of_a_batch_have_problem_documents() {
    let fixture = Fixture::new();
    let gone = json!({"audience": {"connection": "gone="}, "body": 1});
    let mixed = json!({"messages": [gone, {"audience": "everyone", "body": 2}]});
    let results = fixture.push(&mixed).await.ok();
    assert_eq!((&results["results"][0]["status"], &results["results"][1]["status"]), (&json!(404), &json!(200)));
    assert_eq!(results["results"][0]["type"], "urn:twinway:problem:not-found");
    let rejected = fixture.push(&json!({"messages": [gone, gone]})).await;
    assert_eq!((rejected.status.as_u16(), rejected.problem()), (404, "not-found"));
}

#[tokio::test]
async fn a_connection_of_another_tenant_is_not_found() {
    let fixture = Fixture::new();
    let foreign = fixture.connect_to("other", "f=", "eve", Role::User, &[]).await;
    let rejected = fixture.push(&json!({"audience": {"connection": "f="}, "body": 1})).await;
    assert_eq!((rejected.problem(), fixture.frames(&foreign).len()), ("not-found", 0));
    assert_eq!(fixture.call("DELETE", "/v1/connections/f%3D").await.problem(), "not-found");
    assert_eq!(fixture.delivery.close_reason(&foreign), None);
}

#[tokio::test]
async fn a_body_is_delivered_byte_for_byte() {
    let fixture = Fixture::new();
    let alice = fixture.connect("a=", "alice", Role::User, &[]).await;
    let body = r#"{"audience":{"user":"alice"},"body":{"b":1.0,"a":12345678901234567890123,"b":null}}"#;
    fixture.send(push_request(), body.as_bytes()).await.ok();
    let frame = fixture.delivery.take_frames(&alice).remove(0);
    let frame = std::str::from_utf8(&frame).unwrap();
    assert!(frame.ends_with(r#""body":{"b":1.0,"a":12345678901234567890123,"b":null}}"#), "{frame}");
}
