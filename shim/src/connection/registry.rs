//! The port to a store of this pod's connections that outlives the pod, so that another pod can run a `$disconnect` that
//! this one no longer can.
//!
//! ```text
//! register ── $connect ── 101 ── session ── $disconnect ── forget
//!     │           └─ guard dropped: leave_unfinished           └─ failed: leave_unfinished
//!     └─ fails: the handshake is refused before anything has happened
//! ```

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use gateway::id::GatewayId;

/// Where connections are registered. Absent where there is one process only.
#[async_trait]
pub trait ConnectionRegistry: Send + Sync {
    /// Registers a connection, before its `$connect` runs.
    ///
    /// # Errors
    /// [`RegisterError`]: the handshake has to be refused.
    async fn register(&self, facts: &Arc<ConnectionFacts>) -> Result<RegistrationGuard, RegisterError>;

    /// Returns whether it is this pod that has to run the connection's `$disconnect`.
    fn owns_connection(&self, id: GatewayId) -> bool;

    /// Returns whether this pod holds the connection under the node id that the connection's own id carries.
    fn is_current(&self, id: GatewayId) -> bool;

    /// Records that a connection is finished: its `$disconnect` has run, or none is due.
    fn delete_connection(&self, id: GatewayId);

    /// Records that a connection has ended but its `$disconnect` has yet to run (again).
    fn defer_disconnect(&self, id: GatewayId, cause: &CloseCause);

    /// Takes a connection back that other pods have finished while its `$connect` ran here and may have had its effects
    /// after theirs: its end is this pod's again. Only where a `$disconnect` may run twice.
    fn reclaim(&self, facts: &Arc<ConnectionFacts>);
}

/// Why a connection was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The store did not take it.
    #[error("the connection could not be registered")]
    Store(#[source] Box<dyn Error + Send + Sync>),
    /// This pod's lease was taken away, or the id belongs to an earlier one.
    #[error("this pod does not hold the lease that the connection's id belongs to")]
    Fenced,
    /// This pod has as many unfinished connections as it keeps.
    #[error("too many connections are unfinished")]
    LimitReached,
}

/// A connection that is registered and not open yet. Dropped undecided, as when the client leaves during the handshake, it
/// gets a `$disconnect`, because its `$connect` may have run.
#[must_use]
pub struct RegistrationGuard {
    registry: Arc<dyn ConnectionRegistry>,
    id: GatewayId,
    on_drop: OnDrop,
}

/// What has to happen when the guard is dropped.
enum OnDrop {
    Nothing,
    Forget,
    RunDisconnect,
}

impl RegistrationGuard {
    /// Guards a connection whose registration is under way: dropped before [`Self::registered`], it is forgotten.
    pub fn pending(registry: Arc<dyn ConnectionRegistry>, id: GatewayId) -> Self {
        Self { registry, id, on_drop: OnDrop::Forget }
    }

    /// The store has the connection: from here on its end has to run `$disconnect`.
    pub const fn registered(mut self) -> Self {
        self.on_drop = OnDrop::RunDisconnect;
        self
    }

    /// `$connect` did not let the connection in: it gets no `$disconnect` (DC-6).
    pub fn mark_rejected(mut self) {
        self.on_drop = OnDrop::Forget;
    }

    /// The connection is open, and its session sees to its end. Returns `false` when this pod lost its node id meanwhile:
    /// the socket has to be closed.
    #[must_use]
    pub fn mark_opened(mut self) -> bool {
        self.on_drop = OnDrop::Nothing;
        self.registry.is_current(self.id)
    }
}

impl Drop for RegistrationGuard {
    fn drop(&mut self) {
        match self.on_drop {
            OnDrop::Nothing => {}
            OnDrop::Forget => self.registry.delete_connection(self.id),
            OnDrop::RunDisconnect => self.registry.defer_disconnect(self.id, &CloseCause::ConnectionLost),
        }
    }
}
