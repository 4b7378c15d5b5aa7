//! This pod's lease: its id, and the epoch of the data that it was claimed in.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::lease_store::{ClaimedLease, LeaseId};

/// The current lease of this pod. Clones share it; only the heartbeat changes it.
#[derive(Clone)]
pub(super) struct PodLease {
    lease_id: watch::Sender<LeaseId>,
    data_epoch: Arc<Mutex<String>>,
}

impl PodLease {
    pub(super) fn new(claimed: ClaimedLease) -> Self {
        let ClaimedLease { lease_id, data_epoch } = claimed;
        Self { lease_id: watch::Sender::new(lease_id), data_epoch: Arc::new(Mutex::new(data_epoch)) }
    }

    pub(super) fn lease_id(&self) -> LeaseId {
        self.lease_id.borrow().clone()
    }

    /// Returns a receiver of each new lease id.
    pub(super) fn subscribe(&self) -> watch::Receiver<LeaseId> {
        self.lease_id.subscribe()
    }

    /// Returns the epoch of the data in Redis; another one means that Redis lost its data.
    pub(super) fn data_epoch(&self) -> String {
        self.data_epoch.lock().clone()
    }

    /// Replaces the epoch after the same node id was claimed again.
    pub(super) fn set_data_epoch(&self, data_epoch: String) {
        *self.data_epoch.lock() = data_epoch;
    }

    /// Replaces the lease after another node id was claimed.
    pub(super) fn replace(&self, claimed: ClaimedLease) {
        self.set_data_epoch(claimed.data_epoch);
        self.lease_id.send_replace(claimed.lease_id);
    }
}
