//! Connection settings of PostgreSQL.
//!
//! `Debug` prints no password: [`Secret`] hides its value, and the address, which may contain one, is a [`Secret`] as
//! well.

use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;

/// Address, credentials, schema, pool size and timeouts.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// `postgres://user:password@host:5432/database` of the primary server, with optional parameters such as
    /// `?sslmode=`.
    pub url: Secret,
    /// Password; overrides the one in the address.
    pub password: Option<Secret>,
    /// File of CA certificates (PEM) that verify the server's certificate. If set, certificate and host name are
    /// verified unless the address sets `sslmode`.
    pub ca_file: Option<PathBuf>,
    /// Schema of all tables and functions; applications with different schemas can share a database.
    pub schema: String,
    /// Maximum number of connections.
    pub pool_size: u32,
    /// Timeout for establishing a connection or obtaining one from the pool.
    pub connect_timeout: Duration,
    /// Timeout of one statement, also enforced by the server (`statement_timeout`).
    pub response_timeout: Duration,
}

impl PostgresSettings {
    /// Returns settings for the database at `url`, with the defaults of `docs/CONFIGURATION.md`.
    #[must_use]
    pub fn for_url(url: &str) -> Self {
        Self {
            url: Secret::new(url),
            password: None,
            ca_file: None,
            schema: "twinway".to_owned(),
            pool_size: 16,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(2),
        }
    }

    /// Returns the timeout of one operation, retries included.
    #[must_use]
    pub fn operation_timeout(&self) -> Duration {
        self.connect_timeout + self.response_timeout
    }

    /// Returns whether `name` is valid for a schema: an unquoted identifier of at most 63 bytes without the reserved
    /// prefix `pg_`.
    #[must_use]
    pub fn is_valid_schema(name: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let first = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'_';
        name.len() <= 63
            && name.bytes().all(plain)
            && name.as_bytes().first().is_some_and(first)
            && !name.starts_with("pg_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_name_is_an_unquoted_identifier() {
        for name in ["twinway", "_x", "a1", &"x".repeat(63)] {
            assert!(PostgresSettings::is_valid_schema(name), "{name}");
        }
        for name in ["", "1a", "A", "a-b", "a b", "a\"b", "pg_own", "é", &"x".repeat(64)] {
            assert!(!PostgresSettings::is_valid_schema(name), "{name}");
        }
    }
}
