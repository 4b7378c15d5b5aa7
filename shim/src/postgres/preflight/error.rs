//! Errors of the preflight, with texts for the operator.
//!
//! Every text names the problem and the remedy; none contains a password.

use sqlx::Error;
use sqlx::migrate::MigrateError;
use tls_client::{ConnectFailure, TlsFileError};

use crate::postgres::error::{PostgresErrorClass, classify_error};

/// Failure to start with PostgreSQL. `address` is host and port, or the path of the socket.
#[derive(Debug, thiserror::Error)]
pub enum PostgresStartupError {
    /// `postgres.url` cannot be parsed.
    #[error("postgres.url is not usable: {0}; it looks like postgres://user:password@host:5432/database")]
    InvalidAddress(String),
    /// A certificate or key file cannot be used.
    #[error("the files of postgres.ca_file, postgres.client_cert_file and postgres.client_key_file cannot be used")]
    TlsFile(#[source] TlsFileError),
    /// The connection was refused or timed out.
    #[error("postgresql is unreachable at {address}; check postgres.url and the network")]
    Unreachable {
        address: String,
        #[source]
        source: Error,
    },
    /// The password is missing or wrong.
    #[error(
        "postgresql at {address} rejects the password of the user '{user}'; check postgres.url and postgres.password"
    )]
    InvalidCredentials { address: String, user: String },
    /// `pg_hba.conf` does not permit the login.
    #[error("postgresql at {address} rejects the login ({reason}); check the user in postgres.url and pg_hba.conf")]
    LoginDenied {
        address: String,
        /// Message of the server.
        reason: String,
    },
    /// The database does not exist.
    #[error("postgresql at {address} has no database '{database}'; create it, or set another one in postgres.url")]
    UnknownDatabase { address: String, database: String },
    /// The user lacks a privilege.
    #[error(
        "the postgresql user '{user}' lacks a privilege: {reason}; let it create the schema (GRANT CREATE ON \
         DATABASE), or start once as a user with this privilege and then GRANT USAGE ON SCHEMA {schema}, and SELECT, \
         INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema}"
    )]
    MissingPermission {
        /// Missing privileges, or the message of the server.
        reason: String,
        schema: String,
        user: String,
    },
    /// TLS is required by the address, but not supported by the server.
    #[error(
        "postgresql at {address} does not support TLS, which is required for servers on other machines; enable it on \
         the server (ssl = on), or set sslmode=disable in postgres.url if the network is trusted"
    )]
    TlsUnsupported { address: String },
    /// TLS is required by the server, but disabled by the address.
    #[error(
        "postgresql at {address} requires TLS; set sslmode=verify-full in postgres.url and postgres.ca_file to its \
         certificate authority"
    )]
    TlsRequired { address: String },
    /// The certificate of the server is not trusted.
    #[error(
        "postgresql at {address} cannot be trusted: {cause}; postgres.ca_file must contain the authority that signed \
         the certificate, and postgres.url the host name of the certificate"
    )]
    UntrustedCertificate {
        address: String,
        /// Error of the certificate.
        cause: ConnectFailure,
        #[source]
        source: Error,
    },
    /// The server does not accept the client's side of the TLS handshake.
    #[error(
        "postgresql at {address} rejects the TLS connection: {cause}; set postgres.client_cert_file and \
         postgres.client_key_file to a certificate that it accepts"
    )]
    RejectedClient {
        address: String,
        /// Reason of the server.
        cause: ConnectFailure,
        #[source]
        source: Error,
    },
    /// The version of the server is too old.
    #[error("postgresql at {address} is version {found}; at least {minimum} is required")]
    UnsupportedVersion {
        address: String,
        found: String,
        /// Minimum major version.
        minimum: i32,
    },
    /// The encoding of the database does not support all Unicode characters.
    #[error(
        "the database at {address} has the encoding {found}; messages require one that was created with ENCODING 'UTF8'"
    )]
    UnsupportedEncoding { address: String, found: String },
    /// The server is a standby.
    #[error("postgresql at {address} is a read-only replica; use the address of the primary server")]
    ReadOnly { address: String },
    /// The migrations of the schema differ from those of this version, or failed.
    #[error(
        "the tables of schema {schema} do not match this version, or could not be created; set another \
         postgres.schema, or restore the schema"
    )]
    SchemaMismatch {
        schema: String,
        #[source]
        source: MigrateError,
    },
    /// Any other error.
    #[error("postgresql at {address} cannot be used")]
    Other {
        address: String,
        #[source]
        source: Error,
    },
}

impl PostgresStartupError {
    /// Returns whether a retry may succeed, because the server may not have started yet.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Returns whether the state of the server is the cause, not the configuration: it has not started, is recovering,
    /// or has no free connection. A later attempt with the same settings may succeed.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::ReadOnly { .. } => true,
            Self::Other { source, .. } => {
                matches!(classify_error(source), PostgresErrorClass::Connection | PostgresErrorClass::Overloaded)
            }
            _ => false,
        }
    }
}
