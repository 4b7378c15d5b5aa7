//! Connection drain of a graceful shutdown, from SIGTERM to exit.
//!
//! ```text
//! not ready ── delay ── stop accepting ── batches: "reconnect" + close 1012 ── $disconnects run ── exit
//!              (load balancer reacts)     (clients reconnect spread out)       (at most `grace`)
//! ```
//! Messages that a client sent before its close frame are handled, and the `$disconnect` of every connection runs,
//! within `grace`. [`DrainOutcome`] reports whether the time was sufficient.

mod pace;

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use gateway::close::CloseCause;
use handlers::ports::Priority;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::pace::DrainPace;
use crate::config::DrainConfig;
use crate::connection::{ClientNotices, Connection, ConnectionIndex, OutboundFrame};
use crate::readiness::{Readiness, ReadinessState};

/// Result of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainOutcome {
    /// The `$disconnect` of every connection has run.
    Complete,
    /// The grace period ended with this many tasks of connections or handlers left.
    Abandoned(usize),
}

/// Drain of the connections of a process.
#[derive(Clone)]
pub struct ConnectionDrain {
    /// Batches and time limits.
    pub config: DrainConfig,
    /// The open connections.
    pub connections: ConnectionIndex,
    /// The application's notices; without them a client receives only the close code.
    pub notices: Option<Arc<dyn ClientNotices>>,
    /// Tracker of every task that belongs to a connection.
    pub tasks: TaskTracker,
    /// The other pods, whose acceptance sets the pace; `None` in a single process.
    pub peers: Option<Arc<dyn PeerConnections>>,
}

/// Port to the number of connections of the other servers, which accept the clients of a drain.
///
/// ```
/// use async_trait::async_trait;
/// use shim::drain::PeerConnections;
///
/// /// A deployment of two servers, of which this one is drained.
/// struct OtherServer {
///     connections: u64,
/// }
///
/// #[async_trait]
/// impl PeerConnections for OtherServer {
///     async fn count_connections(&self) -> Option<u64> {
///         Some(self.connections)
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// assert_eq!(OtherServer { connections: 7 }.count_connections().await, Some(7));
/// # }
/// ```
#[async_trait]
pub trait PeerConnections: Send + Sync {
    /// Returns the number of connections of all other servers together, or `None` when there is no other server or the
    /// number is unknown.
    async fn count_connections(&self) -> Option<u64>;
}

impl ConnectionDrain {
    /// Closes all connections and waits for their handlers and `$disconnect`, within the grace period.
    pub async fn run(&self, readiness: &Readiness, stop_accepting: &CancellationToken) -> DrainOutcome {
        readiness.set_state(ReadinessState::Draining);
        tracing::info!(connections = self.connections.len(), "drain started");
        tokio::time::sleep(self.config.delay).await;
        stop_accepting.cancel();
        let finished = tokio::time::timeout(self.config.grace, async {
            self.reconnect_all().await;
            self.tasks.close();
            self.tasks.wait().await;
        });
        match finished.await {
            Ok(()) => DrainOutcome::Complete,
            Err(_) => DrainOutcome::Abandoned(self.tasks.len()),
        }
    }

    /// Asks all connections to reconnect, in batches. Repeats until none is left, because a handshake may complete
    /// during the drain.
    async fn reconnect_all(&self) {
        loop {
            let connections = self.connections.all_connections();
            if connections.is_empty() {
                return;
            }
            self.reconnect_in_batches(connections).await;
        }
    }

    /// Asks these connections to reconnect, in batches. The next batch starts after `batch_interval`, once half of the
    /// previous batch has closed, including `$disconnect`, and once the other servers have accepted all clients but
    /// half of that batch: if either is slow (Redis, disk, CPU), more clients would increase the load and wait longer.
    /// Sizes and waits leave time for the batches that follow ([`DrainPace`]).
    pub(crate) async fn reconnect_in_batches(&self, connections: Vec<Arc<Connection>>) {
        let mut pace = DrainPace::start(&self.config, self.peers.clone(), connections.len()).await;
        let mut rest = connections.into_iter();
        while rest.len() > 0 {
            let size = pace.batch_size(rest.len());
            let batch: Vec<Weak<Connection>> =
                rest.by_ref().take(size).map(|connection| self.request_reconnect(&connection)).collect();
            tokio::time::sleep(self.config.batch_interval).await;
            pace.wait_for_next_batch(&batch, rest.len()).await;
        }
    }

    /// Asks one connection to reconnect and closes it. The returned reference becomes dangling when its session has
    /// ended.
    fn request_reconnect(&self, connection: &Arc<Connection>) -> Weak<Connection> {
        let reconnect = self.notices.as_ref().and_then(|notices| notices.reconnect(self.config.batch_interval));
        if let Some(text) = reconnect {
            connection.push(Priority::Control, OutboundFrame { text: text.into(), placement: None });
        }
        connection.close(CloseCause::ServiceRestart);
        Arc::downgrade(connection)
    }
}

#[cfg(test)]
mod tests;
