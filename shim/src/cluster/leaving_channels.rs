//! Channels that connections are leaving: removed from the record, perhaps still joined in this pod's memory.

use std::collections::HashMap;

use gateway::id::GatewayId;
use handlers::channel::Channel;
use handlers::ports::ClientConnection;
use parking_lot::Mutex;

/// The channels that each connection has left last. A connection has at most as many as it can join.
#[derive(Default)]
pub(super) struct LeavingChannels {
    channels: Mutex<HashMap<GatewayId, Vec<Channel>>>,
}

impl LeavingChannels {
    /// Records a change before it is sent to the store. `open_record` returns the record by this pod's memory: channels
    /// that it no longer contains are forgotten.
    pub(super) fn record_change(
        &self,
        id: GatewayId,
        join: &[Channel],
        leave: &[Channel],
        open_record: impl FnOnce() -> Option<ClientConnection>,
    ) {
        if leave.is_empty() && !self.channels.lock().contains_key(&id) {
            return;
        }
        let joined = open_record().map(|record| record.channels).unwrap_or_default();
        let mut channels = self.channels.lock();
        let leaving = channels.entry(id).or_default();
        leaving.retain(|channel| joined.contains(channel) && !join.contains(channel) && !leave.contains(channel));
        leaving.extend(leave.iter().filter(|channel| joined.contains(channel)).cloned());
        if leaving.is_empty() {
            channels.remove(&id);
        }
    }

    /// Returns whether a connection is leaving a channel.
    pub(super) fn contains(&self, id: GatewayId, channel: &Channel) -> bool {
        self.channels.lock().get(&id).is_some_and(|channels| channels.contains(channel))
    }

    /// Forgets a connection that has ended.
    pub(super) fn forget(&self, id: GatewayId) {
        self.channels.lock().remove(&id);
    }
}
