use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use gateway::quotas::Quotas;
use handlers::identity::Role;
use parking_lot::MutexGuard;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use websocket::SocketLimits;

use super::*;
use crate::connection::{EnqueueOutcome, Enqueued};
use crate::hub::tests::{connect_on_node, hub};

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A connection whose session is looked after by the test, and its client.
pub(crate) struct TestConnection {
    pub(crate) handle: Arc<Connection>,
    pub(crate) client: DuplexStream,
    wakes: Arc<Wakes>,
}

impl TestConnection {
    fn new(window: usize) -> Self {
        Self::for_handle(connect_on_node(&hub().0, 1, 1, "ann", Role::User), window)
    }

    /// Gives `handle` a socket to a client that takes `window` bytes before it reads.
    pub(crate) fn for_handle(handle: Arc<Connection>, window: usize) -> Self {
        let (client, server) = duplex(window);
        let quotas = Quotas::aws_profile();
        let limits = SocketLimits {
            frame_bytes: quotas.frame_bytes,
            message_bytes: quotas.message_bytes,
            outbound_frame_bytes: quotas.outbound_frame_bytes,
        };
        let socket = WebSocket::new(SocketStream::Right(Box::new(server)), &[], limits);
        *handle.transport().lock() = Some(Transport::new(socket, None));
        let connection = Self { handle, client, wakes: Arc::default() };
        connection.turn().unwrap();
        connection
    }

    fn lock(&self) -> MutexGuard<'_, Option<Transport>> {
        self.handle.transport().lock()
    }

    /// What the session does in its turn.
    fn turn(&self) -> Result<(), CloseCause> {
        let waker = self.wakes.clone().into();
        let mut shared = self.lock();
        let transport = shared.as_mut().unwrap();
        transport.set_waker(&waker);
        transport.flush_outbox(&mut Context::from_waker(&waker), &self.handle)
    }

    pub(crate) fn wake_count(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }

    fn write_through(&self) -> u64 {
        self.handle.try_flush(Instant::now())
    }

    /// The next texts, each in one unmasked frame (RFC 6455 section 5.2).
    pub(crate) async fn read_texts(&mut self, texts: usize) -> Vec<String> {
        let mut read = Vec::new();
        for _ in 0..texts {
            let mut header = [0; 2];
            self.client.read_exact(&mut header).await.unwrap();
            assert_eq!(header[0], 0x81, "a text in one frame");
            let length = match header[1] {
                126 => usize::from(self.client.read_u16().await.unwrap()),
                length => usize::from(length),
            };
            let mut text = vec![0; length];
            self.client.read_exact(&mut text).await.unwrap();
            read.push(String::from_utf8(text).unwrap());
        }
        read
    }
}

fn frame(text: impl Into<String>) -> OutboundFrame {
    OutboundFrame { text: text.into().into(), placement: None }
}

#[tokio::test]
async fn a_broadcast_is_written_without_its_session() {
    let mut connection = TestConnection::new(1024);
    let before = connection.handle.last_active_instant();
    let first = connection.handle.enqueue(Priority::Broadcast, frame("one"));
    assert_eq!(first, Enqueued::NeedsFlush(EnqueueOutcome::Queued));
    let second = connection.handle.enqueue(Priority::Direct, frame("two"));
    assert_eq!(second, Enqueued::FlushPending(EnqueueOutcome::Queued), "one flush writes both");
    assert_eq!(connection.write_through(), 2);
    assert_eq!(connection.read_texts(2).await, ["two", "one"]);
    assert_eq!(connection.wake_count(), 0);
    let active = connection.handle.last_active_instant();
    assert!(active > before);
    connection.handle.record_activity(before);
    assert_eq!(connection.handle.last_active_instant(), active, "it never goes back");
    let third = connection.handle.enqueue(Priority::Broadcast, frame("three"));
    assert_eq!(third, Enqueued::NeedsFlush(EnqueueOutcome::Queued));
}

#[tokio::test]
async fn a_session_in_its_turn_is_asked_to_look_again() {
    let mut connection = TestConnection::new(1024);
    let _ = connection.handle.enqueue(Priority::Broadcast, frame("one"));
    let turn = connection.lock();
    assert_eq!(connection.write_through(), 0);
    drop(turn);
    assert_eq!(connection.wake_count(), 1);
    connection.turn().unwrap();
    assert_eq!(connection.read_texts(1).await, ["one"]);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_left_to_its_session() {
    let mut connection = TestConnection::new(64);
    let _ = connection.handle.enqueue(Priority::Broadcast, frame("a".repeat(100)));
    assert_eq!(connection.write_through(), 1);
    assert_eq!(connection.wake_count(), 1, "the session sets its timer");
    assert!(connection.lock().as_ref().unwrap().is_blocked());
    let _ = connection.handle.enqueue(Priority::Broadcast, frame("b"));
    assert_eq!(connection.write_through(), 0, "it stays where it can be shed");
    connection.turn().unwrap();
    let before = connection.wake_count();
    let mut first = [0; 64];
    connection.client.read_exact(&mut first).await.unwrap();
    assert_eq!(connection.wake_count(), before + 1, "the window opened");
    connection.turn().unwrap();
    let mut rest = vec![0; 38];
    connection.client.read_exact(&mut rest).await.unwrap();
    assert_eq!(connection.read_texts(1).await, ["b"]);
}

#[tokio::test]
async fn the_end_is_for_the_session() {
    let connection = TestConnection::new(1024);
    connection.handle.close(CloseCause::Kicked);
    assert_eq!(connection.wake_count(), 1);
    let _ = connection.handle.enqueue(Priority::Broadcast, frame("late"));
    assert_eq!(connection.write_through(), 0);
    assert_eq!(connection.turn(), Err(CloseCause::Kicked));
    drop(connection.lock().take());
    assert_eq!(connection.write_through(), 0, "nothing to write to any more");
}

#[tokio::test]
async fn a_lost_connection_is_told_to_its_session() {
    let mut connection = TestConnection::new(1024);
    connection.client = duplex(1).0;
    let _ = connection.handle.enqueue(Priority::Broadcast, frame("one"));
    connection.write_through();
    assert_eq!(connection.wake_count(), 1);
    assert_eq!(connection.turn(), Err(CloseCause::ConnectionLost));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_writes_the_order_stays() {
    const FRAMES: usize = 4_000;
    let mut connection = TestConnection::new(512);
    let (handle, tasks) = (connection.handle.clone(), TaskTracker::new());
    // The session's task: a turn whenever it is woken.
    let session = tasks.spawn({
        let handle = handle.clone();
        std::future::poll_fn(move |cx| {
            let mut shared = handle.transport().lock();
            let transport = shared.as_mut().unwrap();
            transport.set_waker(cx.waker());
            transport.flush_outbox(cx, &handle).err().map_or(Poll::Pending, Poll::Ready)
        })
    });
    // Broadcasts are put in line one after the other; tasks write them in any order.
    let writers = tasks.clone();
    let fan_out = tasks.spawn(async move {
        for number in 0..FRAMES {
            if let Enqueued::NeedsFlush(_) = handle.enqueue(Priority::Broadcast, frame(number.to_string())) {
                let handle = handle.clone();
                writers.spawn(async move { handle.try_flush(Instant::now()) });
            }
            if number % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
        handle
    });
    let expected: Vec<String> = (0..FRAMES).map(|number| number.to_string()).collect();
    assert_eq!(connection.read_texts(FRAMES).await, expected);
    fan_out.await.unwrap().close(CloseCause::Kicked);
    assert_eq!(session.await.unwrap(), CloseCause::Kicked);
}
