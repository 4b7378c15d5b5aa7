//! Port to a store of connection records that outlives the pod, so that another pod can run the `$disconnect` of a dead
//! pod's connections.
//!
//! ```text
//! register ── $connect ── 101 ── session ── $disconnect ── delete_connection
//!     │           └─ guard dropped: defer_disconnect           └─ failed: defer_disconnect
//!     └─ fails: the handshake is rejected before `$connect` runs
//! ```

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use gateway::id::GatewayId;

/// Registry of connection records. Absent in a single process.
///
/// ```
/// # use std::sync::Arc;
/// # use async_trait::async_trait;
/// # use gateway::api::WebSocketApi;
/// # use gateway::close::CloseCause;
/// # use gateway::event::{ConnectionFacts, RequestIdentity};
/// # use gateway::id::GatewayId;
/// # use parking_lot::Mutex;
/// # use shim::config::Config;
/// # use shim::connection::{ConnectionRegistry, RegisterError, RegistrationGuard};
/// # use shim::wiring::api_definition;
/// # #[derive(Clone, Default)]
/// # struct MemoryRegistry { open: Arc<Mutex<Vec<GatewayId>>>, deferred: Arc<Mutex<Vec<GatewayId>>> }
/// # #[async_trait]
/// # impl ConnectionRegistry for MemoryRegistry {
/// #     async fn register(&self, facts: &Arc<ConnectionFacts>) -> Result<RegistrationGuard, RegisterError> {
/// #         self.open.lock().push(facts.connection_id);
/// #         Ok(RegistrationGuard::pending(Arc::new(self.clone()), facts.connection_id).registered())
/// #     }
/// #     fn owns_connection(&self, id: GatewayId) -> bool { self.open.lock().contains(&id) }
/// #     fn is_current(&self, id: GatewayId) -> bool { self.owns_connection(id) }
/// #     fn delete_connection(&self, id: GatewayId) { self.open.lock().retain(|open| *open != id); }
/// #     fn defer_disconnect(&self, id: GatewayId, _: &CloseCause) { self.deferred.lock().push(id); }
/// #     fn reclaim(&self, facts: &Arc<ConnectionFacts>) { self.open.lock().push(facts.connection_id); }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let config = Config::for_tests();
/// # let identity = RequestIdentity { iam: None, api_key: None, user_agent: None, source_ip: "192.0.2.1".into() };
/// # let facts_of = |sequence| Arc::new(ConnectionFacts {
/// #     api: Arc::new(WebSocketApi::new(api_definition(&config.api, &config.throttle)).unwrap()),
/// #     connection_id: GatewayId::for_connection(sequence, 1), domain_name: "localhost".into(), connected_at: 0,
/// #     identity: identity.clone(), authorizer: None,
/// # });
/// # let [lost, open, rejected] = [1, 2, 3].map(facts_of);
/// let registry = MemoryRegistry::default();
/// drop(registry.register(&lost).await?);
/// assert_eq!(*registry.deferred.lock(), [lost.connection_id], "the client left, and `$connect` may have run");
///
/// let guard = registry.register(&open).await?;
/// assert!(guard.mark_opened(), "the session of the open connection runs `$disconnect`");
///
/// registry.register(&rejected).await?.mark_rejected();
/// assert!(!registry.owns_connection(rejected.connection_id), "`$connect` rejected it: no `$disconnect`");
/// assert_eq!(registry.deferred.lock().len(), 1);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait ConnectionRegistry: Send + Sync {
    /// Registers a connection. Must complete before its `$connect` runs.
    ///
    /// # Errors
    /// [`RegisterError`]: the caller must reject the handshake.
    async fn register(&self, facts: &Arc<ConnectionFacts>) -> Result<RegistrationGuard, RegisterError>;

    /// Returns whether this pod has to run the connection's `$disconnect`.
    fn owns_connection(&self, id: GatewayId) -> bool;

    /// Returns whether this pod still holds the lease of the node id that the connection's id carries.
    fn is_current(&self, id: GatewayId) -> bool;

    /// Deletes the record of a connection whose `$disconnect` has run or is not required.
    fn delete_connection(&self, id: GatewayId);

    /// Keeps the record of a closed connection so that its `$disconnect` is run later, or retried.
    fn defer_disconnect(&self, id: GatewayId, cause: &CloseCause);

    /// Registers a connection again after another pod ran its `$disconnect` while `$connect` was still running here.
    /// The effects of `$connect` may have come last, so this pod runs `$disconnect` once more. Only for idempotent
    /// functions.
    fn reclaim(&self, facts: &Arc<ConnectionFacts>);
}

/// Error of [`ConnectionRegistry::register`].
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The store is unavailable or rejected the write.
    #[error("writing the connection record failed")]
    Store(#[source] Box<dyn Error + Send + Sync>),
    /// This pod lost its lease, or the connection id carries the node id of an earlier lease.
    #[error("this pod does not hold the lease of the connection's node id")]
    Fenced,
    /// The number of connections whose `$disconnect` has not run has reached its limit.
    #[error("too many connections wait for $disconnect")]
    LimitReached,
}

/// Guard of a registered connection until it is open. If dropped before that, for example because the client
/// disconnects during the handshake, `$disconnect` is scheduled, because `$connect` may have run.
#[must_use]
pub struct RegistrationGuard {
    registry: Arc<dyn ConnectionRegistry>,
    id: GatewayId,
    on_drop: OnDrop,
}

/// Action of a dropped guard.
enum OnDrop {
    Nothing,
    DeleteRecord,
    RunDisconnect,
}

impl RegistrationGuard {
    /// Creates the guard of a registration in progress. If dropped before [`Self::registered`], the record is deleted.
    pub fn pending(registry: Arc<dyn ConnectionRegistry>, id: GatewayId) -> Self {
        Self { registry, id, on_drop: OnDrop::DeleteRecord }
    }

    /// Marks the record as written: from now on dropping the guard schedules `$disconnect`.
    pub const fn registered(mut self) -> Self {
        self.on_drop = OnDrop::RunDisconnect;
        self
    }

    /// Deletes the record of a connection that `$connect` rejected: it gets no `$disconnect` (DC-6).
    pub fn mark_rejected(mut self) {
        self.on_drop = OnDrop::DeleteRecord;
    }

    /// Transfers responsibility for `$disconnect` to the session of the open connection. Returns `false` if this pod
    /// lost the connection's node id during the handshake; the caller must then close the socket.
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
            OnDrop::DeleteRecord => self.registry.delete_connection(self.id),
            OnDrop::RunDisconnect => self.registry.defer_disconnect(self.id, &CloseCause::ConnectionLost),
        }
    }
}
