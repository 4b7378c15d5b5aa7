//! One open connection: its identity, its outbox and its socket.
//!
//! ```text
//! push ────── outbox ──▶ wakes the session ──▶ Transport::write ──▶ socket
//! enqueue ─── outbox ──▶ the caller flushes: write_through ──▶ the same socket, under the same lock
//! ```
//! This is a ground layer: sessions, delivery, the bus and the management API are built on it, and it imports none of
//! them. [`Connection`] owns both halves: [`Outbox`] queues frames by priority within a byte limit, [`Transport`] writes
//! them without waiting. Only the session task waits.

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

/// An open connection, as everyone but its session sees it: an id, facts that never change, an outbox, and the way to write it
/// to the socket without waiting.
pub struct Connection {
    /// The connection's id.
    pub id: GatewayId,
    /// What its events have in common.
    pub facts: Arc<ConnectionFacts>,
    /// What the application's delivery keeps for the connection. The gateway does not look into it.
    membership: OnceLock<Box<dyn Any + Send + Sync>>,
    outbox: Outbox,
    transport: Mutex<Option<Transport>>,
    opened_at: (Timestamp, Instant),
    /// When a message last went either way, in microseconds since it opened.
    last_active_micros: AtomicU64,
}

impl Connection {
    /// A handle whose outbox holds at most `outbox_bytes`.
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

    /// Sets what the application's delivery keeps for the connection. The first one stays.
    pub fn set_membership<M: Any + Send + Sync>(&self, membership: M) {
        let _ = self.membership.set(Box::new(membership));
    }

    /// Returns what the application's delivery keeps for the connection, if that is an `M`.
    pub fn membership<M: Any>(&self) -> Option<&M> {
        self.membership.get()?.downcast_ref()
    }

    /// Puts a frame in line. Never blocks.
    pub fn push(&self, priority: Priority, queued: OutboundFrame) -> EnqueueOutcome {
        self.outbox.push(priority, queued)
    }

    /// Whether a frame of this many bytes fits without anything being shed for it.
    pub fn has_capacity(&self, bytes: usize) -> bool {
        self.outbox.has_capacity(bytes)
    }

    /// Waits until a frame of this many bytes fits: the way for a handler that sends its own connection more than an
    /// outbox holds. Ends as well when the connection does.
    pub async fn wait_for_capacity(&self, bytes: usize) {
        self.outbox.wait_for_capacity(bytes).await;
    }

    /// Asks the session to end. The first cause stays.
    pub fn close(&self, cause: CloseCause) {
        self.outbox.close(cause);
    }

    /// Whether it was asked to end, so that it is gone for everyone although its session may not have noticed yet.
    pub fn is_closing(&self) -> bool {
        self.outbox.is_closing()
    }

    /// When a message last went either way.
    pub fn last_active(&self) -> Timestamp {
        let millis = self.last_active_micros.load(Ordering::Relaxed) / 1_000;
        Timestamp(self.opened_at.0.0.saturating_add_unsigned(millis))
    }

    /// The same moment on the clock that nobody sets.
    pub fn last_active_instant(&self) -> Instant {
        self.opened_at.1 + Duration::from_micros(self.last_active_micros.load(Ordering::Relaxed))
    }

    /// Notes that a message went either way. The latest moment stays, in whatever order the session and others tell theirs.
    pub fn record_activity(&self, now: Instant) {
        let micros = now.saturating_duration_since(self.opened_at.1).as_micros();
        // 64 bits last for half a million years.
        self.last_active_micros.fetch_max(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Queues a frame like [`Connection::push`], without waking the session. On [`Enqueued::NeedsFlush`] the caller must call
    /// [`Connection::write_through`] or [`Connection::wake_session`].
    pub fn enqueue(&self, priority: Priority, queued: OutboundFrame) -> Enqueued {
        self.outbox.enqueue(priority, queued)
    }

    /// Has the session write what is in line.
    pub fn wake_session(&self) {
        self.outbox.wake_session();
    }

    /// Writes what is in line, as far as the client takes it, and returns how many frames that were. What it cannot do
    /// without waiting it leaves to the session. It uses up one operation of the calling task's budget
    /// (`tokio::task::coop`), or a few. Nothing is written before the session has begun, or when it has ended.
    pub fn try_flush(&self, now: Instant) -> u64 {
        self.outbox.flush_started();
        let Some(mut transport) = self.transport.try_lock() else {
            // The session has its turn and may be past its outbox.
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

    /// The socket, while the session lasts. What is put in line is written under this lock.
    pub(crate) const fn transport(&self) -> &Mutex<Option<Transport>> {
        &self.transport
    }

    /// The outbox, for the session.
    pub(crate) const fn outbox(&self) -> &Outbox {
        &self.outbox
    }
}
