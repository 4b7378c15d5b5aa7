//! Connection settings of PostgreSQL.
//!
//! `Debug` prints no password: [`Secret`] hides its value, and the address, which may contain one, is a [`Secret`] as
//! well.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tls_client::TlsFiles;

use crate::secret::Secret;

/// Address, credentials, schema, pool size and timeouts.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// `postgres://user:password@host:5432/database` of the primary server, with optional parameters such as
    /// `?sslmode=`.
    pub url: Secret,
    /// Password; overrides the one in the address.
    pub password: Option<Secret>,
    /// Files of trusted certificate authorities and of a client certificate. Certificate and host name are verified
    /// unless the address sets `sslmode`, or resolves to this machine and no authorities are set.
    pub tls: TlsFiles,
    /// Authorities that apply if `tls` has none and the server is verified; `None` means those of the system.
    pub shared_ca_file: Option<PathBuf>,
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
            tls: TlsFiles::default(),
            shared_ca_file: None,
            schema: "twinway".to_owned(),
            pool_size: 16,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(2),
        }
    }

    /// Checks the form of an address.
    ///
    /// # Errors
    /// The driver's description of the error, without the address, which may contain a password.
    pub fn check_address(url: &str) -> Result<(), String> {
        PgConnectOptions::from_str(url).map(drop).map_err(|error| match error {
            sqlx::Error::Configuration(source) => source.to_string(),
            other => other.to_string(),
        })
    }

    /// Returns `sslmode` of the address, or the default: `verify-full` with authorities or a server on another machine,
    /// otherwise that of libpq, `prefer`.
    #[must_use]
    pub(super) fn ssl_mode(&self, options: &PgConnectOptions) -> PgSslMode {
        let url = self.url.expose();
        let is_set = url.contains("sslmode=") || url.contains("ssl-mode=");
        let is_verified = self.tls.ca_file.is_some() || !is_this_machine(options);
        if !is_set && is_verified { PgSslMode::VerifyFull } else { options.get_ssl_mode() }
    }

    /// Returns whether a server on another machine is not verified, because the address sets a weaker `sslmode`.
    #[must_use]
    pub fn is_unverified(&self) -> bool {
        PgConnectOptions::from_str(self.url.expose()).is_ok_and(|options| {
            let mode = self.ssl_mode(&options);
            !is_this_machine(&options) && !matches!(mode, PgSslMode::VerifyFull | PgSslMode::VerifyCa)
        })
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

/// Returns whether the options name a socket or a loopback address.
fn is_this_machine(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let loopback = host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback());
    options.get_socket().is_some() || host.starts_with('/') || loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_on_other_machines_are_verified_unless_the_address_says_otherwise() {
        let mode = |url: &str| {
            let settings = PostgresSettings::for_url(url);
            let mode = settings.ssl_mode(&PgConnectOptions::from_str(url).unwrap());
            (format!("{mode:?}"), settings.is_unverified())
        };
        for url in ["postgres://me@db.example/x", "postgres://me@10.0.0.7/x", "postgres://me@localhost.example/x"] {
            assert_eq!(mode(url), ("VerifyFull".to_owned(), false), "{url}");
        }
        for url in ["postgres://me@localhost/x", "postgres://me@127.0.0.1/x", "postgres://me@[::1]/x"] {
            assert_eq!(mode(url), ("Prefer".to_owned(), false), "{url}");
        }
        assert_eq!(mode("postgres://me@%2Frun%2Fpostgresql/x"), ("Prefer".to_owned(), false));
        assert_eq!(mode("postgres://me@db.example/x?sslmode=require"), ("Require".to_owned(), true));
        assert_eq!(mode("postgres://me@db.example/x?sslmode=disable"), ("Disable".to_owned(), true));
        assert_eq!(mode("postgres://me@db.example/x?sslmode=verify-ca"), ("VerifyCa".to_owned(), false));
    }

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
