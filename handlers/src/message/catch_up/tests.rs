//! Tests of resume: exactly the missed messages, in order, then live delivery; every skipped range is a gap; every
//! failure is handled.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::MAX_CATCH_UP_ROUNDS;
use crate::app::test_app::{ConnectedClient, NOW, TestApp, message_offsets, test_channel};
use crate::id::{MessageId, UserId};
use crate::identity::Role;
use crate::limits;
use crate::memory::ChannelRetention;
use crate::ports::{AppendRequest, MessageSender};

const CONVERSATION: &str = "conversation:alice";

fn resume(channels: Value) -> Value {
    json!({ "action": "resume", "id": "r1", "channels": channels })
}

fn since(offset: u64) -> Value {
    json!({ CONVERSATION: { "epoch": "e1", "offset": offset } })
}

fn gap(from: u64, to: u64, epoch: &str, reason: &str) -> Value {
    json!({ "type": "gap", "channel": CONVERSATION, "from": from, "to": to, "epoch": epoch, "reason": reason })
}

fn types(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect()
}

async fn is_live(fixture: &TestApp, alice: &ConnectedClient) -> bool {
    fixture.received_frames(alice);
    let ack = fixture.send_frame(alice, json!({ "action": "send", "body": "live" })).await;
    message_offsets(&fixture.received_frames(alice)) == [ack["offset"].as_u64().unwrap()]
}

/// A message that is appended directly before a channel is resumed.
fn concurrent_append(number: usize) -> AppendRequest {
    AppendRequest {
        channel: test_channel(CONVERSATION),
        sender: MessageSender { user: UserId::parse("carol").unwrap(), role: Role::Admin },
        id: MessageId::parse(&format!("concurrent{number}")).unwrap(),
        sent_at: NOW,
        body: Arc::from(serde_json::value::to_raw_value("meanwhile").unwrap()),
    }
}

#[tokio::test]
async fn a_resume_without_channels_returns_identity_and_heads() {
    let fixture = TestApp::new();
    fixture.append_messages(CONVERSATION, 2).await;
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let resumed = fixture.send_text(&alice, r#"{"action":"resume"}"#).await;
    assert_eq!(resumed, r#"{"type":"resumed","channels":{}}"#);
    let channels = json!({ CONVERSATION: { "epoch": "e1", "offset": 2 }, "everyone": { "epoch": "e1", "offset": 0 } });
    let welcome = json!({
        "type": "welcome", "connection": "a1", "user": "alice", "role": "user", "tenant": "default", "protocol": 1,
        "serverTime": NOW.0, "channels": channels,
    });
    assert_eq!(fixture.received_frames(&alice), [welcome]);
    assert!(is_live(&fixture, &alice).await);
}

#[tokio::test]
async fn missed_messages_arrive_in_order_and_once_then_live_ones() {
    let fixture = TestApp::new();
    fixture.append_messages(CONVERSATION, 250).await;
    fixture.append_messages("room:lobby", 3).await;
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let channels =
        json!({ CONVERSATION: { "epoch": "e1", "offset": 20 }, "room:lobby": { "offset": 1 }, "topic:prices": null });
    let resumed = fixture.send_frame(&alice, resume(channels)).await;
    let expected = json!({ "type": "resumed", "id": "r1", "channels": {
        CONVERSATION: { "epoch": "e1", "offset": 250, "count": 230 },
        "room:lobby": { "epoch": "e1", "offset": 3, "count": 2 },
        "topic:prices": { "epoch": "e1", "offset": 0, "count": 0 },
    } });
    assert_eq!(resumed, expected);
    let inbox = fixture.received_frames(&alice);
    assert_eq!(inbox[0]["type"], "welcome");
    let offsets = |name: &str| -> Vec<u64> {
        inbox
            .iter()
            .filter(|frame| frame["type"] == "message" && frame["channel"] == name)
            .map(|frame| frame["offset"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(offsets(CONVERSATION), (21..=250).collect::<Vec<_>>());
    assert_eq!(offsets("room:lobby"), [2, 3]);
    assert_eq!(
        fixture.joined_channels(&alice).await,
        ["room:lobby", "topic:prices"],
        "resumed rooms and topics are joined"
    );
    assert!(is_live(&fixture, &alice).await);
}

#[tokio::test]
async fn messages_appended_during_a_resume_are_neither_lost_nor_repeated() {
    let fixture = TestApp::new();
    fixture.append_messages(CONVERSATION, 3).await;
    let alice = fixture.connect("a1", "alice", Role::User).await;
    *fixture.faults.appends_before_resume.lock() = (0..5).map(concurrent_append).collect();
    let resumed = fixture.send_frame(&alice, resume(since(1))).await;
    assert_eq!(message_offsets(&fixture.received_frames(&alice)), [2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(resumed["channels"][CONVERSATION], json!({ "epoch": "e1", "offset": 8, "count": 7 }));
    assert!(is_live(&fixture, &alice).await);
}

#[tokio::test]
async fn a_resume_without_a_position_delivers_messages_appended_meanwhile() {
    let fixture = TestApp::new();
    fixture.append_messages(CONVERSATION, 3).await;
    let alice = fixture.connect("a1", "alice", Role::User).await;
    *fixture.faults.appends_before_resume.lock() = vec![concurrent_append(0)];
    fixture.send_frame(&alice, resume(json!([CONVERSATION]))).await;
    assert_eq!(message_offsets(&fixture.received_frames(&alice)), [4]);
}

#[tokio::test]
async fn a_channel_with_constant_traffic_ends_in_a_gap_and_live_delivery() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    *fixture.faults.appends_before_resume.lock() = (0..MAX_CATCH_UP_ROUNDS + 2).map(concurrent_append).collect();
    let resumed = fixture.send_frame(&alice, resume(since(0))).await;
    let inbox = fixture.received_frames(&alice);
    let sent = MAX_CATCH_UP_ROUNDS as u64 - 1;
    assert_eq!(message_offsets(&inbox), (1..=sent).collect::<Vec<_>>());
    let gaps: Vec<&Value> = inbox.iter().filter(|frame| frame["type"] == "gap").collect();
    let skipped = (sent + 1..=sent + 3).map(|offset| gap(offset, offset, "e1", "too_many")).collect::<Vec<_>>();
    assert_eq!(gaps, skipped.iter().collect::<Vec<_>>());
    assert_eq!(resumed["channels"][CONVERSATION]["offset"], sent + 3);
    assert!(is_live(&fixture, &alice).await);
}

#[tokio::test]
async fn trimmed_messages_are_a_gap() {
    let fixture = TestApp::with_retention(ChannelRetention { max_entries: 3, max_bytes: 1 << 20 });
    fixture.append_messages(CONVERSATION, 10).await;
    let alice = fixture.connect("a1", "alice", Role::User).await;
    fixture.send_frame(&alice, resume(since(4))).await;
    let inbox = fixture.received_frames(&alice);
    assert_eq!(types(&inbox), ["welcome", "gap", "message", "message", "message"]);
    assert_eq!(inbox[1], gap(5, 7, "e1", "trimmed"));
    assert_eq!(message_offsets(&inbox), [8, 9, 10]);
}

#[tokio::test]
async fn a_position_of_another_epoch_or_past_the_head_restarts_the_channel() {
    for offset in [4, 99] {
        let fixture = TestApp::new();
        fixture.append_messages(CONVERSATION, 9).await;
        let alice = fixture.connect("a1", "alice", Role::User).await;
        fixture.faults.replace_log("e2");
        fixture.append_messages(CONVERSATION, 2).await;
        let channels = if offset == 4 { since(4) } else { json!({ CONVERSATION: { "offset": 99 } }) };
        let resumed = fixture.send_frame(&alice, resume(channels)).await;
        let inbox = fixture.received_frames(&alice);
        assert_eq!(inbox[1], gap(1, 0, "e2", "epoch"));
        assert_eq!(message_offsets(&inbox), [1, 2]);
        assert_eq!(resumed["channels"][CONVERSATION], json!({ "epoch": "e2", "offset": 2, "count": 2 }));
    }
}

#[tokio::test]
async fn a_long_offline_client_receives_the_newest_messages_and_a_gap() {
    let fixture = TestApp::new();
    fixture.append_messages(CONVERSATION, limits::Limits::default().resume_messages + 10).await;
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let resumed = fixture.send_frame(&alice, resume(since(3))).await;
    let inbox = fixture.received_frames(&alice);
    assert_eq!(inbox[1], gap(4, 10, "e1", "too_many"));
    let head = limits::Limits::default().resume_messages + 10;
    assert_eq!(message_offsets(&inbox), (11..=head).collect::<Vec<_>>());
    assert_eq!(resumed["channels"][CONVERSATION]["offset"], head);
    assert!(is_live(&fixture, &alice).await);
}

#[tokio::test]
async fn missed_messages_are_limited_in_bytes_over_all_channels() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let large = "x".repeat(limits::MAX_BODY_BYTES - 2);
    let fit = limits::Limits::default().resume_bytes as u64 / limits::MAX_BODY_BYTES as u64;
    for number in 0..fit + 10 {
        fixture.send_frame(&alice, json!({ "action": "send", "id": format!("m{number}"), "body": large })).await;
    }
    fixture.append_messages("room:lobby", 5).await;
    fixture.received_frames(&alice);
    let channels = json!({ CONVERSATION: { "offset": 0 }, "room:lobby": { "offset": 0 } });
    let resumed = fixture.send_frame(&alice, resume(channels)).await;
    let inbox = fixture.received_frames(&alice);
    let sent = message_offsets(&inbox).len() as u64;
    assert!((fit - 2..=fit).contains(&sent), "{sent} of {fit}");
    let gaps: Vec<&Value> = inbox.iter().filter(|frame| frame["type"] == "gap").collect();
    assert_eq!(gaps[0], &gap(sent + 1, fit + 10, "e1", "too_many"));
    assert_eq!((&gaps[1]["channel"], &gaps[1]["from"], &gaps[1]["to"]), (&json!("room:lobby"), &json!(1), &json!(5)));
    assert_eq!(resumed["channels"]["room:lobby"], json!({ "epoch": "e1", "offset": 5, "count": 0 }));
    assert!(is_live(&fixture, &alice).await);
}

#[tokio::test]
async fn slow_delivery_ends_in_a_gap_after_the_resume_time() {
    let fixture = TestApp::new();
    fixture.append_messages(CONVERSATION, 50).await;
    let alice = fixture.connect("a1", "alice", Role::User).await;
    *fixture.faults.delivery_delay.lock() = Duration::from_secs(1);
    fixture.send_frame(&alice, resume(since(0))).await;
    let inbox = fixture.received_frames(&alice);
    // The delivery of `welcome` takes one second.
    assert_eq!(message_offsets(&inbox), (1..limits::Limits::default().resume_time.as_secs()).collect::<Vec<_>>());
    assert_eq!(inbox.last().unwrap(), &gap(15, 50, "e1", "too_many"));
}

#[tokio::test]
async fn a_log_failure_during_a_resume_ends_in_a_gap_and_live_delivery() {
    // Successful reads: the heads before the pause, the heads after it, one page.
    for (reads, sent) in [(1, 0), (2, 0), (3, 100)] {
        let fixture = TestApp::new();
        fixture.append_messages(CONVERSATION, 150).await;
        let alice = fixture.connect("a1", "alice", Role::User).await;
        fixture.faults.reads_before_failure.store(reads, Ordering::SeqCst);
        let error = fixture.send_frame(&alice, resume(since(0))).await;
        assert_eq!((&error["code"], &error["id"]), (&json!("unavailable"), &json!("r1")), "after {reads}");
        fixture.faults.reads_before_failure.store(usize::MAX, Ordering::SeqCst);
        let inbox = fixture.received_frames(&alice);
        // `welcome` precedes the second read of the heads: where nothing is paused, a client ignores messages before
        // `welcome`.
        assert_eq!(inbox[0]["type"], "welcome", "after {reads}");
        assert_eq!(message_offsets(&inbox), (1..=sent).collect::<Vec<_>>(), "after {reads}");
        assert_eq!(inbox.last().unwrap(), &gap(sent + 1, 150, "e1", "unavailable"), "after {reads}");
        assert!(is_live(&fixture, &alice).await, "after {reads}");
    }
}

#[tokio::test]
async fn a_connection_that_closes_during_a_resume_ends_the_resume() {
    let fixture = TestApp::new();
    fixture.append_messages(CONVERSATION, 150).await;
    let alice = fixture.connect("a1", "alice", Role::User).await;
    fixture.faults.deliveries_before_gone.store(10, Ordering::SeqCst);
    let error = fixture.send_frame(&alice, resume(since(0))).await;
    assert_eq!(error["code"], "gone");
    assert_eq!(message_offsets(&fixture.received_frames(&alice)), (1..=9).collect::<Vec<_>>());
    assert_eq!(fixture.faults.resume_count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_foreign_conversation_is_rejected_before_any_channel_is_joined() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let error = fixture.send_frame(&alice, resume(json!(["room:lobby", "conversation:bob"]))).await;
    assert_eq!((&error["code"], &error["id"]), (&json!("forbidden"), &json!("r1")));
    assert!(fixture.joined_channels(&alice).await.is_empty());
    assert_eq!(fixture.received_frames(&alice), [Value::Null; 0]);
    let admin = fixture.connect("c1", "carol", Role::Admin).await;
    assert_eq!(fixture.send_frame(&admin, resume(json!(["conversation:bob"]))).await["type"], "resumed");
}
