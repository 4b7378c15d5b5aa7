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

use super::Shared;
use crate::connection::{ClientNotices, ConnectionIndex, PeerLink, Queued};
use crate::redis::LinkState;

/// Clients told without a pause, some tens of microseconds of work.
const GROUP: usize = 256;
/// The pause: ten thousand clients take a fifth of a second.
const PAUSE: Duration = Duration::from_millis(5);

/// Watches the link until `stop`.
pub(super) async fn run(
    shared: Arc<Shared>,
    connections: ConnectionIndex,
    notices: Arc<dyn ClientNotices>,
    stop: CancellationToken,
) {
    tokio::select! {
        () = watch(&shared, &connections, &*notices) => {}
        () = stop.cancelled() => {}
    }
}

async fn watch(shared: &Shared, connections: &ConnectionIndex, notices: &dyn ClientNotices) {
    let mut state = shared.redis.state();
    while until(&mut state, is_away).await {
        let back = until(&mut state, is_up);
        if tokio::time::timeout(shared.settings.degraded_after, back).await.is_ok() {
            continue;
        }
        tracing::warn!("redis is away: clients are told; delivery on this pod goes on");
        tell(connections, notices.degraded(PeerLink::Lost)).await;
        if !until(&mut state, is_up).await {
            return;
        }
        tracing::info!("redis is back");
        tell(connections, notices.degraded(PeerLink::Restored)).await;
    }
}

/// `false` when the link is no more.
async fn until(state: &mut watch::Receiver<LinkState>, holds: impl FnMut(&LinkState) -> bool) -> bool {
    state.wait_for(holds).await.is_ok()
}

const fn is_up(state: &LinkState) -> bool {
    matches!(state, LinkState::Up)
}

const fn is_away(state: &LinkState) -> bool {
    !is_up(state)
}

async fn tell(connections: &ConnectionIndex, frame: Option<Bytes>) {
    let Some(text) = frame.map(SharedText::from) else { return };
    for handles in connections.all().chunks(GROUP) {
        for handle in handles.iter().filter(|handle| handle.has_room(text.len())) {
            handle.push(Priority::Control, Queued { text: text.clone(), placement: None });
        }
        tokio::time::sleep(PAUSE).await;
    }
}
