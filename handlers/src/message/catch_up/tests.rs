//! Resuming: exactly what was missed, in order, then live; every loss told; every failure survived.

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

const MINE: &str = "conversation:alice";

fn resume(channels: Value) -> Value {
    json!({ "action": "resume", "id": "r1", "channels": channels })
}

fn since(offset: u64) -> Value {
    json!({ MINE: { "epoch": "e1", "offset": offset } })
}

fn gap(from: u64, to: u64, epoch: &str, reason: &str) -> Value {
    json!({ "type": "gap", "channel": MINE, "from": from, "to": to, "epoch": epoch, "reason": reason })
}

fn types(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect()
}

async fn is_live(world: &TestApp, alice: &ConnectedClient) -> bool {
    world.received_frames(alice);
    let ack = world.send_frame(alice, json!({ "action": "send", "body": "live" })).await;
    message_offsets(&world.received_frames(alice)) == [ack["offset"].as_u64().unwrap()]
}

/// A message that is said right before a release.
fn said(number: usize) -> AppendRequest {
    AppendRequest {
        channel: test_channel(MINE),
        sender: MessageSender { user: UserId::parse("carol").unwrap(), role: Role::Admin },
        id: MessageId::parse(&format!("said{number}")).unwrap(),
        sent_at: NOW,
        body: Arc::from(serde_json::value::to_raw_value("meanwhile").unwrap()),
    }
}

#[tokio::test]
async fn the_first_resume_says_who_one_is_and_where_ones_channels_stand() {
    let world = TestApp::new();
    world.append_messages(MINE, 2).await;
    let alice = world.connect("a1", "alice", Role::User).await;
    let resumed = world.send_text(&alice, r#"{"action":"resume"}"#).await;
    assert_eq!(resumed, r#"{"type":"resumed","channels":{}}"#);
    let channels = json!({ MINE: { "epoch": "e1", "offset": 2 }, "everyone": { "epoch": "e1", "offset": 0 } });
    let welcome = json!({
        "type": "welcome", "connection": "a1", "user": "alice", "role": "user", "tenant": "default", "protocol": 1,
        "serverTime": NOW.0, "channels": channels,
    });
    assert_eq!(world.received_frames(&alice), [welcome]);
    assert!(is_live(&world, &alice).await);
}

#[tokio::test]
async fn what_was_missed_comes_in_order_then_live_and_nothing_twice() {
    let world = TestApp::new();
    world.append_messages(MINE, 250).await;
    world.append_messages("room:lobby", 3).await;
    let alice = world.connect("a1", "alice", Role::User).await;
    let channels =
        json!({ MINE: { "epoch": "e1", "offset": 20 }, "room:lobby": { "offset": 1 }, "topic:prices": null });
    let resumed = world.send_frame(&alice, resume(channels)).await;
    let expected = json!({ "type": "resumed", "id": "r1", "channels": {
        MINE: { "epoch": "e1", "offset": 250, "count": 230 },
        "room:lobby": { "epoch": "e1", "offset": 3, "count": 2 },
        "topic:prices": { "epoch": "e1", "offset": 0, "count": 0 },
    } });
    assert_eq!(resumed, expected);
    let inbox = world.received_frames(&alice);
    assert_eq!(inbox[0]["type"], "welcome");
    let of = |name: &str| -> Vec<u64> {
        inbox
            .iter()
            .filter(|frame| frame["type"] == "message" && frame["channel"] == name)
            .map(|frame| frame["offset"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(of(MINE), (21..=250).collect::<Vec<_>>());
    assert_eq!(of("room:lobby"), [2, 3]);
    assert_eq!(
        world.joined_channels(&alice).await,
        ["room:lobby", "topic:prices"],
        "resumed rooms and topics are joined"
    );
    assert!(is_live(&world, &alice).await);
}

#[tokio::test]
async fn messages_that_come_during_a_resume_are_neither_lost_nor_repeated() {
    let world = TestApp::new();
    world.append_messages(MINE, 3).await;
    let alice = world.connect("a1", "alice", Role::User).await;
    *world.faults.appends_before_resume.lock() = (0..5).map(said).collect();
    let resumed = world.send_frame(&alice, resume(since(1))).await;
    assert_eq!(message_offsets(&world.received_frames(&alice)), [2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(resumed["channels"][MINE], json!({ "epoch": "e1", "offset": 8, "count": 7 }));
    assert!(is_live(&world, &alice).await);
}

#[tokio::test]
async fn joining_at_the_end_misses_nothing_that_comes_meanwhile() {
    let world = TestApp::new();
    world.append_messages(MINE, 3).await;
    let alice = world.connect("a1", "alice", Role::User).await;
    *world.faults.appends_before_resume.lock() = vec![said(0)];
    world.send_frame(&alice, resume(json!([MINE]))).await;
    assert_eq!(message_offsets(&world.received_frames(&alice)), [4]);
}

#[tokio::test]
async fn a_channel_that_never_rests_ends_in_a_gap_and_live_traffic() {
    let world = TestApp::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    *world.faults.appends_before_resume.lock() = (0..MAX_CATCH_UP_ROUNDS + 2).map(said).collect();
    let resumed = world.send_frame(&alice, resume(since(0))).await;
    let inbox = world.received_frames(&alice);
    let sent = MAX_CATCH_UP_ROUNDS as u64 - 1;
    assert_eq!(message_offsets(&inbox), (1..=sent).collect::<Vec<_>>());
    let gaps: Vec<&Value> = inbox.iter().filter(|frame| frame["type"] == "gap").collect();
    let left_out = (sent + 1..=sent + 3).map(|offset| gap(offset, offset, "e1", "too_many")).collect::<Vec<_>>();
    assert_eq!(gaps, left_out.iter().collect::<Vec<_>>());
    assert_eq!(resumed["channels"][MINE]["offset"], sent + 3);
    assert!(is_live(&world, &alice).await);
}

#[tokio::test]
async fn what_the_log_no_longer_has_is_a_gap_in_its_place() {
    let world = TestApp::with_retention(ChannelRetention { max_entries: 3, max_bytes: 1 << 20 });
    world.append_messages(MINE, 10).await;
    let alice = world.connect("a1", "alice", Role::User).await;
    world.send_frame(&alice, resume(since(4))).await;
    let inbox = world.received_frames(&alice);
    assert_eq!(types(&inbox), ["welcome", "gap", "message", "message", "message"]);
    assert_eq!(inbox[1], gap(5, 7, "e1", "trimmed"));
    assert_eq!(message_offsets(&inbox), [8, 9, 10]);
}

#[tokio::test]
async fn a_position_of_another_epoch_or_ahead_of_the_log_starts_anew() {
    for offset in [4, 99] {
        let world = TestApp::new();
        world.append_messages(MINE, 9).await;
        let alice = world.connect("a1", "alice", Role::User).await;
        world.faults.replace_log("e2");
        world.append_messages(MINE, 2).await;
        let channels = if offset == 4 { since(4) } else { json!({ MINE: { "offset": 99 } }) };
        let resumed = world.send_frame(&alice, resume(channels)).await;
        let inbox = world.received_frames(&alice);
        assert_eq!(inbox[1], gap(1, 0, "e2", "epoch"));
        assert_eq!(message_offsets(&inbox), [1, 2]);
        assert_eq!(resumed["channels"][MINE], json!({ "epoch": "e2", "offset": 2, "count": 2 }));
    }
}

#[tokio::test]
async fn who_was_away_for_long_gets_the_newest_and_is_told_of_the_rest() {
    let world = TestApp::new();
    world.append_messages(MINE, limits::Limits::default().resume_messages + 10).await;
    let alice = world.connect("a1", "alice", Role::User).await;
    let resumed = world.send_frame(&alice, resume(since(3))).await;
    let inbox = world.received_frames(&alice);
    assert_eq!(inbox[1], gap(4, 10, "e1", "too_many"));
    let head = limits::Limits::default().resume_messages + 10;
    assert_eq!(message_offsets(&inbox), (11..=head).collect::<Vec<_>>());
    assert_eq!(resumed["channels"][MINE]["offset"], head);
    assert!(is_live(&world, &alice).await);
}

#[tokio::test]
async fn missed_messages_are_bounded_in_bytes_over_all_channels() {
    let world = TestApp::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    let large = "x".repeat(limits::MAX_BODY_BYTES - 2);
    let fit = limits::Limits::default().resume_bytes as u64 / limits::MAX_BODY_BYTES as u64;
    for number in 0..fit + 10 {
        world.send_frame(&alice, json!({ "action": "send", "id": format!("m{number}"), "body": large })).await;
    }
    world.append_messages("room:lobby", 5).await;
    world.received_frames(&alice);
    let channels = json!({ MINE: { "offset": 0 }, "room:lobby": { "offset": 0 } });
    let resumed = world.send_frame(&alice, resume(channels)).await;
    let inbox = world.received_frames(&alice);
    let sent = message_offsets(&inbox).len() as u64;
    assert!((fit - 2..=fit).contains(&sent), "{sent} of {fit}");
    let gaps: Vec<&Value> = inbox.iter().filter(|frame| frame["type"] == "gap").collect();
    assert_eq!(gaps[0], &gap(sent + 1, fit + 10, "e1", "too_many"));
    assert_eq!((&gaps[1]["channel"], &gaps[1]["from"], &gaps[1]["to"]), (&json!("room:lobby"), &json!(1), &json!(5)));
    assert_eq!(resumed["channels"]["room:lobby"], json!({ "epoch": "e1", "offset": 5, "count": 0 }));
    assert!(is_live(&world, &alice).await);
}

#[tokio::test]
async fn a_slow_way_to_the_client_ends_in_a_gap_in_time() {
    let world = TestApp::new();
    world.append_messages(MINE, 50).await;
    let alice = world.connect("a1", "alice", Role::User).await;
    *world.faults.delivery_delay.lock() = Duration::from_secs(1);
    world.send_frame(&alice, resume(since(0))).await;
    let inbox = world.received_frames(&alice);
    // One second goes to `welcome`.
    assert_eq!(message_offsets(&inbox), (1..limits::Limits::default().resume_time.as_secs()).collect::<Vec<_>>());
    assert_eq!(inbox.last().unwrap(), &gap(15, 50, "e1", "too_many"));
}

#[tokio::test]
async fn when_the_log_fails_on_the_way_the_rest_is_a_gap_and_live_traffic_flows() {
    // Look-ups that succeed: the heads before the hold, those behind it, a page.
    for (reads, sent) in [(1, 0), (2, 0), (3, 100)] {
        let world = TestApp::new();
        world.append_messages(MINE, 150).await;
        let alice = world.connect("a1", "alice", Role::User).await;
        world.faults.reads_before_failure.store(reads, Ordering::SeqCst);
        let error = world.send_frame(&alice, resume(since(0))).await;
        assert_eq!((&error["code"], &error["id"]), (&json!("unavailable"), &json!("r1")), "after {reads}");
        world.faults.reads_before_failure.store(usize::MAX, Ordering::SeqCst);
        let inbox = world.received_frames(&alice);
        // The greeting comes before the ends that count: where nothing is held, what comes before it is lost to the client.
        assert_eq!(inbox[0]["type"], "welcome", "after {reads}");
        assert_eq!(message_offsets(&inbox), (1..=sent).collect::<Vec<_>>(), "after {reads}");
        assert_eq!(inbox.last().unwrap(), &gap(sent + 1, 150, "e1", "unavailable"), "after {reads}");
        assert!(is_live(&world, &alice).await, "after {reads}");
    }
}

#[tokio::test]
async fn when_the_connection_ends_on_the_way_nothing_more_is_done_for_it() {
    let world = TestApp::new();
    world.append_messages(MINE, 150).await;
    let alice = world.connect("a1", "alice", Role::User).await;
    world.faults.deliveries_before_gone.store(10, Ordering::SeqCst);
    let error = world.send_frame(&alice, resume(since(0))).await;
    assert_eq!(error["code"], "gone");
    assert_eq!(message_offsets(&world.received_frames(&alice)), (1..=9).collect::<Vec<_>>());
    assert_eq!(world.faults.resume_count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_foreign_conversation_is_refused_before_anything_is_done() {
    let world = TestApp::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    let error = world.send_frame(&alice, resume(json!(["room:lobby", "conversation:bob"]))).await;
    assert_eq!((&error["code"], &error["id"]), (&json!("forbidden"), &json!("r1")));
    assert!(world.joined_channels(&alice).await.is_empty());
    assert_eq!(world.received_frames(&alice), [Value::Null; 0]);
    let admin = world.connect("c1", "carol", Role::Admin).await;
    assert_eq!(world.send_frame(&admin, resume(json!(["conversation:bob"]))).await["type"], "resumed");
}
