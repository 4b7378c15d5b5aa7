//! Leaving without losing anything: SIGTERM to exit.
//!
//! ```text
//! not ready ── delay ── stop accepting ── waves: "reconnect" + close 1012 ── $disconnects run ── exit
//!              (the load balancer notices)   (jitter: clients come back spread out)   (at most `grace`)
//! ```
//! Invariant: what a client had sent before its close frame is handled, and every connection's `$disconnect` runs, as long
//! as `grace` allows; the caller learns whether it did.

use std::sync::{Arc, Weak};
use std::time::Duration;

use gateway::close::CloseCause;
use handlers::ports::Priority;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::DrainConfig;
use crate::connection::{ClientNotices, Connection, ConnectionIndex, OutboundFrame};
use crate::readiness::{Readiness, ReadinessState};

/// How often a wave is looked at that has not left.
const BATCH_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainOutcome {
    /// Every connection's `$disconnect` ran.
    Complete,
    /// Time ran out with this many connections or handlers left.
    Abandoned(usize),
}

/// How the connections of a process are sent away.
#[derive(Clone)]
pub struct ConnectionDrain {
    /// In which waves, and for how long.
    pub config: DrainConfig,
    /// The open connections.
    pub connections: ConnectionIndex,
    /// The application's frames; without them a client sees the close code alone.
    pub notices: Option<Arc<dyn ClientNotices>>,
    /// Every task that belongs to a connection.
    pub tasks: TaskTracker,
}

impl ConnectionDrain {
    /// Sends everyone away and waits for what is still running.
    pub async fn run(&self, readiness: &Readiness, stop_accepting: &CancellationToken) -> DrainOutcome {
        readiness.set_state(ReadinessState::Draining);
        tracing::info!(connections = self.connections.len(), "draining");
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

    /// Tells connections in waves to reconnect, again until none is left: a handshake may end while the waves are under way.
    async fn reconnect_all(&self) {
        loop {
            let handles = self.connections.all_connections();
            if handles.is_empty() {
                return;
            }
            self.reconnect_in_batches(handles).await;
        }
    }

    /// Tells these connections to reconnect, in waves. The next one goes when its time has come and half of the last has
    /// left, `$disconnect` included: what makes that slow (Redis, the disk, the CPU) also makes slow the servers that take
    /// clients in, and sending more of them would only add to it. Half of the grace may be spent on such waiting, so that
    /// all are sent in time.
    pub(crate) async fn reconnect_in_batches(&self, handles: Vec<Arc<Connection>>) {
        let size = self.config.batch_size_for(handles.len()).max(1);
        let waves = u32::try_from(handles.len().div_ceil(size)).unwrap_or(u32::MAX).max(1);
        let patience = (self.config.grace / 2 / waves).saturating_sub(self.config.batch_interval);
        let mut rest = handles.into_iter();
        while rest.len() > 0 {
            let leaving: Vec<Weak<Connection>> =
                rest.by_ref().take(size).map(|handle| self.request_reconnect(&handle)).collect();
            tokio::time::sleep(self.config.batch_interval).await;
            let _ = tokio::time::timeout(patience, wait_half_closed(&leaving)).await;
        }
    }

    /// Tells one connection, and returns what shows when it has left.
    fn request_reconnect(&self, handle: &Arc<Connection>) -> Weak<Connection> {
        let reconnect = self.notices.as_ref().and_then(|notices| notices.reconnect(self.config.batch_interval));
        if let Some(text) = reconnect {
            handle.push(Priority::Control, OutboundFrame { text: text.into(), placement: None });
        }
        handle.close(CloseCause::ServiceRestart);
        Arc::downgrade(handle)
    }
}

/// A session holds its handle until its `$disconnect` has run.
async fn wait_half_closed(leaving: &[Weak<Connection>]) {
    while leaving.iter().filter(|handle| handle.strong_count() > 0).count() * 2 > leaving.len() {
        tokio::time::sleep(BATCH_POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests;
