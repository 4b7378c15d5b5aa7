//! What the link has to know to reach Redis.
//!
//! Invariant: nothing here prints a password: [`Secret`] hides itself, and addresses that carry one are secrets too.

use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;

/// How the servers are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RedisTopology {
    /// One server, or one address that always leads to the writable one.
    Single,
    /// Redis Cluster.
    Cluster,
    /// Servers whose writable one the Sentinels know.
    Sentinel,
}

/// Everything about the way to Redis.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://` or `rediss://` addresses, at least one: of the server, of some nodes of the Cluster, or of the Sentinels.
    pub urls: Vec<Secret>,
    /// How the servers are arranged.
    pub topology: RedisTopology,
    /// The name under which the Sentinels know the writable server.
    pub sentinel_master: String,
    /// The ACL user of the servers; replaces the addresses' own. In Sentinel topology the addresses' own is for the Sentinels
    /// alone.
    pub username: Option<String>,
    /// That user's password.
    pub password: Option<Secret>,
    /// Certificates (PEM) that a server's certificate may be signed by; `None` means those of the system.
    pub ca_file: Option<PathBuf>,
    /// What every key and topic begins with, so that two applications can share a server.
    pub prefix: String,
    /// Most pooled connections: for reads of many records, and for appends that wait for replicas.
    pub pool_size: u32,
    /// How long one connection may take to be made.
    pub connect_timeout: Duration,
    /// How long one answer may take.
    pub response_timeout: Duration,
    /// How many replicas must have a message before it counts as appended; 0 waits for none.
    pub wait_replicas: u32,
}

impl RedisSettings {
    /// Settings for one server at `url`, with the defaults of `docs/CONFIGURATION.md`.
    #[must_use]
    pub fn single_server(url: &str) -> Self {
        Self {
            urls: vec![Secret::new(url)],
            topology: RedisTopology::Single,
            sentinel_master: "mymaster".to_owned(),
            username: None,
            password: None,
            ca_file: None,
            prefix: "twinway".to_owned(),
            pool_size: 8,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(2),
            wait_replicas: 0,
        }
    }

    /// How long one operation may take with everything that it repeats.
    #[must_use]
    pub fn operation_timeout(&self) -> Duration {
        self.connect_timeout + self.response_timeout
    }
}

impl RedisTopology {
    /// The word for it in `redis.topology`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Cluster => "cluster",
            Self::Sentinel => "sentinel",
        }
    }
}
