//! Checks at the start that the address is that of a suitable PostgreSQL server, and migration of the schema.
//!
//! Every failure is a [`PostgresStartupError`], whose text contains the remedy.

mod error;

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Error, PgConnection};
use tls_client::ConnectFailure;
use tokio::time::timeout;

pub use self::error::PostgresStartupError;
use super::migration;
use super::settings::PostgresSettings;

/// Minimum `server_version_num`: the migrations use functions with SQL-standard bodies, which version 14 introduced.
const MIN_SERVER_VERSION: i32 = 140_000;
/// Timeout of checks and migration, including the wait for another process that runs the migration.
const PREFLIGHT_TIMEOUT: Duration = Duration::from_secs(60);

/// Version and settings of the server.
#[derive(Debug, sqlx::FromRow)]
struct ServerProperties {
    version_number: i32,
    version_text: String,
    encoding: String,
    in_recovery: bool,
    fsync_enabled: bool,
}

/// Converts the settings to the options of the driver.
pub(super) fn connect_options(settings: &PostgresSettings) -> Result<PgConnectOptions, PostgresStartupError> {
    let url = settings.url.expose();
    let options =
        PgConnectOptions::from_str(url).map_err(|error| PostgresStartupError::InvalidAddress(address_error(&error)))?;
    let mut options = options.application_name("twinway").disable_statement_logging();
    if let Some(password) = &settings.password {
        options = options.password(password.expose());
    }
    let mode = settings.ssl_mode(&options);
    let mut files = settings.tls.clone();
    files.ca_file = files.ca_file.or_else(|| settings.shared_ca_file.clone());
    let material = files.load().map_err(PostgresStartupError::TlsFile)?;
    if matches!(mode, PgSslMode::VerifyFull | PgSslMode::VerifyCa) {
        options = options.ssl_root_cert_from_pem(material.authorities_pem());
    }
    if let Some(identity) = material.client {
        options = options.ssl_client_cert_from_pem(identity.certificate).ssl_client_key_from_pem(identity.key);
    }
    Ok(options.ssl_mode(mode))
}

/// Returns the driver's text for an invalid address. It does not contain the address, which may include a password.
fn address_error(error: &Error) -> String {
    match error {
        Error::Configuration(source) => source.to_string(),
        other => other.to_string(),
    }
}

/// Connects once, checks the server and migrates the schema.
pub(super) async fn run_preflight(
    settings: &PostgresSettings,
    options: &PgConnectOptions,
) -> Result<(), PostgresStartupError> {
    let probe = PostgresProbe { settings, options };
    let connecting = timeout(settings.connect_timeout, super::client::connect_once(options));
    let connected = connecting.await.unwrap_or_else(|_| Err(timeout_error()));
    let mut connection = connected.map_err(|error| probe.startup_error(error))?;
    let checking = timeout(PREFLIGHT_TIMEOUT, probe.check_server(&mut connection));
    checking.await.unwrap_or_else(|_| {
        Err(PostgresStartupError::Unreachable { address: probe.address(), source: timeout_error() })
    })?;
    // The connection is not used again, so a failed close is ignored.
    let _ = timeout(settings.connect_timeout, connection.close()).await;
    Ok(())
}

fn timeout_error() -> Error {
    Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// Preflight of one server, with the settings for its error texts.
struct PostgresProbe<'a> {
    settings: &'a PostgresSettings,
    options: &'a PgConnectOptions,
}

impl PostgresProbe<'_> {
    async fn check_server(&self, connection: &mut PgConnection) -> Result<(), PostgresStartupError> {
        let failed = |error| self.startup_error(error);
        let properties: ServerProperties = sqlx::query_as(
            "SELECT current_setting('server_version_num')::int AS version_number, \
             current_setting('server_version') AS version_text, current_setting('server_encoding') AS encoding, \
             pg_is_in_recovery() AS in_recovery, current_setting('fsync') <> 'off' AS fsync_enabled",
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
        self.check_properties(&properties)?;
        migration::migrate_schema(connection, &self.settings.schema)
            .await
            .map_err(|error| self.migration_error(error))?;
        let missing = missing_privileges(connection, &self.settings.schema).await.map_err(failed)?;
        missing.map_or(Ok(()), |privileges| Err(self.permission_error(privileges)))
    }

    fn check_properties(&self, properties: &ServerProperties) -> Result<(), PostgresStartupError> {
        let address = self.address();
        if properties.version_number < MIN_SERVER_VERSION {
            return Err(PostgresStartupError::UnsupportedVersion {
                address,
                found: properties.version_text.clone(),
                minimum: MIN_SERVER_VERSION / 10_000,
            });
        }
        if properties.encoding != "UTF8" {
            return Err(PostgresStartupError::UnsupportedEncoding { address, found: properties.encoding.clone() });
        }
        if properties.in_recovery {
            return Err(PostgresStartupError::ReadOnly { address });
        }
        if !properties.fsync_enabled {
            tracing::warn!("postgresql runs with fsync off: a machine failure can lose acknowledged messages");
        }
        Ok(())
    }

    /// Returns host and port, or the path of the socket.
    fn address(&self) -> String {
        match self.options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        }
    }

    fn permission_error(&self, reason: String) -> PostgresStartupError {
        PostgresStartupError::MissingPermission {
            reason,
            schema: self.settings.schema.clone(),
            user: self.options.get_username().to_owned(),
        }
    }

    fn migration_error(&self, error: MigrateError) -> PostgresStartupError {
        let database = |error: &Error| matches!(error, Error::Database(_));
        match error {
            MigrateError::Execute(error) => self.startup_error(error),
            MigrateError::ExecuteMigration(error, _) if database(&error) => self.startup_error(error),
            other => PostgresStartupError::SchemaMismatch { schema: self.settings.schema.clone(), source: other },
        }
    }

    /// Converts an error of the driver or the server.
    fn startup_error(&self, error: Error) -> PostgresStartupError {
        let address = self.address();
        let database = || self.options.get_database().unwrap_or_else(|| self.options.get_username()).to_owned();
        let error = match tls_error(&address, error) {
            Ok(error) => return error,
            Err(error) => error,
        };
        let text = error.to_string();
        let server_error =
            error.as_database_error().map(|error| (error.code().unwrap_or_default(), error.message().to_owned()));
        match (server_error, &error) {
            (Some((code, message)), _) => match &*code {
                "28P01" => {
                    PostgresStartupError::InvalidCredentials { address, user: self.options.get_username().to_owned() }
                }
                "28000" if message.contains("no encryption") || message.contains("SSL off") => {
                    PostgresStartupError::TlsRequired { address }
                }
                "28000" => PostgresStartupError::LoginDenied { address, reason: message },
                "3D000" => PostgresStartupError::UnknownDatabase { address, database: database() },
                "42501" => self.permission_error(message),
                _ => PostgresStartupError::Other { address, source: error },
            },
            (None, Error::Tls(_)) if text.contains("does not support TLS") => {
                PostgresStartupError::TlsUnsupported { address }
            }
            (None, Error::Io(_) | Error::PoolTimedOut) => PostgresStartupError::Unreachable { address, source: error },
            _ => PostgresStartupError::Other { address, source: error },
        }
    }
}

/// Converts an error of the TLS handshake, or returns another error unchanged.
fn tls_error(address: &str, error: Error) -> Result<PostgresStartupError, Error> {
    let address = address.to_owned();
    match ConnectFailure::of(&error).filter(|_| error.as_database_error().is_none()) {
        Some(cause) if cause.is_untrusted() => {
            Ok(PostgresStartupError::UntrustedCertificate { address, cause, source: error })
        }
        Some(cause) if cause.is_rejected_client() => {
            Ok(PostgresStartupError::RejectedClient { address, cause, source: error })
        }
        _ => Err(error),
    }
}

/// Returns the privileges that the user lacks in the schema, if any.
async fn missing_privileges(connection: &mut PgConnection, schema: &str) -> Result<Option<String>, Error> {
    let statement = format!(
        "SELECT string_agg(needed || ' on ' || name, ', ') FROM (VALUES \
         ('log', 'SELECT'), ('channels', 'SELECT'), ('channels', 'INSERT'), ('channels', 'UPDATE'), \
         ('messages', 'SELECT'), ('messages', 'INSERT'), ('messages', 'DELETE')) AS rights (name, needed) \
         WHERE NOT has_table_privilege('\"{schema}\".' || name, needed)"
    );
    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsuitable_server_is_rejected_before_the_migration() {
        let settings = PostgresSettings::for_url("postgres://db");
        let options = PgConnectOptions::new_without_pgpass().host("db").port(5432);
        let probe = PostgresProbe { settings: &settings, options: &options };
        let suitable = || ServerProperties {
            version_number: 140_010,
            version_text: "14.10".to_owned(),
            encoding: "UTF8".to_owned(),
            in_recovery: false,
            fsync_enabled: true,
        };
        assert!(probe.check_properties(&suitable()).is_ok());
        let old = ServerProperties { version_number: 130_014, version_text: "13.14".to_owned(), ..suitable() };
        let error = probe.check_properties(&old).unwrap_err();
        assert!(matches!(error, PostgresStartupError::UnsupportedVersion { minimum: 14, .. }), "{error:?}");
        assert_eq!(error.to_string(), "postgresql at db:5432 is version 13.14; at least 14 is required");
        let ascii = probe.check_properties(&ServerProperties { encoding: "SQL_ASCII".to_owned(), ..suitable() });
        assert!(matches!(ascii, Err(PostgresStartupError::UnsupportedEncoding { .. })), "{ascii:?}");
        assert!(matches!(
            probe.check_properties(&ServerProperties { in_recovery: true, ..suitable() }),
            Err(PostgresStartupError::ReadOnly { .. })
        ));
    }
}
