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

/// A connection whose session is driven by the test, and its client.
pub(crate) struct TestConnection {
    pub(crate) server: Arc<Connection>,
    pub(crate) client: DuplexStream,
    wakes: Arc<Wakes>,
}

impl TestConnection {
    fn new(window: usize) -> Self {
        Self::for_connection(connect_on_node(&hub().0, 1, 1, "ann", Role::User), window)
    }

    /// Gives `server` a socket to a client whose receive window is `window` bytes.
    pub(crate) fn for_connection(server: Arc<Connection>, window: usize) -> Self {
        let (client, stream) = duplex(window);
        let quotas = Quotas::aws_profile();
        let limits = SocketLimits {
            frame_bytes: quotas.frame_bytes,
            message_bytes: quotas.message_bytes,
            outbound_frame_bytes: quotas.outbound_frame_bytes,
        };
        let socket = WebSocket::new(SocketStream::Right(Box::new(stream)), &[], limits);
        *server.transport().lock() = Some(Transport::new(socket, None));
        let connection = Self { server, client, wakes: Arc::default() };
        connection.poll_session().unwrap();
        connection
    }

    fn lock(&self) -> MutexGuard<'_, Option<Transport>> {
        self.server.transport().lock()
    }

    /// Flushes the outbox as one poll of the session task does.
    fn poll_session(&self) -> Result<(), CloseCause> {
        let waker = self.wakes.clone().into();
        let mut shared = self.lock();
        let transport = shared.as_mut().unwrap();
        transport.set_waker(&waker);
        transport.flush_outbox(&mut Context::from_waker(&waker), &self.server)
    }

    pub(crate) fn wake_count(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }

    fn try_flush(&self) -> u64 {
        self.server.try_flush(Instant::now())
    }

    /// Reads the next `texts` text messages, each in one unmasked frame (RFC 6455 section 5.2).
    pub(crate) async fn read_texts(&mut self, texts: usize) -> Vec<String> {
        let mut read = Vec::new();
        for _ in 0..texts {
            let mut header = [0; 2];
            self.client.read_exact(&mut header).await.unwrap();
            assert_eq!(header[0], 0x81, "a text message in one frame");
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
    let before = connection.server.last_active_instant();
    let first = connection.server.enqueue(Priority::Broadcast, frame("one"));
    assert_eq!(first, Enqueued::NeedsFlush(EnqueueOutcome::Queued));
    let second = connection.server.enqueue(Priority::Direct, frame("two"));
    assert_eq!(second, Enqueued::FlushPending(EnqueueOutcome::Queued), "one flush writes both");
    assert_eq!(connection.try_flush(), 2);
    assert_eq!(connection.read_texts(2).await, ["two", "one"]);
    assert_eq!(connection.wake_count(), 0);
    let active = connection.server.last_active_instant();
    assert!(active > before);
    connection.server.record_activity(before);
    assert_eq!(connection.server.last_active_instant(), active, "the time of the last activity never decreases");
    let third = connection.server.enqueue(Priority::Broadcast, frame("three"));
    assert_eq!(third, Enqueued::NeedsFlush(EnqueueOutcome::Queued));
}

#[tokio::test]
async fn a_session_that_holds_the_transport_is_woken_to_drain_again() {
    let mut connection = TestConnection::new(1024);
    let _ = connection.server.enqueue(Priority::Broadcast, frame("one"));
    let session_lock = connection.lock();
    assert_eq!(connection.try_flush(), 0);
    drop(session_lock);
    assert_eq!(connection.wake_count(), 1);
    connection.poll_session().unwrap();
    assert_eq!(connection.read_texts(1).await, ["one"]);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_left_to_its_session() {
    let mut connection = TestConnection::new(64);
    let _ = connection.server.enqueue(Priority::Broadcast, frame("a".repeat(100)));
    assert_eq!(connection.try_flush(), 1);
    assert_eq!(connection.wake_count(), 1, "the session starts its stalled-write timer");
    assert!(connection.lock().as_ref().unwrap().is_blocked());
    let _ = connection.server.enqueue(Priority::Broadcast, frame("b"));
    assert_eq!(connection.try_flush(), 0, "the frame stays in the outbox, where it can be dropped");
    connection.poll_session().unwrap();
    let before = connection.wake_count();
    let mut first = [0; 64];
    connection.client.read_exact(&mut first).await.unwrap();
    assert_eq!(connection.wake_count(), before + 1, "the socket became writable");
    connection.poll_session().unwrap();
    let mut rest = vec![0; 38];
    connection.client.read_exact(&mut rest).await.unwrap();
    assert_eq!(connection.read_texts(1).await, ["b"]);
}

#[tokio::test]
async fn a_close_request_is_left_to_the_session() {
    let connection = TestConnection::new(1024);
    connection.server.close(CloseCause::Kicked);
    assert_eq!(connection.wake_count(), 1);
    let _ = connection.server.enqueue(Priority::Broadcast, frame("late"));
    assert_eq!(connection.try_flush(), 0);
    assert_eq!(connection.poll_session(), Err(CloseCause::Kicked));
    drop(connection.lock().take());
    assert_eq!(connection.try_flush(), 0, "the socket is gone");
}

#[tokio::test]
async fn a_lost_connection_wakes_its_session() {
    let mut connection = TestConnection::new(1024);
    connection.client = duplex(1).0;
    let _ = connection.server.enqueue(Priority::Broadcast, frame("one"));
    connection.try_flush();
    assert_eq!(connection.wake_count(), 1);
    assert_eq!(connection.poll_session(), Err(CloseCause::ConnectionLost));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn frames_stay_in_order_with_concurrent_writers() {
    const FRAMES: usize = 4_000;
    let mut connection = TestConnection::new(512);
    let (server, tasks) = (connection.server.clone(), TaskTracker::new());
    // The session task flushes whenever it is woken.
    let session = tasks.spawn({
        let server = server.clone();
        std::future::poll_fn(move |cx| {
            let mut shared = server.transport().lock();
            let transport = shared.as_mut().unwrap();
            transport.set_waker(cx.waker());
            transport.flush_outbox(cx, &server).err().map_or(Poll::Pending, Poll::Ready)
        })
    });
    // Broadcasts are enqueued one after the other; the writer tasks run in any order.
    let writers = tasks.clone();
    let fan_out = tasks.spawn(async move {
        for number in 0..FRAMES {
            if let Enqueued::NeedsFlush(_) = server.enqueue(Priority::Broadcast, frame(number.to_string())) {
                let server = server.clone();
                writers.spawn(async move { server.try_flush(Instant::now()) });
            }
            if number % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
        server
    });
    let expected: Vec<String> = (0..FRAMES).map(|number| number.to_string()).collect();
    assert_eq!(connection.read_texts(FRAMES).await, expected);
    fan_out.await.unwrap().close(CloseCause::Kicked);
    assert_eq!(session.await.unwrap(), CloseCause::Kicked);
}
