//! Why the link was not made, in words for the operator.
//!
//! Invariant: every text says what was found and what to change; none shows a password.

use sqlx::Error;
use sqlx::migrate::MigrateError;

/// Why the link was not made. The texts are for the operator: what was found, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum PostgresStartupError {
    /// An address that is none.
    #[error("postgres.url is not usable: {0}; it looks like postgres://user:password@host:5432/database")]
    InvalidAddress(String),
    /// The file of certificates cannot be read.
    #[error("postgres.ca_file ({path}) cannot be read")]
    CertificateFile {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nobody answers there, or not in time.
    #[error("postgresql does not answer at {address}; check postgres.url and the network in between")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What happened.
        #[source]
        source: Error,
    },
    /// A password is needed, or is wrong.
    #[error(
        "postgresql at {address} refuses the password of the user '{user}'; check postgres.url and postgres.password"
    )]
    InvalidCredentials {
        /// Host and port.
        address: String,
        /// Which user.
        user: String,
    },
    /// The server lets nobody in like this.
    #[error(
        "postgresql at {address} lets nobody in like this ({refused}); check the user in postgres.url and pg_hba.conf"
    )]
    LoginDenied {
        /// Host and port.
        address: String,
        /// The server's words.
        refused: String,
    },
    /// There is no such database.
    #[error("postgresql at {address} has no database '{database}'; create it, or name another one in postgres.url")]
    UnknownDatabase {
        /// Host and port.
        address: String,
        /// Which database.
        database: String,
    },
    /// The user may not do what is needed.
    #[error(
        "the postgresql user '{user}' may not do what is needed: {refused}; let it create the schema (GRANT CREATE ON \
         DATABASE), or run once as a user who may and then GRANT USAGE ON SCHEMA {schema}, and SELECT, INSERT, UPDATE, DELETE \
         ON ALL TABLES IN SCHEMA {schema}"
    )]
    MissingPermission {
        /// What was refused.
        refused: String,
        /// Which schema.
        schema: String,
        /// Which user.
        user: String,
    },
    /// TLS to a server without.
    #[error(
        "postgresql at {address} does not speak TLS; turn it on there (ssl = on), or write sslmode=disable in postgres.url"
    )]
    TlsUnsupported {
        /// Host and port.
        address: String,
    },
    /// No TLS to a server that wants it.
    #[error(
        "postgresql at {address} wants TLS; write sslmode=verify-full in postgres.url and name its authority in postgres.ca_file"
    )]
    TlsRequired {
        /// Host and port.
        address: String,
    },
    /// The server's certificate is not trusted.
    #[error(
        "the certificate of postgresql at {address} is not trusted; name the authority that signed it in postgres.ca_file, \
         and the server by the name in its certificate"
    )]
    UntrustedCertificate {
        /// Host and port.
        address: String,
        /// What is wrong with it.
        #[source]
        source: Error,
    },
    /// A server from before what is needed.
    #[error("postgresql at {address} is version {found}; at least {least} is needed")]
    UnsupportedVersion {
        /// Host and port.
        address: String,
        /// Its version.
        found: String,
        /// The oldest that will do.
        least: i32,
    },
    /// A database that cannot hold every text.
    #[error(
        "the database at {address} has the encoding {found}; messages need one that was created with ENCODING 'UTF8'"
    )]
    UnsupportedEncoding {
        /// Host and port.
        address: String,
        /// Its encoding.
        found: String,
    },
    /// A server that only follows another.
    #[error(
        "postgresql at {address} is a read-only replica; name the address that leads to the server that takes writes"
    )]
    ReadOnly {
        /// Host and port.
        address: String,
    },
    /// The schema is not what this version made.
    #[error(
        "the tables in the schema {schema} are not those of this version, or could not be made; name another postgres.schema, or restore it"
    )]
    SchemaMismatch {
        /// Which schema.
        schema: String,
        /// What is wrong with them.
        #[source]
        source: MigrateError,
    },
    /// Anything else.
    #[error("postgresql at {address} cannot be used")]
    Other {
        /// Host and port.
        address: String,
        /// What it said.
        #[source]
        source: Error,
    },
}

impl PostgresStartupError {
    /// Whether waiting may help: the server may not have started yet.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}
