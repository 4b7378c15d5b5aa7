//! Start-up errors of the Redis client, written for the operator.

use redis::RedisError;
use tls_client::{ConnectFailure, TlsFileError};

use crate::redis::error::{RedisErrorClass, classify_error};

/// Error of connecting to Redis. Each text names the finding and the remedy; none contains a password.
#[derive(Debug, thiserror::Error)]
pub enum RedisStartupError {
    /// A configured address is invalid.
    #[error("redis.url is not usable: {0}; it looks like redis://host:6379 or, with TLS, rediss://host:6379")]
    InvalidAddress(String),
    /// A certificate or key file cannot be used.
    #[error("the files of redis.ca_file, redis.client_cert_file and redis.client_key_file cannot be used")]
    TlsFile(#[source] TlsFileError),
    /// Nothing answers at the address, or not in time.
    #[error("redis is unreachable at {address}; check redis.url and the network")]
    Unreachable {
        /// Host and port.
        address: String,
        #[source]
        source: RedisError,
    },
    /// The password is missing or wrong.
    #[error(
        "redis at {address} rejects the user or the password; check redis.username and redis.password, or those in \
         redis.url"
    )]
    InvalidCredentials {
        /// Host and port.
        address: String,
    },
    /// The user lacks a permission.
    #[error(
        "the redis user lacks a permission: {reason}; it needs the keys and channels {prefix}:* and the commands +@read \
         +@write +@stream +@scripting +@pubsub +@connection +info +time +wait (in a Cluster +cluster|slots too)"
    )]
    MissingPermission {
        /// Rejected command, in the server's words.
        reason: String,
        /// Prefix of keys and Redis channels.
        prefix: String,
    },
    /// The client uses TLS, the port does not.
    #[error("redis at {address} does not support TLS on this port; use redis:// instead of rediss://, or its TLS port")]
    TlsUnsupported {
        /// Host and port.
        address: String,
    },
    /// The port uses TLS, the client does not.
    #[error(
        "redis at {address} requires TLS; use rediss:// instead of redis://, and set redis.ca_file to its \
         certificate authority"
    )]
    TlsRequired {
        /// Host and port.
        address: String,
    },
    /// The server's certificate is not trusted.
    #[error(
        "redis at {address} cannot be trusted: {cause}; redis.ca_file must contain the authority that signed the \
         certificate, and redis.url a name of the certificate"
    )]
    UntrustedCertificate {
        /// Host and port.
        address: String,
        /// Error of the certificate.
        cause: ConnectFailure,
        /// Error of the certificate verification.
        #[source]
        source: RedisError,
    },
    /// The server does not accept the client's side of the TLS handshake.
    #[error(
        "redis at {address} rejects the TLS connection: {cause}; set redis.client_cert_file and redis.client_key_file \
         to a certificate that it accepts"
    )]
    RejectedClient {
        /// Host and port.
        address: String,
        /// Reason of the server.
        cause: ConnectFailure,
        /// Error of the handshake.
        #[source]
        source: RedisError,
    },
    /// The topology differs from the configured one.
    #[error("redis at {address} is {found}, but redis.topology is {configured}; set it to {expected}")]
    WrongTopology {
        /// Host and port.
        address: String,
        /// Description of the server found.
        found: &'static str,
        /// Configured value of `redis.topology`.
        configured: &'static str,
        /// Value that `redis.topology` should have.
        expected: &'static str,
    },
    /// The server is a replica.
    #[error(
        "redis at {address} is a read-only replica; use the address of its master, or set redis.topology to sentinel"
    )]
    ReadOnly {
        /// Host and port.
        address: String,
    },
    /// The server cannot save to disk (`MISCONF`).
    #[error(
        "redis at {address} rejects writes because it cannot save to disk (MISCONF); free or repair the disk, then \
         run BGSAVE"
    )]
    PersistenceFailed {
        /// Host and port.
        address: String,
        /// Reply of the server.
        #[source]
        source: RedisError,
    },
    /// The server has fewer in-sync replicas than `min-replicas-to-write` (`NOREPLICAS`).
    #[error(
        "redis at {address} rejects writes because fewer replicas are in sync than min-replicas-to-write requires; \
         restore them, or lower that setting"
    )]
    TooFewReplicas {
        /// Host and port.
        address: String,
    },
    /// The server is out of memory (`OOM`).
    #[error(
        "redis at {address} is out of memory; raise maxmemory, or lower the retention (storage.retention_age, \
         storage.retention_entries)"
    )]
    OutOfMemory {
        /// Host and port.
        address: String,
    },
    /// The server is too old.
    #[error("redis at {address} is version {found}; at least {minimum} is required ({reason})")]
    UnsupportedVersion {
        /// Host and port.
        address: String,
        /// Version of the server.
        found: String,
        /// Oldest supported version.
        minimum: String,
        /// Feature that the server lacks.
        reason: &'static str,
    },
    /// The Sentinels do not know the master.
    #[error("the Sentinels at {address} have no master named '{name}'; set redis.sentinel_master")]
    UnknownMaster {
        /// Host and port of the first Sentinel.
        address: String,
        /// Configured name of the master.
        name: String,
    },
    /// Any other error.
    #[error("redis at {address} cannot be used")]
    Other {
        /// Host and port.
        address: String,
        /// Reply of the server, or the error of the connection.
        #[source]
        source: RedisError,
    },
}

impl RedisStartupError {
    /// Returns whether a retry may succeed: the server may not have started yet.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Returns whether the state of the server is the cause, not the configuration: it has not started, is loading its
    /// data or failing over, or rejects writes. A later attempt with the same settings may succeed.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::ReadOnly { .. }
            | Self::PersistenceFailed { .. }
            | Self::TooFewReplicas { .. }
            | Self::OutOfMemory { .. } => true,
            Self::Other { source, .. } => {
                matches!(classify_error(source), RedisErrorClass::Connection | RedisErrorClass::Unavailable)
            }
            _ => false,
        }
    }
}
