//! Settings of the cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Leases of pods, and the reaper that runs `$disconnect` for dead pods.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Interval at which a pod renews its lease and checks the leases of its peers.
    pub heartbeat: Duration,
    /// Duration of a lease without a heartbeat.
    pub lease: Duration,
    /// Maximum number of `$disconnect`s per second that a pod runs for dead pods.
    pub reap_rate: u32,
    /// Maximum number of these `$disconnect`s that run concurrently.
    pub reap_concurrency: u32,
    /// Journal of this pod's connections.
    pub journal: JournalConfig,
}

/// Directory of the journal of a pod's connections, which covers a pod that dies after Redis has lost its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalConfig {
    /// No journal.
    Off,
    /// The default directory. The pod starts without a journal when it cannot be used.
    Default(PathBuf),
    /// A configured directory. The start fails when it cannot be used.
    Configured(PathBuf),
}

impl JournalConfig {
    /// Returns the directory.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Off => None,
            Self::Default(directory) | Self::Configured(directory) => Some(directory),
        }
    }
}
