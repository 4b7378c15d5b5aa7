//! Number of connections that the other live pods have registered: shows how fast they accept the clients of a drain.

use async_trait::async_trait;
use tokio::sync::watch;

use super::lease_store::{LeaseId, LeaseStore};
use crate::drain::PeerConnections;

/// [`PeerConnections`] from the registrations in Redis: one command per call.
pub(super) struct RegisteredPeerConnections {
    pub(super) lease_store: LeaseStore,
    pub(super) lease_id: watch::Receiver<LeaseId>,
}

#[async_trait]
impl PeerConnections for RegisteredPeerConnections {
    async fn count_connections(&self) -> Option<u64> {
        let own = self.lease_id.borrow().clone();
        match self.lease_store.count_peer_connections(&own).await {
            Ok(count) => count,
            Err(error) => {
                tracing::debug!(error = %errors::chain(&error), "counting the connections of other pods failed");
                None
            }
        }
    }
}
