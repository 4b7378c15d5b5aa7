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
    let channel = ChannelName::parse("room:lobby").unwrap().in_tenant(TenantId::default_tenant());
    let position = Position { epoch: Epoch("e".into()), offset: Offset(offset) };
    OutboundFrame { text: "m".repeat(36).into(), placement: Some(Arc::new(Placement { channel, position })) }
}

fn drained(outbox: &Outbox) -> (Vec<String>, Option<Box<DroppedFrames>>, Option<CloseCause>) {
    let waker = Arc::new(Wakes(AtomicUsize::new(0))).into();
    let mut batch = Vec::new();
    let (shed, close) = outbox.drain(&Context::from_waker(&waker), &mut batch, usize::MAX);
    (batch.iter().map(|queued| String::from_utf8(queued.text.to_vec()).unwrap()).collect(), shed, close)
}

#[test]
fn better_lanes_leave_first() {
    let outbox = Outbox::new(10_000);
    outbox.push(Priority::Ephemeral, frame("typing"));
    outbox.push(Priority::Broadcast, frame("news"));
    outbox.push(Priority::Control, frame("ack"));
    outbox.push(Priority::Direct, frame("hello"));
    assert_eq!(drained(&outbox).0, ["ack", "hello", "news", "typing"]);
    assert!(drained(&outbox).0.is_empty());
}

#[test]
fn a_push_wakes_the_drainer_once_a_drain() {
    let outbox = Outbox::new(10_000);
    let wakes = Arc::new(Wakes(AtomicUsize::new(0)));
    let waker = wakes.clone().into();
    outbox.drain(&Context::from_waker(&waker), &mut Vec::new(), usize::MAX);
    outbox.push(Priority::Direct, frame("1"));
    outbox.push(Priority::Direct, frame("2"));
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
}

#[test]
fn a_full_outbox_sheds_the_oldest_broadcasts_and_says_which() {
    let outbox = Outbox::new(300);
    for offset in 1..=5 {
        outbox.push(Priority::Broadcast, placed(offset));
    }
    assert_eq!(outbox.push(Priority::Direct, frame("direct")), EnqueueOutcome::Dropped(1));
    let (frames, shed, close) = drained(&outbox);
    assert_eq!((frames.len(), close), (3, None));
    let shed = *shed.unwrap();
    assert_eq!(shed.logged, 3);
    let (from, to) = shed.channels.values().next().unwrap();
    assert_eq!((*from, to.offset), (1, Offset(3)));
}

#[test]
fn ephemeral_frames_are_shed_before_broadcasts() {
    let outbox = Outbox::new(200);
    outbox.push(Priority::Broadcast, placed(1));
    outbox.push(Priority::Ephemeral, placed(0));
    assert_eq!(outbox.push(Priority::Broadcast, placed(2)), EnqueueOutcome::Dropped(1));
    assert_eq!(drained(&outbox).0.len(), 2);
}

#[test]
fn when_shedding_does_not_help_the_connection_is_too_slow() {
    let outbox = Outbox::new(200);
    assert_eq!(outbox.push(Priority::Direct, frame(&"x".repeat(100))), EnqueueOutcome::Queued);
    assert_eq!(outbox.push(Priority::Direct, frame(&"x".repeat(100))), EnqueueOutcome::Closed);
    assert_eq!(drained(&outbox).2, Some(CloseCause::SlowConsumer));
    assert_eq!(outbox.push(Priority::Control, frame("late")), EnqueueOutcome::Closed);
}

#[tokio::test]
async fn who_waits_for_room_goes_on_when_the_session_has_drained_or_ends() {
    let outbox = Arc::new(Outbox::new(200));
    let waits = |bytes| {
        let outbox = outbox.clone();
        TaskTracker::new().spawn(async move { outbox.wait_for_capacity(bytes).await })
    };
    outbox.push(Priority::Direct, frame(&"x".repeat(100)));
    let waiting = [waits(80), waits(90)];
    tokio::task::yield_now().await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    assert_eq!(drained(&outbox).0.len(), 1);
    for waiting in waiting {
        waiting.await.unwrap();
    }
    outbox.push(Priority::Direct, frame(&"x".repeat(100)));
    let waiting = waits(80);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    outbox.close(CloseCause::Kicked);
    waiting.await.unwrap();
}

#[test]
fn either_the_session_or_a_visitor_is_asked_and_only_once() {
    let outbox = Outbox::new(10_000);
    let wakes = Arc::new(Wakes(AtomicUsize::new(0)));
    let waker = wakes.clone().into();
    let drain = || outbox.drain(&Context::from_waker(&waker), &mut Vec::new(), usize::MAX);
    let due = || matches!(outbox.enqueue(Priority::Broadcast, frame("news")), Enqueued::NeedsFlush(_));
    drain();
    assert!(due());
    assert!(!due(), "the first one has yet to come");
    drain();
    assert!(!due(), "also when the session was faster");
    outbox.push(Priority::Direct, frame("hello"));
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "who waits for a visitor may wait long");
    outbox.flush_started();
    assert!(!due(), "the session has yet to look");
    drain();
    assert!(due());
    outbox.wake_session();
    assert!(!due());
    assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
}
