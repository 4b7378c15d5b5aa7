//! Components notified when a connection opens and closes: the index, the application's delivery, and the registry
//! that other pods read.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio_util::task::TaskTracker;

use super::{ClientNotices, Connection, ConnectionIndex, ConnectionRegistry};

/// Retry policy of a failed `$disconnect` handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectRetry {
    /// Runs at most once, as on API Gateway (DC-4), for functions that may not be idempotent.
    Never,
    /// Retries until one run succeeds, for idempotent functions.
    UntilSuccess,
}

impl DisconnectRetry {
    /// Returns whether a retry is allowed.
    #[must_use]
    pub const fn is_allowed(self) -> bool {
        matches!(self, Self::UntilSuccess)
    }
}

/// Port through which the application's delivery is notified of connections that open and close.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// use futures_util::future::BoxFuture;
/// use shim::connection::{Connection, ConnectionObserver};
///
/// #[derive(Default)]
/// struct OpenCount(AtomicUsize);
///
/// impl ConnectionObserver for OpenCount {
///     fn opened(&self, _: &Arc<Connection>) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///     }
///
///     fn closed(&self, _: &Connection) {
///         self.0.fetch_sub(1, Ordering::Relaxed);
///     }
///
///     fn subscribed(&self, _: &Connection) -> Option<BoxFuture<'static, ()>> {
///         None // a single process has no subscription to wait for
///     }
/// }
/// ```
pub trait ConnectionObserver: Send + Sync {
    /// Called before the connection is added to the index.
    fn opened(&self, connection: &Arc<Connection>);

    /// Called after the connection was removed from the index.
    fn closed(&self, connection: &Connection);

    /// Returns a future that resolves once this pod's subscriptions cover the connection, or `None` if they already do.
    /// The future resolves within a bounded time, also if the subscription is not confirmed.
    fn subscribed(&self, connection: &Connection) -> Option<BoxFuture<'static, ()>>;

    /// Returns the time at which the client's credentials expire, in seconds since 1970. The session then closes the
    /// connection with [`CloseCause::TokenExpired`](gateway::close::CloseCause::TokenExpired). `None` if they never
    /// expire, or if only the application decides, as on API Gateway.
    fn expires_at(&self, _connection: &Connection) -> Option<i64> {
        None
    }
}

/// Components to notify when a connection opens and closes. Only the index and the task tracker exist for every API.
#[derive(Clone)]
pub struct ConnectionLifecycle {
    /// The open connections.
    pub connections: ConnectionIndex,
    /// The application's delivery; `None` if the API's functions are Lambda functions.
    pub observer: Option<Arc<dyn ConnectionObserver>>,
    /// The application's notices to clients.
    pub notices: Option<Arc<dyn ClientNotices>>,
    /// The registry that other pods read; `None` in a single process.
    pub registry: Option<Arc<dyn ConnectionRegistry>>,
    /// Retry policy of a failed `$disconnect`.
    pub disconnect_retry: DisconnectRetry,
    /// Tracker of every task that belongs to a connection.
    pub tasks: TaskTracker,
}

impl ConnectionLifecycle {
    /// Creates the lifecycle of an API with external functions in a single process: no delivery, no notices, no
    /// registry.
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

    /// Adds a connection whose handshake was accepted. Its frames are queued until the `101` response is sent.
    pub fn add_connection(&self, connection: &Arc<Connection>) {
        if let Some(observer) = &self.observer {
            observer.opened(connection);
        }
        self.connections.insert(connection);
    }

    /// Removes a connection from the index and from the application's delivery.
    pub fn close(&self, connection: &Connection) {
        self.connections.remove(connection.id);
        if let Some(observer) = &self.observer {
            observer.closed(connection);
        }
    }

    /// Returns the time of [`ConnectionObserver::expires_at`].
    #[must_use]
    pub fn expires_at(&self, connection: &Connection) -> Option<i64> {
        self.observer.as_ref()?.expires_at(connection)
    }

    /// Returns the future of [`ConnectionObserver::subscribed`].
    #[must_use]
    pub fn subscribed(&self, connection: &Connection) -> Option<BoxFuture<'static, ()>> {
        self.observer.as_ref()?.subscribed(connection)
    }
}
