//! What is checked before the first statement counts: that the address leads to a PostgreSQL that can do what is needed.
//!
//! Every failure is a [`StartError`] that says what to do.

mod error;

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Error, PgConnection};
use tokio::time::timeout;

pub use self::error::PostgresStartupError;
use super::migration;
use super::settings::PostgresSettings;

/// Functions with SQL bodies that are bound when they are made came with 14 (`server_version_num`).
const MIN_SERVER_VERSION: i32 = 140_000;
/// How long the tables may take to be made, with the wait for another process that is making them.
const PREFLIGHT_TIMEOUT: Duration = Duration::from_secs(60);

/// What a server says about itself.
#[derive(Debug, sqlx::FromRow)]
struct ServerProperties {
    number: i32,
    version: String,
    encoding: String,
    follows: bool,
    syncs: bool,
}

/// The way in, as the driver has it.
pub(super) async fn connect_options(settings: &PostgresSettings) -> Result<PgConnectOptions, PostgresStartupError> {
    let url = settings.url.expose();
    let options =
        PgConnectOptions::from_str(url).map_err(|error| PostgresStartupError::InvalidAddress(address_error(&error)))?;
    let mut options = options.application_name("twinway").disable_statement_logging();
    if let Some(password) = &settings.password {
        options = options.password(password.expose());
    }
    let Some(path) = &settings.ca_file else { return Ok(options) };
    let certificates = tokio::fs::read(path)
        .await
        .map_err(|source| PostgresStartupError::CertificateFile { path: path.display().to_string(), source })?;
    options = options.ssl_root_cert_from_pem(certificates);
    let is_named = url.contains("sslmode=") || url.contains("ssl-mode=");
    Ok(if is_named { options } else { options.ssl_mode(PgSslMode::VerifyFull) })
}

/// The driver's words for a mistaken address, which do not repeat it.
fn address_error(error: &Error) -> String {
    match error {
        Error::Configuration(fault) => fault.to_string(),
        other => other.to_string(),
    }
}

/// Connects once and looks at everything that is needed; makes what is missing in the schema.
pub(super) async fn run_preflight(
    settings: &PostgresSettings,
    options: &PgConnectOptions,
) -> Result<(), PostgresStartupError> {
    let door = PostgresProbe { settings, options };
    let connecting = timeout(settings.connect_timeout, super::client::connect_once(options));
    let connected = connecting.await.unwrap_or_else(|_| Err(timeout_error()));
    let mut connection = connected.map_err(|error| door.startup_error(error))?;
    let looking = timeout(PREFLIGHT_TIMEOUT, door.check_server(&mut connection));
    looking.await.unwrap_or_else(|_| {
        Err(PostgresStartupError::Unreachable { address: door.address(), source: timeout_error() })
    })?;
    // It is of no further use; whether the server heard the goodbye does not matter.
    let _ = timeout(settings.connect_timeout, connection.close()).await;
    Ok(())
}

fn timeout_error() -> Error {
    Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// The way in, for messages.
struct PostgresProbe<'a> {
    settings: &'a PostgresSettings,
    options: &'a PgConnectOptions,
}

impl PostgresProbe<'_> {
    async fn check_server(&self, connection: &mut PgConnection) -> Result<(), PostgresStartupError> {
        let other = |error| self.startup_error(error);
        let greeting: ServerProperties = sqlx::query_as(
            "SELECT current_setting('server_version_num')::int AS number, current_setting('server_version') AS version, \
             current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS follows, \
             current_setting('fsync') <> 'off' AS syncs",
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(other)?;
        self.check_properties(&greeting)?;
        migration::migrate_schema(connection, &self.settings.schema)
            .await
            .map_err(|error| self.migration_error(error))?;
        let missing = missing_privileges(connection, &self.settings.schema).await.map_err(other)?;
        missing.map_or(Ok(()), |refused| Err(self.permission_error(refused)))
    }

    fn check_properties(&self, greeting: &ServerProperties) -> Result<(), PostgresStartupError> {
        let address = self.address();
        if greeting.number < MIN_SERVER_VERSION {
            return Err(PostgresStartupError::UnsupportedVersion {
                address,
                found: greeting.version.clone(),
                least: MIN_SERVER_VERSION / 10_000,
            });
        }
        if greeting.encoding != "UTF8" {
            return Err(PostgresStartupError::UnsupportedEncoding { address, found: greeting.encoding.clone() });
        }
        if greeting.follows {
            return Err(PostgresStartupError::ReadOnly { address });
        }
        if !greeting.syncs {
            tracing::warn!(
                "postgresql runs with fsync off: messages that were acknowledged can be lost with the machine"
            );
        }
        Ok(())
    }

    /// Host and port, or the socket.
    fn address(&self) -> String {
        match self.options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        }
    }

    fn permission_error(&self, refused: String) -> PostgresStartupError {
        PostgresStartupError::MissingPermission {
            refused,
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

    /// What kept the link from being made.
    fn startup_error(&self, error: Error) -> PostgresStartupError {
        let address = self.address();
        let database = || self.options.get_database().unwrap_or_else(|| self.options.get_username()).to_owned();
        let text = error.to_string();
        let told = error.as_database_error().map(|told| (told.code().unwrap_or_default(), told.message().to_owned()));
        match (told, &error) {
            (Some((code, message)), _) => match &*code {
                "28P01" => {
                    PostgresStartupError::InvalidCredentials { address, user: self.options.get_username().to_owned() }
                }
                "28000" if message.contains("no encryption") || message.contains("SSL off") => {
                    PostgresStartupError::TlsRequired { address }
                }
                "28000" => PostgresStartupError::LoginDenied { address, refused: message },
                "3D000" => PostgresStartupError::UnknownDatabase { address, database: database() },
                "42501" => self.permission_error(message),
                _ => PostgresStartupError::Other { address, source: error },
            },
            (None, Error::Tls(_)) if text.contains("does not support TLS") => {
                PostgresStartupError::TlsUnsupported { address }
            }
            (None, _) if text.contains("invalid peer certificate") => {
                PostgresStartupError::UntrustedCertificate { address, source: error }
            }
            (None, Error::Io(_) | Error::PoolTimedOut) => PostgresStartupError::Unreachable { address, source: error },
            _ => PostgresStartupError::Other { address, source: error },
        }
    }
}

/// Which rights the user lacks in the schema, if any.
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
    fn what_cannot_be_used_is_told_before_anything_is_made() {
        let settings = PostgresSettings::for_url("postgres://db");
        let options = PgConnectOptions::new_without_pgpass().host("db").port(5432);
        let door = PostgresProbe { settings: &settings, options: &options };
        let good = || ServerProperties {
            number: 140_010,
            version: "14.10".to_owned(),
            encoding: "UTF8".to_owned(),
            follows: false,
            syncs: true,
        };
        assert!(door.check_properties(&good()).is_ok());
        let old = ServerProperties { number: 130_014, version: "13.14".to_owned(), ..good() };
        let told = door.check_properties(&old).unwrap_err();
        assert!(matches!(told, PostgresStartupError::UnsupportedVersion { least: 14, .. }), "{told:?}");
        assert_eq!(told.to_string(), "postgresql at db:5432 is version 13.14; at least 14 is needed");
        let odd = door.check_properties(&ServerProperties { encoding: "SQL_ASCII".to_owned(), ..good() });
        assert!(matches!(odd, Err(PostgresStartupError::UnsupportedEncoding { .. })), "{odd:?}");
        assert!(matches!(
            door.check_properties(&ServerProperties { follows: true, ..good() }),
            Err(PostgresStartupError::ReadOnly { .. })
        ));
    }
}
