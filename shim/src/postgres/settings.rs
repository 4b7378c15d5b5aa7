//! What the link has to know to reach PostgreSQL.
//!
//! Invariant: nothing here prints a password: [`Secret`] hides itself, and the address that may carry one is a secret too.

use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;

/// Everything about the way to PostgreSQL.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// `postgres://user:password@host:5432/database`, with `sslmode` and the like behind a `?`. It has to lead to the server
    /// that takes writes.
    pub url: Secret,
    /// The password; replaces the address's own.
    pub password: Option<Secret>,
    /// Certificates (PEM) that the server's certificate may be signed by. With it the server's certificate and name are
    /// verified, unless the address names an `sslmode`.
    pub ca_file: Option<PathBuf>,
    /// The schema that everything is in, so that applications can share a database.
    pub schema: String,
    /// Most connections.
    pub pool_size: u32,
    /// How long a connection may take to be made, or to become free.
    pub connect_timeout: Duration,
    /// How long one statement may take; the server is told too.
    pub response_timeout: Duration,
}

impl PostgresSettings {
    /// Settings for the database at `url`, with the defaults of `docs/CONFIGURATION.md`.
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

    /// How long one operation may take with everything that it repeats.
    #[must_use]
    pub fn operation_timeout(&self) -> Duration {
        self.connect_timeout + self.response_timeout
    }

    /// Whether `name` can be a schema's: what PostgreSQL takes without quotes, at most 63 bytes, and none of its own.
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
    fn a_schema_is_what_needs_no_quotes() {
        for name in ["twinway", "_x", "a1", &"x".repeat(63)] {
            assert!(PostgresSettings::is_valid_schema(name), "{name}");
        }
        for name in ["", "1a", "A", "a-b", "a b", "a\"b", "pg_own", "é", &"x".repeat(64)] {
            assert!(!PostgresSettings::is_valid_schema(name), "{name}");
        }
    }
}
