//! Reader of the section `postgres`, and validation of `storage.log` against the mode.

use super::super::values::{self, ParseResult};
use super::super::{ConfigValue, DeploymentMode, LogStorage, StorageConfig};
use super::ConfigReader;
use super::tls::POSTGRES_TLS;
use crate::postgres::PostgresSettings;
use crate::secret::Secret;

impl ConfigReader<'_> {
    /// Returns `Some(None)` if no address is set.
    pub(super) fn read_postgres(&mut self) -> Option<Option<PostgresSettings>> {
        let url = self.read_optional("postgres.url", parse_postgres_url);
        let password =
            self.read_optional("postgres.password", |value| values::parse_text(value).map(|text| Secret::new(&text)));
        let tls = self.read_tls(&POSTGRES_TLS, false);
        let is_used = url.as_ref().is_some_and(Option::is_some);
        let shared_ca_file = if is_used { self.read_shared_authorities() } else { Some(None) };
        let schema = self.read_required("postgres.schema", |value| {
            let rule = "1 to 63 lower-case letters, digits and '_', not starting with a digit or pg_";
            values::parse_text_where(value, PostgresSettings::is_valid_schema, rule)
        });
        let pool_size = self.read_required("postgres.pool_size", values::parse_count);
        let connect_timeout = self.read_required("postgres.connect_timeout", values::parse_duration_value);
        let response_timeout = self.read_required("postgres.response_timeout", values::parse_duration_value);
        let (url, password, tls, shared_ca_file) = (url?, password?, tls?, shared_ca_file?);
        let (schema, pool_size) = (schema?, pool_size?);
        let (connect_timeout, response_timeout) = (connect_timeout?, response_timeout?);
        Some(url.map(|url| PostgresSettings {
            url,
            password,
            tls,
            shared_ca_file,
            schema,
            pool_size,
            connect_timeout,
            response_timeout,
        }))
    }

    /// Rejects a message log that the mode does not support, and PostgreSQL without an address.
    pub(super) fn check_storage(
        &mut self,
        mode: DeploymentMode,
        storage: Option<&StorageConfig>,
        postgres: Option<&Option<PostgresSettings>>,
    ) {
        match (storage.map(|storage| storage.log), mode) {
            (Some(LogStorage::Postgres), _) if matches!(postgres, Some(None)) => self.add_error(
                "storage.log is postgres, but postgres.url is not set; set DATABASE_URL (or DATABASE_URL_FILE)",
            ),
            (Some(LogStorage::File | LogStorage::Memory), DeploymentMode::Kubernetes) => self.add_error(
                "storage.log: kubernetes mode requires a shared message log, redis or postgres; file and memory are \
                 for embedded mode",
            ),
            (Some(LogStorage::Redis), DeploymentMode::Embedded) => self.add_error(
                "storage.log: redis requires kubernetes mode; embedded mode supports file, memory and postgres",
            ),
            _ => {}
        }
    }
}

fn parse_postgres_url(value: &ConfigValue) -> ParseResult<Secret> {
    let is_address = |text: &str| text.starts_with("postgres://") || text.starts_with("postgresql://");
    let rule = "an address such as postgres://user:password@host:5432/database";
    let text = values::parse_text_where(value, is_address, rule)?;
    PostgresSettings::check_address(&text).map_err(|error| format!("{error}; it must be {rule}"))?;
    Ok(Secret::new(&text))
}
