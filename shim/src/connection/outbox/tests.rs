use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use handlers::channel::{ChannelName, Epoch, Offset};
use handlers::id::TenantId;
use tokio_util::task::TaskTracker;

use super::*;

struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn frame(text: &str) -> OutboundFrame {
    OutboundFrame { text: text.to_owned().into(), placement: None }
}

fn placed(offset: u64) -> OutboundFrame {
    placed_in("room:lobby", "e", offset)
}

fn placed_in(channel: &str, epoch: &str, offset: u64) -> OutboundFrame {
    let channel = ChannelName::parse(channel).unwrap().in_tenant(TenantId::default_tenant());
    let position = Position { epoch: Epoch(epoch.into()), offset: Offset(offset) };
    OutboundFrame { text: "m".repeat(36).into(), placement: Some(Arc::new(Placement { channel, position })) }
}

fn drain(outbox: &Outbox) -> (Vec<String>, Option<Box<DroppedFrames>>, Option<CloseCause>) {
    let waker = Arc::new(Wakes(AtomicUsize::new(0))).into();
    let mut batch = Vec::new();
    let (dropped, close) = outbox.drain(&Context::from_waker(&waker), &mut batch, usize::MAX);
    (batch.iter().map(|queued| String::from_utf8(queued.text.to_vec()).unwrap()).collect(), dropped, close)
}

#[test]
fn frames_leave_in_order_of_priority() {
    let outbox = Outbox::new(10_000);
    outbox.push(Priority::Ephemeral, frame("typing"));
    outbox.push(Priority::Broadcast, frame("news"));
    outbox.push(Priority::Control, frame("ack"));
    outbox.push(Priority::Direct, frame("hello"));
    assert_eq!(drain(&outbox).0, ["ack", "hello", "news", "typing"]);
    assert!(drain(&outbox).0.is_empty());
}

#[test]
fn a_push_wakes_the_session_once_per_drain() {
    let outbox = Outbox::new(10_000);
    let wakes = Arc::new(Wakes(AtomicUsize::new(0)));
    let waker = wakes.clone().into();
    outbox.drain(&Context::from_waker(&waker), &mut Vec::new(), usize::MAX);
    outbox.push(Priority::Direct, frame("1"));
    outbox.push(Priority::Direct, frame("2"));
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
}

#[test]
fn a_full_outbox_drops_the_oldest_broadcasts_and_reports_their_range() {
    let outbox = Outbox::new(300);
    for offset in 1..=5 {
        outbox.push(Priority::Broadcast, placed(offset));
    }
    assert_eq!(outbox.push(Priority::Direct, frame("direct")), EnqueueOutcome::Dropped(1));
    let (frames, dropped, close) = drain(&outbox);
    assert_eq!((frames.len(), close), (3, None));
    let dropped = *dropped.unwrap();
    assert_eq!(dropped.logged, 3);
    let (from, to) = dropped.channels.values().next().unwrap();
    assert_eq!((*from, to.offset), (1, Offset(3)));
}

/// A message is delivered, or a gap reports it: what cannot be reported closes the connection.
#[test]
fn a_connection_that_loses_messages_of_more_channels_than_can_be_reported_is_closed() {
    let outbox = Outbox::new(100);
    let topic = |number: usize| placed_in(&format!("topic:t{number}"), "e", 7);
    assert_eq!(outbox.push(Priority::Broadcast, placed(1)), EnqueueOutcome::Queued);
    // The first topic displaces the message of the room; each further one displaces the topic before it.
    for number in 0..MAX_DROPPED_CHANNELS {
        assert_eq!(outbox.push(Priority::Broadcast, topic(number)), EnqueueOutcome::Dropped(1), "{number}");
    }
    assert_eq!(outbox.push(Priority::Broadcast, placed(2)), EnqueueOutcome::Closed);
    let (_, dropped, close) = drain(&outbox);
    assert_eq!(close, Some(CloseCause::SlowConsumer));
    assert_eq!(dropped.map(|dropped| dropped.channels.len()), Some(MAX_DROPPED_CHANNELS));
}

#[test]
fn a_dropped_range_belongs_to_one_epoch() {
    let outbox = Outbox::new(100);
    for (epoch, offset) in [("old", 500), ("new", 3), ("new", 4), ("new", 5)] {
        outbox.push(Priority::Broadcast, placed_in("room:lobby", epoch, offset));
    }
    let (texts, dropped, _) = drain(&outbox);
    let to = Position { epoch: Epoch("new".into()), offset: Offset(4) };
    assert_eq!(texts.len(), 1);
    assert_eq!(dropped.unwrap().channels.into_values().collect::<Vec<_>>(), [(3, to)]);
}

#[test]
fn ephemeral_frames_are_dropped_before_broadcasts() {
    let outbox = Outbox::new(200);
    outbox.push(Priority::Broadcast, placed(1));
    outbox.push(Priority::Ephemeral, placed(0));
    assert_eq!(outbox.push(Priority::Broadcast, placed(2)), EnqueueOutcome::Dropped(1));
    assert_eq!(drain(&outbox).0.len(), 2);
}

#[test]
fn a_connection_without_room_for_a_direct_frame_is_closed_as_too_slow() {
    let outbox = Outbox::new(200);
    assert_eq!(outbox.push(Priority::Direct, frame(&"x".repeat(100))), EnqueueOutcome::Queued);
    assert_eq!(outbox.push(Priority::Direct, frame(&"x".repeat(100))), EnqueueOutcome::Closed);
    assert_eq!(drain(&outbox).2, Some(CloseCause::SlowConsumer));
    assert_eq!(outbox.push(Priority::Control, frame("late")), EnqueueOutcome::Closed);
}

#[tokio::test]
async fn a_wait_for_capacity_ends_with_a_drain_or_the_connection() {
    let outbox = Arc::new(Outbox::new(200));
    let spawn_wait = |bytes| {
        let outbox = outbox.clone();
        TaskTracker::new().spawn(async move { outbox.wait_for_capacity(bytes).await })
    };
    outbox.push(Priority::Direct, frame(&"x".repeat(100)));
    let waiting = [spawn_wait(80), spawn_wait(90)];
    tokio::task::yield_now().await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    assert_eq!(drain(&outbox).0.len(), 1);
    for waiting in waiting {
        waiting.await.unwrap();
    }
    outbox.push(Priority::Direct, frame(&"x".repeat(100)));
    let waiting = spawn_wait(80);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    outbox.close(CloseCause::Kicked);
    waiting.await.unwrap();
}

#[test]
fn one_flush_is_requested_at_a_time_from_the_session_or_the_caller() {
    let outbox = Outbox::new(10_000);
    let wakes = Arc::new(Wakes(AtomicUsize::new(0)));
    let waker = wakes.clone().into();
    let drain = || outbox.drain(&Context::from_waker(&waker), &mut Vec::new(), usize::MAX);
    let needs_flush = || matches!(outbox.enqueue(Priority::Broadcast, frame("news")), Enqueued::NeedsFlush(_));
    drain();
    assert!(needs_flush());
    assert!(!needs_flush(), "the first caller has not flushed yet");
    drain();
    assert!(!needs_flush(), "the session has drained the outbox, but the caller has not flushed yet");
    outbox.push(Priority::Direct, frame("hello"));
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "a push does not rely on the pending flush");
    outbox.flush_started();
    assert!(!needs_flush(), "the session was woken and has not drained yet");
    drain();
    assert!(needs_flush());
    outbox.wake_session();
    assert!(!needs_flush());
    assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
}
