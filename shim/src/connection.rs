//! An open WebSocket connection: its identity, its outbox and its socket.
//!
//! ```text
//! push ────── outbox ──▶ wakes the session task ──▶ Transport::flush_outbox ──▶ socket
//! enqueue ─── outbox ──▶ the caller flushes: Connection::try_flush ──▶ the same socket, under the same lock
//! ```
//! This is a ground layer: sessions, delivery, the bus and the management API are built on it, and it imports none of
//! them. [`Connection`] owns both halves: [`Outbox`] queues frames by priority within a byte limit, [`Transport`]
//! writes them without blocking. Only the session task waits for the socket.

mod ids;
mod index;
mod lifecycle;
mod notices;
mod outbox;
mod registry;
mod remote;
pub(crate) mod transport;

pub use self::ids::ConnectionIds;
pub use self::index::ConnectionIndex;
pub use self::lifecycle::{ConnectionLifecycle, ConnectionObserver, DisconnectRetry};
pub use self::notices::{ClientNotices, PeerLink};
pub use self::outbox::{DroppedFrames, EnqueueOutcome, Enqueued, OutboundFrame, Outbox};
pub use self::registry::{ConnectionRegistry, RegisterError, RegistrationGuard};
pub use self::remote::{ConnectionDirectory, RemoteConnections, RemoteDescription};
pub use self::transport::{ByteStream, SocketStream, Transport};

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use gateway::id::GatewayId;
use handlers::ports::{Priority, Timestamp};
use parking_lot::Mutex;
use tokio::time::Instant;

/// An open connection, shared by its session and every sender: an id, immutable facts, an outbox, and a non-blocking
/// flush of the outbox to the socket.
pub struct Connection {
    /// The connection id, as in the `connectionId` of its events.
    pub id: GatewayId,
    /// The fields that all events of the connection share.
    pub facts: Arc<ConnectionFacts>,
    /// State that the application's delivery attaches to the connection. Opaque to the gateway.
    membership: OnceLock<Box<dyn Any + Send + Sync>>,
    outbox: Outbox,
    transport: Mutex<Option<Transport>>,
    opened_at: (Timestamp, Instant),
    /// Time of the last message in either direction, in microseconds since the connection opened.
    last_active_micros: AtomicU64,
}

impl Connection {
    /// Creates a connection whose outbox holds at most `outbox_bytes`. It has no socket until its session starts.
    pub fn new(facts: Arc<ConnectionFacts>, outbox_bytes: usize, now: Timestamp) -> Self {
        Self {
            id: facts.connection_id,
            facts,
            membership: OnceLock::new(),
            outbox: Outbox::new(outbox_bytes),
            transport: Mutex::new(None),
            opened_at: (now, Instant::now()),
            last_active_micros: AtomicU64::new(0),
        }
    }

    /// Attaches the state of the application's delivery. Only the first call has an effect.
    pub fn set_membership<M: Any + Send + Sync>(&self, membership: M) {
        let _ = self.membership.set(Box::new(membership));
    }

    /// Returns the state that the application's delivery attached, if it is an `M`.
    pub fn membership<M: Any>(&self) -> Option<&M> {
        self.membership.get()?.downcast_ref()
    }

    /// Queues a frame and wakes the session. Never blocks.
    pub fn push(&self, priority: Priority, frame: OutboundFrame) -> EnqueueOutcome {
        self.outbox.push(priority, frame)
    }

    /// Returns whether a frame of `bytes` bytes fits without dropping other frames.
    pub fn has_capacity(&self, bytes: usize) -> bool {
        self.outbox.has_capacity(bytes)
    }

    /// Waits until a frame of `bytes` bytes fits, or the connection closes. Provides backpressure for a handler that
    /// sends its own connection more than the outbox holds.
    pub async fn wait_for_capacity(&self, bytes: usize) {
        self.outbox.wait_for_capacity(bytes).await;
    }

    /// Requests that the session close the connection. Only the first cause has an effect.
    pub fn close(&self, cause: CloseCause) {
        self.outbox.close(cause);
    }

    /// Returns whether a close was requested. Senders treat such a connection as gone, even if its session is still
    /// running.
    pub fn is_closing(&self) -> bool {
        self.outbox.is_closing()
    }

    /// Returns the wall-clock time of the last message in either direction.
    pub fn last_active(&self) -> Timestamp {
        let millis = self.last_active_micros.load(Ordering::Relaxed) / 1_000;
        Timestamp(self.opened_at.0.0.saturating_add_unsigned(millis))
    }

    /// Returns the time of the last message in either direction, on the monotonic clock.
    pub fn last_active_instant(&self) -> Instant {
        self.opened_at.1 + Duration::from_micros(self.last_active_micros.load(Ordering::Relaxed))
    }

    /// Records a message in either direction at `now`. Concurrent calls keep the latest time.
    pub fn record_activity(&self, now: Instant) {
        let micros = now.saturating_duration_since(self.opened_at.1).as_micros();
        // 64 bits of microseconds last for half a million years.
        self.last_active_micros.fetch_max(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Queues a frame like [`Connection::push`], but without waking the session. On [`Enqueued::NeedsFlush`] the caller
    /// must call [`Connection::try_flush`] or [`Connection::wake_session`].
    pub fn enqueue(&self, priority: Priority, frame: OutboundFrame) -> Enqueued {
        self.outbox.enqueue(priority, frame)
    }

    /// Wakes the session so that it flushes the outbox.
    pub fn wake_session(&self) {
        self.outbox.wake_session();
    }

    /// Writes queued frames to the socket until it would block, and returns the number of frames written. Anything that
    /// would block is left to the session. Consumes one or a few operations of the calling task's budget
    /// (`tokio::task::coop`). Writes nothing before the session has started or after it has ended.
    pub fn try_flush(&self, now: Instant) -> u64 {
        self.outbox.flush_started();
        let Some(mut transport) = self.transport.try_lock() else {
            // The session holds the lock and may already have drained the outbox.
            self.wake_session();
            return 0;
        };
        let sent = transport.as_mut().map_or(0, |transport| transport.flush_without_session(self));
        drop(transport);
        if sent > 0 {
            self.record_activity(now);
        }
        sent
    }

    /// The socket, while the session runs. Every drain of the outbox holds this lock, which keeps frames in order.
    pub(crate) const fn transport(&self) -> &Mutex<Option<Transport>> {
        &self.transport
    }

    /// Returns the outbox, for the session.
    pub(crate) const fn outbox(&self) -> &Outbox {
        &self.outbox
    }
}
