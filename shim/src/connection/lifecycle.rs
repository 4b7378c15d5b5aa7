//! Who takes part when a connection opens and ends: the index, the application's delivery, and the registry that other pods
//! read.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio_util::task::TaskTracker;

use super::{ClientNotices, Connection, ConnectionIndex, ConnectionRegistry};

/// Whether a `$disconnect` that failed may run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectRetry {
    /// At most one run, as on API Gateway (DC-4): the functions were written for it.
    Never,
    /// Any number of runs have the effect of one, so a failed run is repeated.
    UntilSuccess,
}

impl DisconnectRetry {
    /// Returns whether a second run is allowed.
    #[must_use]
    pub const fn is_allowed(self) -> bool {
        matches!(self, Self::UntilSuccess)
    }
}

/// The application's delivery, notified of connections that open and end.
pub trait ConnectionObserver: Send + Sync {
    /// A connection is about to be found by its id.
    fn opened(&self, connection: &Arc<Connection>);

    /// A connection is no longer found by its id.
    fn closed(&self, connection: &Connection);

    /// Resolves, after a bounded time in any case, when the connection receives everything that other pods send to it;
    /// `None` when it does already.
    fn subscribed(&self, connection: &Connection) -> Option<BoxFuture<'static, ()>>;
}

/// Everything that takes part in the life of a connection. Only the index and the tasks exist for any API.
#[derive(Clone)]
pub struct ConnectionLifecycle {
    /// The open connections.
    pub connections: ConnectionIndex,
    /// The application's delivery.
    pub observer: Option<Arc<dyn ConnectionObserver>>,
    /// The application's frames for events of the gateway.
    pub notices: Option<Arc<dyn ClientNotices>>,
    /// Where connections are registered for other pods; `None` where there are none.
    pub registry: Option<Arc<dyn ConnectionRegistry>>,
    /// Whether a `$disconnect` that failed may run again.
    pub disconnect_retry: DisconnectRetry,
    /// Every task that belongs to a connection.
    pub tasks: TaskTracker,
}

impl ConnectionLifecycle {
    /// The lifecycle of an API whose functions are not ours, in a single process: no delivery, no notices, no registry.
    #[must_use]
    pub fn plain(tasks: TaskTracker) -> Self {
        Self {
            connections: ConnectionIndex::default(),
            observer: None,
            notices: None,
            registry: None,
            disconnect_retry: DisconnectRetry::Never,
            tasks,
        }
    }

    /// Opens a connection, when its handshake is granted; frames for it are queued until its `101` is sent.
    pub fn add_connection(&self, connection: &Arc<Connection>) {
        if let Some(observer) = &self.observer {
            observer.opened(connection);
        }
        self.connections.insert(connection);
    }

    /// Removes a connection from everything that sends to it.
    pub fn close(&self, connection: &Connection) {
        self.connections.remove(connection.id);
        if let Some(observer) = &self.observer {
            observer.closed(connection);
        }
    }

    /// See [`ConnectionObserver::subscribed`].
    #[must_use]
    pub fn subscribed(&self, connection: &Connection) -> Option<BoxFuture<'static, ()>> {
        self.observer.as_ref()?.subscribed(connection)
    }
}
