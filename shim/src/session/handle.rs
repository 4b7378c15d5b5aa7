//! What the rest of the process holds of an open connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use gateway::authorizer::{AuthorizerContext, ContextValue};
use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use gateway::id::GatewayId;
use handlers::channel::Channel;
use handlers::identity::{EXPIRY_KEY, Identity};
use handlers::ports::{Priority, Timestamp};
use parking_lot::Mutex;

use super::outbox::{Outbox, Pushed, Queued};

/// An open connection, as everyone but its session sees it: an id, facts that never change, and an outbox.
pub struct Handle {
    /// The connection's id.
    pub id: GatewayId,
    /// What its events have in common.
    pub facts: Arc<ConnectionFacts>,
    /// Who it is to the messaging application; `None` when another application's authorizer let it in.
    pub identity: Option<Identity>,
    /// The rooms and topics it joined, so that its end can be taken out of every index.
    pub joined: Mutex<Vec<Channel>>,
    outbox: Outbox,
    last_active: AtomicI64,
}

/// Whom an authorizer's context names, when it is our application's.
fn identity(context: &AuthorizerContext) -> Option<Identity> {
    let text = |key: &str| context.value(key).and_then(ContextValue::as_text);
    let expires_at = context.value(EXPIRY_KEY).and_then(|value| match value {
        ContextValue::Text(text) => text.parse().ok(),
        ContextValue::Number(number) => number.as_i64(),
        ContextValue::Flag(_) => None,
    });
    Identity::from_fields(text, expires_at).ok()
}

impl Handle {
    /// A handle whose outbox holds at most `outbox_bytes`.
    pub fn new(facts: Arc<ConnectionFacts>, outbox_bytes: usize, now: Timestamp) -> Self {
        let identity = facts.authorizer.as_deref().and_then(identity);
        Self {
            id: facts.connection_id,
            facts,
            identity,
            joined: Mutex::default(),
            outbox: Outbox::new(outbox_bytes),
            last_active: AtomicI64::new(now.0),
        }
    }

    /// Puts a frame in line. Never blocks.
    pub fn push(&self, priority: Priority, queued: Queued) -> Pushed {
        self.outbox.push(priority, queued)
    }

    /// Whether a frame of this many bytes fits without anything being shed for it.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.outbox.has_room(bytes)
    }

    /// Waits until a frame of this many bytes fits: the way for a handler that sends its own connection more than an
    /// outbox holds. Ends as well when the connection does.
    pub async fn wait_for_room(&self, bytes: usize) {
        self.outbox.wait_for_room(bytes).await;
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
        Timestamp(self.last_active.load(Ordering::Relaxed))
    }

    /// Notes that a message went either way.
    pub fn touch(&self, now: Timestamp) {
        self.last_active.store(now.0, Ordering::Relaxed);
    }

    /// The outbox, for the session.
    pub(crate) const fn outbox(&self) -> &Outbox {
        &self.outbox
    }
}
