//! Why the link was not made, in words for the operator.
//!
//! Invariant: every text says what was found and what to change; none shows a password.

use redis::RedisError;

/// Why the link was not made. The texts are for the operator: what was found, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum RedisStartupError {
    /// An address that is none.
    #[error("redis.url is not usable: {0}; it looks like redis://host:6379 or, with TLS, rediss://host:6379")]
    InvalidAddress(String),
    /// The file of certificates cannot be read.
    #[error("redis.ca_file ({path}) cannot be read")]
    CertificateFile {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nobody answers there, or not in time.
    #[error("redis does not answer at {address}; check redis.url and the network in between")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What happened.
        #[source]
        source: RedisError,
    },
    /// A password is needed, or is wrong.
    #[error(
        "redis at {address} refuses the user or the password; check redis.username and redis.password, or the address's own"
    )]
    InvalidCredentials {
        /// Host and port.
        address: String,
    },
    /// The user may not do what is needed.
    #[error(
        "the redis user may not do what is needed: {refused}; it needs the keys and channels {prefix}:* and the commands \
             +@read +@write +@stream +@scripting +@pubsub +@connection +info +time +wait (in a Cluster +cluster|slots too)"
    )]
    MissingPermission {
        /// Which command, in the server's words.
        refused: String,
        /// What keys and channels begin with.
        prefix: String,
    },
    /// TLS to a port without.
    #[error("redis at {address} does not speak TLS; write redis:// instead of rediss://, or name its TLS port")]
    TlsUnsupported {
        /// Host and port.
        address: String,
    },
    /// No TLS to a port with it.
    #[error(
        "redis at {address} speaks TLS; write rediss:// instead of redis://, and name its authority in redis.ca_file"
    )]
    TlsRequired {
        /// Host and port.
        address: String,
    },
    /// The server's certificate is not trusted.
    #[error("the certificate of redis at {address} is not trusted; name the authority that signed it in redis.ca_file")]
    UntrustedCertificate {
        /// Host and port.
        address: String,
        /// What is wrong with it.
        #[source]
        source: RedisError,
    },
    /// Another topology than configured.
    #[error("redis at {address} is {found}, but redis.topology is {configured}; set it to {right}")]
    WrongTopology {
        /// Host and port.
        address: String,
        /// What answers there.
        found: &'static str,
        /// What `redis.topology` is.
        configured: &'static str,
        /// What it should be.
        right: &'static str,
    },
    /// A server that only follows another.
    #[error("redis at {address} is a read-only replica; name its master, or use redis.topology = sentinel")]
    ReadOnly {
        /// Host and port.
        address: String,
    },
    /// A server whose disk does not take what it writes (`MISCONF`).
    #[error(
        "redis at {address} cannot write to its disk and refuses writes until it can; free or mend the disk, then run BGSAVE"
    )]
    PersistenceFailed {
        /// Host and port.
        address: String,
        /// What it said.
        #[source]
        source: RedisError,
    },
    /// A server with fewer replicas than it is to have (`NOREPLICAS`).
    #[error(
        "redis at {address} refuses writes because fewer replicas keep up with it than its min-replicas-to-write; bring \
         them back, or lower that setting"
    )]
    TooFewReplicas {
        /// Host and port.
        address: String,
    },
    /// A server without memory (`OOM`).
    #[error(
        "redis at {address} has no memory left; raise its maxmemory, or keep less (storage.retention_age, \
         storage.retention_entries)"
    )]
    OutOfMemory {
        /// Host and port.
        address: String,
    },
    /// A server from before what is needed.
    #[error("redis at {address} is version {found}; at least {least} is needed ({reason})")]
    UnsupportedVersion {
        /// Host and port.
        address: String,
        /// Its version.
        found: String,
        /// The oldest that will do.
        least: String,
        /// What it lacks.
        reason: &'static str,
    },
    /// The Sentinels know no such name.
    #[error("the Sentinels at {address} know no master called '{name}'; set redis.sentinel_master")]
    UnknownMaster {
        /// Host and port of the first.
        address: String,
        /// Which name was asked for.
        name: String,
    },
    /// Anything else.
    #[error("redis at {address} cannot be used")]
    Other {
        /// Host and port.
        address: String,
        /// What it said.
        #[source]
        source: RedisError,
    },
}

impl RedisStartupError {
    /// Whether waiting may help: the server may not have started yet.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}
