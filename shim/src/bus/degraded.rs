//! Notices to clients about an outage of the link to the other pods, and about its recovery.
//!
//! A client that was notified of the outage is also notified of the recovery. A client whose outbox is full is skipped
//! rather than closed. Clients are notified in bursts with a pause, so that ten thousand clients do not stall other
//! tasks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use handlers::ports::Priority;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use websocket::SharedText;

use crate::connection::{ClientNotices, ConnectionIndex, OutboundFrame, PeerLink};
use crate::redis::LinkState;

/// Clients notified without a pause: some tens of microseconds of work.
const CLIENTS_PER_BURST: usize = 256;
/// Pause between bursts: ten thousand clients take 0.2 s.
const BURST_INTERVAL: Duration = Duration::from_millis(5);

/// Watches the link to Redis and notifies the clients of this pod.
#[derive(Clone)]
pub(super) struct DegradedNotifier {
    connections: ConnectionIndex,
    link_state: watch::Receiver<LinkState>,
    degraded_delay: Duration,
}

impl DegradedNotifier {
    /// Creates a notifier of outages that last longer than `degraded_delay`.
    pub(super) const fn new(
        connections: ConnectionIndex,
        link_state: watch::Receiver<LinkState>,
        degraded_delay: Duration,
    ) -> Self {
        Self { connections, link_state, degraded_delay }
    }

    /// Notifies clients, with frames of `notices`, until `stop` is cancelled.
    pub(super) async fn run_notifier(self, notices: Arc<dyn ClientNotices>, stop: CancellationToken) {
        tokio::select! {
            () = self.watch_link(&*notices) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn watch_link(&self, notices: &dyn ClientNotices) {
        let mut state = self.link_state.clone();
        while wait_for_state(&mut state, is_unavailable).await {
            let recovery = wait_for_state(&mut state, is_available);
            if tokio::time::timeout(self.degraded_delay, recovery).await.is_ok() {
                continue;
            }
            tracing::warn!("redis unavailable: clients notified as degraded, local delivery continues");
            notify_clients(&self.connections, notices.degraded(PeerLink::Lost)).await;
            if !wait_for_state(&mut state, is_available).await {
                return;
            }
            tracing::info!("redis recovered: clients notified");
            notify_clients(&self.connections, notices.degraded(PeerLink::Restored)).await;
        }
    }
}

/// Waits until `holds` is true. Returns `false` if the client was dropped.
async fn wait_for_state(state: &mut watch::Receiver<LinkState>, holds: impl FnMut(&LinkState) -> bool) -> bool {
    state.wait_for(holds).await.is_ok()
}

const fn is_available(state: &LinkState) -> bool {
    matches!(state, LinkState::Available)
}

const fn is_unavailable(state: &LinkState) -> bool {
    !is_available(state)
}

async fn notify_clients(connections: &ConnectionIndex, frame: Option<Bytes>) {
    let Some(text) = frame.map(SharedText::from) else { return };
    for burst in connections.all_connections().chunks(CLIENTS_PER_BURST) {
        for connection in burst.iter().filter(|connection| connection.has_capacity(text.len())) {
            connection.push(Priority::Control, OutboundFrame { text: text.clone(), placement: None });
        }
        tokio::time::sleep(BURST_INTERVAL).await;
    }
}
