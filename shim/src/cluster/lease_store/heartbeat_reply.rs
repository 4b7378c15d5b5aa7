//! Reply to a heartbeat: the pod's own lease, and the leases of all pods.

use super::LeaseId;

/// Reply of `heartbeat.lua`.
pub(super) type ScriptReply = (u8, String, Vec<String>, Vec<String>, u64, String);

/// Reply to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// State of the lease.
    pub lease: LeaseStatus,
    /// Epoch of Redis's data; empty when there is none.
    pub data_epoch: String,
    /// Pods whose lease has expired.
    pub expired: Vec<LeaseId>,
    /// Fenced pods with connections to reap.
    pub fenced: Vec<LeaseId>,
    /// Number of pods whose lease has not expired.
    pub live_pods: u64,
    /// Replication id of the master. Another id means that another server became the master, or that it restarted: the
    /// latest writes may be lost.
    pub replication_id: String,
}

/// State of a pod's own lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseStatus {
    /// The pod holds the lease, which was extended.
    Held,
    /// Other pods fenced the pod.
    Fenced,
    /// Redis does not know the lease, and no pod was fenced under its id: the write was lost.
    Missing,
}

impl HeartbeatReply {
    pub(super) fn from_script(reply: ScriptReply) -> Self {
        let (status, data_epoch, expired, fenced, live_pods, replication_id) = reply;
        let lease = match status {
            1 => LeaseStatus::Held,
            2 => LeaseStatus::Fenced,
            _ => LeaseStatus::Missing,
        };
        let (expired, fenced) = (parse_lease_ids(expired), parse_lease_ids(fenced));
        Self { lease, data_epoch, expired, fenced, live_pods, replication_id }
    }
}

fn parse_lease_ids(texts: Vec<String>) -> Vec<LeaseId> {
    texts.iter().filter_map(|text| LeaseId::parse(text)).collect()
}
