//! Telling clients that the server has no way to the other pods, and that it has one again.
//!
//! Invariant: a client that was told of the beginning is told of the end, as far as it reads; one that does not is not
//! closed for it. Clients are told in small groups with a pause, so that ten thousand of them do not stall anyone else.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use handlers::ports::Priority;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use websocket::SharedText;

use super::BusState;
use crate::connection::{ClientNotices, ConnectionIndex, OutboundFrame, PeerLink};
use crate::redis::LinkState;

/// Clients told without a pause, some tens of microseconds of work.
const CLIENTS_PER_BURST: usize = 256;
/// The pause: ten thousand clients take a fifth of a second.
const BURST_INTERVAL: Duration = Duration::from_millis(5);

/// Watches the link until `stop`.
pub(super) async fn run_degraded_notifier(
    shared: Arc<BusState>,
    connections: ConnectionIndex,
    notices: Arc<dyn ClientNotices>,
    stop: CancellationToken,
) {
    tokio::select! {
        () = watch_redis(&shared, &connections, &*notices) => {}
        () = stop.cancelled() => {}
    }
}

async fn watch_redis(shared: &BusState, connections: &ConnectionIndex, notices: &dyn ClientNotices) {
    let mut state = shared.redis.link_state();
    while wait_for_state(&mut state, is_unavailable).await {
        let back = wait_for_state(&mut state, is_available);
        if tokio::time::timeout(shared.settings.degraded_delay, back).await.is_ok() {
            continue;
        }
        tracing::warn!("redis is away: clients are told; delivery on this pod goes on");
        notify_clients(connections, notices.degraded(PeerLink::Lost)).await;
        if !wait_for_state(&mut state, is_available).await {
            return;
        }
        tracing::info!("redis is back");
        notify_clients(connections, notices.degraded(PeerLink::Restored)).await;
    }
}

/// `false` when the link is no more.
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
    for handles in connections.all_connections().chunks(CLIENTS_PER_BURST) {
        for handle in handles.iter().filter(|handle| handle.has_capacity(text.len())) {
            handle.push(Priority::Control, OutboundFrame { text: text.clone(), placement: None });
        }
        tokio::time::sleep(BURST_INTERVAL).await;
    }
}
