//! Connection settings for Redis.
//!
//! Passwords are never printed: [`Secret`] redacts itself, and addresses, which may contain a password, are secrets
//! too.

use std::net::IpAddr;
use std::time::Duration;

use redis::{ConnectionAddr, IntoConnectionInfo as _};
use tls_client::TlsFiles;

use crate::secret::Secret;

/// Topology of the Redis servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RedisTopology {
    /// One server, or one address that always resolves to the master.
    Single,
    /// Redis Cluster.
    Cluster,
    /// A master and its replicas, managed by Sentinel.
    Sentinel,
}

/// Connection settings.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://` or `rediss://` addresses, at least one: of the server, of some nodes of the Cluster, or of the
    /// Sentinels.
    pub urls: Vec<Secret>,
    pub topology: RedisTopology,
    /// Name of the master in the Sentinel configuration.
    pub sentinel_master: String,
    /// ACL user of the servers; replaces the user in the addresses. With Sentinel, the user in the addresses is used
    /// for the Sentinels only.
    pub username: Option<String>,
    /// Password of that user.
    pub password: Option<Secret>,
    /// Files of trusted certificate authorities and of a client certificate.
    pub tls: TlsFiles,
    /// Prefix of every key and Redis channel, so that several applications can share a database.
    pub prefix: String,
    /// Maximum number of pooled connections, which serve reads of many records and appends that wait for replicas.
    pub pool_size: u32,
    /// Timeout for establishing a connection.
    pub connect_timeout: Duration,
    /// Timeout of one reply.
    pub response_timeout: Duration,
    /// Number of replicas that must have a write before it is acknowledged; 0 disables the wait.
    pub wait_replicas: u32,
}

impl RedisSettings {
    /// Returns settings for one server at `url`, with the defaults of `docs/CONFIGURATION.md`.
    #[must_use]
    pub fn single_server(url: &str) -> Self {
        Self {
            urls: vec![Secret::new(url)],
            topology: RedisTopology::Single,
            sentinel_master: "mymaster".to_owned(),
            username: None,
            password: None,
            tls: TlsFiles::default(),
            prefix: "twinway".to_owned(),
            pool_size: 8,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(2),
            wait_replicas: 0,
        }
    }

    /// Returns the number of the database that the addresses select; 0 if they select none. The first address decides,
    /// as for the connections.
    #[must_use]
    pub fn database(&self) -> i64 {
        let first = self.urls.first().and_then(|url| url.expose().into_connection_info().ok());
        first.map_or(0, |info| info.redis_settings().db())
    }

    /// Returns the prefix of all Redis channels, without the colon that follows. A server ignores the number of the
    /// database in publish/subscribe ("Redis Pub/Sub", Database & Scoping), so every name contains it; names in
    /// database 0 are `PREFIX:bus:…`, those in others `PREFIX:dbN:bus:…`.
    #[must_use]
    pub fn channel_prefix(&self) -> String {
        match self.database() {
            0 => self.prefix.clone(),
            database => format!("{}:db{database}", self.prefix),
        }
    }

    /// Checks the form of an address.
    ///
    /// # Errors
    /// The driver's description of the error, without the address, which may contain a password.
    pub fn check_address(url: &str) -> Result<(), String> {
        url.into_connection_info().map(drop).map_err(|error| error.category().to_owned())
    }

    /// Returns whether passwords and messages travel to another machine without encryption.
    #[must_use]
    pub fn is_unencrypted(&self) -> bool {
        self.urls.iter().any(|url| match url.expose().into_connection_info() {
            Ok(info) => matches!(info.addr(), ConnectionAddr::Tcp(host, _) if !is_loopback(host)),
            Err(_) => false,
        })
    }

    /// Returns whether a failover, which is part of normal operation with this topology, loses acknowledged messages.
    #[must_use]
    pub fn loses_messages_at_failover(&self) -> bool {
        self.wait_replicas == 0 && self.topology.default_wait_replicas() > 0
    }

    /// Returns the timeout of one operation, retries included.
    #[must_use]
    pub fn operation_timeout(&self) -> Duration {
        self.connect_timeout + self.response_timeout
    }
}

/// Returns whether `host` is this machine.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

impl RedisTopology {
    /// Returns the default of `redis.wait_replicas`: 1 where a failover is part of normal operation.
    #[must_use]
    pub const fn default_wait_replicas(self) -> u32 {
        match self {
            Self::Single => 0,
            Self::Cluster | Self::Sentinel => 1,
        }
    }

    /// Returns the value of `redis.topology`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Cluster => "cluster",
            Self::Sentinel => "sentinel",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_of_two_databases_or_two_prefixes_never_have_the_same_name() {
        let channel_prefix = |url: &str, prefix: &str| {
            let settings = RedisSettings { prefix: prefix.to_owned(), ..RedisSettings::single_server(url) };
            settings.channel_prefix()
        };
        assert_eq!(channel_prefix("redis://host:6379", "app"), "app");
        assert_eq!(channel_prefix("redis://host:6379/0", "app"), "app");
        assert_eq!(channel_prefix("redis://host:6379/3", "app"), "app:db3");
        assert_eq!(channel_prefix("rediss://user:word@host:6379/12?protocol=resp3", "app"), "app:db12");
        // A prefix contains no colon, and no channel of the bus starts with `db`.
        assert_eq!(channel_prefix("redis://host:6379/0", "app.db3"), "app.db3");
    }
}
