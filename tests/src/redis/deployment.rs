//! The Redis of a test in any topology.

use std::path::PathBuf;

use anyhow::Context as _;

use super::{RedisCluster, RedisSentinels, RedisServer};

/// One server, a master with Sentinels, or a Cluster.
#[derive(Debug)]
pub enum RedisDeployment {
    /// One server.
    Server(RedisServer),
    /// A master with replicas and Sentinels.
    Sentinels(RedisSentinels),
    /// A Cluster.
    Cluster(RedisCluster),
}

impl RedisDeployment {
    /// Returns the single server.
    ///
    /// # Errors
    /// There are several.
    pub fn server(&mut self) -> anyhow::Result<&mut RedisServer> {
        match self {
            Self::Server(server) => Ok(server),
            Self::Sentinels(_) | Self::Cluster(_) => anyhow::bail!("this Redis has several servers"),
        }
    }

    /// Returns the Sentinels.
    ///
    /// # Errors
    /// There are none.
    pub fn sentinels(&self) -> anyhow::Result<&RedisSentinels> {
        let Self::Sentinels(sentinels) = self else { anyhow::bail!("this Redis has no Sentinels") };
        Ok(sentinels)
    }

    /// Returns the Cluster.
    ///
    /// # Errors
    /// There is none.
    pub fn cluster(&mut self) -> anyhow::Result<&mut RedisCluster> {
        let Self::Cluster(cluster) = self else { anyhow::bail!("this Redis is no Cluster") };
        Ok(cluster)
    }

    /// Returns the current masters.
    ///
    /// # Errors
    /// A server does not respond.
    pub fn masters(&self) -> anyhow::Result<Vec<&RedisServer>> {
        match self {
            Self::Server(server) => Ok(vec![server]),
            Self::Sentinels(sentinels) => {
                let port = sentinels.master_port()?;
                let master = sentinels.servers().iter().find(|server| server.port() == port);
                Ok(vec![master.context("the master is unknown")?])
            }
            Self::Cluster(cluster) => {
                let mut masters = Vec::new();
                for node in cluster.nodes() {
                    if node.run_command(&["INFO", "replication"])?.contains("role:master") {
                        masters.push(node);
                    }
                }
                Ok(masters)
            }
        }
    }

    /// Returns the keys that match a pattern.
    ///
    /// # Errors
    /// A server does not respond.
    pub fn keys(&self, pattern: &str) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for master in self.masters()? {
            let keys = master.run_command(&["KEYS", pattern])?;
            found.extend(keys.lines().filter(|key| !key.is_empty()).map(str::to_owned));
        }
        Ok(found)
    }

    /// Returns the append-only files of the masters; see [`RedisServer::append_only_files`]. A master that was a
    /// replica before has written what it received.
    ///
    /// # Errors
    /// The files cannot be listed.
    pub fn append_only_files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for master in self.masters()? {
            files.extend(master.append_only_files()?);
        }
        Ok(files)
    }
}

impl From<RedisServer> for RedisDeployment {
    fn from(server: RedisServer) -> Self {
        Self::Server(server)
    }
}
